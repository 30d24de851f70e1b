#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that manages a group of EventBridge Scheduler and all its schedules."""

from __future__ import annotations

DOCUMENTATION = r"""
module: scheduler_schedule
version_added: 1.0.0
short_description: Manage a group of EventBridge Scheduler and all its schedules
description:
  - Creates, updates or deletes a schedule group with its schedules. The group is managed as a whole, because only
    groups have tags and a role's trust policy can name only a group.
  - Compares schedules with the defaults of AWS filled in. C(UpdateSchedule) resets what it is not given, so a changed
    schedule is written as a whole, with its dead-letter queue and its key.
options:
  name:
    description: The name of the group, 1 to 64 letters, digits, dashes, underscores and dots.
    type: str
    required: true
  state:
    description: Whether the group should exist. With V(absent) its schedules are deleted with it.
    type: str
    choices: [present, absent]
    default: present
  tags:
    description: Tags of the group. Others stay.
    type: dict
    default: {}
  owner_tags:
    description:
      - Tags by which you recognise your groups. They are set with O(tags).
      - An existing group without them belongs to another owner. The module then fails with O(state=present), and leaves
        it with O(state=absent), see RV(foreign).
    type: dict
    default: {}
  schedules:
    description:
      - All schedules of the group, in the order in which they are written. Others are deleted.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name, unique in the group.
        type: str
        required: true
      expression:
        description: When it invokes its target, such as C(cron(0 8 ? * MON-FRI *)) or C(at(2026-12-24T12:00:00)).
        type: str
        required: true
      timezone:
        description: The time zone of O(schedules[].expression).
        type: str
        default: UTC
      begin:
        description: A time in UTC before which it invokes nothing, such as V(2026-12-24T00:00:00Z).
        type: str
        default: ''
      end:
        description: A time in UTC after which it invokes nothing.
        type: str
        default: ''
      description:
        description: Its description, at most 512 characters.
        type: str
        default: ''
      target_arn:
        description: The ARN of the target, such as C(arn:aws:scheduler:::aws-sdk:ec2:stopInstances).
        type: str
        required: true
      role_arn:
        description: The ARN of the role with which Scheduler invokes the target.
        type: str
        required: true
      input:
        description: The parameters of the call, under the names that the API has for them.
        type: dict
        default: {}
      retry_seconds:
        description: For how long an invocation that failed is repeated, 60 to 86400.
        type: int
        default: 86400
      retry_attempts:
        description: How often an invocation that failed is repeated, 0 to 185.
        type: int
        default: 185
      once:
        description: Whether AWS deletes it after its last invocation.
        type: bool
        default: false
      enabled:
        description: Whether it invokes its target.
        type: bool
        default: true
      flexible_minutes:
        description: Within how many minutes it invokes its target, at most 1440. V(0) is at the time itself.
        type: int
        default: 0
  wait_timeout:
    description:
      - For how many seconds the module waits until AWS knows a new role, and until a deleted group is gone.
    type: int
    default: 120
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
notes:
  - Needs the permissions C(scheduler:GetScheduleGroup), C(scheduler:ListTagsForResource), C(scheduler:ListSchedules),
    C(scheduler:GetSchedule), those in RV(actions), and C(iam:PassRole) for the role.
seealso:
  - module: digital_twin.robotics_lab.lab_schedule_info
  - module: digital_twin.robotics_lab.iam_service_role
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Stop an instance every evening
  digital_twin.robotics_lab.scheduler_schedule:
    region: eu-central-1
    name: warehouse
    tags: {team: robotics}
    schedules:
      - name: stop
        expression: cron(0 19 ? * MON-FRI *)
        timezone: Europe/Berlin
        target_arn: arn:aws:scheduler:::aws-sdk:ec2:stopInstances
        role_arn: arn:aws:iam::123456789012:role/warehouse-schedule
        input: {InstanceIds: [i-0123456789abcdef0]}
        retry_seconds: 3600

- name: Delete the group with its schedules
  digital_twin.robotics_lab.scheduler_schedule:
    region: eu-central-1
    name: warehouse
    state: absent
"""

RETURN = r"""
actions:
  description: The calls that were made to change the group, in their order, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [scheduler:CreateScheduleGroup warehouse, scheduler:CreateSchedule stop]
foreign:
  description: Whether a group of that name without O(owner_tags) exists, and was left unchanged.
  returned: success
  type: bool
  sample: false
"""

import json
from datetime import datetime, timezone
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import schedule_group
from ..module_utils._aws.connection import client_of, region_of, run_module
from ..module_utils._problem import Problem, shown

SCHEDULE: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "expression": {"type": "str", "required": True},
    "timezone": {"type": "str", "default": "UTC"},
    "begin": {"type": "str", "default": ""},
    "end": {"type": "str", "default": ""},
    "description": {"type": "str", "default": ""},
    "target_arn": {"type": "str", "required": True},
    "role_arn": {"type": "str", "required": True},
    "input": {"type": "dict", "default": {}},
    "retry_seconds": {"type": "int", "default": schedule_group.RETRY_SECONDS},
    "retry_attempts": {"type": "int", "default": schedule_group.RETRY_ATTEMPTS},
    "once": {"type": "bool", "default": False},
    "enabled": {"type": "bool", "default": True},
    "flexible_minutes": {"type": "int", "default": 0},
}
SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "tags": {"type": "dict", "default": {}},
    "owner_tags": {"type": "dict", "default": {}},
    "schedules": {"type": "list", "elements": "dict", "default": [], "options": SCHEDULE},
    "wait_timeout": {"type": "int", "default": 120},
}


class GroupError(Exception):
    """The options are invalid, or the group cannot be changed."""


def declared(parameters: dict[str, Any]) -> list[schedule_group.Schedule]:
    """Return the schedules that a module's options describe.

    Raises:
        GroupError: Two have one name, or a time cannot be read.
    """
    schedules = [schedule_group.Schedule(**given) for given in parameters["schedules"]]
    names = [schedule.name for schedule in schedules]
    for schedule in schedules:
        for key, text in (("begin", schedule.begin), ("end", schedule.end)):
            try:
                schedule_group.moment_of(text or "2026-01-01T00:00:00Z")
            except ValueError as error:
                allowed = "a time in UTC such as 2026-12-24T00:00:00Z"
                problem = Problem(f"schedules.{key}", shown(text), "is not a time", allowed, "Correct it")
                raise GroupError(str(problem)) from error
        if names.count(schedule.name) > 1:
            allowed = "a name for each schedule"
            raise GroupError(str(Problem("schedules", shown(schedule.name), "occurs twice", allowed, "Rename one")))
    return schedules


def pretty(tags: dict[str, str], schedules: list[schedule_group.Schedule]) -> str:
    """Return a group as text for the diff."""
    rows = {schedule.name: vars(schedule) for schedule in schedules}
    return json.dumps({"tags": tags, "schedules": rows}, indent=1, sort_keys=True) + "\n"


def manage(module: AnsibleAWSModule) -> dict[str, Any]:
    """Read, compare, write; return the module's result.

    Raises:
        GroupError: The options are invalid, or the group belongs to another owner.
        ReadError: Scheduler did not answer, or refused.
    """
    parameters, region, now = module.params, region_of(module), datetime.now(timezone.utc)
    name, timeout, present = parameters["name"], parameters["wait_timeout"], parameters["state"] == "present"
    owner, tags = ({key: str(value) for key, value in parameters[part].items()} for part in ("owner_tags", "tags"))
    wanted = declared(parameters)
    client = client_of(module, "scheduler", "scheduler:GetScheduleGroup")
    found = schedule_group.read(client, name, region)
    if found and found.state == schedule_group.DELETING:
        if not module.check_mode and not schedule_group.wait_until_gone(client, name, region, timeout):
            raise GroupError(f"The schedule group {name} is still being deleted after {timeout} s. Run this again.")
        found = None
    foreign = found is not None and not owner.items() <= found.tags.items()
    if foreign and present:
        marks = ", ".join(f"{key}={value}" for key, value in owner.items())
        allowed = f"a name that no other schedule group in {region} has"
        reason = f"is the name of a schedule group without the tags {marks}"
        problem = Problem("name", shown(name), reason, allowed, "Delete that group, or choose another name")
        raise GroupError(str(problem))
    calls: list[schedule_group.Call] = []
    if present:
        calls = schedule_group.plan(found, name, {**tags, **owner}, wanted, now)
    elif found and not foreign:
        calls = [schedule_group.Call("delete_schedule_group", "scheduler:DeleteScheduleGroup", {"Name": name})]
    if calls and not module.check_mode:
        if present:
            schedule_group.apply(client, calls, region, timeout)
        else:
            schedule_group.delete(client, name, region)
            if not schedule_group.wait_until_gone(client, name, region, timeout):
                raise GroupError(f"The schedule group {name} still exists after {timeout} s. Run this again.")
    old = [schedule_group.described(row, now) for row in found.schedules.values()] if found else []
    before = pretty(found.tags, old) if found else ""
    new = [schedule_group.begun(schedule, now) for schedule in wanted]
    after = pretty({**(found.tags if found else {}), **tags, **owner}, new) if present else ""
    header = f"schedule group {name}"
    diff = {"before": before, "after": after if calls else before, "before_header": header, "after_header": header}
    return {"changed": bool(calls), "actions": [str(call) for call in calls], "foreign": foreign, "diff": diff}


def main() -> None:
    """Manage the group, or fail with one line."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), manage, GroupError)


if __name__ == "__main__":
    main()
