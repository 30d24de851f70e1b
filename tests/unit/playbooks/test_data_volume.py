# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts get role data_volume, and which are refused because the lab's volume is not attached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import execute
from tests.support.project import ROOT, clean_environment

SIZE = "aws_infrastructure_data_volume_size"
# Whether the role is applied, by the variables of a host.
CASES: list[tuple[bool, dict[str, Any]]] = [
    (False, {}),
    (True, {"lab_data_volume_id": "vol-1"}),
    (False, {"lab_data_volume_id": "", SIZE: 0}),
    (True, {"lab_data_volume_id": "", SIZE: 5}),
    # Not on AWS.
    (False, {SIZE: 5}),
    (True, {"data_volume_device": "/dev/sdb"}),
    (False, {"data_volume_device": "/dev/sdb", "lab_roles_skipped": ["data_volume"]}),
]


def play(folder: Path, tasks: list[dict[str, Any]]) -> tuple[int, str]:
    """Run tasks on this machine, and return the exit status and the output."""
    variables = str(ROOT / "playbooks/vars/roles.yml")
    one = {"hosts": "localhost", "gather_facts": False, "vars_files": [variables], "tasks": tasks}
    (folder / "play.json").write_text(json.dumps([one]), "utf-8")
    words = ["ansible-playbook", "--inventory=localhost,", "--connection=local", str(folder / "play.json")]
    done = execute(words, clean_environment())
    return done.returncode, done.stdout


def test_the_hosts_that_get_the_role(tmp_path: Path) -> None:
    tasks = [
        {"ansible.builtin.assert": {"that": [f"has_data_volume == {json.dumps(applied)}"]}, "vars": given}
        for applied, given in CASES
    ]
    status, output = play(tmp_path, tasks)
    assert status == 0, output


def test_a_lab_whose_volume_is_not_attached_is_refused(tmp_path: Path) -> None:
    given = {"lab_data_volume_id": "", "lab_data_volume_device": "", SIZE: 5, "data_volume_step": "main"}
    include = {"ansible.builtin.include_tasks": str(ROOT / "playbooks/tasks/data_volume.yml"), "vars": given}
    status, output = play(tmp_path, [include])
    assert status == 2
    message = f"{SIZE}: 5, and no data volume that the lab has recorded is attached to localhost."
    assert message in " ".join(output.split())
