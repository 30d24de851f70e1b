# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evaluate the variables of a role for the states of a host, without that host."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import ROOT

Item = dict[str, Any]

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
STARTED = {"stdout": "ExecMainStartTimestamp=Thu 1970-01-01 00:00:01 UTC"}
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


def values_of(folder: Path, role: str, values: dict[str, str], cases: dict[str, Item], text: str = "") -> Item:
    """Return the results of expressions with the variables of a role, for each case of a host.

    Args:
        folder: for the playbook and the results.
        role: the role.
        values: the expressions, by any name.
        cases: the variables of each case.
        text: values of the command line.
    """
    tasks: list[Item] = [{"ansible.builtin.set_fact": {**FACTS, "cacheable": True}}]
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
    _run_with_variables(folder, role, tasks, f"{text} ansible_python_interpreter={sys.executable}", values=values)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in cases}


def true_names(
    folder: Path, role: str, expressions: Item, variables: Item, hosts: dict[str, Item]
) -> dict[str, list[str]]:
    """Return which expressions of a role's variables are true, by the name of the host's state."""
    result = folder / "result.json"
    keys = ", ".join(f"'{name}': ({expression}) | bool" for name, expression in expressions.items())
    tasks: list[Item] = [
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
    given = folder / "given.json"
    given.write_text(json.dumps({**variables, "states": hosts, "ansible_python_interpreter": sys.executable}), "utf-8")
    _run_with_variables(folder, role, tasks, f"@{given}")
    results = json.loads(result.read_text("utf-8"))
    return {state: [name for name, value in values.items() if value] for state, values in results.items()}


def _run_with_variables(folder: Path, role: str, tasks: list[Item], extra: str, **values: Any) -> None:
    """Run tasks on this machine with the variables of a role."""
    sources = [ROOT / "roles" / role / "defaults/main.yml", *sorted((ROOT / "roles" / role / "vars").rglob("*.yml"))]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": values,
        "vars_files": [str(source) for source in sources],
        "tasks": tasks,
    }
    playbook = folder / "drift.yml"
    playbook.write_text(json.dumps([play]))
    run(["ansible-playbook", "--inventory", "localhost,", "--extra-vars", extra, str(playbook)])


def file(content: str, **values: Any) -> Item:
    """Return what host_info reports of a file of root."""
    return {**FOLDER, "kind": "file", "mode": "0644", "content": content, **values}


def changed(host: Item, section: str, name: str, /, **values: Any) -> Item:
    """Return a host of which one unit or file differs."""
    # Not deepcopy: units and files that are equal would stay one object.
    made: Item = json.loads(json.dumps(host))
    made[section].setdefault(name, {}).update(values)
    return made
