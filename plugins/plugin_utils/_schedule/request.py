# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a lab's schedule: when it starts and stops, on which days, in which time zone. Pure functions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from ...module_utils._problem import Problem, listed, shown
from ...module_utils._values import truth

# In the order of datetime.weekday, with EventBridge Scheduler's names.
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
GROUPS = {"weekdays": DAYS[:5], "weekend": DAYS[5:], "daily": DAYS}
CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
CLOCKS = 'a local time between "00:00" and "23:59", in quotes'
# EventBridge Scheduler's limit.
LONGEST_ZONE = 50
# Exceptions split a recurring schedule into spans, each a schedule of its own.
MOST_EXCEPTIONS = 100
# How far ahead changes of the clocks are reported.
AHEAD = timedelta(days=400)
KEYS = ("start", "stop", "days", "zone", "exceptions")


@dataclass(frozen=True)
class Exception_:
    """Another start and stop on one date, or none at all."""

    day: date
    start: time | None = None
    stop: time | None = None


@dataclass(frozen=True)
class Schedule:
    """When a lab starts and stops.

    A stop that is not later than the start belongs to the next day. Without a start the lab is only stopped.

    Attributes:
        start: The local time of the start; None to stop only.
        stop: The local time of the stop; None to start only.
        days: The days of the start, or of the stop where there is none, as numbers from 0 for Monday.
        zone: The name of the time zone.
        exceptions: By date.
    """

    start: time | None
    stop: time | None
    days: frozenset[int]
    zone: str
    exceptions: tuple[Exception_, ...] = ()

    @property
    def tz(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.zone)


def overnight(start: time | None, stop: time | None) -> bool:
    """Return whether a stop belongs to the day after the start."""
    return start is not None and stop is not None and stop <= start


@cache
def zones() -> frozenset[str]:
    """Return the names of the time zones that AWS knows, too."""
    return frozenset(
        name
        for name in available_timezones()
        if ("/" in name or name == "UTC") and not name.startswith(("posix/", "right/")) and len(name) <= LONGEST_ZONE
    )


def read_schedule(variable: str, given: Mapping[str, Any]) -> tuple[Schedule | None, list[Problem]]:
    """Return a user's schedule, or what is wrong with it.

    Args:
        variable: The variable as the user knows it.
        given: Its value: `start`, `stop`, `days`, `zone` and `exceptions`.
    """
    problems = [
        Problem(f"{variable}.{key}", "", "is not a key of a schedule", listed(list(KEYS)), "Correct or remove it")
        for key in given
        if key not in KEYS
    ]
    start, stop = (_read_clock(f"{variable}.{key}", given.get(key), problems) for key in ("start", "stop"))
    days = _read_days(f"{variable}.days", given.get("days", "weekdays"), problems)
    zone = _read_zone(f"{variable}.zone", given.get("zone"), problems)
    exceptions = _read_exceptions(f"{variable}.exceptions", given.get("exceptions") or [], problems)
    if not problems and start is None and stop is None:
        problems.append(Problem(variable, "", "has neither start nor stop", "at least one of them", "Set stop"))
    if not problems and start is not None and start == stop:
        reason = f"starts and stops at the same time, {start:%H:%M}"
        problems.append(Problem(variable, "", reason, "two times", "Change one of them, or remove start"))
    if not problems and stop is not None:
        # It replaces the stop of that day, too: the lab would run until the next one.
        problems += [
            Problem(
                f"{variable}.exceptions", shown(str(one.day)), "has a start and no stop", "both, or closed", "Add stop"
            )
            for one in exceptions
            if one.start is not None and one.stop is None
        ]
    if problems or zone is None:
        return None, problems
    return Schedule(start, stop, days, zone, exceptions), []


def _read_clock(variable: str, value: object, problems: list[Problem]) -> time | None:
    """Return a local time; None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and (match := CLOCK.fullmatch(value)):
        return time(int(match[1]), int(match[2]))
    # YAML 1.1 reads 08:00 without quotes as text, but 18:30 as the number 1110.
    quotes = isinstance(value, int) and not isinstance(value, bool)
    reason = "is a number, as the quotes are missing" if quotes else "is not a time"
    hint = f'Write "{value // 60:02d}:{value % 60:02d}"' if isinstance(value, int) and 0 <= value < 1440 else ""
    problems.append(Problem(variable, shown(value), reason, CLOCKS, hint if quotes and hint else 'Write "19:30"'))
    return None


def _read_days(variable: str, value: object, problems: list[Problem]) -> frozenset[int]:
    """Return days as numbers."""
    names = [value] if isinstance(value, str) else value
    allowed = f"{listed(list(GROUPS))}, or a list of {listed(list(DAYS))}"
    if not isinstance(names, (list, tuple)) or not names:
        problems.append(Problem(variable, shown(value), "is not a list of days", allowed, "Name at least one day"))
        return frozenset()
    found: set[int] = set()
    for name in names:
        days = GROUPS.get(str(name).lower(), (str(name).lower(),))
        if not set(days) <= set(DAYS):
            problems.append(Problem(variable, shown(name), "is not a day", allowed, "Correct the name"))
            continue
        found |= {DAYS.index(day) for day in days}
    return frozenset(found)


def _read_zone(variable: str, value: object, problems: list[Problem]) -> str | None:
    """Return the name of a time zone."""
    if isinstance(value, str) and value in zones():
        return value
    if not zones():
        remedy = "Install the package tzdata"
        problems.append(Problem(variable, shown(value), "cannot be checked without time zone data", "any", remedy))
        return None
    allowed = "the name of an IANA time zone, such as Europe/Berlin, or UTC"
    near = difflib.get_close_matches(str(value or ""), sorted(zones()), 3, 0.6)
    by_city = [name for name in sorted(zones()) if name.rpartition("/")[2].lower() == str(value or "").lower()]
    hint = f"Did you mean {' or '.join(by_city or near)}?" if by_city or near else "Name the zone by its city"
    reason = "is not a time zone" if value else "names no time zone"
    problems.append(Problem(variable, shown(value) if value else "", reason, allowed, hint))
    return None


def _read_exceptions(variable: str, value: object, problems: list[Problem]) -> tuple[Exception_, ...]:
    """Return the exceptions, sorted by date."""
    allowed = 'a list of {date: "2026-12-24", closed: true}, or with start and stop instead of closed'
    if not isinstance(value, (list, tuple)) or len(value) > MOST_EXCEPTIONS:
        reason = f"has more than {MOST_EXCEPTIONS} entries" if isinstance(value, (list, tuple)) else "is not a list"
        problems.append(Problem(variable, "", reason, allowed, "Remove dates that are over"))
        return ()
    found: dict[date, Exception_] = {}
    for index, item in enumerate(value):
        name = f"{variable}[{index}]"
        if not isinstance(item, Mapping) or not set(item) <= {"date", "closed", "start", "stop"}:
            problems.append(Problem(name, shown(item), "is not an exception", allowed, "Correct it"))
            continue
        day = _read_date(item.get("date"))
        if day is None:
            problems.append(Problem(name, shown(item.get("date")), "is not a date", '"2026-12-24"', "Correct the date"))
            continue
        start, stop = (_read_clock(f"{name}.{key}", item.get(key), problems) for key in ("start", "stop"))
        closed = truth(item.get("closed", False))
        if closed is None or closed == (start is not None or stop is not None):
            reason = "needs either closed: true or a start or stop"
            problems.append(Problem(name, shown(item), reason, allowed, "Correct it"))
        elif start is not None and start == stop:
            problems.append(Problem(name, shown(item), "starts and stops at the same time", "two times", "Change one"))
        elif day in found:
            problems.append(Problem(name, shown(str(day)), "has two exceptions", "one for each date", "Remove one"))
        else:
            found[day] = Exception_(day, start, stop)
    return tuple(found[day] for day in sorted(found))


def _read_date(value: object) -> date | None:
    """Return a date, which YAML may have read already."""
    if isinstance(value, datetime) or not isinstance(value, (date, str)):
        return None
    try:
        return value if isinstance(value, date) else datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        return None


def exists(local: datetime, zone: ZoneInfo) -> bool:
    """Return whether a local time exists, as it does not while the clocks go forward."""
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


def repeats(local: datetime, zone: ZoneInfo) -> bool:
    """Return whether a local time exists twice, as it does while the clocks go back."""
    first, second = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return exists(local, zone) and first != second


def clock_warnings(schedule: Schedule, today: date) -> list[str]:
    """Return what the next changes of the clocks do to a schedule.

    Args:
        schedule: The schedule.
        today: The first day to look at.
    """
    found = []
    for verb, clock in (("start", schedule.start), ("stop", schedule.stop)):
        if clock is None:
            continue
        moments = [datetime.combine(today + timedelta(days=ahead), clock) for ahead in range(AHEAD.days)]
        shift = 1 if verb == "stop" and overnight(schedule.start, schedule.stop) else 0
        moments = [moment for moment in moments if (moment.weekday() - shift) % 7 in schedule.days]
        skipped = [moment for moment in moments if not exists(moment, schedule.tz)]
        twice = [moment for moment in moments if repeats(moment, schedule.tz)]
        effect = "the lab is not started that day" if verb == "start" else "the lab runs on until its next stop"
        found += [
            f"{verb}: {_moment(moment, schedule)} does not exist: {effect}. Choose another time." for moment in skipped
        ]
        found += [
            f"{verb}: {_moment(moment, schedule)} exists twice: it counts once, the first time." for moment in twice
        ]
    return found


def _moment(moment: datetime, schedule: Schedule) -> str:
    """Return a local time in words."""
    return f"{moment:%H:%M} on {moment:%Y-%m-%d} in {schedule.zone}"


def days_of(schedule: Schedule, verb: str) -> frozenset[int]:
    """Return on which days of the week a verb of a schedule is due."""
    shift = 1 if verb == "stop" and overnight(schedule.start, schedule.stop) else 0
    return frozenset((day + shift) % 7 for day in schedule.days)


def day_names(days: Iterable[int]) -> str:
    """Return days for a cron expression."""
    return ",".join(DAYS[day].upper() for day in sorted(days))
