# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The expressions of the sandbox's scheduler against AWS's documentation, with zoneinfo as the judge of local time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sandbox.cloud.expressions import ExpressionError, parse, zone_of

BASE = datetime(2020, 1, 1, tzinfo=UTC)


def following(expression: str, start: str, count: int, zone: str = "UTC", base: datetime = BASE) -> list[str]:
    """Return the next times after a start, in the zone."""
    moment, found = datetime.fromisoformat(start), []
    where = zone_of(zone)
    for _number in range(count):
        due = parse(expression).after(moment, where, base)
        if due is None:
            break
        found.append(due.astimezone(where).strftime("%a %Y-%m-%d %H:%M"))
        moment = due
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 8 ? * MON-FRI *)", ["Mon 2026-11-30 08:00", "Tue 2026-12-01 08:00"]),
        ("cron(30 18 ? * 2,6 *)", ["Mon 2026-11-30 18:30", "Fri 2026-12-04 18:30"]),
        ("cron(0 12 * * ? *)", ["Sun 2026-11-29 12:00", "Mon 2026-11-30 12:00"]),
        ("cron(15/20 10 29 * ? *)", ["Sun 2026-11-29 10:15", "Sun 2026-11-29 10:35", "Sun 2026-11-29 10:55"]),
        ("cron(0 0 L * ? *)", ["Mon 2026-11-30 00:00", "Thu 2026-12-31 00:00"]),
        ("cron(0 9 1W * ? *)", ["Tue 2026-12-01 09:00", "Fri 2027-01-01 09:00", "Mon 2027-02-01 09:00"]),
        ("cron(0 9 ? * MON#1 *)", ["Mon 2026-12-07 09:00", "Mon 2027-01-04 09:00"]),
        ("cron(0 9 ? * 6L *)", ["Fri 2026-12-25 09:00", "Fri 2027-01-29 09:00"]),
        ("cron(0 9 ? * L *)", ["Sat 2026-12-05 09:00"]),
        ("cron(0 9 29 2 ? *)", ["Tue 2028-02-29 09:00", "Sun 2032-02-29 09:00"]),
        ("cron(0 9 1 JAN ? 2026-2027)", ["Fri 2027-01-01 09:00"]),
        ("cron(0 9 ? 12 * 2026)", ["Tue 2026-12-01 09:00", "Wed 2026-12-02 09:00"]),
        ("at(2026-12-24T18:00:00)", ["Thu 2026-12-24 18:00"]),
        ("at(2026-11-28T18:00:00)", []),
        ("rate(1 day)", ["Mon 2026-11-30 00:00", "Tue 2026-12-01 00:00"]),
        ("rate(90 minutes)", ["Sun 2026-11-29 01:30", "Sun 2026-11-29 03:00"]),
    ],
)
def test_expressions(expression: str, expected: list[str]) -> None:
    wanted = max(len(expected), 1)
    assert following(expression, "2026-11-29T00:00:00+00:00", wanted) == expected


def test_the_year_ends() -> None:
    assert following("cron(0 9 ? 12 * 2026)", "2026-11-29T00:00:00+00:00", 100)[-1] == "Thu 2026-12-31 09:00"


def test_a_rate_begins_at_once() -> None:
    base = datetime(2026, 11, 29, 10, 7, tzinfo=UTC)
    found = following("rate(1 hour)", "2026-11-29T10:06:59+00:00", 2, base=base)
    assert found == ["Sun 2026-11-29 10:07", "Sun 2026-11-29 11:07"]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        # The clock jumps from 02:00 to 03:00 on 29 March 2026, and back from 03:00 to 02:00 on 25 October.
        ("2026-03-27T12:00:00+00:00", ["Sat 2026-03-28 02:30", "Mon 2026-03-30 02:30"]),
        ("2026-10-24T12:00:00+00:00", ["Sun 2026-10-25 02:30", "Mon 2026-10-26 02:30"]),
    ],
)
def test_a_missing_time_is_skipped_and_a_double_one_used_once(start: str, expected: list[str]) -> None:
    assert following("cron(30 2 * * ? *)", start, 2, "Europe/Berlin") == expected


def test_a_local_time_stays_over_both_changes() -> None:
    found = following("cron(0 8 * * ? *)", "2026-01-01T00:00:00+00:00", 365, "America/New_York")
    assert len(found) == 365
    assert {row[-5:] for row in found} == {"08:00"}
    utc = {
        parse("cron(0 8 * * ? *)").after(datetime(2026, month, 20, tzinfo=UTC), zone_of("America/New_York"), BASE)
        for month in (1, 7)
    }
    assert {due.hour for due in utc if due} == {13, 12}


def test_a_rate_of_a_day_is_24_hours() -> None:
    base = datetime(2026, 3, 28, 7, tzinfo=UTC)
    found = following("rate(1 day)", "2026-03-28T07:00:00+00:00", 2, "Europe/Berlin", base)
    assert found == ["Sun 2026-03-29 09:00", "Mon 2026-03-30 09:00"]


@pytest.mark.parametrize(
    "expression",
    [
        "cron(99 99 nonsense)",
        "cron(60 8 ? * MON *)",
        "cron(0 24 ? * MON *)",
        "cron(0 8 * * * *)",
        "cron(0 8 ? * ? *)",
        "cron(0 8 1 * MON *)",
        "cron(0 8 0 * ? *)",
        "cron(0 8 32 * ? *)",
        "cron(0 8 ? 13 MON *)",
        "cron(0 8 ? * MON-8 *)",
        "cron(0 8 ? * 0 *)",
        "cron(0 8 ? * FRI-MON *)",
        "cron(0 8 ? * MON 1969)",
        "cron(0/0 8 ? * MON *)",
        "cron(0 8 ? * MON)",
        "cron(0 8 ? * MON#6 *)",
        "0 8 ? * MON *",
        "cron(0 8 ? * MON *",
        "rate(0 minutes)",
        "rate(5 seconds)",
        "rate(5)",
        "at(2026-12-24 18:00:00)",
        "at(2026-12-24T18:00)",
        "at(2026-02-30T18:00:00)",
        "at(2026-12-24T18:00:00Z)",
        "",
    ],
)
def test_what_aws_refuses(expression: str) -> None:
    with pytest.raises(ExpressionError, match="Invalid Schedule Expression"):
        parse(expression)


@pytest.mark.parametrize("zone", ["Mars/Base", "", "Europe/berlin ", "+01:00", "/etc/localtime"])
def test_a_zone_must_exist(zone: str) -> None:
    with pytest.raises(ExpressionError, match="is not supported"):
        zone_of(zone)
