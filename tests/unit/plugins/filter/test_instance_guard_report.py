# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What status reports of a host's guard."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.instance_guard_report import FilterModule

NOW = datetime(2026, 11, 30, 20, 0)
STATUS: dict[str, Any] = {
    "time": "2026-11-30T19:59:30Z",
    "idle_stop": True,
    "decision": "in use: an SSH session",
    "last_use": {"time": "2026-11-30T19:59:30Z", "what": ["an SSH session", "GPU 0"]},
}
STOP = {
    "cause": "idle",
    "time": "2026-11-29T22:00:00Z",
    "reason": "idle since 2026-11-29 21:00 UTC",
    "hook": "done",
    "stack": "none",
    "complete": True,
}
USED = "one was used last on 2026-11-30 at 19:59 UTC: an SSH session, GPU 0."
SILENT = "one: its guard has reported nothing"


def report(status: object, stop: object = "", **given: Any) -> list[str]:
    texts = [value if isinstance(value, str) else json.dumps(value) for value in (status, stop)]
    lines: list[str] = FilterModule().filters()["instance_guard_report"]("one", *texts, NOW, **given)
    return lines


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (STATUS, ["one: in use: an SSH session.", USED]),
        ({**STATUS, "idle_stop": False}, [USED]),
        ("", [f"{SILENT}. Run playbooks/configure.yml."]),
        ("{", [f"{SILENT}. Run playbooks/configure.yml."]),
        ([], [f"{SILENT}. Run playbooks/configure.yml."]),
        (
            {**STATUS, "time": "2026-11-30T19:40:00Z", "last_use": None},
            [f"{SILENT} since 2026-11-30 at 19:40 UTC. Run playbooks/configure.yml."],
        ),
        (
            {**STATUS, "unreadable": ["GPU 0 does not answer"], "trouble": "the metadata service does not answer"},
            [
                "one: in use: an SSH session.",
                "one: its guard cannot read what uses it, so it does not stop when it is idle: GPU 0 does not answer.",
                "one: its guard gets no notices of AWS: the metadata service does not answer.",
                USED,
            ],
        ),
        (
            {
                **STATUS,
                "idle_stop": False,
                "notices": [{"key": "k", "time": "2026-11-30T08:00:00Z", "text": "AWS has."}],
            },
            [USED, "one, 2026-11-30 at 08:00 UTC: AWS has."],
        ),
    ],
)
def test_status(status: object, lines: list[str]) -> None:
    assert report(status) == lines


@pytest.mark.parametrize(("time", "unused"), [("2026-11-16T20:00:01Z", False), ("2026-11-16T20:00:00Z", True)])
def test_a_host_that_was_not_used_for_days(time: str, unused: bool) -> None:
    status = {**STATUS, "last_use": {"time": time, "what": ["GPU 0"]}}
    assert any(line.startswith("one was not used for 14 days. Run") for line in report(status)) is unused
    assert not any("was not used" in line for line in report(status, unused_days=15))
    with pytest.raises(AnsibleFilterError, match="unused_days is 0"):
        report(status, unused_days=0)


@pytest.mark.parametrize(
    ("stop", "lines"),
    [
        (STOP, []),
        (
            {**STOP, "hook": "failed: save failed with status 5"},
            ["one: in that stop, the hook failed: save failed with status 5."],
        ),
        ({**STOP, "complete": False}, ["one: that stop did not come to its end."]),
    ],
)
def test_the_last_stop(stop: dict[str, Any], lines: list[str]) -> None:
    first = "one was stopped on 2026-11-29 at 22:00 UTC by its idle stop: idle since 2026-11-29 21:00 UTC."
    assert report(STATUS, stop)[2:] == [first, *lines]
