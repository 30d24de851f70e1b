# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Until when a user wants the lab awake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_awake import lab_awake

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("value", "now", "until"),
    [
        ("off", "2026-11-30 12:00", ""),
        (False, "2026-11-30 12:00", ""),
        ("3", "2026-11-30 12:00", "2026-11-30T15:00:00Z"),
        (3, "2026-11-30 12:00", "2026-11-30T15:00:00Z"),
        ("1.5 hours", "2026-11-30 12:00", "2026-11-30T13:30:00Z"),
        ("12h", "2027-03-27 18:00", "2027-03-28T06:00:00Z"),
        ("22:00", "2026-11-30 12:00", "2026-11-30T21:00:00Z"),
        # It is over today.
        ("08:00", "2026-11-30 12:00", "2026-12-01T07:00:00Z"),
        ("2026-12-02 22:00", "2026-11-30 12:00", "2026-12-02T21:00:00Z"),
        ("2026-11-30T22:00:00Z", "2026-11-30 12:00", "2026-11-30T22:00:00Z"),
        # Over the night in which the clocks go forward, and in the hour that does not exist: the day after.
        ("08:00", "2027-03-27 20:00", "2027-03-28T06:00:00Z"),
        ("02:30", "2027-03-27 20:00", "2027-03-29T00:30:00Z"),
        # In the hour that comes twice: the next time that a clock on the wall shows it.
        ("02:30", "2027-10-30 20:00", "2027-10-31T00:30:00Z"),
        ("02:30", "2027-10-31 00:45", "2027-10-31T01:30:00Z"),
    ],
)
def test_times(value: object, now: str, until: str) -> None:
    assert lab_awake(value, "awake_until", BERLIN, now) == {"until": until, "problem": ""}


@pytest.mark.parametrize(
    ("value", "zone", "words"),
    [
        ("", BERLIN, 'awake_until: "" is not a time. Allowed: hours such as 3, a local time'),
        ("tomorrow", BERLIN, '"tomorrow" is not a time'),
        ("25:00", BERLIN, '"25:00" is not a time'),
        ("169", BERLIN, "is more than 7 days away"),
        ("0.0", BERLIN, "is over"),
        ("2026-11-29 12:00", BERLIN, "is over"),
        ("2027-03-28 02:30", BERLIN, "does not exist in Europe/Berlin"),
        ("22:00", "", "is a local time, and the lab has no schedule with a time zone"),
    ],
)
def test_what_is_refused(value: object, zone: str, words: str) -> None:
    found = lab_awake(value, "awake_until", zone, "2026-11-30 12:00")
    assert found["until"] == ""
    assert words in found["problem"]


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_a_local_time_is_the_next_one_on_the_wall(zone: str) -> None:
    """Every hour of the days around the changes of the clocks in 2027."""
    for day in ("2027-03-13", "2027-03-27", "2027-04-03", "2027-10-02", "2027-10-30", "2027-11-06"):
        for hour in range(48):
            now = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=hour)
            until = datetime.fromisoformat(lab_awake("06:30", "awake_until", zone, now)["until"])
            assert timedelta(0) < until - now <= timedelta(hours=25)
