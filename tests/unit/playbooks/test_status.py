# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What playbooks/status.yml reports about a lab that is stopped, and still costs money."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import load_yaml

NAME = "Report the hosts that have been stopped for a long time"


def report(folder: Path, days: dict[str, int | None], *more: str) -> str:
    """Return what the task of the playbook prints for hosts that have been stopped for so many days."""
    plays: list[dict[str, Any]] = load_yaml(PurePosixPath("playbooks/status.yml"))
    (task,) = [task for task in plays[0]["tasks"] if task["name"] == NAME]
    hosts = [{"name": name, "days_stopped": count} for name, count in days.items()]
    summary = {"hosts": hosts, "cost": {"per_month_stopped": 19.65}}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [task],
        "vars": {"aws_infrastructure_summary": summary},
    }
    (folder / "play.json").write_text(json.dumps([play]), "utf-8")
    return run(["ansible-playbook", "--inventory=localhost,", "--connection=local", *more, str(folder / "play.json")])


def test_a_lab_that_is_stopped_for_a_long_time(tmp_path: Path) -> None:
    days = {"lab-1": 14, "lab-2": 30, "lab-3": 13, "lab-4": None}
    output = report(tmp_path, days)
    assert "lab-1, lab-2: not used for 14 days or more, and stopped." in output
    assert "cost $19.65 a month." in output
    # As text, from the command line.
    assert "lab-2: not used for 30 days or more" in report(tmp_path, days, "--extra-vars", "lab_unused_days=15")
    assert "not used" not in report(tmp_path, {"lab-3": 13, "lab-4": None})
