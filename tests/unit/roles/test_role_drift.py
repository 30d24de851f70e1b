# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The comparisons of roles with a host that is as declared, and with the same host after one change each."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import ROOT

Item = dict[str, Any]

# 2026-11-30 05:03:55 UTC
START = 1796015035
UNIT: Item = {
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "ExecMainStartTimestamp": "Mon 2026-11-30 05:03:55 UTC",
}
FOLDER: Item = {
    "exists": True,
    "kind": "directory",
    "link": "",
    "mode": "0755",
    "uid": 0,
    "gid": 0,
    "modified": START - 5.5,
}


def evaluate(
    folder: Path, role: str, expressions: Item, variables: Item, hosts: dict[str, Item]
) -> dict[str, list[str]]:
    """Return which expressions of a role's variables are true, by the name of the host's state."""
    names = [ROOT / "roles" / role / "defaults/main.yml"]
    names += sorted((ROOT / "roles" / role / "vars").glob("**/*.yml"))
    result = folder / "result.json"
    keys = ", ".join(f"'{name}': ({expression}) | bool" for name, expression in expressions.items())
    tasks = [
        {
            "ansible.builtin.set_fact": {
                "results": f"{{{{ results | default({{}}) | combine({{item.key: {{{keys}}}}}) }}}}"
            },
            "loop": "{{ states | dict2items }}",
            "loop_control": {"label": "{{ item.key }}"},
            "vars": {f"__{role}_host": "{{ item.value }}"},
        },
        {"ansible.builtin.copy": {"dest": str(result), "content": "{{ results | to_json }}", "mode": "0644"}},
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": list(map(str, names)),
        "tasks": tasks,
    }
    (folder / "play.yml").write_text(json.dumps([play]), "utf-8")
    given = folder / "given.json"
    given.write_text(json.dumps({**variables, "states": hosts, "ansible_python_interpreter": sys.executable}), "utf-8")
    run(["ansible-playbook", "--inventory", "localhost,", "--extra-vars", f"@{given}", str(folder / "play.yml")])
    results = json.loads(result.read_text("utf-8"))
    return {state: [name for name, value in values.items() if value] for state, values in results.items()}


def file(content: str, **values: Any) -> Item:
    return {**FOLDER, "kind": "file", "mode": "0644", "content": content, **values}


def changed(host: Item, section: str, name: str, /, **values: Any) -> Item:
    """Return a host of which one unit or file differs."""
    # Not deepcopy: units and files that are equal would stay one object.
    made: Item = json.loads(json.dumps(host))
    made[section].setdefault(name, {}).update(values)
    return made


def test_gpu_metrics(tmp_path: Path) -> None:
    unit, settings = "/etc/systemd/system/gpu-metrics.service", "/opt/digital-twin/gpu-metrics/settings.json"
    folder, secret = "/etc/gpu-metrics", "/etc/gpu-metrics/credentials"
    key = "KEY\n"
    credentials = {**FOLDER, "kind": "file", "mode": "0600"}
    as_declared: Item = {
        "units": {"gpu-metrics.service": UNIT},
        "files": {
            unit: file("[Unit]\n"),
            settings: file("{}\n"),
            folder: {**FOLDER, "mode": "0700"},
            secret: credentials,
        },
        "commands": {"credentials": {"stdout": f"{hashlib.sha256(key.encode()).hexdigest()}  {secret}\n"}},
    }
    states = {"as declared": as_declared}
    for path in (unit, settings, secret, folder):
        states[f"link {path}"] = changed(as_declared, "files", path, link="elsewhere")
        states[f"group of {path}"] = changed(as_declared, "files", path, gid=100)
        states[f"kind of {path}"] = changed(as_declared, "files", path, kind="other")
        states[f"mode of {path}"] = changed(as_declared, "files", path, mode="0666")
    states["reload"] = changed(as_declared, "units", "gpu-metrics.service", NeedDaemonReload="yes")
    states["runtime"] = changed(as_declared, "units", "gpu-metrics.service", UnitFileState="enabled-runtime")
    states["another key"] = {**as_declared, "commands": {"credentials": {"stdout": "0  -"}}}
    states["nothing"] = {"units": {}, "files": {path: {"exists": False, "link": ""} for path in as_declared["files"]}}
    states["nothing"]["commands"] = {"credentials": {"stdout": ""}}
    interrupted = {path: changed(as_declared, "files", path, modified=START + 2.5) for path in (unit, settings, secret)}
    variables: Item = {
        "gpu_metrics_access_key_id": "AK",
        "gpu_metrics_secret_access_key": "canary-sk",
        "__gpu_metrics_unit_text": "[Unit]\n",
        "__gpu_metrics_settings_text": "{}\n",
        "__gpu_metrics_credentials_text": key,
        "python_environment_modified": START - 60,
    }
    expressions = {"differs": "__gpu_metrics_differs", "outdated": "__gpu_metrics_outdated"}
    found = evaluate(tmp_path, "gpu_metrics", expressions, variables, states | interrupted)
    assert found == {
        **{state: ["differs"] for state in states},
        **{state: ["outdated"] for state in interrupted},
        "as declared": [],
    }
    # Packages or copied files of an interrupted run.
    variables["python_environment_modified"] = START + 2
    assert evaluate(tmp_path, "gpu_metrics", expressions, variables, {"": as_declared}) == {"": ["outdated"]}


def test_gpu_tuning(tmp_path: Path) -> None:
    unit, settings = "/etc/systemd/system/gpu-tuning.service", "/opt/digital-twin/gpu-tuning/settings.json"
    folder = "/etc/systemd/system/nvidia-persistenced.service.d"
    drop_in = f"{folder}/zz-gpu-tuning.conf"
    daemon = "nvidia-persistenced.service"
    as_declared: Item = {
        "units": {"gpu-tuning.service": UNIT, daemon: UNIT},
        "files": {unit: file("[Unit]\n"), settings: file("{}\n"), folder: FOLDER, drop_in: file("[Service]\n")},
        "commands": {
            "daemon_files": {"stdout": "[Service]\nExecStart=/usr/bin/nvidia-persistenced\n"},
            "daemon_arguments": {"stdout_lines": ["nvidia-persistenced", "--persistence-mode"]},
        },
    }
    boots = {state: changed(as_declared, "units", daemon, UnitFileState=state) for state in ("static", "indirect")}
    never = {
        state: changed(as_declared, "units", daemon, UnitFileState=state)
        for state in ("disabled", "enabled-runtime", "masked", "linked")
    }
    drifts: dict[str, Item] = {"link": {"link": "elsewhere"}, "owner": {"uid": 1000}, "writable": {"mode": "0777"}}
    own: dict[str, Item] = {}
    of_daemon: dict[str, Item] = {}
    for name, values in drifts.items():
        own |= {f"{name} {path}": changed(as_declared, "files", path, **values) for path in (unit, settings)}
        of_daemon |= {f"{name} {path}": changed(as_declared, "files", path, **values) for path in (folder, drop_in)}
    variables = {
        "__gpu_tuning_settings_text": "{}\n",
        "__gpu_tuning_drop_in_text": "[Service]\n",
        "__gpu_tuning_files": {settings: "{}\n", unit: "[Unit]\n"},
        "python_environment_files_changed": False,
    }
    expressions = {"unit": "__gpu_tuning_unit_differs", "daemon": "__gpu_tuning_daemon_differs"}
    states = {"as declared": as_declared, **boots, **never, **own, **of_daemon}
    assert evaluate(tmp_path, "gpu_tuning", expressions, variables, states) == {
        **{state: [] for state in ["as declared", *boots]},
        **{state: ["unit"] for state in own},
        **{state: ["daemon"] for state in [*never, *of_daemon]},
    }


def test_python_environment(tmp_path: Path) -> None:
    copies = "/opt/tool/collection/ansible_collections/digital_twin/robotics_lab/plugins/module_utils"
    code, packages = f"{copies}/_gpu/nvml.py", "/opt/tool/lib/python3.11/site-packages"
    as_declared: Item = {"files": {code: file("x = 1\n"), packages: FOLDER, "/opt/tool/bin": FOLDER}}
    states = {
        "as declared": as_declared,
        "link": changed(as_declared, "files", code, link="elsewhere"),
        "content": changed(as_declared, "files", code, content="x = 2\n"),
        "writable": changed(as_declared, "files", code, mode="0666"),
        "missing": {"files": {packages: FOLDER}},
        "stale": {"files": {**as_declared["files"], f"{copies}/_old.py": file("")}},
    }
    upgraded = {path: changed(as_declared, "files", path, modified=START + 1.5) for path in (packages, code)}
    upgraded["neither"] = changed(as_declared, "files", "/opt/tool/bin", modified=START + 1.5)
    variables = {
        "python_environment_path": "/opt/tool",
        "python_environment_collection_folders": ["_gpu"],
        "__python_environment_files": {"_gpu/nvml.py": "x = 1\n"},
    }
    expressions = {
        "differ": "__python_environment_files_differ",
        "newer": f"__python_environment_modified | int > {START}",
    }
    found = evaluate(tmp_path, "python_environment", expressions, variables, states | upgraded)
    assert found == {
        **{state: ["differ"] for state in states},
        **{state: ["newer"] for state in upgraded},
        "as declared": [],
        "neither": [],
    }


def test_ros2_networking(tmp_path: Path) -> None:
    router, multicast = "ros2-zenoh-router.service", "ros2-loopback-multicast.service"
    paths = [f"/etc/systemd/system/{name}" for name in (multicast, "ros2-discovery-server.service", router)]
    configuration = "/etc/ros2-networking/zenoh-router.json5"
    absent = {"exists": False, "link": ""}
    as_declared: Item = {
        "units": {router: UNIT, multicast: {**UNIT, "ActiveState": "inactive"}},
        "files": {paths[0]: absent, paths[1]: absent, paths[2]: file(""), configuration: file("")},
    }
    states = {
        "as declared": as_declared,
        "unit": changed(as_declared, "files", paths[2], modified=START + 1),
        "configuration": changed(as_declared, "files", configuration, modified=START + 1),
        "reload": changed(as_declared, "units", router, NeedDaemonReload="yes"),
    }
    variables: Item = {
        "__ros2_networking_wanted_units": [router],
        "__ros2_networking_written": {"changed_files": []},
        "python_environment_modified": START - 60,
        "python_environment_packages_changed": False,
        "python_environment_files_changed": False,
    }
    expressions = {
        "restarted": f"__ros2_networking_restarted_units == ['{router}']",
        "stopped": f"__ros2_networking_stopped_units == ['{router}']",
        "surplus": "__ros2_networking_surplus_units | length > 0",
    }
    assert evaluate(tmp_path, "ros2_networking", expressions, variables, states) == {
        "as declared": [],
        "unit": ["restarted"],
        "configuration": ["restarted"],
        "reload": ["stopped"],
    }
    variables["python_environment_modified"] = START + 2
    assert evaluate(tmp_path, "ros2_networking", expressions, variables, {"": as_declared}) == {"": ["restarted"]}
    # Text, as on the command line: without tools, the environment of an earlier role does not count.
    variables["ros2_networking_tools"] = "false"
    assert evaluate(tmp_path, "ros2_networking", expressions, variables, {"": as_declared}) == {"": []}
