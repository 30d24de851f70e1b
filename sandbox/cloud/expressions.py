"""The expressions of EventBridge Scheduler: at, rate and cron, in a time zone.

Sources. Read on 2026-11-30: EventBridge Scheduler User Guide, "Schedule types" (fields, wildcards, daylight saving: a
time that does not exist is skipped, one that exists twice is used once); localstack 9284 (AWS's message). Inferred: of
a time that exists twice, the first is used.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

UNITS = {"minute": 60, "hour": 3600, "day": 86400}
MONTHS = {
    name: place
    for place, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}
DAYS = {name: place for place, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), start=1)}
FIRST_YEAR, LAST_YEAR = 1970, 2199
# A date and a day of the week meet every 28 years, or 40 around 2100.
SEARCHED_DAYS = 41 * 366


class ExpressionError(Exception):
    """An expression, or a time zone, that AWS refuses."""


@cache
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone.

    :raises ExpressionError: there is none with this name.
    """
    if name not in available_timezones():
        raise ExpressionError(f"The timezone {name} is not supported.")
    return ZoneInfo(name)


def instant(local: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the moment of a local time: the first of two, and None where the clock jumps over it."""
    moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return moment if moment.astimezone(zone).replace(tzinfo=None, fold=0) == local else None


@dataclass(frozen=True)
class At:
    """One time."""

    local: datetime

    def after(self, moment: datetime, zone: ZoneInfo, base: datetime) -> datetime | None:
        """Return the next time after a moment.

        :param base: when the schedule begins.
        """
        due = instant(self.local, zone)
        return due if due and due > moment else None


@dataclass(frozen=True)
class Rate:
    """A period in seconds. A day has 24 hours, whatever the clocks do."""

    seconds: int

    def after(self, moment: datetime, zone: ZoneInfo, base: datetime) -> datetime | None:
        """Return the next time after a moment; the first is the beginning itself."""
        if moment < base:
            return base
        passed = int((moment - base).total_seconds() // self.seconds)
        return base + timedelta(seconds=self.seconds * (passed + 1))


@dataclass(frozen=True)
class Cron:
    """Minutes, hours, days of the month, months, days of the week and years.

    :param month_days: numbers, and ``L`` or numbers with ``W``; None for any.
    :param week_days: numbers, and pairs of a day and its place in the month, 0 for the last; None for any.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    month_days: frozenset[int | str] | None
    months: frozenset[int]
    week_days: frozenset[int | tuple[int, int]] | None
    years: frozenset[int]

    def after(self, moment: datetime, zone: ZoneInfo, base: datetime) -> datetime | None:
        """Return the next time after a moment."""
        start = max(moment, base - timedelta(microseconds=1))
        first = start.astimezone(zone).date() - timedelta(days=1)
        for day in (first + timedelta(days=number) for number in range(SEARCHED_DAYS)):
            if self.has(day):
                found = (instant(datetime.combine(day, moment_of), zone) for moment_of in self.times())
                if due := min((due for due in found if due and due > start), default=None):
                    return due
        return None

    def times(self) -> Iterator[time]:
        """Yield the times of a day."""
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                yield time(hour, minute)

    def has(self, day: date) -> bool:
        """Return whether the expression names a day."""
        if day.year not in self.years or day.month not in self.months:
            return False
        if self.month_days is not None and not any(self._is(day, wanted) for wanted in self.month_days):
            return False
        if self.week_days is None:
            return True
        number = day.isoweekday() % 7 + 1
        place = (day.day - 1) // 7 + 1
        last = day.day + 7 > calendar.monthrange(day.year, day.month)[1]
        return number in self.week_days or (number, place) in self.week_days or (last and (number, 0) in self.week_days)

    @staticmethod
    def _is(day: date, wanted: int | str) -> bool:
        if isinstance(wanted, int):
            return day.day == wanted
        length = calendar.monthrange(day.year, day.month)[1]
        if wanted == "L":
            return day.day == length
        middle = length if wanted == "LW" else int(wanted[:-1])
        return middle <= length and day == nearest_weekday(date(day.year, day.month, middle))


def nearest_weekday(day: date) -> date:
    """Return the weekday nearest to a day, in the same month."""
    moves = {5: (-1, 2), 6: (1, -2)}.get(day.weekday(), (0, 0))
    return next(other for move in moves if (other := day + timedelta(days=move)).month == day.month)


@cache
def parse(text: str) -> At | Rate | Cron:
    """Return what an expression means.

    :raises ExpressionError: AWS refuses it.
    """
    refused = ExpressionError(f"Invalid Schedule Expression {text}.")
    match = re.fullmatch(r"(at|rate|cron)\((.*)\)", text)
    if match is None:
        raise refused
    kind, body = match[1], match[2]
    try:
        if kind == "at":
            if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", body):
                raise ValueError(body)
            return At(datetime.fromisoformat(body))
        return rate(body) if kind == "rate" else cron(body)
    except ValueError:
        raise refused from None


def rate(body: str) -> Rate:
    """Return a period.

    :raises ValueError: it is not one.
    """
    match = re.fullmatch(r"([1-9]\d{0,8}) (minute|hour|day)(s?)", body)
    if match is None:
        raise ValueError(body)
    return Rate(int(match[1]) * UNITS[match[2]])


def cron(body: str) -> Cron:
    """Return six fields.

    :raises ValueError: they are not six, or one is outside its range.
    """
    minutes, hours, month_days, months, week_days, years = body.split()
    if (month_days == "?") == (week_days == "?"):
        raise ValueError(body)
    return Cron(
        minutes=frozenset(values(minutes, 0, 59)),
        hours=frozenset(values(hours, 0, 23)),
        month_days=None if month_days in ("?", "*") else frozenset(month_day(month_days)),
        months=frozenset(values(months, 1, 12, MONTHS)),
        week_days=None if week_days in ("?", "*") else frozenset(week_day(week_days)),
        years=frozenset(values(years, FIRST_YEAR, LAST_YEAR)),
    )


def month_day(text: str) -> Iterator[int | str]:
    """Yield the days of the month that a field names."""
    for part in text.split(","):
        if part in ("L", "LW") or (re.fullmatch(r"\d{1,2}W", part) and 1 <= int(part[:-1]) <= 31):
            yield part
        else:
            yield from values(part, 1, 31)


def week_day(text: str) -> Iterator[int | tuple[int, int]]:
    """Yield the days of the week that a field names, Sunday as 1."""
    for part in text.split(","):
        if match := re.fullmatch(r"(\w+)#([1-5])", part):
            yield number(match[1], 1, 7, DAYS), int(match[2])
        elif part == "L":
            yield 7
        elif match := re.fullmatch(r"([1-7])L", part):
            yield int(match[1]), 0
        else:
            yield from values(part, 1, 7, DAYS)


def values(text: str, low: int, high: int, names: dict[str, int] | None = None) -> Iterator[int]:
    """Yield the numbers that a field names: ``*``, numbers, ranges, lists, and steps with ``/``.

    :raises ValueError: one is outside the range.
    """
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if slash and not re.fullmatch("[1-9][0-9]*", step):
            raise ValueError(text)
        if span == "*":
            start, end = low, high
        else:
            start = number(first, low, high, names)
            end = number(last, low, high, names) if dash else (high if slash else start)
        if start > end:
            raise ValueError(text)
        yield from range(start, end + 1, int(step) if slash else 1)


def number(text: str, low: int, high: int, names: dict[str, int] | None) -> int:
    """Return the number of one value.

    :raises ValueError: it is outside the range.
    """
    if names and text.upper() in names:
        return names[text.upper()]
    if not re.fullmatch("[0-9]{1,4}", text) or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)
