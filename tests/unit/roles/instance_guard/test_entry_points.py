# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry points awake and report of role instance_guard, as playbooks use them: some hosts answer, others do not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_programs import execute
from tests.support.project import FQCN, clean_environment

UNTIL = "2026-11-30T21:00:00Z"
STATUS = {
    "time": "2025-11-02T08:00:00Z",
    "idle_stop": False,
    "last_use": {"time": "2025-11-01T09:30:00Z", "what": ["an SSH session"]},
}
STOP = {"time": "2025-11-02T08:01:00Z", "cause": "idle", "reason": "not used for 60 minutes", "complete": True}


def play(folder: Path, entry_point: str, *arguments: str, **given: object) -> tuple[str, int]:
    """Run an entry point for a host that answers and one that does not; return the output and the exit status."""
    include = {"name": f"{FQCN}.instance_guard", "tasks_from": entry_point}
    # A playbook that goes on with the other hosts, as playbooks/awake.yml and playbooks/status.yml do.
    common: dict[str, Any] = {"hosts": "all", "gather_facts": False, "ignore_unreachable": True}
    playbook = folder / "play.yml"
    playbook.write_text(json.dumps([{**common, "tasks": [{"ansible.builtin.include_role": include, "vars": given}]}]))
    hosts = {
        "answers": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        # The discard port.
        "silent": {"ansible_host": "127.0.0.1", "ansible_port": 9},
    }
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    guard = json.dumps({"__instance_guard_folder": str(folder / "guard")})
    done = execute(
        ["ansible-playbook", "--inventory", str(inventory), "--extra-vars", guard, *arguments, str(playbook)],
        clean_environment(),
    )
    return done.stdout + done.stderr, done.returncode


def test_awake(tmp_path: Path) -> None:
    file = tmp_path / "guard" / "awake_until"
    output, status = play(tmp_path, "awake", "--check", instance_guard_awake_until=UNTIL)
    assert (status, file.exists()) == (0, False), output
    for changed in (2, 0):
        output, status = play(tmp_path, "awake", instance_guard_awake_until=UNTIL)
        assert (status, file.read_text("utf-8")) == (0, f"{UNTIL}\n"), output
        assert output.count("changed: [answers]") == changed
        assert "silent does not answer, so its own idle stop and lifetime are not changed." in output
        assert "answers does not answer" not in output
    for changed in (1, 0):
        output, status = play(tmp_path, "awake", instance_guard_awake_until="")
        assert (status, file.exists()) == (0, False), output
        assert output.count("changed: [answers]") == changed


@pytest.mark.parametrize("wrong", ["22:00", "2026-11-30T21:00:00Z tomorrow"])
def test_a_time_that_would_hold_the_idle_stop_for_ever_is_refused(tmp_path: Path, wrong: str) -> None:
    output, status = play(tmp_path, "awake", instance_guard_awake_until=wrong)
    assert status != 0
    assert f"instance_guard_awake_until is {json.dumps(wrong)}" in output.replace("\\", "")
    assert not (tmp_path / "guard").exists()


def test_report(tmp_path: Path) -> None:
    output, status = play(tmp_path, "report")
    assert status == 0, output
    assert "answers: its guard has reported nothing. Run playbooks/configure.yml." in output
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "status.json").write_text(json.dumps(STATUS))
    (tmp_path / "guard" / "last_stop.json").write_text(json.dumps(STOP))
    for arguments in ((), ("--check",)):
        output, status = play(tmp_path, "report", *arguments)
        assert (status, "changed: [" in output) == (0, False), output
        assert "answers was used last on 2025-11-01 at 09:30 UTC: an SSH session." in output
        assert "answers was stopped on 2025-11-02 at 08:01 UTC by its idle stop" in output
        assert "days. Run playbooks/stop.yml or playbooks/destroy.yml." in output
        assert "silent was" not in output
    output, _status = play(tmp_path, "report", instance_guard_unused_days=100000)
    assert "was not used for" not in output
