# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter for schedules, as playbooks call it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.filter import lab_schedule as module

plan = module.FilterModule().filters()["lab_schedule"]
# As now(utc=true) returns it.
NOW = datetime(2026, 12, 1, 12, 0, 0)
GIVEN: dict[str, Any] = yaml.safe_load(module.EXAMPLES)[0]["vars"]["schedule"]


def test_the_example() -> None:
    found = plan(GIVEN, "schedule", NOW)
    assert (found["problems"], found["warnings"]) == ([], [])
    assert [(item["name"], item["begin"], item["end"], item["once"]) for item in found["timers"]] == [
        ("start", "", "2026-12-24T22:59:59Z", False),
        ("start-from-2026-12-26", "2026-12-25T23:00:00Z", "", False),
        ("stop", "", "2026-12-24T22:59:59Z", False),
        ("stop-from-2026-12-26", "2026-12-25T23:00:00Z", "", False),
    ]
    sample = yaml.safe_load(module.RETURN)["_value"]["sample"]["timers"][0]
    assert [
        item for item in plan({**GIVEN, "exceptions": []}, "schedule", NOW)["timers"] if item["verb"] == "stop"
    ] == [sample]


def test_names_and_times_are_valid_for_scheduler() -> None:
    dates = [{"date": f"2027-01-{day:02d}", "start": "10:00", "stop": "12:00"} for day in range(1, 32, 2)]
    found = plan(
        {**GIVEN, "days": "daily", "exceptions": dates}, "schedule", NOW, datetime(2026, 12, 2, 20, tzinfo=UTC)
    )["timers"]
    assert len(found) == len({item["name"] for item in found}) == 2 * (16 + 17) + 1
    for item in found:
        assert len(item["name"]) <= 64
        assert set(item["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert 60 <= item["retry_seconds"] <= 3600
        assert item["once"] == item["expression"].startswith("at(")


def test_awake() -> None:
    found = plan({**GIVEN, "exceptions": []}, "schedule", NOW, datetime(2026, 12, 1, 22))
    (once,) = [item for item in found["timers"] if item["once"]]
    assert (once["verb"], once["expression"], once["zone"]) == ("stop", "at(2026-12-01T22:00:00)", "UTC")


@pytest.mark.parametrize(
    ("given", "awake", "message"),
    [
        ({"zone": "Mars/Base"}, None, 'schedule.zone: "Mars/Base" is not a time zone'),
        ({}, datetime(2026, 12, 1, 11), 'awake_until: "2026-12-01 11:00 UTC" is over'),
        ({}, datetime(2027, 12, 1, 11), "is more than 7 days away"),
    ],
)
def test_refusals(given: dict[str, Any], awake: datetime | None, message: str) -> None:
    found = plan({**GIVEN, **given}, "schedule", NOW, awake)
    assert (found["timers"], found["warnings"]) == ([], [])
    assert message in found["problems"][0]


def test_warnings() -> None:
    found = plan({**GIVEN, "start": "02:30", "days": "daily"}, "schedule", NOW)
    assert found["timers"]
    assert "02:30 on 2027-03-28 in Europe/Berlin does not exist" in found["warnings"][0]
