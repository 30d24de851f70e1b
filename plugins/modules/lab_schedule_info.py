#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets what starts and stops a lab."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_schedule_info
version_added: 1.0.0
short_description: Get the schedule group of a lab, its role, its alarms and its failures
description:
  - Gets the group C(digital-twin-<name>) of EventBridge Scheduler with its schedules, the role
    C(digital-twin-<name>-schedule), the alarms of both, and how many of its calls failed.
options:
  name:
    description: The lab's name.
    type: str
    required: true
  failure_hours:
    description: Over how many hours failed calls are counted, at most 360. With V(0) none are counted.
    type: int
    default: 0
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permissions C(scheduler:GetScheduleGroup), C(scheduler:ListTagsForResource), C(scheduler:ListSchedules),
    C(scheduler:GetSchedule), C(iam:GetRole), C(iam:ListAttachedRolePolicies) and C(cloudwatch:DescribeAlarms).
  - Without C(ec2:GetEbsDefaultKmsKeyId), C(kms:DescribeKey) and C(cloudwatch:GetMetricStatistics) it returns in
    RV(unread) what is not known.
seealso:
  - module: digital_twin.robotics_lab.scheduler_schedule
  - plugin: digital_twin.robotics_lab.lab_schedule_plan
    plugin_type: filter
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the schedule of a lab
  digital_twin.robotics_lab.lab_schedule_info:
    region: eu-central-1
    name: warehouse
    failure_hours: 168
  register: schedule

- name: Check that every start and stop succeeded
  ansible.builtin.assert:
    that: schedule.failures.dropped.count == 0
"""

RETURN = r"""
account_id:
  description: The id of the account.
  returned: success
  type: str
  sample: "123456789012"
group:
  description: The group with C(name), C(arn) and C(tags). Empty when it does not exist.
  returned: success
  type: dict
  sample: {name: digital-twin-warehouse, tags: {digital_twin_lab: warehouse}}
schedules:
  description: Its schedules, in the form of the options of M(digital_twin.robotics_lab.scheduler_schedule).
  returned: success
  type: list
  elements: dict
  sample: [{name: stop-i-0123456789abcdef0, expression: "cron(0 19 ? * MON *)", timezone: Europe/Berlin}]
role:
  description: The role, as in RV(digital_twin.robotics_lab.lab_resources_info#module:resources). Empty without one.
  returned: success
  type: dict
  sample: {role_name: digital-twin-warehouse-schedule}
alarms:
  description: The alarms whose names begin with C(digital-twin-<name>-schedule-), as CloudWatch describes them.
  returned: success
  type: list
  elements: dict
  sample: [{alarm_name: digital-twin-warehouse-schedule-dropped}]
volume_key:
  description:
    - ARN of the key of the account that encrypts new volumes. Empty when that is AWS's own key.
    - The role needs C(kms:CreateGrant) for it, or instances with such volumes do not start.
  returned: success
  type: str
  sample: ''
failures:
  description:
    - Calls that failed and may have been repeated (C(errors)), and those that were given up (C(dropped)).
    - Empty with O(failure_hours=0), and without a group.
  returned: success
  type: dict
  sample: {errors: {count: 2, last: "2026-11-30T07:00:00Z"}, dropped: {count: 0, last: ""}}
unread:
  description: Calls that the caller may not make, with the code of the error.
  returned: success
  type: list
  elements: str
  sample: []
"""

from datetime import datetime, timezone
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.account import Account
from ..module_utils._aws.connection import connector, region_of, run_module
from ..module_utils._aws.errors import translated
from ..module_utils._lab.names import is_lab_name
from ..module_utils._lab.schedule_state import Request, read_state

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "failure_hours": {"type": "int", "default": 0},
}


def read(module: AnsibleAWSModule) -> dict[str, Any]:
    """Return what the module documents.

    Raises:
        ReadError: AWS did not answer.
    """
    lab, hours, region = module.params["name"], module.params["failure_hours"], region_of(module)
    if not is_lab_name(lab):
        module.fail_json(msg=f'name: "{lab}" is not the name of a lab.')
    if not 0 <= hours <= 360:
        module.fail_json(msg=f"failure_hours: {hours} is out of range. Allowed: 0 to 360. Choose such a number.")
    connect = connector(module)

    def client(service: str) -> Any:
        with translated(f"{service}:*", region):
            return connect(service, region)

    asked = Request(lab, region, datetime.now(timezone.utc), hours)
    return {"changed": False, **read_state(client, Account(connect, region), asked)}


def main() -> None:
    """Return the state, or fail with one line."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), read)


if __name__ == "__main__":
    main()
