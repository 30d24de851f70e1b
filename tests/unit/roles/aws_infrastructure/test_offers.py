# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instance type the role takes for `auto`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.models import OWN, catalogue

from tests.support.ansible_programs import run
from tests.support.project import ROOT, load_yaml

ROLE = ROOT / "roles/aws_infrastructure"
NEW: dict[str, Any] = {
    "offered": ["g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge", "g6.2xlarge", "g6e.xlarge"],
    "described": [],
    "quotas": {"g": 8},
    "lab_types": [],
    "unread": "",
}
# What is given, and then: the type, whether it is chosen now, whether the open kernel module runs its GPU, and the
# oldest driver that the profile runs with.
ROWS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "full": ({"aws_infrastructure_profile": "full"}, ["g6.2xlarge", True, "possible", "580.95.05"]),
    "sim": ({"aws_infrastructure_profile": "sim"}, ["g4dn.2xlarge", True, "possible", "580.95.05"]),
    "no profile": ({}, ["g4dn.xlarge", True, "possible", ""]),
    "a model": (
        {"aws_infrastructure_profile": "full", "aws_infrastructure_language_model": "llama-3.1-8b-instruct"},
        ["g6e.xlarge", True, "possible", "580.95.05"],
    ),
    "two instances exceed the quota": (
        {"aws_infrastructure_profile": "full", "aws_infrastructure_instance_count": "2"},
        ["g6e.xlarge", True, "possible", "580.95.05"],
    ),
    "an existing lab": (
        {"__aws_infrastructure_offered": {**NEW, "lab_types": ["g5.xlarge"]}},
        ["g5.xlarge", False, "possible", ""],
    ),
    "an existing lab, and the offers could not be read": (
        {"__aws_infrastructure_offered": {**NEW, "offered": [], "lab_types": ["g5.xlarge"], "unread": "denied"}},
        ["g5.xlarge", False, "possible", ""],
    ),
    "nothing could be read": (
        {"__aws_infrastructure_offered": {**NEW, "offered": [], "quotas": {}, "unread": "denied"}},
        ["g5.xlarge", True, "possible", ""],
    ),
    "a type of the user": (
        {"aws_infrastructure_instance_type": "g5.2xlarge", "__aws_infrastructure_offered": {"skipped": True}},
        ["g5.2xlarge", False, "possible", ""],
    ),
    "Blackwell": (
        {"aws_infrastructure_instance_type": "g7.2xlarge", "aws_infrastructure_profile": "voice"},
        ["g7.2xlarge", False, "needed", "580"],
    ),
    "Volta": ({"aws_infrastructure_instance_type": "p3.2xlarge"}, ["p3.2xlarge", False, "none", ""]),
    "a type that is not known here": (
        {"aws_infrastructure_instance_type": "g99.xlarge"},
        ["g99.xlarge", False, "possible", ""],
    ),
    "the proprietary module": (
        {
            "aws_infrastructure_profile": "full",
            "aws_infrastructure_driver_module": "proprietary",
            "__aws_infrastructure_offered": {**NEW, "offered": ["g7.2xlarge", "g7e.2xlarge", "g6e.2xlarge"]},
        },
        ["g6e.2xlarge", True, "possible", "580.95.05"],
    ),
    # The check of the description reports it.
    "a size that is not a number": ({"aws_infrastructure_volume_size": "much"}, ["g4dn.xlarge", True, "possible", ""]),
}


def test_instance_type(tmp_path: Path) -> None:
    expression = (
        "{{ [__aws_infrastructure_instance_type, __aws_infrastructure_chooses, __aws_infrastructure_open_module, "
        "__aws_infrastructure_driver_minimum] }}"
    )
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


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    # Everything that needs no AWS is reported at once.
    "image, kernel module and disk": (
        {
            "aws_infrastructure_profile": "full",
            "aws_infrastructure_instance_type": "g7.2xlarge",
            "aws_infrastructure_image": "debian-12",
            "aws_infrastructure_driver_module": "proprietary",
            "aws_infrastructure_volume_size": 20,
        },
        [
            "aws_infrastructure_volume_size: 20 is too small. Allowed: 100 to 65536 GiB. ",
            'aws_infrastructure_image: "debian-12" has NVIDIA\'s driver 535 at most, and the profile needs 580.95.05 '
            "or newer. Allowed: ubuntu-22.04, ubuntu-24.04. ",
            'aws_infrastructure_driver_module: "proprietary" does not run the GPU of g7.2xlarge, which has the open '
            "kernel module only. Allowed: auto or open. ",
        ],
    ),
    "an image for voice": (
        {
            "aws_infrastructure_profile": "voice",
            "aws_infrastructure_instance_type": "g6.xlarge",
            "aws_infrastructure_image": "debian-13",
        },
        [
            'aws_infrastructure_image: "debian-13" has NVIDIA\'s driver 550.163 at most, and the profile needs 580 or '
            "newer. ",
        ],
    ),
}


def test_the_models_are_those_of_the_catalogue() -> None:
    """An unknown one is refused by the argument specification, in one line."""
    known = ["", *dict.fromkeys(model.name for model in catalogue()), OWN]
    for role in ("aws_infrastructure", "digital_twin_stack"):
        entries = load_yaml(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
        for entry in ("main", "preflight"):
            assert entries[entry]["options"][f"{role}_language_model"]["choices"] == known


def test_refused_before_anything_is_read_from_aws(tmp_path: Path) -> None:
    common = {
        "aws_infrastructure_name": "lab-a",
        "aws_infrastructure_region": "us-east-1",
        "aws_infrastructure_admin_cidrs": ["203.0.113.7/32"],
        "aws_infrastructure_viewer_cidrs": ["203.0.113.7/32"],
        "aws_infrastructure_private_key_file": str(tmp_path / "key"),
    }
    tasks: list[dict[str, Any]] = []
    for number, (given, _lines) in enumerate(REFUSED.values()):
        role = {"name": "digital_twin.robotics_lab.aws_infrastructure", "tasks_from": "preflight"}
        told = {"dest": str(tmp_path / f"{number}.txt"), "content": "{{ ansible_failed_result.msg }}", "mode": "0600"}
        tasks.append(
            {
                "block": [
                    {"ansible.builtin.include_role": role, "vars": {**common, **given}},
                    {"ansible.builtin.fail": {"msg": "nothing was refused"}},
                ],
                "rescue": [{"ansible.builtin.copy": told}],
            }
        )
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    (tmp_path / "plays.json").write_text(json.dumps([play]), "utf-8")
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", str(tmp_path / "plays.json")])
    for number, (_given, lines) in enumerate(REFUSED.values()):
        told_lines = (tmp_path / f"{number}.txt").read_text("utf-8").splitlines()
        assert len(told_lines) == len(lines)
        assert [line for line, start in zip(told_lines, lines, strict=True) if not line.startswith(start)] == []
