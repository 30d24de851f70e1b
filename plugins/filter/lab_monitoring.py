# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_monitoring."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_monitoring
short_description: Compute the CloudWatch alarms and dashboard of a lab
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the CloudWatch alarms of a lab and the content of its dashboard.
  - Compares them with the existing ones, without contacting AWS.
  - The options are those of the role C(aws_monitoring), whose README describes them, without their prefix.
positional: state
options:
  _input:
    description: The lab, and how to monitor it.
    type: dict
    required: true
    suboptions:
      name:
        description: The lab's name.
        type: str
        required: true
      region:
        description: The AWS region.
        type: str
        required: true
      account_id:
        description: The AWS account's id.
        type: str
        default: ""
      namespace:
        description: Namespace of the metrics that the hosts write.
        type: str
        default: DigitalTwin
      dimensions:
        description: Further dimensions of the hosts' metrics, in addition to C(InstanceId) and C(GpuIndex).
        type: dict
        default: {}
      metrics:
        description: The metrics that the hosts write. Others get no alarm.
        type: list
        elements: str
        default: [GPUUtilization, GPUMemoryUsedPercent, GPUTemperature, Heartbeat]
      flush_interval:
        description: Seconds between their requests.
        type: int
        default: 60
      instances:
        description: The hosts.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: The host's name.
            type: str
            required: true
          instance_id:
            description: Its instance.
            type: str
            required: true
          gpus:
            description: How many GPUs it has.
            type: int
            default: 1
          recover:
            description: Whether AWS can recover instances of its type.
            type: bool
            default: false
          uses_gpu:
            description: Whether its work uses the GPU, so that an idle GPU means that the host is not in use.
            type: bool
            default: true
          guarded:
            description:
              - Whether a program on the host stops it when it is idle, as the role
                P(digital_twin.robotics_lab.instance_guard#role) does.
              - Its alarm then stops it only when its GPUs were idle for a day, as an alarm knows
                neither sessions nor clients.
            type: bool
            default: false
      alarm_topics:
        description: ARNs of the SNS topics to notify.
        type: list
        elements: str
        default: []
      idle_stop:
        description:
          - Whether an idle instance is stopped. V(auto) is for those with C(uses_gpu) among O(_input.instances); others
            have no such alarm. V(true) and V(false), also as booleans, are for all.
        type: str
        choices: [auto, "true", "false"]
        default: auto
      idle_minutes:
        description: Idle minutes before the stop.
        type: int
        default: 60
      idle_utilization:
        description: Utilization in percent below which a GPU is idle.
        type: int
        default: 5
      heartbeat_minutes:
        description: Minutes without a heartbeat before the alarm.
        type: int
        default: 5
      temperature:
        description: Degrees Celsius from which a GPU is hot.
        type: int
        default: 85
      memory_percent:
        description: Percentage from which the memory of a GPU is nearly full.
        type: int
        default: 95
      recover:
        description: Whether AWS moves a recoverable instance to other hardware when its own fails.
        type: bool
        default: true
      log_retention_days:
        description: Days for which log groups keep their events.
        type: int
        default: 30
      log_groups:
        description: Names of the lab's log groups.
        type: list
        elements: str
        default: []
      tags:
        description: More tags for the log groups.
        type: dict
        default: {}
      dashboard:
        description: Whether the lab has a dashboard. Without instances it has none.
        type: bool
        default: true
  state:
    description: The existing monitoring, as M(digital_twin.robotics_lab.cloudwatch_info) returns it.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report the names of the alarms
  ansible.builtin.debug:
    msg: "{{ (lab | digital_twin.robotics_lab.lab_monitoring).alarms | map(attribute='name') }}"
  vars:
    lab:
      name: warehouse
      region: eu-central-1
      instances:
        - {name: warehouse-1, instance_id: i-0123456789abcdef0}
"""

RETURN = r"""
_value:
  description: The planned monitoring.
  type: dict
  contains:
    problems:
      description: The problems of the description, one line for each. If there are any, nothing is planned.
      type: list
      elements: str
      sample: ["aws_monitoring_temperature: 200 is out of range. Allowed: 40 to 120 degrees Celsius. Choose less"]
    alarms:
      description: The alarms, each as the options of M(amazon.aws.cloudwatch_metric_alarm).
      type: list
      elements: dict
      sample: [{name: warehouse-1-gpu-idle, metric_name: GPUUtilization}]
    own:
      description: Names of existing alarms of this lab.
      type: list
      elements: str
      sample: [warehouse-1-gpu-idle]
    foreign:
      description: Names of existing alarms of others that an alarm of this lab needs.
      type: list
      elements: str
      sample: []
    excess:
      description: Names of existing alarms of this lab that are no longer planned.
      type: list
      elements: str
      sample: []
    differing:
      description: Names of planned alarms that are missing or differ.
      type: list
      elements: str
      sample: [warehouse-1-heartbeat]
    report:
      description: Sentences that explain which hosts the existing alarms stop and when, and how to disable that.
      type: list
      elements: str
      sample: [warehouse-2 is not stopped when its GPU is idle.]
    dashboard:
      description: The body of the dashboard.
      type: dict
      sample: {widgets: []}
    marker:
      description: End of the description of this lab's alarms, and of no other's.
      type: str
      sample: "(digital_twin_lab: warehouse, managed_by: digital_twin.robotics_lab)"
    dashboard_marker:
      description: A text in each heading of this lab's dashboard, and of no other's.
      type: str
      sample: "(digital_twin_lab: warehouse, region: eu-central-1, managed_by: digital_twin.robotics_lab)"
    dashboard_name:
      description: Name of the dashboard.
      type: str
      sample: digital-twin-warehouse
    dashboard_wanted:
      description: Whether the lab gets a dashboard.
      type: bool
      sample: true
    dashboard_state:
      description: V(absent) when no dashboard has this name, V(own) when it is this lab's, else V(foreign).
      type: str
      sample: own
    dashboard_differs:
      description: Whether the dashboard has to be written or deleted.
      type: bool
      sample: false
    log_groups:
      description:
        - Log groups to create or change, with C(name), C(exists), and C(differences), the beginning of what
          RV(_value.differences) has of each.
      type: list
      elements: dict
      sample: [{name: /digital-twin/warehouse/bootstrap, exists: true, differences: ["retention of "]}]
    own_log_groups:
      description: Names of existing log groups of this lab.
      type: list
      elements: str
      sample: [/digital-twin/warehouse/bootstrap]
    tags:
      description: Tags of the log groups.
      type: dict
      sample: {digital_twin_lab: warehouse, managed_by: digital_twin.robotics_lab}
    conflicts:
      description: Why the plan would overwrite alarms or a dashboard of others, one line for each reason.
      type: list
      elements: str
      sample: []
    differences:
      description: What differs from the plan.
      type: list
      elements: str
      sample: [alarm warehouse-1-heartbeat]
    existing:
      description: What exists of this lab's monitoring.
      type: list
      elements: str
      sample: [alarm warehouse-1-heartbeat, dashboard digital-twin-warehouse]
    log_prefix:
      description: Beginning of the names of this lab's log groups, and of no other's.
      type: str
      sample: /digital-twin/warehouse/
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils._values import whole_number
from ..plugin_utils._monitoring.alarms import alarms, report
from ..plugin_utils._monitoring.compare import compare
from ..plugin_utils._monitoring.dashboard import dashboard
from ..plugin_utils._monitoring.lab import Lab, MonitoredHost, check

# Variables of Ansible may be text, as -e makes them. By the type of the default.
CONVERTERS: dict[type, Callable[[Any], Any]] = {bool: boolean, int: int, tuple: tuple}


def lab_monitoring(description: dict[str, Any], state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the planned monitoring of a lab, or what is wrong with its description."""
    state = state or {}
    hosts = tuple(
        MonitoredHost(
            str(host.get("name", "")),
            str(host.get("instance_id", "")),
            whole_number(host.get("gpus", 1)) or 0,
            boolean(host.get("recover", False)),
            boolean(host.get("uses_gpu", True)),
            boolean(host.get("guarded", False)),
        )
        for host in description.get("instances", [])
    )
    values = {name: value for name, value in description.items() if name != "instances"}
    for option in fields(Lab):
        if option.name in values and type(option.default) in CONVERTERS:
            values[option.name] = CONVERTERS[type(option.default)](values[option.name])
    with contextlib.suppress(TypeError):
        values["idle_stop"] = boolean(values.get("idle_stop"))
    lab = Lab(**{"hosts": hosts, **values})
    problems = [str(problem) for problem in check(lab)]
    compared = compare(lab, state)
    return {
        **compared,
        "problems": problems,
        "conflicts": [str(problem) for problem in compared["conflicts"]],
        "alarms": [] if problems else alarms(lab),
        "report": [] if problems else report(lab, state.get("alarms", [])),
        "dashboard": {} if problems else dashboard(lab),
        "dashboard_wanted": lab.has_dashboard,
        "dashboard_name": lab.dashboard_name,
        "marker": lab.marker,
        "dashboard_marker": lab.dashboard_marker,
        "log_prefix": lab.log_prefix,
        "tags": lab.all_tags,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"lab_monitoring": lab_monitoring}
