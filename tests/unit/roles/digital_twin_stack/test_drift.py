# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role digital_twin_stack finds changed on a host, or left unfinished by an interrupted run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import FQCN, ROOT, load_yaml

ROLE = ROOT / "roles" / "digital_twin_stack"
UNITS = "/etc/systemd/system"
RULES, UNIT = "/etc/digital-twin-metadata.nft", f"{UNITS}/digital-twin-metadata.service"
FOLDER = f"{UNITS}/nftables.service.d"
DROP_IN = f"{FOLDER}/digital-twin-metadata.conf"
ROS = "/opt/digital-twin/ros"
PROGRAM, LOGS_UNIT = "/opt/digital-twin/digital_twin_logs.py", f"{UNITS}/digital-twin-logs.service"
OWNED: dict[str, Any] = {"exists": True, "link": "", "uid": 0, "gid": 0}
IS_FILE = {**OWNED, "kind": "file", "mode": "0644", "modified": 1764441822.9}
IS_FOLDER = {**OWNED, "kind": "directory", "mode": "0755"}
PROJECT = "/opt/digital-twin"
COMPOSE, SCENE, COMMAND = f"{PROJECT}/compose.yaml", f"{PROJECT}/isaac_sim/open_scene.py", "/usr/local/bin/digital-twin"
RUNNING = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
# The second in which the files were written.
STARTED = "ExecMainStartTimestamp=Sat 2025-11-29 18:43:42 UTC\n"
HOST: dict[str, Any] = {
    "files": {
        **{path: {**IS_FILE, "content": path} for path in (RULES, UNIT, DROP_IN)},
        **dict.fromkeys((FOLDER, ROS, PROJECT, f"{PROJECT}/isaac_sim", f"{PROJECT}/world"), IS_FOLDER),
        **{path: {**IS_FILE, "content": path} for path in (COMPOSE, SCENE)},
        COMMAND: {**IS_FILE, "content": COMMAND, "mode": "0755"},
        **dict.fromkeys((PROGRAM, LOGS_UNIT), IS_FILE),
    },
    "units": {
        f"{name}.service": RUNNING
        for name in ("digital-twin", "digital-twin-metadata", "digital-twin-logs", "nftables")
    },
    "commands": {
        "systemd": {"rc": 0},
        "rules_wanted": {"rc": 0, "stdout": "rules"},
        "rules_loaded": {"rc": 0, "stdout": "rules"},
        "logs_start": {"rc": 0, "stdout": STARTED},
    },
}
# A change of the host: the part, the item, what is different there, and the names of what the role then does.
CHANGES: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    "nothing": ("files", RULES, {}, set()),
    "everyone may write drop-ins": ("files", FOLDER, {"mode": "0777"}, {"metadata"}),
    "a user owns the folder of drop-ins": ("files", FOLDER, {"uid": 1000}, {"metadata"}),
    "a group owns the folder of drop-ins": ("files", FOLDER, {"gid": 1000}, {"metadata"}),
    "no drop-in": ("files", DROP_IN, {"exists": False}, {"metadata"}),
    "everyone may write the unit": ("files", UNIT, {"mode": "0666"}, {"metadata"}),
    "a drop-in that systemd has not loaded": ("units", "nftables.service", {"NeedDaemonReload": "yes"}, {"metadata"}),
    "a unit that systemd has not loaded": (
        "units",
        "digital-twin-metadata.service",
        {"NeedDaemonReload": "yes"},
        {"metadata"},
    ),
    "rules that are not loaded": ("commands", "rules_loaded", {"stdout": ""}, {"metadata"}),
    "a group owns the folder of DDS": ("files", ROS, {"gid": 1000}, {"ros"}),
    "a link is the folder of DDS": ("files", ROS, {"link": "/srv"}, {"ros"}),
    "no folder of DDS": ("files", ROS, {"exists": False}, {"ros"}),
    "another content of the project": ("files", COMPOSE, {"content": ""}, {"project"}),
    "a missing file of the project": ("files", SCENE, {"exists": False}, {"project"}),
    "everyone may write a file of the project": ("files", COMPOSE, {"mode": "0666"}, {"project"}),
    "a user owns a file of the project": ("files", SCENE, {"uid": 1000}, {"project"}),
    "a link is a file of the project": ("files", COMPOSE, {"link": "/srv/compose.yaml"}, {"project"}),
    "everyone may write into the project": ("files", PROJECT, {"mode": "0777"}, {"project"}),
    "a group owns a folder of the project": ("files", f"{PROJECT}/isaac_sim", {"gid": 1000}, {"project"}),
    "another command": ("files", COMMAND, {"content": ""}, {"system"}),
    "a command that is not executable": ("files", COMMAND, {"mode": "0644"}, {"system"}),
    "no command": ("files", COMMAND, {"exists": False}, {"system"}),
    "a unit of the services that is not enabled": (
        "units",
        "digital-twin.service",
        {"UnitFileState": "disabled"},
        {"units"},
    ),
    "a unit of the services that has failed": ("units", "digital-twin.service", {"ActiveState": "failed"}, {"units"}),
    "a program that is newer than its process": ("files", PROGRAM, {"modified": 1764441823.0}, {"logs"}),
    "a unit that is newer than its process": ("files", LOGS_UNIT, {"modified": 1764441823.0}, {"logs"}),
    "a follower that was never started": ("commands", "logs_start", {"stdout": "ExecMainStartTimestamp=\n"}, {"logs"}),
    "no systemctl": ("commands", "logs_start", {"rc": 127, "stdout": ""}, {"logs"}),
}
ANSWERS = {
    "metadata": "__digital_twin_stack_metadata_differs",
    "ros": f"[__digital_twin_stack_ros_folder] | {FQCN}.files_differ(__digital_twin_stack_host.files)",
    "logs": "__digital_twin_stack_logs_outdated",
    "project": "__digital_twin_stack_project_differs",
    "system": "__digital_twin_stack_system_differs",
    "units": "__digital_twin_stack_units_differ and not __digital_twin_stack_system_differs",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return for each change what the role's expressions find."""
    folder = tmp_path_factory.mktemp("drift")
    tasks = []
    for part, item, different, _expected in CHANGES.values():
        host = json.loads(json.dumps(HOST))
        host[part][item].update(different)
        fact = {"rows": "{{ rows | default([]) + [{" + ", ".join(f"'{k}': {v}" for k, v in ANSWERS.items()) + "}] }}"}
        tasks.append({"ansible.builtin.set_fact": fact, "vars": {"__digital_twin_stack_host": host}})
    told = {"content": "{{ rows | to_json }}\n", "dest": str(folder / "told.json"), "mode": "0600"}
    files = [ROLE / "defaults/main.yml", *sorted(ROLE.glob("vars/main/*.yml"))]
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(file) for file in files],
        "tasks": [*tasks, {"ansible.builtin.copy": told}],
    }
    (folder / "plays.json").write_text(json.dumps([play]))
    given = {
        "ansible_python_interpreter": sys.executable,
        "__digital_twin_stack_metadata_rules_content": RULES,
        "__digital_twin_stack_metadata_drop_in_content": DROP_IN,
        "__digital_twin_stack_metadata_unit_content": UNIT,
        "__digital_twin_stack_project_files": [
            {"name": path.removeprefix(f"{PROJECT}/"), "content": path} for path in (COMPOSE, SCENE)
        ],
        "__digital_twin_stack_system_files": [{"name": COMMAND[1:], "content": COMMAND, "mode": "0755"}],
        "__digital_twin_stack_units_written": {"changed_files": []},
        "__digital_twin_stack_private_written": {"changed_files": []},
    }
    words = ["--inventory=localhost,", "--connection=local", "--extra-vars", json.dumps(given)]
    run(["ansible-playbook", *words, str(folder / "plays.json")])
    return dict(zip(CHANGES, json.loads((folder / "told.json").read_text()), strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_host_is_found(answers: dict[str, dict[str, Any]], change: str) -> None:
    assert {name for name, found in answers[change].items() if found} == CHANGES[change][3]


def test_the_folder_of_logs_gets_its_mode_back(tmp_path: Path) -> None:
    clone = tmp_path / "application"
    (clone / "logs").mkdir(parents=True)
    (clone / "logs").chmod(0o777)
    git = ["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    given = {
        "ansible_python_interpreter": sys.executable,
        "digital_twin_stack_application_directory": str(clone),
        "digital_twin_stack_application_revision": head,
    }
    words = ["--inventory=localhost,", "--connection=local", "--module-name=ansible.builtin.include_role"]
    words += ["--args", f"name={FQCN}.digital_twin_stack tasks_from=application", "--extra-vars", json.dumps(given)]
    run(["ansible", "all", *words])
    assert (clone / "logs").stat().st_mode & 0o7777 == 0o755


def test_the_text_false_never_counts_as_true(tmp_path: Path) -> None:
    """As `--extra-vars name=false` sets it: no validation of arguments converts it."""
    specification = load_yaml(PurePosixPath("roles/digital_twin_stack/meta/argument_specs.yml"))
    options = specification["argument_specs"]["main"]["options"]
    off = {name: "false" for name, option in options.items() if option["type"] == "bool"}
    assert len(off) > 10
    results = {
        "EULA": ("__digital_twin_stack_checks[3].ok", False),
        "rules": ("__digital_twin_stack_metadata_blocked", False),
        "capabilities": ("__digital_twin_stack_capabilities", "connectionGraph,assets"),
        "builds": ("__digital_twin_stack_builds", []),
        "time": ("__digital_twin_stack_use_sim_time", False),
        "plain HTTP": (
            "__digital_twin_stack_checks | selectattr('message', 'search', 'http://x') | map(attribute='ok')",
            [False],
        ),
        "application": ("__digital_twin_stack_files_not_offered", ["digital_twin_stack_map_file is '/maps/a.yaml'"]),
        "environment": (
            "lookup('template', role_path ~ '/templates/env.j2') | regex_findall('(?m)^(?:ACCEPT|PRIV|COMPOSE_F).*')",
            ["ACCEPT_EULA=''", "PRIVACY_CONSENT=''"],
        ),
    }
    given = {
        **off,
        "ansible_python_interpreter": sys.executable,
        "digital_twin_stack_profile": "sim",
        "digital_twin_stack_nim_url": "http://x",
        "digital_twin_stack_map_file": "/maps/a.yaml",
        "__digital_twin_stack_host": {"files": {}, "commands": {"gpus": {"rc": 1}, "docker": {"stdout_lines": []}}},
        "__digital_twin_stack_fit": {
            "nim_gpu_fraction": "",
            "nim_max_model_len": 0,
            "nim_max_num_seqs": 0,
            "shm_mib": 1024,
            "gpu_devices": {},
        },
        "__digital_twin_stack_private_files": {"files": {}, "commands": {"docker_proxies": {"stdout": ""}}},
        "__digital_twin_stack_secrets_written": {"modified": {}},
        "role_path": str(ROLE),
    }
    expression = (
        "{{ {" + ", ".join(f"'{name}': {result}" for name, (result, _expected) in results.items()) + "} | to_json }}"
    )
    told = {"content": expression, "dest": str(tmp_path / "told.json"), "mode": "0600"}
    files = [ROLE / "defaults/main.yml", *sorted(ROLE.glob("vars/main/*.yml"))]
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(file) for file in files]}
    (tmp_path / "plays.json").write_text(json.dumps([{**play, "tasks": [{"ansible.builtin.copy": told}]}]))
    words = ["--inventory=localhost,", "--connection=local", "--extra-vars", json.dumps(given)]
    run(["ansible-playbook", *words, str(tmp_path / "plays.json")])
    found = json.loads((tmp_path / "told.json").read_text())
    assert found == {name: expected for name, (_result, expected) in results.items()}
