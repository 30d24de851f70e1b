# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter instance_guard_report."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_guard_report
short_description: Describe what the guard of a host found, and its last stop
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns sentences about a host from the files of the role P(digital_twin.robotics_lab.instance_guard#role).
  - Contacts nothing, changes nothing.
options:
  _input:
    description: The name of the host.
    type: str
    required: true
  status:
    description: The content of the guard's file C(status.json), or an empty string if the file does not exist.
    type: str
    required: true
  last_stop:
    description: The content of the guard's file C(last_stop.json), or an empty string if the file does not exist.
    type: str
    required: true
  now:
    description: The time in UTC.
    type: raw
    required: true
  unused_days:
    description: Days without use after which a host is reported as unused.
    type: int
    default: 14
"""

EXAMPLES = r"""
- name: Report what the guard found
  ansible.builtin.debug:
    msg: "{{ inventory_hostname | digital_twin.robotics_lab.instance_guard_report(status, last_stop, now(utc=true)) }}"
"""

RETURN = r"""
_value:
  description: The sentences.
  type: list
  elements: str
  sample:
    - "warehouse-1: idle since 2026-11-30 19:30 UTC only."
    - "warehouse-1 was used last on 2026-11-30 at 19:30 UTC: an SSH session."
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils._lab.last_action import ACTORS, read_time
from ..module_utils._values import whole_number

# The guard writes its status every minute.
SILENT = timedelta(minutes=15)


def read(text: str) -> Mapping[str, Any]:
    """Return a document of the guard; an empty one without a text that is one."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def shown(text: str) -> str:
    """Return a time as sentences show it."""
    moment = read_time(text)
    return moment.strftime("%Y-%m-%d at %H:%M UTC") if moment else "a time that is not known"


def describe_status(host: str, status: Mapping[str, Any], now: datetime, unused_days: int) -> Iterator[str]:
    """Yield sentences about what the guard found."""
    written = read_time(str(status.get("time", "")))
    if written is None or now - written > SILENT:
        since = f" since {shown(str(status['time']))}" if written else ""
        yield f"{host}: its guard has reported nothing{since}. Run playbooks/configure.yml."
    elif status.get("idle_stop"):
        yield f"{host}: {status.get('decision')}."
    for fault in status.get("unreadable") or ():
        yield f"{host}: its guard cannot read what uses it, so it does not stop when it is idle: {fault}."
    if status.get("trouble"):
        yield f"{host}: its guard gets no notices of AWS: {status['trouble']}."
    use = status.get("last_use")
    used = read_time(str(use.get("time", ""))) if isinstance(use, dict) else None
    if isinstance(use, dict) and used:
        yield f"{host} was used last on {shown(use['time'])}: {', '.join(map(str, use.get('what') or ()))}."
        if now - used >= timedelta(days=unused_days):
            days = (now - used).days
            yield f"{host} was not used for {days} days. Run playbooks/stop.yml or playbooks/destroy.yml."
    for notice in status.get("notices") or ():
        yield f"{host}, {shown(str(notice.get('time', '')))}: {notice.get('text')}"


def describe_stop(host: str, stop: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about the last stop by the guard."""
    if not stop:
        return
    cause = str(stop.get("cause", ""))
    time = shown(str(stop.get("time", "")))
    yield f"{host} was stopped on {time} by {ACTORS.get(cause, cause)}: {stop.get('reason')}."
    for part in ("hook", "stack"):
        if str(stop.get(part, "")).startswith("failed"):
            yield f"{host}: in that stop, the {part} {stop[part]}."
    if not stop.get("complete"):
        yield f"{host}: that stop did not come to its end."


def instance_guard_report(host: str, status: str, last_stop: str, now: datetime, unused_days: int = 14) -> list[str]:
    """Return sentences about a host from the files of its guard."""
    days = whole_number(unused_days)
    if days is None or days < 1:
        raise AnsibleFilterError(f"instance_guard_report: unused_days is {unused_days!r}. Allowed: a number from 1.")
    moment = now.replace(tzinfo=UTC) if now.tzinfo is None else now
    return [*describe_status(host, read(status), moment, days), *describe_stop(host, read(last_stop))]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"instance_guard_report": instance_guard_report}
