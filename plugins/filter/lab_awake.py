# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_awake."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_awake
short_description: Read until when nothing stops a lab
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns until when a user wants the lab awake, as its tag C(digital_twin_awake_until) has it. At most seven days.
options:
  _input:
    description:
      - Hours such as V(3), a local time such as V(22:00), a date and time such as V(2026-12-24 22:00), or V(off).
    type: raw
    required: true
  variable:
    description: The name of the variable, for messages.
    type: str
    required: true
  zone:
    description: The time zone of local times. Empty when the lab has none.
    type: str
    required: true
  now:
    description: The time in UTC.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Report until when nothing stops the lab
  ansible.builtin.debug:
    msg: "{{ ('22:00' | digital_twin.robotics_lab.lab_awake('awake_until', 'Europe/Berlin', now(utc=true))).until }}"
"""

RETURN = r"""
_value:
  description: The time, or what is wrong.
  type: dict
  contains:
    until:
      description: The time in UTC. Empty for V(off), and when it is refused.
      type: str
      sample: "2026-11-30T21:00:00Z"
    problem:
      description: Why the value is refused. Empty when it is not.
      type: str
      sample: ""
"""

from datetime import UTC, datetime
from typing import Any

from ..module_utils._lab.last_action import write_time
from ..plugin_utils._schedule.awake import read_awake


def lab_awake(value: object, variable: str, zone: str, now: datetime | str) -> dict[str, str]:
    """Return until when nothing stops the lab, or what is wrong with the value."""
    moment = datetime.fromisoformat(now) if isinstance(now, str) else now
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    until, problem = read_awake(variable, value, zone, moment)
    return {"until": write_time(until) if until else "", "problem": str(problem) if problem else ""}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_awake": lab_awake}
