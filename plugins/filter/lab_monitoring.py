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
  - Returns the CloudWatch alarms of a lab and the content of its dashboard. Does not contact AWS, changes nothing.
  - The options are those of the role C(aws_monitoring), whose README describes them, without their prefix.
positional: found
options:
  _input:
    description: The lab, and how it is to be watched.
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
        description: What the hosts add to the dimensions C(InstanceId) and C(GpuIndex).
        type: dict
        default: {}
      metrics:
        description: Which metrics the hosts write. There are no alarms on others.
        type: list
        elements: str
        default: [GPUUtilization, GPUMemoryUsedPercent, GPUTemperature, Heartbeat]
      flush_interval:
        description: Every how many seconds they write them.
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
            description: Whether its work keeps a GPU busy, so that an idle GPU means that the host is not in use.
            type: bool
            default: true
      alarm_topics:
        description: ARNs of the SNS topics that are told.
        type: list
        elements: str
        default: []
      idle_stop:
        description:
          - Whether an idle instance is stopped. V(auto) is for those with C(uses_gpu) among O(_input.instances); others
            have no such alarm. V(true) and V(false) are for all.
        type: raw
        default: auto
      idle_minutes:
        description: After how many minutes.
        type: int
        default: 60
      idle_utilization:
        description: Below which utilisation of every GPU, in percent.
        type: int
        default: 5
      heartbeat_minutes:
        description: After how many minutes without a heartbeat somebody is told.
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
        description: Whether AWS moves an instance that can be recovered to other hardware when its own fails.
        type: bool
        default: true
      log_retention_days:
        description: How long log groups keep their events.
        type: int
        default: 30
      log_groups:
        description: Names of the lab's log groups.
        type: list
        elements: str
        default: []
      tags:
        description: Tags of the user's own.
        type: dict
        default: {}
  found:
    description: The alarms that there are, as M(amazon.aws.cloudwatch_metric_alarm_info) tells them.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Tell the names of the alarms
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
  description: What watches the lab.
  type: dict
  contains:
    problems:
      description: Why it cannot be watched like that, each one line; the others are empty unless this is.
      type: list
      elements: str
      sample: ["aws_monitoring_temperature: 200 is out of range. Allowed: 40 to 120 degrees Celsius. Choose less"]
    alarms:
      description: The alarms, each as the options of M(amazon.aws.cloudwatch_metric_alarm).
      type: list
      elements: dict
      sample: [{name: warehouse-1-gpu-idle, metric_name: GPUUtilization}]
    own:
      description: Names of those found that are this lab's.
      type: list
      elements: str
      sample: [warehouse-1-gpu-idle]
    foreign:
      description: Names of those found that are not this lab's and bear a name that one of this lab's has to bear.
      type: list
      elements: str
      sample: []
    surplus:
      description: Names of this lab's that are no longer wanted.
      type: list
      elements: str
      sample: []
    differing:
      description: Names of those that are wanted and not there, or not like that.
      type: list
      elements: str
      sample: [warehouse-1-heartbeat]
    report:
      description: In words which hosts are stopped when, by the alarms that were found, and how to turn that off.
      type: list
      elements: str
      sample: [warehouse-2 is not stopped when its GPU is idle.]
    dashboard:
      description: The body of the dashboard.
      type: dict
      sample: {widgets: []}
    marker:
      description: How the description of the lab's alarms ends, and of no other's.
      type: str
      sample: "(digital_twin_lab: warehouse, managed_by: digital_twin.robotics_lab)"
    dashboard_marker:
      description: What each heading on the lab's dashboard says, and on no other's.
      type: str
      sample: "(digital_twin_lab: warehouse, region: eu-central-1, managed_by: digital_twin.robotics_lab)"
    log_prefix:
      description: What the names of the lab's log groups begin with, and of no other's.
      type: str
      sample: /digital-twin/warehouse/
"""

import contextlib
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ..plugin_utils._monitoring.alarms import alarms, report, sort_alarms
from ..plugin_utils._monitoring.dashboard import dashboard
from ..plugin_utils._monitoring.lab import Host, Lab, check

DEFAULTS: dict[str, Any] = {
    "account_id": "",
    "namespace": "DigitalTwin",
    "dimensions": {},
    "metrics": ["GPUUtilization", "GPUMemoryUsedPercent", "GPUTemperature", "Heartbeat"],
    "flush_interval": 60,
    "instances": [],
    "alarm_topics": [],
    "idle_stop": "auto",
    "idle_minutes": 60,
    "idle_utilization": 5,
    "heartbeat_minutes": 5,
    "temperature": 85,
    "memory_percent": 95,
    "recover": True,
    "log_retention_days": 30,
    "log_groups": [],
    "tags": {},
}


def read_count(value: object) -> int:
    """Return a number of GPUs, and 0, which is refused, for anything else."""
    try:
        return int(str(value))
    except ValueError:
        return 0


def lab_monitoring(description: dict[str, Any], found: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return what watches a lab, or why it cannot be watched like that."""
    values = {**DEFAULTS, **description}
    hosts = tuple(
        Host(
            str(host.get("name", "")),
            str(host.get("instance_id", "")),
            read_count(host.get("gpus", 1)),
            boolean(host.get("recover", False)),
            boolean(host.get("uses_gpu", True)),
        )
        for host in values.pop("instances")
    )
    with contextlib.suppress(TypeError):
        values["idle_stop"] = boolean(values["idle_stop"])
    values |= {name: tuple(values[name]) for name in ("alarm_topics", "log_groups", "metrics")}
    lab = Lab(hosts=hosts, **values)
    problems = [str(problem) for problem in check(lab)]
    return {
        "problems": problems,
        "alarms": [] if problems else alarms(lab),
        **sort_alarms(lab, found or []),
        "report": [] if problems else report(lab, found or []),
        "dashboard": {} if problems else dashboard(lab),
        "marker": lab.marker,
        "dashboard_marker": lab.dashboard_marker,
        "log_prefix": lab.log_prefix,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"lab_monitoring": lab_monitoring}
