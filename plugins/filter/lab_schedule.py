# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_schedule."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_schedule
short_description: Plan the schedules that start and stop a lab
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the schedules of EventBridge Scheduler that carry out a lab's schedule. Contacts nothing, changes nothing.
  - EventBridge Scheduler skips a local time that does not exist, as the clocks go forward, and counts one that exists
    twice once.
options:
  _input:
    description:
      - C(start) and C(stop) are local times, such as C("08:00"). Without C(start) the lab is only stopped. A C(stop)
        that is not later than C(start) is on the next day.
      - C(days) is V(weekdays), V(weekend), V(daily) or a list of days.
      - C(zone) is an IANA time zone, such as C(Europe/Berlin).
      - C(exceptions) are dates on which the lab is C(closed), or has another C(start) and C(stop).
    type: dict
    required: true
  variable:
    description: The name of the variable, for messages.
    type: str
    required: true
  now:
    description: The time in UTC. Nothing is planned before it.
    type: raw
    required: true
  awake_until:
    description: A time in UTC until which nothing stops the lab.
    type: raw
"""

EXAMPLES = r"""
- name: Report the schedules
  ansible.builtin.debug:
    msg: "{{ (schedule | digital_twin.robotics_lab.lab_schedule('schedule', now(utc=true))).timers }}"
  vars:
    schedule:
      start: "08:00"
      stop: "19:30"
      days: weekdays
      zone: Europe/Berlin
      exceptions: [{date: "2026-12-25", closed: true}]
"""

RETURN = r"""
_value:
  description: The schedules, or what is wrong.
  type: dict
  contains:
    timers:
      description:
        - The schedules with their C(name), C(verb), C(expression), C(zone), C(retry_seconds), C(once), and the times
          C(begin) and C(end) in UTC, which are empty where there is none.
      type: list
      elements: dict
    problems:
      description: Why the schedule is refused.
      type: list
      elements: str
    warnings:
      description: What the next changes of the clocks do to it.
      type: list
      elements: str
  sample:
    timers:
      - name: stop
        verb: stop
        expression: cron(30 19 ? * MON,TUE,WED,THU,FRI *)
        zone: Europe/Berlin
        begin: ""
        end: ""
        retry_seconds: 3600
        once: false
    problems: []
    warnings: []
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..module_utils._guard.decide import awake_problem
from ..plugin_utils._schedule.request import clock_warnings, read_schedule
from ..plugin_utils._schedule.timers import Timer, timers


def _utc(moment: datetime) -> datetime:
    """Return a time with its zone, which now(utc=true) does not have."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _shown(timer: Timer) -> dict[str, Any]:
    """Return a schedule as data."""
    begin, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else "" for moment in (timer.begin, timer.end))
    return {**vars(timer), "begin": begin, "end": end, "once": timer.once}


def lab_schedule(
    given: Mapping[str, Any], variable: str, now: datetime, awake_until: datetime | None = None
) -> dict[str, Any]:
    """Return the schedules, or what is wrong."""
    schedule, problems = read_schedule(variable, given)
    now, awake = _utc(now), _utc(awake_until) if awake_until else None
    if awake and (problem := awake_problem("awake_until", awake, now)):
        problems.append(problem)
    if schedule is None or problems:
        return {"timers": [], "problems": [str(problem) for problem in problems], "warnings": []}
    return {
        "timers": [_shown(timer) for timer in timers(schedule, now, awake)],
        "problems": [],
        "warnings": clock_warnings(schedule, now.astimezone(schedule.tz).date()),
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_schedule": lab_schedule}
