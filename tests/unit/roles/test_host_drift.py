# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles docker, container_toolkit and nvidia_driver without a host: what they find on one that has drifted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import FQCN

ROLES = Path(__file__).parents[3] / "roles"
FACTS: dict[str, Any] = {
    "apparmor": {"status": "disabled"},
    "distribution": "Ubuntu",
    "distribution_release": "noble",
    "distribution_version": "24.04",
    "kernel": "6.8.0-1-generic",
    "virtualization_tech_guest": [],
}
ROOT_FOLDER = {"exists": True, "kind": "directory", "link": "", "mode": "0755", "uid": 0, "gid": 0}
ROOT_FILE = {**ROOT_FOLDER, "kind": "file", "mode": "0644", "modified": 1}
DEVICE = {"exists": True, "kind": "other"}
STARTED = {"stdout": "ExecMainStartTimestamp=Thu 1970-01-01 00:00:01 UTC"}


def evaluate(folder: Path, role: str, values: dict[str, str], cases: dict[str, Any], text: str = "") -> dict[str, Any]:
    """Return the results of expressions with the variables of a role, for each case of a host.

    Args:
        folder: for the playbook and the results.
        role: the role.
        values: the expressions, by any name.
        cases: the variables of each case.
        text: values of the command line.
    """
    sources = [ROLES / role / "defaults/main.yml", *sorted((ROLES / role / "vars").rglob("*.yml"))]
    tasks: list[dict[str, Any]] = [{"ansible.builtin.set_fact": {**FACTS, "cacheable": True}}]
    tasks += [
        {
            "ansible.builtin.copy": {
                "dest": f"{folder}/{name}.json",
                "content": "{{ values | to_json }}",
                "mode": "0644",
            },
            "vars": variables,
        }
        for name, variables in cases.items()
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"values": values},
        "vars_files": [str(source) for source in sources],
        "tasks": tasks,
    }
    playbook = folder / "drift.yml"
    playbook.write_text(json.dumps([play]))
    extra = f"{text} ansible_python_interpreter={sys.executable}"
    run(["ansible-playbook", "--inventory", "localhost,", "--extra-vars", extra, str(playbook)])
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in cases}


def packages(*names: str) -> dict[str, Any]:
    """Return what host_info reports of installed packages."""
    return {name: {"version": "1", "status": "installed", "hold": True} for name in names}


def test_a_conflicting_package_is_replaced_where_the_engine_is_installed(tmp_path: Path) -> None:
    values = {
        "differs": "{{ __docker_packages_differ }}",
        "installed": "{{ __docker_installed }}",
        "reported": "{{ __docker_verify_problems | select('search', 'podman|has mode') | length }}",
    }
    silent = {"stdout": "", "stderr": ""}
    rest = {
        "commands": {"info": silent, "dockerd": silent, "compose": silent, "started": STARTED},
        "files": {"/etc/docker/daemon.json": ROOT_FILE},
    }
    writable = {**rest, "files": {"/etc/docker/daemon.json": {**ROOT_FILE, "mode": "0622"}}}
    whole = ("docker.io", "docker-compose-v2")
    cases = {
        "whole": {"__docker_host": {**rest, "packages": packages(*whole)}},
        "both": {"__docker_host": {**rest, "packages": packages(*whole, "podman-docker")}},
        "writable": {"__docker_host": {**writable, "packages": packages(*whole)}},
        "none": {"__docker_host": {**rest, "packages": {}}},
    }
    for case in cases.values():
        case["__docker_options"] = {}
    assert evaluate(tmp_path, "docker", values, cases) == {
        "whole": {"differs": False, "installed": True, "reported": 0},
        "both": {"differs": True, "installed": True, "reported": 1},
        "writable": {"differs": False, "installed": True, "reported": 1},
        "none": {"differs": True, "installed": False, "reported": 0},
    }


@pytest.mark.parametrize("answer", [True, False])
def test_docker_accepts_text_for_other_types(tmp_path: Path, answer: bool) -> None:
    """Values on the command line are text, which the role's argument specification accepts without conversion."""
    values = {
        "options": "{{ __docker_role_options }}",
        "invalid": "{{ __docker_checks | rejectattr('ok') | length }}",
        "refused": "{{ (__docker_host_checks | selectattr('message', 'search', 'conflicting=true') | first).ok }}",
    }
    host = {
        "packages": packages("podman-docker"),
        "commands": {"engines": {"rc": 0, "stdout": "", "stderr": ""}, "info": {"stdout": ""}},
        "users": {},
        "groups": {},
        "files": {"/etc/docker/daemon.json": {"exists": False}},
    }
    word = str(answer).lower()
    text = f"docker_live_restore={word} docker_replace_conflicting={word} docker_mtu={1400 if answer else 0}"
    found = evaluate(tmp_path, "docker", values, {"case": {"__docker_host": host}}, text)["case"]
    assert found["options"]["live-restore"] is answer
    assert found["options"].get("mtu") == (1400 if answer else None)
    assert found["invalid"] == 0
    assert found["refused"] is answer


@pytest.mark.parametrize(("before", "after"), [(0o666, 0o644), (0o620, 0o600), (0o640, 0o640)])
def test_only_root_can_write_daemon_json(tmp_path: Path, before: int, after: int) -> None:
    """The layout of the file stays, because its options are those that are declared."""
    folder = tmp_path / "docker"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    file = folder / "daemon.json"
    file.write_text('{"debug":true}')
    file.chmod(before)
    started = {"stdout": "ExecMainStartTimestamp=Fri 2100-01-01 00:00:00 UTC"}
    read = {
        f"{FQCN}.host_info": {"files": [str(folder)], "content": [str(file)]},
        "register": "read",
    }
    variables = {
        "__docker_daemon_path": str(file),
        "__docker_options": {"debug": True},
        "__docker_host": "{{ read | combine({'commands': {'started': started}}) }}",
        "started": started,
    }
    tasks = [
        read,
        {
            "ansible.builtin.include_tasks": str(ROLES / "docker/tasks/daemon.yml"),
            "vars": variables,
            "when": "__docker_daemon_differs",
        },
        read,
        {
            "ansible.builtin.assert": {"that": "not __docker_daemon_differs"},
            "vars": variables,
        },
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(source) for source in sorted((ROLES / "docker/vars").rglob("*.yml"))],
        "tasks": tasks,
    }
    playbook = tmp_path / "daemon.yml"
    playbook.write_text(json.dumps([play]))
    python = f"ansible_python_interpreter={sys.executable}"
    run(["ansible-playbook", "--inventory", "localhost,", "--extra-vars", python, str(playbook)])
    assert file.stat().st_mode & 0o777 == after
    assert file.read_text() == '{"debug":true}'
    assert folder.stat().st_mode & 0o777 == 0o755


def toolkit_host(**changes: Any) -> dict[str, Any]:
    """Return a host that has what role container_toolkit declares, with other files."""
    options = {"features": {"cdi": True}, "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
    files: dict[str, dict[str, Any]] = {
        "/dev/dxg": {"exists": False},
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
    cdi = {
        "files": {"/var/run/cdi/nvidia.yaml": {"exists": False}},
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
    found = evaluate(tmp_path, "container_toolkit", values, cases)
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


@pytest.mark.parametrize("answer", [True, False])
def test_nvidia_driver_accepts_text_for_other_types(tmp_path: Path, answer: bool) -> None:
    values = {
        "replace": "{{ __nvidia_driver_request.replace }}",
        "held": "{{ __nvidia_driver_kernels | length > 0 }}",
        "nouveau": "{{ __nvidia_driver_nouveau_differs }}",
    }
    file = "/etc/modprobe.d/digital-twin-nvidia-driver.conf"
    host: dict[str, Any] = {
        "commands": {
            "gpus": {"stdout_lines": []},
            "dpkg": {"stdout": "installed linux-image-6.8.0-1-generic 6.8.0-1 linux install Ubuntu\n"},
        },
        "files": {file: {**ROOT_FILE, "content": "{{ __nvidia_driver_nouveau_text }}"}},
    }
    writable = {**host, "files": {file: {**host["files"][file], "mode": "0666"}}}
    cases = {
        name: {"__nvidia_driver_host": state, "__nvidia_driver_kept": False}
        for name, state in (("whole", host), ("writable", writable))
    }
    word = str(answer).lower()
    text = f"nvidia_driver_replace={word} nvidia_driver_hold_kernel={word}"
    found = evaluate(tmp_path, "nvidia_driver", values, cases, text)
    assert found["whole"] == {"replace": answer, "held": answer, "nouveau": False}
    assert found["writable"]["nouveau"] is True


@pytest.mark.parametrize("answer", ["true", "false"])
def test_the_text_false_does_not_permit_a_reboot(tmp_path: Path, answer: str) -> None:
    """The conditions of the role's own block, on a host whose driver needs a reboot."""
    values = {"reboots": "{{ " + reboot_condition() + " }}"}
    cases = {"case": {"nvidia_driver_reboot_required": True, "__nvidia_driver_control_node": False}}
    found = evaluate(tmp_path, "nvidia_driver", values, cases, f"nvidia_driver_reboot_ok={answer}")
    assert found["case"]["reboots"] is (answer == "true")


def reboot_condition() -> str:
    """Return the condition of the block that reboots."""
    lines = (ROLES / "nvidia_driver/tasks/load.yml").read_text().splitlines()
    return lines[lines.index("- name: load | Reboot the host once") + 1].removeprefix("  when: ")
