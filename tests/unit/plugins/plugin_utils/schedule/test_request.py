# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user's schedule is read, or refused with what is allowed."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._schedule.request import (
    Exception_,
    Schedule,
    clock_warnings,
    read_schedule,
)

TODAY = date(2026, 11, 30)
NOT_STARTED = "does not exist: the lab is not started that day. Choose another time."
RUNS_ON = "does not exist: the lab runs on until its next stop. Choose another time."
TWICE = "exists twice: it counts once, the first time."
WORK: dict[str, Any] = {"start": "08:00", "stop": "19:30", "days": "weekdays", "zone": "Europe/Berlin"}


def read(**changes: Any) -> Schedule:
    schedule, problems = read_schedule("lab_schedule", {**WORK, **changes})
    assert not problems, [str(problem) for problem in problems]
    assert schedule
    return schedule


def test_a_working_week() -> None:
    assert read() == Schedule(time(8), time(19, 30), frozenset(range(5)), "Europe/Berlin")


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("daily", range(7)),
        ("weekend", [5, 6]),
        ("mon", [0]),
        (["sun", "Mon"], [0, 6]),
        (["weekdays", "sat"], range(6)),
    ],
)
def test_days(days: object, expected: list[int]) -> None:
    assert read(days=days).days == frozenset(expected)


def test_a_schedule_may_only_stop() -> None:
    assert read(start="").start is None
    assert read(start=None).start is None


def test_exceptions_are_sorted() -> None:
    text = "[{date: 2027-01-02, start: '10:00', stop: '12:00'}, {date: '2026-12-24', closed: true}]"
    assert read(exceptions=yaml.safe_load(text)).exceptions == (
        Exception_(date(2026, 12, 24)),
        Exception_(date(2027, 1, 2), time(10), time(12)),
    )


def test_no_key_is_a_truth_value_in_yaml() -> None:
    """YAML 1.1 reads the keys on, off, yes and no as truth values."""
    text = "{start: '08:00', stop: '19:30', days: mon, zone: UTC, exceptions: [{date: '2026-12-24', closed: true}]}"
    assert all(
        isinstance(key, str) for item in [yaml.safe_load(text), *yaml.safe_load(text)["exceptions"]] for key in item
    )


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        (
            {"start": "24:00"},
            ['lab_schedule.start: "24:00" is not a time. Allowed: a local time between "00:00" and "23:59"'],
        ),
        ({"start": "8:00"}, ['"8:00" is not a time']),
        ({"start": "08:00\n"}, ["is not a time"]),
        (
            yaml.safe_load("{stop: 18:30}"),
            ["lab_schedule.stop: 1110 is a number, as the quotes are missing", 'Write "18:30"'],
        ),
        ({"stop": True}, ["true is not a time"]),
        ({"start": None, "stop": ""}, ["lab_schedule: has neither start nor stop", "Set stop."]),
        ({"start": "19:30"}, ["starts and stops at the same time, 19:30"]),
        (
            {"days": "workdays"},
            ['lab_schedule.days: "workdays" is not a day. Allowed: weekdays, weekend, daily, or a list of mon,'],
        ),
        ({"days": []}, ["is not a list of days"]),
        ({"zone": None}, ["lab_schedule.zone: names no time zone. Allowed: the name of an IANA time zone"]),
        ({"zone": "Mars/Base"}, ['"Mars/Base" is not a time zone']),
        ({"zone": "berlin"}, ["Did you mean Europe/Berlin?"]),
        ({"zone": "Europe/Berlni"}, ["Did you mean Europe/Berlin"]),
        # Names of the machine's own data that AWS does not have, and a path.
        ({"zone": "posix/Europe/Berlin"}, ["is not a time zone"]),
        ({"zone": "../../etc/localtime"}, ["is not a time zone"]),
        ({"zone": "localtime"}, ["is not a time zone"]),
        (
            {"cron": "0 8 * * *"},
            ["lab_schedule.cron: is not a key of a schedule. Allowed: start, stop, days, zone, exceptions."],
        ),
        ({"exceptions": "2026-12-24"}, ["lab_schedule.exceptions: is not a list"]),
        (
            {"exceptions": [{"date": "24.12.2026", "closed": True}]},
            ['lab_schedule.exceptions[0]: "24.12.2026" is not a date'],
        ),
        ({"exceptions": [{"date": "2026-02-29", "closed": True}]}, ["is not a date"]),
        (
            {"exceptions": [{"date": "2026-12-24", "start": "10:00"}]},
            ['lab_schedule.exceptions: "2026-12-24" has a start and no stop. Allowed: both, or closed. Add stop.'],
        ),
        ({"exceptions": [{"date": "2026-12-24"}]}, ["needs either closed: true or a start or stop"]),
        ({"exceptions": [{"date": "2026-12-24", "closed": True, "stop": "12:00"}]}, ["needs either closed: true or"]),
        ({"exceptions": [{"date": "2026-12-24", "closed": True}] * 2}, ["has two exceptions"]),
        ({"exceptions": [{"date": "2026-12-24", "holiday": True}]}, ["is not an exception"]),
        ({"exceptions": [{"date": "2026-12-24", "start": "9"}]}, ['exceptions[0].start: "9" is not a time']),
        (
            {"exceptions": [{"date": f"2026-12-{1 + n % 28:02d}", "closed": True} for n in range(101)]},
            ["has more than 100 entries"],
        ),
    ],
)
def test_refusals(changes: dict[str, Any], messages: list[str]) -> None:
    schedule, problems = read_schedule("lab_schedule", {**WORK, **changes})
    assert schedule is None
    text = "\n".join(map(str, problems))
    for message in messages:
        assert message in text
    assert "  " not in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"zone": "UTC", "start": "02:30", "days": "daily"}, []),
        # No daylight saving there.
        ({"zone": "Asia/Tokyo", "start": "02:30", "days": "daily"}, []),
        # The clocks change on Sundays.
        ({"start": "02:30"}, []),
        (
            {"start": "02:30", "days": "daily"},
            [
                f"start: 02:30 on 2027-03-28 in Europe/Berlin {NOT_STARTED}",
                f"start: 02:30 on 2027-10-31 in Europe/Berlin {TWICE}",
            ],
        ),
        (
            {"start": "20:00", "stop": "02:00", "days": ["sat"]},
            [
                f"stop: 02:00 on 2027-03-28 in Europe/Berlin {RUNS_ON}",
                f"stop: 02:00 on 2027-10-31 in Europe/Berlin {TWICE}",
            ],
        ),
        # In other zones the clocks change at other times: at midnight, or by half an hour.
        (
            {"zone": "Africa/Cairo", "start": "", "stop": "00:30", "days": ["fri"]},
            [f"stop: 00:30 on 2027-04-30 in Africa/Cairo {RUNS_ON}"],
        ),
        (
            {"zone": "Australia/Lord_Howe", "start": "02:15", "stop": "03:00", "days": "weekend"},
            [f"start: 02:15 on 2027-10-03 in Australia/Lord_Howe {NOT_STARTED}"],
        ),
    ],
)
def test_changes_of_the_clocks(changes: dict[str, Any], expected: list[str]) -> None:
    assert clock_warnings(read(**changes), TODAY) == expected
