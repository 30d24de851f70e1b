#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets alarms, log groups and a dashboard of CloudWatch in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_info
version_added: 1.0.0
short_description: Get alarms, log groups and a dashboard of CloudWatch in one call
description:
  - Gets the metric alarms and the log groups whose names begin with a prefix, one dashboard, and the id of the account.
  - It reads only what an option names. One call takes less time than one of the info modules of C(amazon.aws), each of
    which starts a process and loads boto3.
options:
  alarm_name_prefix:
    description: Beginning of the names of the alarms. Without it, no alarm is read.
    type: str
  log_group_name_prefix:
    description: Beginning of the names of the log groups. Without it, no log group is read.
    type: str
  dashboard_name:
    description: Name of the dashboard. Without it, no dashboard is read.
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permission C(cloudwatch:DescribeAlarms) for alarms, C(logs:DescribeLogGroups) and
    C(logs:ListTagsForResource) for log groups, and C(cloudwatch:GetDashboard) for a dashboard.
seealso:
  - module: amazon.aws.cloudwatch_metric_alarm_info
  - module: amazon.aws.cloudwatchlogs_log_group_info
  - module: digital_twin.robotics_lab.cloudwatch_dashboard
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the monitoring resources of the warehouse
  digital_twin.robotics_lab.cloudwatch_info:
    region: eu-central-1
    alarm_name_prefix: warehouse-
    log_group_name_prefix: /digital-twin/warehouse/
    dashboard_name: digital-twin-warehouse
  register: warehouse

- name: Check that the log groups delete old events
  ansible.builtin.assert:
    that: warehouse.log_groups | selectattr('retention_days', 'eq', 0) | length == 0
"""

RETURN = r"""
account_id:
  description: The id of the caller's account.
  returned: success
  type: str
  sample: "123456789012"
alarms:
  description: The alarms, with the keys that M(amazon.aws.cloudwatch_metric_alarm_info) returns.
  returned: success
  type: list
  elements: dict
  sample: [{alarm_name: warehouse-1-heartbeat, threshold: 1.0, alarm_actions: []}]
log_groups:
  description: The log groups.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: /digital-twin/warehouse/application
    retention_days:
      description: Number of days for which it keeps events. It is 0 when events are never deleted.
      type: int
      sample: 30
    tags:
      description: Its tags.
      type: dict
      sample: {team: robotics}
dashboards:
  description: The dashboard. Empty when it does not exist.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: digital-twin-warehouse
    dashboard_arn:
      description: Its ARN.
      type: str
      sample: arn:aws:cloudwatch::123456789012:dashboard/digital-twin-warehouse
    body:
      description: Its body. Text when the body in CloudWatch is not JSON.
      type: raw
      sample: {widgets: []}
"""

from typing import Any

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import cloudwatch, dashboard
from ..module_utils._aws.connection import connector, region_of, run_module
from ..module_utils._aws.errors import translated

SPEC: dict[str, dict[str, Any]] = {
    "alarm_name_prefix": {"type": "str"},
    "log_group_name_prefix": {"type": "str"},
    "dashboard_name": {"type": "str"},
}


def read(module: AnsibleAWSModule) -> dict[str, Any]:
    """Return what the options name.

    Raises:
        DashboardError: CloudWatch does not accept the name of the dashboard.
        ReadError: AWS did not answer.
    """
    region, connect, options = region_of(module), connector(module), module.params
    name = dashboard.check_name(options["dashboard_name"]) if options["dashboard_name"] else ""
    result: dict[str, Any] = {"changed": False, "alarms": [], "log_groups": [], "dashboards": []}
    with translated("sts:GetCallerIdentity", region):
        result["account_id"] = cloudwatch.read_account(connect("sts", region), region)
        client = connect("cloudwatch", region)
    if options["alarm_name_prefix"]:
        alarms = cloudwatch.read_alarms(client, options["alarm_name_prefix"], region)
        result["alarms"] = [camel_dict_to_snake_dict(alarm) for alarm in alarms]
    if options["log_group_name_prefix"]:
        logs = connect("logs", region)
        result["log_groups"] = cloudwatch.read_log_groups(logs, options["log_group_name_prefix"], region)
    if name and (found := dashboard.read(client, name, region)):
        result["dashboards"] = [{"name": name, "dashboard_arn": found.arn, "body": found.body}]
    return result


def main() -> None:
    """Return what the options name, or fail with one line for each reason."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), read, dashboard.DashboardError)


if __name__ == "__main__":
    main()
