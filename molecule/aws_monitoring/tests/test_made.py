# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the alarms, dashboard and log groups of a lab of two hosts, next to a lab of a similar name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import boto3
import pytest

TOPIC = "arn:aws:sns:us-east-1:123456789012:operators"
STOP, RECOVER = (f"arn:aws:automate:us-east-1:ec2:{verb}" for verb in ("stop", "recover"))
FIRST, SECOND = "i-00000000000000001", "i-00000000000000002"
ENDS = ("gpu-idle", "heartbeat", "status-check", "gpu-0-hot", "gpu-0-memory")
NAMES = {f"lab-a-{number}-{end}" for number in (1, 2) for end in ENDS} | {"lab-a-2-gpu-1-hot", "lab-a-2-gpu-1-memory"}


@pytest.fixture(scope="module")
def cloudwatch() -> Any:
    return boto3.client("cloudwatch")


@pytest.fixture(scope="module")
def alarms(cloudwatch: Any) -> dict[str, dict[str, Any]]:
    """All alarms of the region, by name."""
    pages = cloudwatch.get_paginator("describe_alarms").paginate()
    return {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}


def held(moment: str) -> set[tuple[str, str]]:
    """Return what the account held at a moment of the scenario, as (type, name)."""
    rows = json.loads((Path(os.environ["SCRATCH"]) / f"{moment}.json").read_text("utf-8"))
    return {(kind, name) for kind, name in rows}


def dimensions_of(alarm: dict[str, Any]) -> dict[str, str]:
    return {row["Name"]: row["Value"] for row in alarm["Dimensions"]}


def test_exactly_one_lab_was_added() -> None:
    """Alarms of a host that was removed are deleted too."""
    before, after = held("neighbour"), held("made")
    assert before <= after, "something of the neighbour was deleted"
    assert after - before == {
        *(("alarm", name) for name in NAMES),
        ("dashboard", "digital-twin-lab-a"),
        ("log group", "/digital-twin/lab-a/application"),
        ("log group", "/digital-twin/lab-a/bootstrap"),
    }


def test_an_idle_instance_is_stopped(alarms: dict[str, Any]) -> None:
    idle = alarms["lab-a-1-gpu-idle"]
    assert idle["AlarmActions"] == [STOP, TOPIC]
    assert dimensions_of(idle) == {"InstanceId": FIRST, "GpuIndex": "0", "Lab": "lab-a"}
    assert (idle["Statistic"], idle["ComparisonOperator"], idle["Threshold"]) == ("Maximum", "LessThanThreshold", 5.0)
    assert (idle["Period"], idle["EvaluationPeriods"], idle["TreatMissingData"]) == (300, 12, "notBreaching")
    assert dimensions_of(alarms["lab-a-2-gpu-idle"]) == {"InstanceId": SECOND, "Lab": "lab-a"}


def test_manual_changes_are_repaired(alarms: dict[str, Any]) -> None:
    hot = alarms["lab-a-1-gpu-0-hot"]
    assert (hot["Threshold"], hot["EvaluationPeriods"], hot["AlarmActions"]) == (85.0, 5, [TOPIC])
    heartbeat = alarms["lab-a-1-heartbeat"]
    assert (heartbeat["TreatMissingData"], heartbeat["Period"], heartbeat["EvaluationPeriods"]) == ("breaching", 60, 5)


def test_broken_hardware_moves_the_instance(alarms: dict[str, Any]) -> None:
    assert alarms["lab-a-1-status-check"]["AlarmActions"] == [RECOVER, TOPIC]
    assert dimensions_of(alarms["lab-a-1-status-check"]) == {"InstanceId": FIRST}
    # CloudWatch rejects a recover action for an instance type that does not support it.
    assert alarms["lab-a-2-status-check"]["AlarmActions"] == [TOPIC]


def test_the_neighbours_alarms_are_unchanged(alarms: dict[str, Any]) -> None:
    neighbours = {name: alarm for name, alarm in alarms.items() if name.startswith("lab-a-2-1-")}
    assert len(neighbours) == len(ENDS)
    for alarm in neighbours.values():
        assert dimensions_of(alarm)["InstanceId"] == "i-00000000000000003"
        assert TOPIC not in alarm["AlarmActions"]


def test_the_dashboard_shows_the_hosts_and_their_alarms(cloudwatch: Any, alarms: dict[str, Any]) -> None:
    body = json.loads(cloudwatch.get_dashboard(DashboardName="digital-twin-lab-a")["DashboardBody"])
    texts = [widget["properties"]["markdown"] for widget in body["widgets"] if widget["type"] == "text"]
    assert [text.splitlines()[0] for text in texts] == ["## lab-a-1", "## lab-a-2"]
    shown = [arn for widget in body["widgets"] if widget["type"] == "alarm" for arn in widget["properties"]["alarms"]]
    assert set(shown) == {alarms[name]["AlarmArn"] for name in NAMES}


def test_log_groups_have_a_retention_and_the_tags() -> None:
    logs: Any = boto3.client("logs")
    groups = logs.describe_log_groups(logGroupNamePrefix="/digital-twin/lab-a/")["logGroups"]
    assert len(groups) == 2
    for group in groups:
        assert group["retentionInDays"] == 90
        tags = logs.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"]
        assert tags == {"digital_twin_lab": "lab-a", "managed_by": "digital_twin.robotics_lab", "team": "robotics"}
