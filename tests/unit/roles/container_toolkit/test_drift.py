# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role container_toolkit finds changed on a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.drift import ROOT_FILE, ROOT_FOLDER, STARTED, values_of

DEVICE = {"exists": True, "kind": "other"}


def toolkit_host(**changes: Any) -> dict[str, Any]:
    """Return a host that has what role container_toolkit declares, with other files."""
    options = {"features": {"cdi": True}, "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
    files: dict[str, dict[str, Any]] = {
        "/dev/dxg": {"exists": False},
        "/dev/nvidia0": DEVICE,
        **dict.fromkeys(("/dev/nvidiactl", "/dev/nvidia-modeset", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"), DEVICE),
        **dict.fromkeys(("/sys/module/nvidia", "/sys/module/nvidia_modeset", "/sys/module/nvidia_uvm"), ROOT_FOLDER),
        "/etc/docker": ROOT_FOLDER,
        "/etc/docker/daemon.json": {**ROOT_FILE, "content": json.dumps(options)},
    }
    for path, change in changes.pop("files", {}).items():
        files[path] = {**files[path], **change}
    info = {
        "ServerVersion": "28.3.2",
        "Runtimes": {"nvidia": {"path": changes.pop("runtime", "nvidia-container-runtime")}},
        "CDISpecDirs": ["/etc/cdi"],
    }
    commands = {
        "docker": {"rc": 0, "stdout": json.dumps(info), "stderr": ""},
        "started": STARTED,
        "driver": {"rc": changes.pop("driver", 0), "stdout": "", "stderr": ""},
        "version": {"stdout_lines": []},
    }
    path_unit = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": changes.pop("reload", "no")}
    service = {"UnitFileState": "enabled", "NeedDaemonReload": "no"}
    units = {"nvidia-cdi-refresh.path": path_unit, "nvidia-cdi-refresh.service": service}
    units["docker.service"] = {"UnitFileState": "enabled", "After": "nvidia-cdi-refresh.service"}
    specification = changes.pop("specification", None)
    text = {"content": json.dumps(specification)} if specification else {}
    cdi = {
        "files": {"/var/run/cdi/nvidia.yaml": {"exists": bool(text), **text}},
        "commands": {"generate": {"rc": changes.pop("generate", 0), "stdout": "", "stderr": ""}},
    }
    host = {"packages": {}, "files": files, "commands": commands, "units": units}
    return {"__container_toolkit_host": host, "__container_toolkit_cdi": cdi}


def test_drift_of_the_toolkit_is_found(tmp_path: Path) -> None:
    values = {
        "daemon": "{{ __container_toolkit_daemon_fits }}",
        "missing": "{{ __container_toolkit_nodes_missing }}",
        "units": "{{ __container_toolkit_units_fit }}",
        "driver": "{{ __container_toolkit_host_problems | select('search', 'nvidia-smi|GPU') | first }}",
        "generate": "{{ __container_toolkit_generate_silent }}",
        "verify": "{{ __container_toolkit_verify_problems | join(' ') }}",
    }
    daemon = "/etc/docker/daemon.json"
    absent = {"exists": False}
    cases = {
        "whole": toolkit_host(),
        "runtime": toolkit_host(runtime="/opt/runtime"),
        "later": toolkit_host(files={daemon: {"modified": 2}}),
        "writable": toolkit_host(files={daemon: {"mode": "0666"}}),
        "owned": toolkit_host(files={daemon: {"uid": 1000}}),
        "folder": toolkit_host(files={"/etc/docker": {"mode": "0777"}}),
        "private": toolkit_host(files={daemon: {"mode": "0600"}}),
        "regular": toolkit_host(files={"/dev/nvidia-uvm": {"kind": "file"}}),
        "unloaded": toolkit_host(files={"/sys/module/nvidia_uvm": absent}),
        "simulated": toolkit_host(files=dict.fromkeys(("/sys/module/nvidia", "/sys/module/nvidia_uvm"), absent)),
        "reload": toolkit_host(reload="yes"),
        "silent": toolkit_host(driver=124, generate=124),
    }
    found = values_of(tmp_path, "container_toolkit", values, cases)
    assert {name for name, case in found.items() if not case["daemon"]} == {
        "runtime",
        "later",
        "writable",
        "owned",
        "folder",
    }
    assert {name: case["missing"] for name, case in found.items() if case["missing"]} == {
        "regular": ["/dev/nvidia-uvm"],
        "unloaded": ["/sys/module/nvidia_uvm"],
    }
    assert [name for name, case in found.items() if not case["units"]] == ["reload"]
    assert "nvidia-smi -L did not answer within 120 s" in found["silent"]["driver"]
    assert "shows no GPU" in found["whole"]["driver"]
    assert "nvidia-ctk cdi generate did not answer within 120 s" in found["silent"]["generate"]
    assert found["whole"]["generate"] == ""
    for command in ("nvidia-smi -L", "nvidia-ctk cdi generate"):
        assert f"{command} did not answer within 120 s" in found["silent"]["verify"]
    assert "The host has no GPU" not in found["silent"]["verify"]
    assert "The host has no GPU" in found["whole"]["verify"]


def test_verify_compares_the_specification_with_the_nodes(tmp_path: Path) -> None:
    def given(*names: str) -> dict[str, Any]:
        nodes = [{"path": f"/dev/{name}"} for name in names]
        return {"devices": [], "containerEdits": {"deviceNodes": nodes}}

    control = ["nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools"]
    gone = {"/dev/nvidia-modeset": {"exists": False}}
    cases = {
        "whole": toolkit_host(specification=given(*control, "nvidia0")),
        "boot": toolkit_host(specification=given("nvidiactl", "nvidia0")),
        "gone": toolkit_host(specification=given(*control), files=gone),
        "neither": toolkit_host(specification=given(*control[:1], *control[2:]), files=gone),
        "removed": toolkit_host(specification=given(*control, "nvidia1")),
        "windows": toolkit_host(specification=given("dxg"), files={"/dev/dxg": DEVICE}),
        "linux": toolkit_host(specification=given(*control), files={"/dev/dxg": DEVICE}),
    }
    found = values_of(tmp_path, "container_toolkit", {"nodes": "{{ __container_toolkit_node_problems }}"}, cases)
    missing = "is not in the specification, and the host"
    extra = "is in the specification, but is not a device on the host."
    assert {name: case["nodes"] for name, case in found.items() if case["nodes"]} == {
        "boot": [f"/dev/{name} {missing} has it." for name in control[1:]],
        "gone": [f"/dev/nvidia-modeset {extra}"],
        "neither": [f"/dev/nvidia-modeset {missing} does not have it either."],
        "removed": [f"/dev/nvidia1 {extra}"],
        "linux": [f"/dev/dxg {missing} has it."],
    }
