# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instance type the role takes for `auto`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import ROOT

ROLE = ROOT / "roles/aws_infrastructure"
NEW: dict[str, Any] = {
    "offered": ["g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge", "g6.2xlarge", "g6e.xlarge"],
    "described": [],
    "quotas": {"g": 8},
    "lab_types": [],
    "unread": "",
}
# What is given, and then: the type, and whether it is chosen now.
ROWS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "full": ({"aws_infrastructure_profile": "full"}, ["g6.2xlarge", True]),
    "sim": ({"aws_infrastructure_profile": "sim"}, ["g4dn.2xlarge", True]),
    "no profile": ({}, ["g4dn.xlarge", True]),
    "a model": (
        {"aws_infrastructure_profile": "full", "aws_infrastructure_language_model": "llama-3.1-8b-instruct"},
        ["g6e.xlarge", True],
    ),
    "two instances exceed the quota": (
        {"aws_infrastructure_profile": "full", "aws_infrastructure_instance_count": "2"},
        ["g6e.xlarge", True],
    ),
    "an existing lab": ({"__aws_infrastructure_offered": {**NEW, "lab_types": ["g5.xlarge"]}}, ["g5.xlarge", False]),
    "nothing could be read": (
        {"__aws_infrastructure_offered": {**NEW, "offered": [], "quotas": {}, "unread": "denied"}},
        ["g5.xlarge", True],
    ),
    "a type of the user": (
        {"aws_infrastructure_instance_type": "g5.2xlarge", "__aws_infrastructure_offered": {"skipped": True}},
        ["g5.2xlarge", False],
    ),
    # The check of the description reports it.
    "a size that is not a number": ({"aws_infrastructure_volume_size": "much"}, ["g4dn.xlarge", True]),
}


def test_instance_type(tmp_path: Path) -> None:
    expression = "{{ [__aws_infrastructure_instance_type, __aws_infrastructure_chooses] }}"
    base = {"aws_infrastructure_region": "us-east-1", "__aws_infrastructure_offered": NEW}
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.set_fact": {f"row_{number}": expression}, "vars": {**base, **given}}
        for number, (given, _expected) in enumerate(ROWS.values())
    ]
    content = "{{ [" + ", ".join(f"row_{number}" for number in range(len(ROWS))) + "] | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": content, "dest": str(tmp_path / "told.json"), "mode": "0600"}})
    files = [ROLE / "defaults/main.yml", ROLE / "vars/main/offers.yml"]
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(file) for file in files], "tasks": tasks}
    (tmp_path / "plays.json").write_text(json.dumps([play]), "utf-8")
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", str(tmp_path / "plays.json")])
    told = json.loads((tmp_path / "told.json").read_text("utf-8"))
    assert dict(zip(ROWS, told, strict=True)) == {name: expected for name, (_given, expected) in ROWS.items()}
