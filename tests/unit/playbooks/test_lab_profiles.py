# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The effect of each host's profile on its alarms and addresses, as the playbooks pass it to the roles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support.ansible_programs import run
from tests.support.project import ROOT

NAME = "robotics-lab"
# The inventory of the lab's running instances; its second host is stopped.
RUNNING = {
    f"{NAME}-1": {"lab_name": NAME, "lab_instance_id": "i-1"},
    f"{NAME}-3": {"lab_name": NAME, "lab_instance_id": "i-3"},
}
VIEWER, STREAM = ["foxglove_studio", "foxglove_bridge"], ["isaac_webrtc", "isaac_media"]
HOSTS = [
    {"name": f"{NAME}-{number}", "instance_id": f"i-{number}", "gpus": 1, "recover": False} for number in (1, 2, 3)
]


def ask(
    folder: Path, inventory: dict[str, dict[str, str]], given: dict[str, object]
) -> tuple[list[bool], list[bool], bool, list[str]]:
    """Return whether hosts 1 to 3 use their GPU, now and as planned, whether the first has URLs, and closed ports."""
    path = folder / "inventory.json"
    path.write_text(json.dumps({"lab": {"hosts": inventory}, "all": {"hosts": {"localhost": {}}}}))
    values = {"aws_infrastructure_name": NAME, "aws_infrastructure_summary": {"hosts": HOSTS}, **given}
    command = ["ansible", "localhost", "--inventory", str(path), "--connection", "local"]
    for file in ("group_vars/all.yml", "playbooks/vars/aws_monitoring.yml"):
        command += ["--extra-vars", f"@{ROOT / file}"]
    command += ["--extra-vars", json.dumps({**values, "aws_infrastructure_instance_count": 3})]
    names = "aws_monitoring_instances, planned_instances"
    names += ", aws_infrastructure_hosts_without_urls, aws_infrastructure_closed_ports, aws_monitoring_namespace"
    told = run([*command, "--module-name", "ansible.builtin.debug", "--args", f"msg={{{{ [{names}] }}}}"])
    there, planned, without, closed, namespace = yaml.safe_load(told.partition("=>")[2])["msg"]
    assert namespace == f"DigitalTwin/{NAME}"
    used = [[host["uses_gpu"] for host in hosts] for hosts in (there, planned)]
    assert {f"{NAME}-2", f"{NAME}-3", f"{NAME}-32"} <= set(without) or given.get("digital_twin_stack_profile")
    return used[0], used[1], f"{NAME}-1" not in without, closed


@pytest.mark.parametrize("inventory", [RUNNING, {}], ids=["running", "before or stopped"])
@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("full", (True, True, [])),
        ("sim", (True, True, [])),
        ("voice", (False, False, [*VIEWER, *STREAM])),
        ("nav", (False, True, STREAM)),
        ("", (False, False, [*VIEWER, *STREAM])),
    ],
)
def test_only_the_first_host_has_the_profile(
    tmp_path: Path, inventory: dict[str, dict[str, str]], profile: str, expected: tuple[bool, bool, list[str]]
) -> None:
    uses, urls, closed = expected
    used = [uses, False, False]
    assert ask(tmp_path, inventory, {"lab_profile": profile}) == (used, used, urls, closed)


def test_a_custom_profile_applies_to_the_hosts_in_the_inventory(tmp_path: Path) -> None:
    given: dict[str, object] = {"digital_twin_stack_profile": "sim"}
    assert ask(tmp_path, RUNNING, given) == ([True, False, True], [True, False, True], True, [])
