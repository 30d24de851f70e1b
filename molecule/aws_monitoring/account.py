# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the account by hand: `account.py past` before there is a lab, `account.py drift` once there is one."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3

TOPIC = "arn:aws:sns:us-east-1:123456789012:operators"


def put_alarm(name: str, threshold: float, **more: Any) -> None:
    """Create or change an alarm with few options."""
    cloudwatch: Any = boto3.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="DigitalTwin",
        MetricName="GPUTemperature",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=threshold,
        ComparisonOperator="GreaterThanThreshold",
        **more,
    )


def past() -> None:
    """Create resources of others with names like those of the lab."""
    put_alarm("lab-a-budget", 1.0)
    put_alarm("lab-a-old", 1.0, AlarmDescription="(digital_twin_lab: lab-a, by hand)")
    cloudwatch: Any = boto3.client("cloudwatch")
    cloudwatch.put_dashboard(DashboardName="digital-twin-lab-d", DashboardBody='{"widgets": []}')
    logs: Any = boto3.client("logs")
    logs.create_log_group(logGroupName="/digital-twin/lab-a-old/application")


def drift() -> None:
    """Make changes that the next run must repair."""
    cloudwatch: Any = boto3.client("cloudwatch")
    (hot,) = cloudwatch.describe_alarms(AlarmNames=["lab-a-1-gpu-0-hot"])["MetricAlarms"]
    put_alarm("lab-a-1-gpu-0-hot", 20.0, AlarmDescription=hot["AlarmDescription"])
    cloudwatch.delete_alarms(AlarmNames=["lab-a-1-heartbeat"])
    body = json.loads(cloudwatch.get_dashboard(DashboardName="digital-twin-lab-a")["DashboardBody"])
    heading = json.dumps({"widgets": body["widgets"][:1]})
    cloudwatch.put_dashboard(DashboardName="digital-twin-lab-a", DashboardBody=heading)
    logs: Any = boto3.client("logs")
    logs.put_retention_policy(logGroupName="/digital-twin/lab-a/application", retentionInDays=1)
    logs.delete_log_group(logGroupName="/digital-twin/lab-a/bootstrap")


if __name__ == "__main__":
    {"past": past, "drift": drift}[sys.argv[1]]()
