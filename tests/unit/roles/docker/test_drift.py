# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role docker finds changed on a host."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.drift import ROOT_FILE, STARTED, values_of
from tests.support.project import FQCN, ROOT


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
    assert values_of(tmp_path, "docker", values, cases) == {
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
    found = values_of(tmp_path, "docker", values, {"case": {"__docker_host": host}}, text)["case"]
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
            "ansible.builtin.include_tasks": str(ROOT / "roles/docker/tasks/daemon.yml"),
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
        "vars_files": [str(source) for source in sorted((ROOT / "roles/docker/vars").rglob("*.yml"))],
        "tasks": tasks,
    }
    playbook = tmp_path / "daemon.yml"
    playbook.write_text(json.dumps([play]))
    python = f"ansible_python_interpreter={sys.executable}"
    run(["ansible-playbook", "--inventory", "localhost,", "--extra-vars", python, str(playbook)])
    assert file.stat().st_mode & 0o777 == after
    assert file.read_text() == '{"debug":true}'
    assert folder.stat().st_mode & 0o777 == 0o755
