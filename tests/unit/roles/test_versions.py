# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions without quotes: every role refuses what YAML has read as a number, and reports the missing quotes."""

from __future__ import annotations

import json
import re
import sys
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.unquoted_versions import FilterModule

from tests.support.ansible_programs import run
from tests.support.project import FQCN, input_check, load_yaml, role_names

# Names of options that hold a version, or a part of one.
VERSION = re.compile(r"_(version|branch|minimum|below|revision|release)$")
# Other variables that are needed for the version to be used.
TOGETHER_WITH = {"digital_twin_stack_application_revision": {"digital_twin_stack_application": True}}
HOST = {
    "distribution": "Debian",
    "distribution_release": "bookworm",
    "distribution_version": "12",
    "service_mgr": "systemd",
    "all_ipv4_addresses": [],
    "default_ipv4": {},
}


def version_options() -> list[tuple[str, str]]:
    """Return each role with each of its options that holds a version."""
    found = {}
    for role in role_names():
        specification = load_yaml(PurePosixPath("roles", role, "meta", "argument_specs.yml"))["argument_specs"]
        for entry_point in specification.values():
            for name, option in (entry_point.get("options") or {}).items():
                if VERSION.search(name) and option["type"] == "str":
                    found[name] = role
    return [(role, name) for name, role in sorted(found.items())]


def test_the_roles_have_versions() -> None:
    names = {name for _role, name in version_options()}
    assert names >= {"docker_version", "docker_compose_version", "nvidia_driver_version", "container_toolkit_version"}
    assert len(names) >= 9


def test_every_role_refuses_a_version_that_lost_its_quotes(tmp_path: Path) -> None:
    tasks: list[dict[str, Any]] = [{"ansible.builtin.set_fact": {**HOST, "cacheable": True}}]
    file = tmp_path / "told.json"
    for role, name in version_options():
        include = {"name": f"{FQCN}.{role}", "tasks_from": input_check(role)}
        variables = {**TOGETHER_WITH.get(name, {}), name: 2.2}
        said = {"told": "{{ told | default({}) | combine({'" + name + "': ansible_failed_result.msg}) }}"}
        tasks.append(
            {
                "block": [{"ansible.builtin.include_role": include, "vars": variables}],
                "rescue": [{"ansible.builtin.set_fact": said}],
            }
        )
    written = {"dest": str(file), "content": "{{ told | to_json }}", "mode": "0644"}
    tasks.append({"ansible.builtin.copy": written, "check_mode": False})
    playbook = tmp_path / "versions.yml"
    playbook.write_text(
        json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}])
    )
    python = f"ansible_python_interpreter={sys.executable}"
    run(["ansible-playbook", "--check", "--inventory", "localhost,", "--extra-vars", python, str(playbook)])
    told = json.loads(file.read_text())
    for _role, name in version_options():
        lines = [line for line in told.get(name, "nothing").splitlines() if line.startswith(f"{name}: ")]
        message = lines[0] if lines else told.get(name, "nothing")
        assert re.match(f"{name}: 2.2 is a number, as the quotes are missing, and may have been 2.20: ", message), (
            message
        )
        assert message.endswith("Write the version in quotes.")


@pytest.mark.parametrize(
    ("value", "whole", "refused"),
    [
        ("1.10", False, ""),
        ("", False, ""),
        (1.1, False, "1.1 is a number, as the quotes are missing, and may have been 1.10"),
        (1.1, True, "1.1 is a number"),
        (580, True, ""),
        (28, False, "28 is not text, as the quotes are missing"),
        # YAML 1.1 reads 5:28 as minutes, and yes as a truth value.
        (True, True, "true is not text"),
        (date(2026, 11, 29), False, '"2026-11-29" is not text'),
        (None, False, "null is not text"),
    ],
)
def test_what_is_not_text_is_refused(value: object, *, whole: bool, refused: str) -> None:
    unquoted_versions = FilterModule().filters()["unquoted_versions"]
    told = unquoted_versions({"some_version": value}, ["some_version"] if whole else [])
    assert len(told) == bool(refused)
    assert all(line.startswith(f"some_version: {refused}") for line in told)
