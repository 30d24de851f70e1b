# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read alarms and log groups by the beginning of their names, and which instances an alarm watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import translated


def read_alarms(client: Any, prefix: str, region: str) -> list[dict[str, Any]]:
    """Return the metric alarms whose names begin with a prefix, as CloudWatch describes them.

    Raises:
        ReadError: CloudWatch did not answer.
    """
    with translated("cloudwatch:DescribeAlarms", region):
        pages = client.get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm"])
        return [alarm for page in pages for alarm in page["MetricAlarms"]]


def watched_instances(alarm: Mapping[str, Any]) -> set[str]:
    """Return the instances whose metrics an alarm watches."""
    metrics = [query.get("MetricStat", {}).get("Metric", {}) for query in alarm.get("Metrics", [])]
    dimensions = [*alarm.get("Dimensions", []), *(item for metric in metrics for item in metric.get("Dimensions", []))]
    return {dimension["Value"] for dimension in dimensions if dimension["Name"] == "InstanceId"}


def read_log_groups(client: Any, prefix: str, region: str) -> list[dict[str, Any]]:
    """Return the log groups whose names begin with a prefix: name, retention in days (0 for unlimited), and tags.

    Raises:
        ReadError: CloudWatch Logs did not answer.
    """
    with translated("logs:DescribeLogGroups", region):
        pages = client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
        groups = [group for page in pages for group in page["logGroups"]]
    with translated("logs:ListTagsForResource", region):
        return [
            {
                "name": group["logGroupName"],
                "retention_days": group.get("retentionInDays", 0),
                "tags": client.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"],
            }
            for group in groups
        ]


def read_account(client: Any, region: str) -> str:
    """Return the id of the caller's account.

    Raises:
        ReadError: STS did not answer.
    """
    with translated("sts:GetCallerIdentity", region):
        return str(client.get_caller_identity()["Account"])
