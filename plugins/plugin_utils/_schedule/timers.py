# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab's schedule as schedules of EventBridge Scheduler, and when these invoke their targets. Pure functions.

A cron expression cannot leave out dates. So each exception ends one recurring schedule and begins the next, by EndDate
and StartDate, and its own times are one-time schedules. `awake` works in the same way: the stops begin again when it
ends, without a run of the collection at that time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from .request import DAYS, Schedule, day_names, days_of, exists, overnight

START, STOP = "start", "stop"
# The schedule that stops the lab when `awake` ends.
AWAKE = "stop-awake"
# How long a lab still runs when `awake` is ended early, after it had held a stop.
RELEASE = timedelta(minutes=5)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
# A start that meets no capacity must not succeed in the evening: the default is 24 hours.
RETRY_SECONDS = {START: 3600, STOP: 3600}
CRON = re.compile(r"cron\((\d+) (\d+) \? \* ([A-Z,]+) \*\)")
AT = re.compile(r"at\((\S+)\)")


@dataclass(frozen=True)
class Timer:
    """A schedule of EventBridge Scheduler.

    Attributes:
        name: Its name in the lab's group.
        verb: "start" or "stop".
        expression: Its ScheduleExpression.
        zone: Its ScheduleExpressionTimezone.
        begin: Its StartDate in UTC, or None. It may invoke its target at this time.
        end: Its EndDate in UTC, or None. It may invoke its target at this time.
        retry_seconds: Its MaximumEventAgeInSeconds.
    """

    name: str
    verb: str
    expression: str
    zone: str
    begin: datetime | None = None
    end: datetime | None = None
    retry_seconds: int = 3600

    @property
    def once(self) -> bool:
        """Whether it is deleted after its only invocation."""
        return self.expression.startswith("at(")


@dataclass(frozen=True)
class Held:
    """The existing schedule that stops the lab when `awake` ends.

    Attributes:
        since: Since when the lab is kept awake.
        end: When it stops the lab.
    """

    since: datetime
    end: datetime


def timers(
    schedule: Schedule, now: datetime, awake_until: datetime | None = None, existing: Held | None = None
) -> list[Timer]:
    """Return the schedules that carry out a lab's schedule from now on.

    Args:
        schedule: The lab's schedule.
        now: The time.
        awake_until: Until when nothing stops the lab.
        existing: The schedule that stops the lab when an earlier `awake` ends, if there is one.
    """
    held = awake_until if awake_until and awake_until > now else None
    found = []
    for verb, clock in ((START, schedule.start), (STOP, schedule.stop)):
        if clock is not None:
            found += _recurring(schedule, verb, clock, now, held if verb == STOP else None)
        found += _exceptional(schedule, verb, now, held if verb == STOP else None)
    existing = existing if existing and existing.end > now else None
    end: datetime | None = None
    if held:
        end = held if stop_is_due(schedule, existing.since if existing else now, held) else None
    elif existing and stop_is_due(schedule, existing.since, now):
        # `awake` was ended early, after it had held a stop.
        end = min(existing.end, now + RELEASE)
    if end:
        # In UTC, as a local time may exist twice.
        found.append(_once(AWAKE, STOP, end.astimezone(UTC).replace(tzinfo=None, microsecond=0), "UTC"))
    return found


def stop_is_due(schedule: Schedule, since: datetime, end: datetime) -> bool:
    """Return whether a stop came between two times and no start followed: then the lab stops when `awake` ends."""
    between = fires(timers(schedule, since), since, end + SECOND)
    return bool(between) and between[-1][1] == STOP


def _recurring(schedule: Schedule, verb: str, clock: time, now: datetime, held: datetime | None) -> list[Timer]:
    """Return one schedule for each span between the exceptions."""
    expression = f"cron({clock.minute} {clock.hour} ? * {day_names(days_of(schedule, verb))} *)"
    shift = DAY if verb == STOP and overnight(schedule.start, schedule.stop) else timedelta(0)
    edges: list[tuple[date | None, date | None]] = []
    begin: date | None = None
    for exception in schedule.exceptions:
        day = exception.day + shift
        edges.append((begin, day))
        begin = day + DAY
    edges.append((begin, None))
    found = []
    for first, last in edges:
        start = _midnight(first, schedule.tz) if first else None
        end = _midnight(last, schedule.tz) - SECOND if last else None
        start = max(filter(None, [start, held + SECOND if held else None]), default=None)
        if end and (end <= now or (start and start > end)):
            continue
        # Scheduler does not accept a StartDate in the past.
        start = start if start and start > now else None
        name = verb if first is None else f"{verb}-from-{first:%Y-%m-%d}"
        timer = Timer(name, verb, expression, schedule.zone, start, end, RETRY_SECONDS[verb])
        if end is None or fires([timer], max(start or now, now), end + SECOND):
            found.append(timer)
    return found


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return when a day begins, in UTC: also where the clocks go forward at midnight, and it begins at 01:00."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def _exceptional(schedule: Schedule, verb: str, now: datetime, held: datetime | None) -> list[Timer]:
    """Return the one-time schedules of the exceptions that are not over."""
    found = []
    for exception in schedule.exceptions:
        clock = exception.start if verb == START else exception.stop
        if clock is None:
            continue
        shift = DAY if verb == STOP and overnight(exception.start, exception.stop) else timedelta(0)
        timer = _once(f"{verb}-on-{exception.day}", verb, datetime.combine(exception.day + shift, clock), schedule.zone)
        if fires([timer], max(filter(None, [now, held])) + SECOND, now + timedelta(days=36525)):
            found.append(timer)
    return found


def _once(name: str, verb: str, local: datetime, zone: str) -> Timer:
    """Return a one-time schedule."""
    return Timer(name, verb, f"at({local:%Y-%m-%dT%H:%M:%S})", zone, retry_seconds=RETRY_SECONDS[verb])


def fires(schedules: Iterable[Timer], after: datetime, before: datetime) -> list[tuple[datetime, str]]:
    """Return when schedules invoke their targets, in UTC, and for which verb.

    A local time that does not exist is skipped, one that exists twice counts once.

    Args:
        schedules: The schedules.
        after: The first time, included.
        before: The time at which to end, not included.
    """
    found = set()
    for timer in schedules:
        zone = ZoneInfo(timer.zone)
        for local in _local_times(timer, after.astimezone(zone).date(), before.astimezone(zone).date()):
            if not exists(local, zone):
                continue
            moment = local.replace(tzinfo=zone).astimezone(UTC)
            inside = timer.once or (
                (not timer.begin or moment >= timer.begin) and (not timer.end or moment <= timer.end)
            )
            if inside and after <= moment < before:
                found.add((moment, timer.verb))
    return sorted(found)


def _local_times(timer: Timer, first: date, last: date) -> list[datetime]:
    """Return the local times of a schedule between two dates, and on the days around them."""
    if match := AT.fullmatch(timer.expression):
        return [datetime.fromisoformat(match[1])]
    match = CRON.fullmatch(timer.expression)
    if not match:
        raise ValueError(f"{timer.expression} is not an expression of a lab's schedule")
    days = {DAYS.index(day.lower()) for day in match[3].split(",")}
    clock = time(int(match[2]), int(match[1]))
    span = range((last - first).days + 3)
    return [datetime.combine(day, clock) for number in span if (day := first - DAY + DAY * number).weekday() in days]
