# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a lab starts and stops: its schedules of EventBridge Scheduler, against zoneinfo minute by minute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._schedule.request import Schedule, read_schedule
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._schedule.timers import fires, timers

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def read(
    start: str = "08:00", stop: str = "19:30", days: Any = "weekdays", zone: str = "Europe/Berlin", exceptions: Any = ()
) -> Schedule:
    given = {"start": start, "stop": stop, "days": days, "zone": zone, "exceptions": list(exceptions)}
    schedule, problems = read_schedule("lab_schedule", given)
    assert schedule, [str(problem) for problem in problems]
    return schedule


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(moments: list[tuple[datetime, str]], zone: str = "Europe/Berlin") -> list[str]:
    return [f"{verb} {moment.astimezone(ZoneInfo(zone)):%a %m-%d %H:%M}" for moment, verb in moments]


def by_the_minute(schedule: Schedule, first: datetime, last: datetime) -> Iterator[tuple[datetime, str]]:
    """Yield when a schedule without exceptions is due, by looking at a clock on the wall every minute.

    The rule of EventBridge Scheduler: what the clock never shows is skipped, what it shows twice counts once.
    """
    past = set()
    late = schedule.start is not None and schedule.stop is not None and schedule.stop <= schedule.start
    moment = first
    while moment < last:
        wall = moment.astimezone(ZoneInfo(schedule.zone))
        for verb, clock in (("start", schedule.start), ("stop", schedule.stop)):
            day = (wall.weekday() - (verb == "stop" and late)) % 7
            if clock and wall.time() == clock and day in schedule.days and (verb, wall.date()) not in past:
                past.add((verb, wall.date()))
                yield moment, verb
        moment += MINUTE


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", "2027-03-28 01:00"),
        ("Europe/Berlin", "2026-10-25 01:00"),
        ("America/New_York", "2027-03-14 07:00"),
        ("America/New_York", "2026-11-01 06:00"),
        ("Australia/Lord_Howe", "2027-10-02 15:30"),
        ("Australia/Lord_Howe", "2027-04-03 15:00"),
        ("Africa/Cairo", "2027-04-29 22:00"),
        ("Africa/Cairo", "2026-10-29 21:00"),
        ("America/Santiago", "2027-04-04 03:00"),
        ("Asia/Kolkata", "2027-03-28 01:00"),
        ("UTC", "2027-03-28 01:00"),
    ],
)
@pytest.mark.parametrize(
    ("start", "stop", "days"),
    [
        ("08:00", "19:30", "weekdays"),
        ("02:30", "03:30", "daily"),
        ("22:00", "02:15", "daily"),
        ("00:00", "00:30", "daily"),
        ("01:30", "23:59", "daily"),
        ("", "02:00", "weekend"),
        ("01:59", "", ["sun"]),
    ],
)
def test_both_changes_of_the_clocks(zone: str, change: str, start: str, stop: str, days: Any) -> None:
    schedule = read(start, stop, days, zone)
    first, last = utc(change) - 4 * DAY, utc(change) + 4 * DAY
    # The change is in the middle, where the zone has one.
    before, after = (
        moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in (utc(change) - MINUTE, utc(change) + MINUTE)
    )
    assert (before != after) == (zone not in {"UTC", "Asia/Kolkata"})
    expected = list(by_the_minute(schedule, first, last))
    assert fires(timers(schedule, first), first, last) == sorted(expected)
    assert expected or days == ["sun"]


def test_the_clocks_go_forward() -> None:
    """On 28 March 2027 in Berlin 02:00 is followed by 03:00."""
    first, last = utc("2027-03-27 12:00"), utc("2027-03-29 12:00")
    found = fires(timers(read("02:30", "18:00", "daily"), first), first, last)
    assert local(found) == ["stop Sat 03-27 18:00", "stop Sun 03-28 18:00", "start Mon 03-29 02:30"]
    # Working hours stay those of the clock on the wall: 07:00 in UTC before, 06:00 after.
    starts = [moment.hour for moment, verb in fires(timers(read(days="daily"), first), first, last) if verb == "start"]
    assert starts == [6, 6]
    assert fires(timers(read(days="daily"), first), first - DAY, first)[0][0].hour == 18


def test_the_clocks_go_back() -> None:
    """On 31 October 2027 in Berlin 02:00 to 03:00 comes twice: the first counts."""
    first, last = utc("2027-10-30 20:00"), utc("2027-10-31 20:00")
    found = fires(timers(read("02:30", "18:00", "daily"), first), first, last)
    assert [moment for moment, _verb in found] == [utc("2027-10-31 00:30"), utc("2027-10-31 17:00")]


def test_expressions() -> None:
    now = utc("2026-11-30 12:00")
    assert [(item.name, item.verb, item.expression, item.zone, item.retry_seconds) for item in timers(read(), now)] == [
        ("start", "start", "cron(0 8 ? * MON,TUE,WED,THU,FRI *)", "Europe/Berlin", 3600),
        ("stop", "stop", "cron(30 19 ? * MON,TUE,WED,THU,FRI *)", "Europe/Berlin", 3600),
    ]
    # A stop after midnight belongs to the day after its start.
    overnight = timers(read("20:00", "02:00", ["sat"]), now)
    assert [item.expression for item in overnight] == ["cron(0 20 ? * SAT *)", "cron(0 2 ? * SUN *)"]
    assert [item.verb for item in timers(read(start=""), now)] == ["stop"]


HOLIDAYS = (
    {"date": "2026-12-24", "start": "09:00", "stop": "12:00"},
    {"date": "2026-12-25", "closed": True},
    {"date": "2026-12-28", "closed": True},
)


def test_exceptions() -> None:
    now = utc("2026-12-22 22:00")
    found = timers(read(exceptions=HOLIDAYS), now)
    assert local(fires(found, now, utc("2026-12-30 00:00"))) == [
        "start Wed 12-23 08:00",
        "stop Wed 12-23 19:30",
        "start Thu 12-24 09:00",
        "stop Thu 12-24 12:00",
        "start Tue 12-29 08:00",
        "stop Tue 12-29 19:30",
    ]
    # No span without an invocation, such as the weekend between the exceptions.
    assert sorted(item.name for item in found) == [
        "start",
        "start-from-2026-12-29",
        "start-on-2026-12-24",
        "stop",
        "stop-from-2026-12-29",
        "stop-on-2026-12-24",
    ]
    assert len({item.name for item in found}) == len(found)


def test_exceptions_that_are_over_leave_no_schedule() -> None:
    """Scheduler does not accept a StartDate in the past, and a one-time schedule in the past must not be created."""
    now = utc("2026-12-24 10:00")
    names = sorted(item.name for item in timers(read(exceptions=HOLIDAYS), now))
    assert names == ["start-from-2026-12-29", "stop-from-2026-12-29", "stop-on-2026-12-24"]
    later = timers(read(exceptions=HOLIDAYS), utc("2027-01-04 10:00"))
    assert [(item.begin, item.end) for item in later] == [(None, None)] * 2
    for moment in (now, utc("2026-12-26 10:00"), utc("2027-01-04 10:00")):
        for item in timers(read(exceptions=HOLIDAYS), moment):
            assert item.begin is None or item.begin > moment
            assert item.end is None or item.end > moment


@pytest.mark.parametrize("clock", ["00:00", "23:59"])
def test_an_exception_is_its_own_day_only(clock: str) -> None:
    now = utc("2026-12-22 12:00")
    found = fires(
        timers(read("", clock, "daily", exceptions=[{"date": "2026-12-24", "closed": True}]), now), now, now + 4 * DAY
    )
    days = [f"{moment.astimezone(ZoneInfo('Europe/Berlin')):%d}" for moment, _verb in found]
    assert days == (["23", "25", "26"] if clock == "00:00" else ["22", "23", "25"])


def test_an_exception_on_a_day_without_midnight() -> None:
    """On 30 April 2027 in Cairo midnight does not exist: the day begins at 01:00, 22:00 in UTC."""
    now = utc("2027-04-28 12:00")
    schedule = read("", "23:59", "daily", "Africa/Cairo", exceptions=[{"date": "2027-04-30", "closed": True}])
    (first, second) = timers(schedule, now)
    assert first.end == utc("2027-04-29 21:59:59")
    assert second.begin == utc("2027-04-30 21:00")
    found = local(fires([first, second], now, now + 5 * DAY), "Africa/Cairo")
    assert found == ["stop Wed 04-28 23:59", "stop Thu 04-29 23:59", "stop Sat 05-01 23:59", "stop Sun 05-02 23:59"]


def test_an_exception_of_a_night() -> None:
    """The night that begins on 24 December: the stop of the night before stays."""
    now = utc("2026-12-23 12:00")
    schedule = read("22:00", "06:00", "daily", exceptions=[{"date": "2026-12-24", "closed": True}])
    assert local(fires(timers(schedule, now), now, now + 3 * DAY)) == [
        "start Wed 12-23 22:00",
        "stop Thu 12-24 06:00",
        "start Fri 12-25 22:00",
        "stop Sat 12-26 06:00",
    ]


@pytest.mark.parametrize(
    ("awake", "expected"),
    [
        pytest.param(
            "2026-12-01 15:00",
            ["stop Tue 12-01 19:30", "start Wed 12-02 08:00", "stop Wed 12-02 19:30"],
            id="over before the stop",
        ),
        pytest.param(
            "2026-12-01 22:00",
            ["stop Tue 12-01 23:00", "start Wed 12-02 08:00", "stop Wed 12-02 19:30"],
            id="into the night",
        ),
        pytest.param(
            "2026-12-01 18:30",
            ["stop Tue 12-01 19:30", "start Wed 12-02 08:00", "stop Wed 12-02 19:30"],
            id="until the stop",
        ),
        pytest.param(
            "2026-12-02 09:00",
            ["start Wed 12-02 08:00", "stop Wed 12-02 19:30"],
            id="over the night, into working hours",
        ),
        pytest.param("2026-12-02 20:00", ["start Wed 12-02 08:00", "stop Wed 12-02 21:00"], id="over a day"),
    ],
)
def test_awake(awake: str, expected: list[str]) -> None:
    """Nothing stops the lab before it ends. Then the lab stops if it would not run by its schedule."""
    now = utc("2026-12-01 12:00")
    found = timers(read(), now, utc(awake))
    assert local(fires(found, now, utc("2026-12-03 00:00"))) == expected
    # It ends by itself: from then on the schedules are those without it.
    later = utc("2026-12-07 00:00")
    assert fires(found, later, later + 7 * DAY) == fires(timers(read(), later), later, later + 7 * DAY)
    assert timers(read(), now, now) == timers(read(), now)


def test_awake_over_both_changes_of_the_clocks() -> None:
    for now, until in (("2027-03-27 12:00", "2027-03-28 01:30"), ("2027-10-30 12:00", "2027-10-31 01:30")):
        found = fires(timers(read(days="daily"), utc(now), utc(until)), utc(now), utc(until) + 3 * HOUR)
        assert found == [(utc(until), "stop")]


def test_awake_with_an_exception() -> None:
    now = utc("2026-12-24 10:00")
    found = timers(read(exceptions=HOLIDAYS), now, utc("2026-12-24 14:00"))
    assert local(fires(found, now, utc("2026-12-30 00:00"))) == [
        "stop Thu 12-24 15:00",
        "start Tue 12-29 08:00",
        "stop Tue 12-29 19:30",
    ]


def test_other_expressions_are_refused() -> None:
    now = utc("2026-12-24 10:00")
    with pytest.raises(ValueError, match="is not an expression of a lab's schedule"):
        fires([replace(timers(read(), now)[0], expression="rate(1 day)")], now, now + DAY)
