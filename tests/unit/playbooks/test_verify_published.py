# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics that playbooks/verify.yml requests from CloudWatch, so that no host passes unchecked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import ROOT, load_yaml

# The value of group_vars/all.yml.
NAMESPACE = "DigitalTwin/robotics-lab"
HOSTS: dict[str, dict[str, Any]] = {
    "defaults": {"nvidia_driver_gpu_count": 2},
    "heartbeat": {"gpu_metrics_metrics": ["GPUTemperature", "Heartbeat"]},
    "utilization": {"gpu_metrics_metrics": ["GPUTemperature", "GPUUtilization"]},
    "neither": {"gpu_metrics_metrics": ["GPUPowerDraw", "GPUTemperature"], "nvidia_driver_gpu_count": 2},
    "optional": {"gpu_metrics_metrics": ["GPURemappedRows", "GPUTemperature"]},
    "only-optional": {"gpu_metrics_metrics": ["GPURemappedRows", "GPUEncoderUtilization"]},
    # The results of role gpu_metrics: a GPU in MIG mode, one that shares the host's memory, and one that was not read.
    "not-reported": {
        "nvidia_driver_gpu_count": 3,
        "gpu_metrics_metrics": ["GPUUtilization", "GPUMemoryUsed", "GPUTemperature", "Heartbeat"],
        "gpu_metrics_readings": {"0": ["GPUMemoryUsed", "GPUTemperature"], "1": ["GPUTemperature"]},
    },
    "nothing-reported": {"gpu_metrics_readings": {"0": []}},
    "declared": {
        "gpu_metrics_metrics": ["Heartbeat"],
        "gpu_metrics_namespace": "Lab",
        "gpu_metrics_dimensions": {"Room": "1.07"},
        "gpu_metrics_instance_id": "workstation-7",
    },
}


def test_every_host_has_metrics_to_check(tmp_path: Path) -> None:
    of_host = {"InstanceId": "i-1"}
    first, second = ({**of_host, "GpuIndex": index} for index in "01")
    assert asked(tmp_path) == {
        "defaults": [
            [NAMESPACE, "Heartbeat", of_host],
            [NAMESPACE, "GPUUtilization", first],
            [NAMESPACE, "GPUUtilization", second],
        ],
        "heartbeat": [[NAMESPACE, "Heartbeat", of_host]],
        "utilization": [[NAMESPACE, "GPUUtilization", first]],
        "neither": [[NAMESPACE, "GPUPowerDraw", first], [NAMESPACE, "GPUPowerDraw", second]],
        "optional": [[NAMESPACE, "GPUTemperature", first]],
        "only-optional": [[NAMESPACE, "GPURemappedRows", first]],
        "not-reported": [
            [NAMESPACE, "Heartbeat", of_host],
            [NAMESPACE, "GPUMemoryUsed", first],
            [NAMESPACE, "GPUTemperature", second],
            [NAMESPACE, "GPUUtilization", {**of_host, "GpuIndex": "2"}],
        ],
        "nothing-reported": [[NAMESPACE, "Heartbeat", of_host]],
        "declared": [["Lab", "Heartbeat", {"InstanceId": "workstation-7", "Room": "1.07"}]],
    }


def asked(folder: Path) -> dict[str, list[list[Any]]]:
    """Return namespace, name and dimensions of each metric that is checked, by host."""
    (block,) = load_yaml(ROOT / "playbooks/tasks/verify_published.yml")
    common = {"lab_instance_id": "i-1", "nvidia_driver_gpu_count": 1}
    hosts = {name: {**common, **given} for name, given in HOSTS.items()}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    command = ["ansible", "all", "--one-line", "--inventory", str(inventory), "--extra-vars", json.dumps(block["vars"])]
    told = run([*command, "--module-name", "ansible.builtin.debug", "--args", "msg={{ published_metrics }}"])
    answers = {line.split(" ", 1)[0]: json.loads(line.partition("=>")[2])["msg"] for line in told.splitlines()}
    return {
        host: [[row["namespace"], row["name"], row["dimensions"]] for row in rows] for host, rows in answers.items()
    }
