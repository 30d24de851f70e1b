# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_schedule_events."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_schedule_events
short_description: List when the schedule of a lab has started and stopped it
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the times of the last weeks at which a lab's schedule starts and stops its instances. EventBridge Scheduler
    leaves no tag, so P(digital_twin.robotics_lab.lab_summary#filter) compares these times with those of EC2.
  - The schedule is the one of today. A time at which another schedule applied, or at which the lab was kept awake, is
    listed although nothing has happened then.
  - Contacts nothing, changes nothing.
options:
  _input:
    description:
      - The schedule, as P(digital_twin.robotics_lab.lab_schedule_plan#filter) takes it in C(times). Empty for none.
      - For a schedule with mistakes nothing is listed.
    type: dict
    required: true
  now:
    description: The time in UTC.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Report when the schedule has stopped the lab
  ansible.builtin.debug:
    msg: "{{ times | digital_twin.robotics_lab.lab_schedule_events(now(utc=true)) | selectattr('verb', 'eq', 'stop') }}"
  vars:
    times: {start: "08:00", stop: "19:30", days: weekdays, zone: Europe/Berlin}
"""

RETURN = r"""
_value:
  description:
    - The starts and stops of the last 35 days, for C(events) of P(digital_twin.robotics_lab.lab_summary#filter).
  type: list
  elements: dict
  sample: [{verb: stop, cause: schedule, time: "2026-11-30T18:30:00Z"}]
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ..module_utils._lab.last_action import SCHEDULE, write_time
from ..plugin_utils._schedule.request import read_schedule
from ..plugin_utils._schedule.timers import fires, timers

# A lab that was stopped before is not explained by its schedule.
BACK = timedelta(days=35)


def lab_schedule_events(times: Mapping[str, Any] | None, now: datetime) -> list[dict[str, str]]:
    """Return when a schedule has started and stopped a lab."""
    schedule, problems = read_schedule("times", times) if times and isinstance(times, Mapping) else (None, [])
    if schedule is None or problems:
        return []
    # now(utc=true) has no zone.
    end = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
    found = fires(timers(schedule, end - BACK), end - BACK, end)
    return [{"verb": verb, "cause": SCHEDULE, "time": write_time(when)} for when, verb in found]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_schedule_events": lab_schedule_events}
