# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_schedule_plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_schedule_plan
short_description: Compute what starts and stops a lab in AWS
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the schedule group of a lab, its role and its alarms, as options of the modules that create them, and
    compares them with the existing ones. Contacts nothing, changes nothing.
positional: state
options:
  _input:
    description:
      - The lab, with C(name), C(region), C(times), C(instances) with their ids, C(tags), C(permissions_boundary),
        C(alarm_topics), C(awake_until), and the time C(now) in UTC.
      - C(times) has C(start) and C(stop), local times such as C("08:00"). Without C(start) the lab is only stopped. A
        C(stop) that is not later than C(start) is on the next day. C(days) is V(weekdays), V(weekend), V(daily) or a
        list of days, C(zone) an IANA time zone such as C(Europe/Berlin). C(exceptions) are dates on which the lab is
        C(closed), or has another C(start) and C(stop).
      - EventBridge Scheduler skips a local time that does not exist, as the clocks go forward, and counts one that
        exists twice once.
      - Without C(times) the lab has no schedule.
    type: dict
    required: true
  state:
    description: What exists, as M(digital_twin.robotics_lab.lab_schedule_info) returns it.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report when the lab starts and stops
  ansible.builtin.debug:
    msg: "{{ (lab | digital_twin.robotics_lab.lab_schedule_plan(schedule)).report }}"
  vars:
    lab:
      name: warehouse
      region: eu-central-1
      times: {start: "08:00", stop: "19:30", zone: Europe/Berlin}
      instances: [i-0123456789abcdef0]
      tags: {}
      permissions_boundary: ""
      alarm_topics: []
      awake_until: ""
      now: "{{ now(utc=true) }}"
"""

RETURN = r"""
_value:
  description: What starts and stops the lab.
  type: dict
  contains:
    wanted:
      description: Whether the lab has a schedule by its description.
      type: bool
    problems:
      description: Why the description is refused.
      type: list
      elements: str
    conflicts:
      description: Why a schedule of this lab would change what belongs to others.
      type: list
      elements: str
    warnings:
      description: What the next changes of the clocks do, and what the key of the volumes needs.
      type: list
      elements: str
    group:
      description: C(name), C(tags), C(owner_tags) and C(schedules) of M(digital_twin.robotics_lab.scheduler_schedule).
      type: dict
    role:
      description: C(name), C(tags), C(trust_conditions), C(policy) and C(permissions_boundary) of the role.
      type: dict
    alarms:
      description: All alarms, as the options of M(amazon.aws.cloudwatch_metric_alarm).
      type: list
      elements: dict
    differing:
      description: Those that are missing or differ.
      type: list
      elements: dict
    own_alarms:
      description: The names of the existing alarms of this lab.
      type: list
      elements: str
    own_role:
      description: Whether the existing role is the lab's.
      type: bool
    own_group:
      description: Whether the existing group is the lab's.
      type: bool
    differences:
      description: What is missing or differs, as phrases. Empty without C(times).
      type: list
      elements: str
    wrong:
      description:
        - What is not as described, as phrases. Unlike C(differences) without schedules whose time is over, which AWS
          deletes itself or the next run removes, and with what exists of a lab without C(times).
      type: list
      elements: str
    existing:
      description: What exists, as phrases such as C(schedule group digital-twin-warehouse).
      type: list
      elements: str
    report:
      description: When the lab starts and stops, and what failed, as sentences.
      type: list
      elements: str
  sample:
    wanted: true
    problems: []
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..module_utils._guard.decide import LONGEST_AWAKE
from ..module_utils._lab.last_action import read_time
from ..module_utils._lab.schedule_state import group_name, role_name
from ..module_utils._problem import Problem, listed, shown
from ..plugin_utils._monitoring.compare import is_alarm_like
from ..plugin_utils._schedule.group import (
    ScheduledLab,
    alarms,
    differences,
    has_tags,
    policy,
    read_held,
    report,
    schedules,
    trust_conditions,
)
from ..plugin_utils._schedule.request import clock_warnings, read_schedule
from ..plugin_utils._schedule.timers import timers

# The variables of role aws_schedule.
TIMES = "aws_schedule_times"
NAME = "aws_schedule_name"


def lab_schedule_plan(description: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what starts and stops a lab, and what is wrong with it."""
    state = state or {}
    now = _utc(description["now"])
    lab = ScheduledLab(
        description["name"],
        description["region"],
        state.get("account_id") or "",
        tuple(description["instances"]),
        tuple(sorted((str(key), str(value)) for key, value in description["tags"].items())),
        tuple(description["alarm_topics"]),
        state.get("volume_key") or "",
        description["permissions_boundary"],
    )
    wanted = bool(description["times"])
    schedule, problems = read_schedule(TIMES, description["times"]) if wanted else (None, [])
    awake = read_time(description["awake_until"])
    # Any caller that may tag can write the tag.
    awake = None if awake and awake - now > LONGEST_AWAKE else awake
    held = read_held(state.get("schedules") or [], now)
    since = held.since if held else now
    planned = schedules(lab, timers(schedule, now, awake, held), since) if schedule else []
    existing = {alarm["alarm_name"]: alarm for alarm in state.get("alarms") or []}
    own = _own(lab, state)
    watching = alarms(lab) if wanted else []
    differing = [
        row for row in watching if row["name"] not in existing or not is_alarm_like(existing[row["name"]], row)
    ]
    tags = dict(lab.tags)
    kept = [
        *([f"schedule group {group_name(lab.name)}"] if own["own_group"] else []),
        *([f"role {role_name(lab.name)}"] if own["own_role"] else []),
        *(f"alarm {name}" for name in own["own_alarms"]),
    ]
    wrong_alarms = [f"alarm {row['name']}" for row in differing]
    return {
        "wanted": wanted,
        "problems": [str(problem) for problem in problems],
        "conflicts": [str(problem) for problem in _conflicts(lab, state, own)],
        "warnings": (clock_warnings(schedule, now.astimezone(schedule.tz).date()) if schedule else [])
        + (_key_warnings(lab, state) if wanted else []),
        "group": {"name": group_name(lab.name), "tags": tags, "owner_tags": lab.owner_tags, "schedules": planned},
        "role": {
            "name": role_name(lab.name),
            "tags": {**tags, **lab.owner_tags},
            "trust_conditions": trust_conditions(lab),
            "policy": policy(lab),
            "permissions_boundary": lab.boundary_arn,
        },
        "alarms": watching,
        "differing": differing,
        **own,
        "differences": [*differences(lab, state, planned, now), *wrong_alarms] if wanted else [],
        "wrong": [*differences(lab, state, planned, now, over=False), *wrong_alarms]
        if wanted
        else [f"excess {one}" for one in kept],
        "existing": kept,
        "report": report(state, list(lab.instances), awake, now),
    }


def _own(lab: ScheduledLab, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return which of the existing resources belong to a lab."""
    return {
        "own_group": has_tags(state.get("group") or {}, lab.owner_tags),
        "own_role": has_tags(state.get("role") or {}, lab.owner_tags),
        "own_alarms": [
            alarm["alarm_name"]
            for alarm in state.get("alarms") or []
            if (alarm.get("alarm_description") or "").endswith(lab.marker)
        ],
    }


def _conflicts(lab: ScheduledLab, state: Mapping[str, Any], own: Mapping[str, Any]) -> list[Problem]:
    """Return why a schedule of the lab would change what belongs to others."""
    found = []
    if state.get("group") and not own["own_group"]:
        found.append(f"the schedule group {group_name(lab.name)}")
    if state.get("role") and not own["own_role"]:
        found.append(f"the role {role_name(lab.name)}")
    planned = {alarm["name"] for alarm in alarms(lab)}
    names = [alarm["alarm_name"] for alarm in state.get("alarms") or []]
    found += [f"the alarm {name}" for name in names if name in planned and name not in own["own_alarms"]]
    if not found:
        return []
    reason = f"needs {listed(found)}, which already exists and does not belong to this lab in {lab.region}"
    allowed = "a name that no other lab of the account has"
    return [Problem(NAME, shown(lab.name), reason, allowed, "Choose another name, or delete what is not needed")]


def _key_warnings(lab: ScheduledLab, state: Mapping[str, Any]) -> list[str]:
    """Return what the key with which EBS encrypts volumes needs."""
    if lab.volume_key:
        return [
            f"EBS encrypts new volumes with {lab.volume_key}, so the schedule's role gets kms:CreateGrant for it. Its "
            "key policy must allow that to the account's IAM policies, or the lab does not start."
        ]
    return [
        f"It is not known with which key EBS encrypts volumes ({reason}). With a key of your own the role "
        f"{role_name(lab.name)} needs kms:CreateGrant for it, or the lab does not start."
        for reason in state.get("unread") or []
        if reason.startswith(("ec2:", "kms:"))
    ]


def _utc(moment: datetime | str) -> datetime:
    """Return a time with its zone, which now(utc=true) does not have."""
    moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_schedule_plan": lab_schedule_plan}
