# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a schedule has started and stopped a lab, as playbooks ask for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.filter import lab_schedule_events as module

events = module.FilterModule().filters()["lab_schedule_events"]
TIMES: dict[str, Any] = yaml.safe_load(module.EXAMPLES)[0]["vars"]["times"]
# As now(utc=true) returns it: the Monday after Berlin's clocks have gone back.
NOW = datetime(2026, 10, 26, 19, 0, 0)


def test_the_last_weeks() -> None:
    found = events(TIMES, NOW)
    assert found[-4:] == [
        {"verb": "start", "cause": "schedule", "time": "2026-10-23T06:00:00Z"},
        {"verb": "stop", "cause": "schedule", "time": "2026-10-23T17:30:00Z"},
        {"verb": "start", "cause": "schedule", "time": "2026-10-26T07:00:00Z"},
        {"verb": "stop", "cause": "schedule", "time": "2026-10-26T18:30:00Z"},
    ]
    # 21 September, at 21:00 in Berlin, is 35 days before.
    assert found[0]["time"] == "2026-09-22T06:00:00Z"
    assert len(found) == 2 * 25
    assert events(TIMES, NOW.replace(tzinfo=UTC)) == found


def test_exceptions() -> None:
    closed = {**TIMES, "exceptions": [{"date": "2026-10-26", "closed": True}]}
    assert events(closed, NOW)[-1]["time"] == "2026-10-23T17:30:00Z"


@pytest.mark.parametrize("times", [None, {}, {**TIMES, "zone": "Mars/Base"}, {**TIMES, "stop": "25:00"}])
def test_without_a_schedule(times: dict[str, Any] | None) -> None:
    assert events(times, NOW) == []
