# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter outdated_units."""

from __future__ import annotations

DOCUMENTATION = r"""
name: outdated_units
short_description: Find active units that started before their files were written
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the names of active units whose main process started before one of their files was written. An
    interrupted run may have written files without restarting the unit.
  - The times are compared to the second, as systemd prints them.
options:
  _input:
    description:
      - What M(digital_twin.robotics_lab.host_info) returns as C(units), with C(ExecMainStartTimestamp) in UTC. Set
        C(unit_properties=[ExecMainStartTimestamp]) and the C(environment) V(TZ=UTC) of its task.
      - A unit that is missing or not active is never outdated.
    type: dict
    required: true
  modified:
    description: By name of the unit, when its files were last written, in seconds since 1970. A number or several.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Restart the unit
  ansible.builtin.systemd_service:
    name: robot.service
    state: restarted
  when: host.units | digital_twin.robotics_lab.outdated_units(modified) | length > 0
  vars:
    modified:
      robot.service: "{{ host.files['/etc/robot.conf'].modified }}"
"""

RETURN = r"""
_value:
  description: The names of the units, in the order of O(modified).
  type: list
  elements: str
  sample: [robot.service]
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleFilterError

# The name of the day is left out.
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$")


def started(name: str, unit: Mapping[str, Any]) -> float:
    """Return when the main process of a unit started, in seconds since 1970; 0 where it has none."""
    text = unit.get("ExecMainStartTimestamp", "")
    if not text:
        return 0
    found = TIMESTAMP.search(text)
    if not found:
        raise AnsibleFilterError(
            f"ExecMainStartTimestamp of {name} is {text}, which is not in UTC. Set the task's environment to TZ=UTC."
        )
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def outdated_units(units: Mapping[str, Any], modified: Mapping[str, Any]) -> list[str]:
    """Return the active units that started before one of their files was written."""
    outdated = []
    for name, times in modified.items():
        unit = units.get(name) or {}
        latest = max(times, default=0) if isinstance(times, (list, tuple)) else times
        if unit.get("ActiveState") == "active" and int(latest) > started(name, unit):
            outdated.append(name)
    return outdated


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"outdated_units": outdated_units}
