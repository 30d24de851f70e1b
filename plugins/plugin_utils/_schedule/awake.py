# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read until when a user wants the lab awake. Pure functions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ...module_utils._guard.decide import awake_problem
from ...module_utils._problem import Problem, shown
from .request import CLOCK, exists, zones

HOURS = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?(?:h|hours?)?")
OFF = ("off", "false", "no", "0")
ALLOWED = 'hours such as 3, a local time such as "22:00", a date and time such as "2026-12-24 22:00", or off'


def read_awake(variable: str, value: object, zone: str, now: datetime) -> tuple[datetime | None, Problem | None]:
    """Return until when nothing stops the lab, None for `off`, or what is wrong with it.

    Args:
        variable: The variable as the user knows it.
        value: Its value.
        zone: The time zone of the lab's schedule; empty without one.
        now: The time.
    """
    text = "off" if value is False else str(value).strip().lower()
    if text in OFF:
        return None, None
    until: datetime | None
    if match := HOURS.fullmatch(text):
        until = now + timedelta(hours=float(match[1]))
    else:
        local, problem = _read_local(variable, text, zone, now)
        if problem or local is None:
            return None, problem
        until = local
    # A tag and EventBridge Scheduler hold whole seconds.
    until = until.astimezone(UTC).replace(microsecond=0)
    problem = awake_problem(variable, until, now)
    return (None if problem else until), problem


def _read_local(variable: str, text: str, zone: str, now: datetime) -> tuple[datetime | None, Problem | None]:
    """Return a time that is given as a local one, or what is wrong with it."""
    clock = CLOCK.fullmatch(text)
    try:
        local = None if clock else datetime.fromisoformat(text.upper())
    except ValueError:
        return None, Problem(variable, shown(text), "is not a time", ALLOWED, "Correct it")
    if local and local.tzinfo:
        return local, None
    if zone not in zones():
        reason = "is a local time, and the lab has no schedule with a time zone"
        return None, Problem(variable, shown(text), reason, "hours such as 3, or off", "Write hours, or set a schedule")
    tz = ZoneInfo(zone)
    if clock:
        today = now.astimezone(tz)
        at = time(int(clock[1]), int(clock[2]))
        # The next time that the clock shows it, which skips the hour that does not exist.
        days = [datetime.combine(today.date() + timedelta(days=ahead), at) for ahead in range(3)]
        moments = [day.replace(tzinfo=tz, fold=fold) for day in days if exists(day, tz) for fold in (0, 1)]
        return min(moment.astimezone(UTC) for moment in moments if moment.astimezone(UTC) > now), None
    if local and not exists(local, tz):
        return None, Problem(variable, shown(text), f"does not exist in {zone}", ALLOWED, "Choose another time")
    return (local.replace(tzinfo=tz) if local else None), None
