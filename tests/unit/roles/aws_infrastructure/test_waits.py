# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every entry point that waits for AWS refuses a wait without a limit, or without a pause, before it calls AWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import FQCN

TIMEOUT = "aws_infrastructure_wait_timeout: {} is not a limit. Allowed: 60 to 7200 seconds. Use 600."
WAIT = "aws_infrastructure_capacity_wait: {} is not a limit. Allowed: 0 to 72 hours. Use 0 to try everything once."
PAUSE = "aws_infrastructure_capacity_pause: {} is not a pause. Allowed: 5 to 3600 seconds. Use 300."
MOVE = "aws_infrastructure_move_timeout: {} is not a limit. Allowed: 60 to 86400 seconds. Use 3600."
# A region without an endpoint: any call of AWS fails, with another message.
COMMON = {"aws_infrastructure_name": "lab-a", "aws_infrastructure_region": "us-nowhere-1"}
LIMITS: dict[str, object] = {"aws_infrastructure_wait_timeout": 7201, "aws_infrastructure_capacity_wait": 73}
PAUSES: dict[str, object] = {"aws_infrastructure_wait_timeout": "59", "aws_infrastructure_capacity_pause": "0"}
CASES: dict[str, list[tuple[dict[str, object], str]]] = {
    "preflight": [
        (LIMITS, f"{TIMEOUT.format(7201)}\n{WAIT.format(73)}"),
        (PAUSES, f"{TIMEOUT.format(59)}\n{PAUSE.format(0)}"),
        ({"aws_infrastructure_capacity_pause": 3601}, PAUSE.format(3601)),
    ],
    "start": [
        (PAUSES, f"{TIMEOUT.format(59)}\n{PAUSE.format(0)}"),
        (
            {"aws_infrastructure_capacity_wait": -1, "aws_infrastructure_move_timeout": 59},
            f"{WAIT.format(-1)}\n{MOVE.format(59)}",
        ),
    ],
    # A wrong pause does not keep a lab from being stopped: it is not used.
    "stop": [(PAUSES, TIMEOUT.format(59))],
    "resize": [({**PAUSES, "aws_infrastructure_instance_type": "g5.xlarge"}, TIMEOUT.format(59))],
    "confirm": [(LIMITS, TIMEOUT.format(7201))],
}


def test_waits_without_a_limit_or_a_pause_are_refused(tmp_path: Path) -> None:
    tasks: list[dict[str, Any]] = []
    expected = []
    for entry_point, cases in CASES.items():
        for given, message in cases:
            include = {"name": f"{FQCN}.aws_infrastructure", "tasks_from": entry_point}
            found = "{{ messages | default([]) + [ansible_failed_result.msg] }}"
            tasks.append(
                {
                    "block": [{"ansible.builtin.include_role": include, "vars": {**COMMON, **given}}],
                    "rescue": [{"ansible.builtin.set_fact": {"messages": found}}],
                }
            )
            expected.append(message)
    file = tmp_path / "messages.json"
    tasks.append(
        {
            "ansible.builtin.copy": {
                "dest": str(file),
                "content": "{{ messages | default([]) | to_json }}",
                "mode": "0644",
            }
        }
    )
    playbook = tmp_path / "waits.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), "utf-8")
    python = f"ansible_python_interpreter={sys.executable}"
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", "--extra-vars", python, str(playbook)])
    assert json.loads(file.read_text("utf-8")) == expected
