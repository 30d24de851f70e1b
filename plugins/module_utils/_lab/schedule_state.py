# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read what starts and stops a lab: its schedule group, the role of it, its alarms, and which of its calls failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict

from .._aws import cloudwatch, schedule_group
from .._aws.account import Account
from .._aws.errors import CREDENTIALS, THROTTLED, UNREACHABLE, ReadError, translated
from .resources import read_roles

# EventBridge Scheduler User Guide, "Monitoring with Amazon CloudWatch", read on 2026-11-30: dimension ScheduleGroup.
# An attempt that failed and may be repeated, and an invocation that is given up.
NAMESPACE, DIMENSION = "AWS/Scheduler", "ScheduleGroup"
ERRORS, DROPPED = "TargetErrorCount", "InvocationDroppedCount"
METRICS = {"errors": ERRORS, "dropped": DROPPED}
HOUR = 3600
# Other keys need a permission of the schedule's role.
AWS_KEY = "alias/aws/ebs"


def group_name(lab: str) -> str:
    """Return the name of a lab's schedule group."""
    return f"digital-twin-{lab}"


def role_name(lab: str) -> str:
    """Return the name of the role with which Scheduler starts and stops a lab. IAM has no regions."""
    return f"digital-twin-{lab}-schedule"


def alarm_prefix(lab: str) -> str:
    """Return the beginning of the names of the alarms of a lab's schedule."""
    return f"digital-twin-{lab}-schedule-"


@dataclass(frozen=True)
class Request:
    """What is read.

    Attributes:
        lab: The lab's name.
        region: Its region.
        now: The time.
        hours: Over how many hours failed calls are counted; 0 to count none.
    """

    lab: str
    region: str
    now: datetime
    hours: int


def read_state(clients: Callable[[str], Any], account: Account, asked: Request) -> dict[str, Any]:
    """Return what starts and stops a lab.

    Args:
        clients: Returns boto3's client of a service.
        account: The account to read.
        asked: What is read.

    Raises:
        ReadError: AWS did not answer.
    """
    lab, region = asked.lab, asked.region
    group = schedule_group.read(clients("scheduler"), group_name(lab), region)
    if group and group.state == schedule_group.DELETING:
        group = None
    unread: list[str] = []
    client = clients("cloudwatch")
    return {
        "account_id": account.caller().account_id,
        "group": {"name": group.name, "arn": group.arn, "tags": group.tags} if group else {},
        "schedules": [
            vars(schedule_group.described(schedule, asked.now))
            for schedule in (group.schedules.values() if group else ())
        ],
        "role": next(iter(read_roles(account, role_name(lab))), {}),
        "alarms": [
            camel_dict_to_snake_dict(alarm) for alarm in cloudwatch.read_alarms(client, alarm_prefix(lab), region)
        ],
        "volume_key": _tried(partial(read_volume_key, account), "", unread),
        "failures": {
            name: _tried(partial(read_sum, client, metric, asked), {}, unread)
            for name, metric in METRICS.items()
            if asked.hours and group
        },
        "unread": sorted(set(unread)),
    }


def _tried(read: Callable[[], Any], otherwise: Any, unread: list[str]) -> Any:
    """Return what a read returns, or something else when the caller may not make it."""
    try:
        return read()
    except ReadError as error:
        if error.kind in (CREDENTIALS, THROTTLED, UNREACHABLE):
            raise
        unread.append(f"{error.action}: {error.code}")
        return otherwise


def read_volume_key(account: Account) -> str:
    """Return the ARN of the key of the account that encrypts new volumes; empty for AWS's own, and for none."""
    key_id = account.default_key()
    if key_id.endswith(AWS_KEY):
        return ""
    # An alias does not name a key in a policy.
    key = account.key(key_id)
    return key.arn if key else key_id


def read_sum(client: Any, metric: str, asked: Request) -> dict[str, Any]:
    """Return how many calls a metric of a lab's group counts, and in which hour the last of them began.

    Raises:
        ReadError: CloudWatch did not answer.
    """
    with translated("cloudwatch:GetMetricStatistics", asked.region):
        answer = client.get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=metric,
            Dimensions=[{"Name": DIMENSION, "Value": group_name(asked.lab)}],
            StartTime=asked.now - timedelta(hours=asked.hours),
            EndTime=asked.now + timedelta(minutes=1),
            Period=HOUR,
            Statistics=["Sum"],
        )
    points = [point for point in answer["Datapoints"] if point["Sum"]]
    last = max((point["Timestamp"] for point in points), default=None)
    return {"count": int(sum(point["Sum"] for point in points)), "last": schedule_group.written(last)}
