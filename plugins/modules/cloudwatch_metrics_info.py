#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets the latest datapoints of CloudWatch metrics."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_metrics_info
version_added: 1.0.0
short_description: Get the latest datapoints of CloudWatch metrics
description:
  - Returns the newest datapoint of each metric, with its time.
  - A metric without a datapoint in the given period is not an error. Its value is null.
options:
  metrics:
    description: The metrics. The result has the same order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The metric's name, such as V(GPUUtilization).
        type: str
        required: true
      namespace:
        description: Its namespace, such as V(DigitalTwin) or V(AWS/EC2).
        type: str
        required: true
      dimensions:
        description:
          - All of its dimensions, a mapping of text to text. CloudWatch stores each combination as a separate metric.
        type: dict
        default: {}
      statistic:
        description:
          - The statistic of a period - V(Average), V(Maximum), V(Minimum), V(SampleCount), V(Sum), or
            a percentile such as V(p95).
        type: str
        default: Average
      label:
        description: Its label. When empty, CloudWatch's own.
        type: str
        default: ''
  period:
    description: Length of a period in seconds, 1, 5, 10, 20, 30 or a multiple of 60.
    type: int
    default: 60
  minutes:
    description: Length of the time range before now, in minutes, at most 15 days.
    type: int
    default: 15
  since:
    description:
      - Only periods that begin at this moment or later count, within O(minutes), so that no older value counts as new.
        The period that contains this moment does not count either.
      - In ISO 8601, in UTC unless it names a zone, or in seconds since 1970. When empty, O(minutes) alone decides.
    type: str
    default: ''
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permission C(cloudwatch:GetMetricData).
  - AWS charges 0.01 US dollars for 1000 metrics. One request of the service has at most 500 of them.
seealso:
  - module: digital_twin.robotics_lab.cloudwatch_dashboard
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the utilization of a GPU
  digital_twin.robotics_lab.cloudwatch_metrics_info:
    region: eu-central-1
    metrics:
      - name: GPUUtilization
        namespace: DigitalTwin
        dimensions: {InstanceId: i-0123456789abcdef0, GpuIndex: "0"}
        statistic: Maximum
  register: gpu

- name: Wait until the host has published a new sample
  digital_twin.robotics_lab.cloudwatch_metrics_info:
    region: eu-central-1
    since: "{{ begun }}"
    metrics:
      - name: Heartbeat
        namespace: DigitalTwin
        dimensions: {InstanceId: i-0123456789abcdef0}
        statistic: Minimum
  register: heartbeat
  until: heartbeat.metrics[0].value is not none
  retries: 12
  delay: 15
"""

RETURN = r"""
metrics:
  description: The metrics in the order of O(metrics).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The metric's name.
      type: str
      sample: GPUUtilization
    namespace:
      description: Its namespace.
      type: str
      sample: DigitalTwin
    dimensions:
      description: Its dimensions.
      type: dict
      sample: {InstanceId: i-0123456789abcdef0, GpuIndex: "0"}
    statistic:
      description: The statistic.
      type: str
      sample: Maximum
    label:
      description: Its label.
      type: str
      sample: GPUUtilization
    timestamp:
      description: When the datapoint's period began, in ISO 8601 and UTC; null without a datapoint.
      type: str
      sample: "2026-11-24T12:00:00Z"
    value:
      description: Its value in the unit of the metric; null without a datapoint.
      type: float
      sample: 43.5
start:
  description: Beginning of the time range, in ISO 8601 and UTC.
  returned: success
  type: str
  sample: "2026-11-24T11:46:00Z"
end:
  description: Its exclusive end.
  returned: success
  type: str
  sample: "2026-11-24T12:01:00Z"
"""

from datetime import datetime, timezone
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import get_metric_data
from ..module_utils._aws.connection import client_of, region_of, run_module

METRIC_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "dimensions": {"type": "dict", "default": {}},
    "statistic": {"type": "str", "default": "Average"},
    "label": {"type": "str", "default": ""},
}
SPEC: dict[str, dict[str, Any]] = {
    "metrics": {"type": "list", "elements": "dict", "required": True, "options": METRIC_SPEC},
    "period": {"type": "int", "default": 60},
    "minutes": {"type": "int", "default": 15},
    "since": {"type": "str", "default": ""},
}


def iso(moment: datetime | None) -> str | None:
    """Return a moment of UTC as ISO 8601 writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def read(module: AnsibleAWSModule) -> dict[str, Any]:
    """Read the metrics and return the result of the module.

    Raises:
        MetricRequestError: CloudWatch would not accept the request.
        ReadError: CloudWatch did not answer.
    """
    options = module.params
    metrics = [
        get_metric_data.Metric(
            **{**given, "dimensions": {key: str(value) for key, value in given["dimensions"].items()}}
        )
        for given in options["metrics"]
    ]
    get_metric_data.check_request(metrics, options["period"], options["minutes"])
    since = get_metric_data.read_moment(options["since"]) if options["since"] else None
    window = get_metric_data.choose_window(datetime.now(timezone.utc), options["period"], options["minutes"], since)
    client = client_of(module, "cloudwatch", get_metric_data.ACTION)
    points = get_metric_data.read(client, metrics, window, region_of(module))
    return {
        "changed": False,
        "start": iso(window.start),
        "end": iso(window.end),
        "metrics": [
            {**vars(metric), "label": point.label, "timestamp": iso(point.timestamp), "value": point.value}
            for metric, point in zip(metrics, points, strict=True)
        ],
    }


def main() -> None:
    """Return the datapoints, or fail with one line for each reason."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    run_module(module, read, get_metric_data.MetricRequestError)


if __name__ == "__main__":
    main()
