# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find which alarm of CloudWatch stopped an instance. An alarm leaves no tag, and EC2 reports a call of its API.

The history of alarms has the ARN of each action, but not the instance: the alarm's dimensions name it. API reference of
CloudWatch, DescribeAlarmHistory, read on 2026-11-30. AWS does not document the keys of an action's
HistoryData (actionState, notificationResource). They were read in published programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from .._aws.account import Account
from .._aws.cloudwatch import watched_instances
from .._aws.errors import ReadError
from .last_action import ACTION_TAG, ALARM, STOP, TOLERANCE, State, explain_stop, stopped_at, write_time

STOPS = re.compile(
    r"arn:[\w-]+:(?:automate:[\w-]+:ec2:stop|swf:[\w-]+:\d*:action/actions/AWS_EC2\.InstanceId\.Stop(?:/1\.0)?)",
    re.IGNORECASE,
)
# The most names in one request of DescribeAlarms.
BATCH = 100


def read_alarm_stops(account: Account, instances: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the stops of instances by alarms, for `events` of lab_summary.

    A lab must be found without the permissions, and while CloudWatch fails. Then nothing is known of its alarms.

    Args:
        account: The account to read.
        instances: Instances in the form of amazon.aws.ec2_instance_info.
    """
    times = {instance["instance_id"]: _unexplained(instance) for instance in instances}
    try:
        return [row for one, when in times.items() if when for row in _read_stops(account, one, when)]
    except ReadError:
        return []


def _unexplained(instance: Mapping[str, Any]) -> datetime | None:
    """Return when an instance was stopped if neither EC2 nor its tag has the cause."""
    code = (instance.get("state_reason") or {}).get("code") or ""
    state = State(instance["state"]["name"], code, instance.get("state_transition_reason") or "")
    if state.name not in ("stopping", "stopped") or explain_stop(state, instance["tags"].get(ACTION_TAG, "")).cause:
        return None
    return stopped_at(state.transition)


def _read_stops(account: Account, instance: str, when: datetime) -> list[dict[str, str]]:
    """Return the stops of an instance by alarms around a time."""
    history = account.read(
        "cloudwatch",
        "describe_alarm_history",
        HistoryItemType="Action",
        StartDate=when - TOLERANCE,
        EndDate=when + TOLERANCE,
    )
    times = {
        item["AlarmName"]: item["Timestamp"]
        for item in history["AlarmHistoryItems"]
        if is_stop(item.get("HistoryData") or "")
    }
    names = sorted(times)
    alarms = [
        alarm
        for first in range(0, len(names), BATCH)
        for alarm in account.read("cloudwatch", "describe_alarms", AlarmNames=names[first : first + BATCH])[
            "MetricAlarms"
        ]
    ]
    return [
        {
            "verb": STOP,
            "cause": ALARM,
            "alarm": alarm["AlarmName"],
            "instance_id": instance,
            "time": write_time(times[alarm["AlarmName"]]),
        }
        for alarm in alarms
        if instance in watched_instances(alarm)
    ]


def is_stop(text: str) -> bool:
    """Return whether the HistoryData of an action is that of a stop that EC2 has accepted."""
    try:
        data = json.loads(text)
    except ValueError:
        return False
    if not isinstance(data, dict) or data.get("actionState") != "Succeeded":
        return False
    return STOPS.fullmatch(str(data.get("notificationResource"))) is not None
