# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a group of EventBridge Scheduler with its schedules, plan the calls that change it as declared, and make them.

Only groups have tags, and UpdateSchedule resets whatever it is not given. So a group is read as a whole, compared with
AWS's defaults filled in, and a changed schedule is written with everything that it has.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from .errors import ReadError, translated

ABSENT, EXISTS, INVALID = "ResourceNotFoundException", "ConflictException", "ValidationException"
DELETING = "DELETING"
# What AWS answers while a new role, or its new trust policy, is not known everywhere: a part of its message.
ROLE_UNKNOWN = "execution role"
# AWS's defaults of a retry policy.
RETRY_SECONDS, RETRY_ATTEMPTS = 86400, 185
TIME_FORM = "%Y-%m-%dT%H:%M:%SZ"
PAUSE_SECONDS = 3.0


@dataclass(frozen=True)
class Schedule:
    """What this collection declares of a schedule; the defaults are AWS's.

    Attributes:
        begin: Its StartDate as TIME_FORM; empty for none, and for one that is over.
        end: Its EndDate as TIME_FORM; empty for none.
        input: The parameters of the call that its target makes.
        once: Whether AWS deletes it after its last invocation.
    """

    name: str
    expression: str
    timezone: str = "UTC"
    begin: str = ""
    end: str = ""
    description: str = ""
    target_arn: str = ""
    role_arn: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)
    retry_seconds: int = RETRY_SECONDS
    retry_attempts: int = RETRY_ATTEMPTS
    once: bool = False
    enabled: bool = True
    flexible_minutes: int = 0


@dataclass(frozen=True)
class Group:
    """A group as AWS returns it.

    Attributes:
        schedules: Its schedules by name, as GetSchedule returns them.
    """

    name: str
    arn: str
    state: str
    tags: dict[str, str]
    schedules: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Call:
    """One call of the API: boto3's name of the method, IAM's name of the action, and the arguments."""

    method: str
    action: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        """Return the action and the name of what it changes."""
        name = self.arguments.get("Name") or self.arguments["ResourceArn"].rpartition("/")[2]
        return f"{self.action} {name}"


def read(client: Any, name: str, region: str) -> Group | None:
    """Return a group, or None when it does not exist.

    Args:
        client: boto3's client of EventBridge Scheduler.
        name: The group's name.
        region: The region for messages.

    Raises:
        ReadError: Scheduler did not answer.
    """
    try:
        with translated("scheduler:GetScheduleGroup", region):
            group = client.get_schedule_group(Name=name)
        with translated("scheduler:ListTagsForResource", region):
            tags = client.list_tags_for_resource(ResourceArn=group["Arn"]).get("Tags", [])
        with translated("scheduler:ListSchedules", region):
            pages = client.get_paginator("list_schedules").paginate(GroupName=name)
            names = [row["Name"] for page in pages for row in page["Schedules"]]
    except ReadError as error:
        if error.code == ABSENT:
            return None
        raise
    schedules = {}
    for one in sorted(names):
        try:
            with translated("scheduler:GetSchedule", region):
                schedules[one] = client.get_schedule(Name=one, GroupName=name)
        except ReadError as error:
            # A one-time schedule may have been carried out meanwhile.
            if error.code != ABSENT:
                raise
    state = group.get("State") or "ACTIVE"
    return Group(name, group["Arn"], state, {tag["Key"]: tag["Value"] for tag in tags}, schedules)


def described(found: Mapping[str, Any], now: datetime) -> Schedule:
    """Return what a schedule of AWS has, with AWS's defaults.

    Args:
        found: What GetSchedule returned.
        now: The time. A StartDate in the past is ignored.
    """
    target, window = found.get("Target") or {}, found.get("FlexibleTimeWindow") or {}
    policy = target.get("RetryPolicy") or {}
    try:
        given = json.loads(target.get("Input") or "{}")
    except ValueError:
        given = {"": target["Input"]}
    schedule = Schedule(
        name=found["Name"],
        expression=found.get("ScheduleExpression") or "",
        timezone=found.get("ScheduleExpressionTimezone") or "UTC",
        begin=written(found.get("StartDate")),
        end=written(found.get("EndDate")),
        description=found.get("Description") or "",
        target_arn=target.get("Arn") or "",
        role_arn=target.get("RoleArn") or "",
        input=given if isinstance(given, dict) else {"": given},
        retry_seconds=policy.get("MaximumEventAgeInSeconds", RETRY_SECONDS),
        retry_attempts=policy.get("MaximumRetryAttempts", RETRY_ATTEMPTS),
        once=(found.get("ActionAfterCompletion") or "NONE") == "DELETE",
        enabled=(found.get("State") or "ENABLED") == "ENABLED",
        flexible_minutes=window.get("MaximumWindowInMinutes") or 0,
    )
    return begun(schedule, now)


def begun(schedule: Schedule, now: datetime) -> Schedule:
    """Return a schedule without a begin that is over, which has no effect."""
    return replace(schedule, begin="") if schedule.begin and schedule.begin <= written(now) else schedule


def written(moment: datetime | None) -> str:
    """Return a time in UTC as text, empty for none."""
    return moment.astimezone(timezone.utc).strftime(TIME_FORM) if moment else ""


def moment_of(text: str) -> datetime:
    """Return the time that a text names.

    Raises:
        ValueError: It is not in TIME_FORM.
    """
    return datetime.strptime(text, TIME_FORM).replace(tzinfo=timezone.utc)


def request(schedule: Schedule, group: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that write a schedule.

    Args:
        schedule: The schedule.
        group: The name of its group.
        found: The existing schedule; what this collection does not declare stays as it is.
    """
    target: dict[str, Any] = {
        "Arn": schedule.target_arn,
        "RoleArn": schedule.role_arn,
        "Input": json.dumps(schedule.input, sort_keys=True),
        "RetryPolicy": {
            "MaximumEventAgeInSeconds": schedule.retry_seconds,
            "MaximumRetryAttempts": schedule.retry_attempts,
        },
    }
    if letters := (found.get("Target") or {}).get("DeadLetterConfig"):
        target["DeadLetterConfig"] = letters
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": schedule.flexible_minutes}
    arguments: dict[str, Any] = {
        "Name": schedule.name,
        "GroupName": group,
        "ScheduleExpression": schedule.expression,
        "ScheduleExpressionTimezone": schedule.timezone,
        "FlexibleTimeWindow": window if schedule.flexible_minutes else {"Mode": "OFF"},
        "Target": target,
        "ActionAfterCompletion": "DELETE" if schedule.once else "NONE",
        "State": "ENABLED" if schedule.enabled else "DISABLED",
    }
    dates = {"StartDate": schedule.begin, "EndDate": schedule.end}
    arguments |= {key: moment_of(text) for key, text in dates.items() if text}
    arguments |= {"Description": schedule.description} if schedule.description else {}
    return arguments | ({"KmsKeyArn": found["KmsKeyArn"]} if found.get("KmsKeyArn") else {})


def plan(found: Group | None, name: str, tags: Mapping[str, str], wanted: list[Schedule], now: datetime) -> list[Call]:
    """Return the calls that change a group as declared, in order: what is declared first is written first.

    Args:
        found: The existing group.
        name: The group's name.
        tags: Tags that it has. Others stay.
        wanted: All its schedules. Others are deleted, after the declared ones are written.
        now: The time.
    """
    calls: list[Call] = []
    rows = [{"Key": key, "Value": value} for key, value in tags.items()]
    if found is None:
        arguments: dict[str, Any] = {"Name": name, **({"Tags": rows} if rows else {})}
        calls.append(Call("create_schedule_group", "scheduler:CreateScheduleGroup", arguments))
    elif changed := [row for row in rows if found.tags.get(row["Key"]) != row["Value"]]:
        calls.append(Call("tag_resource", "scheduler:TagResource", {"ResourceArn": found.arn, "Tags": changed}))
    existing = found.schedules if found else {}
    for schedule in wanted:
        old = existing.get(schedule.name)
        if old is None:
            calls.append(Call("create_schedule", "scheduler:CreateSchedule", request(schedule, name, {})))
        elif described(old, now) != begun(schedule, now):
            calls.append(Call("update_schedule", "scheduler:UpdateSchedule", request(schedule, name, old)))
    names = {schedule.name for schedule in wanted}
    calls += [
        Call("delete_schedule", "scheduler:DeleteSchedule", {"Name": one, "GroupName": name})
        for one in existing
        if one not in names
    ]
    return calls


def apply(
    client: Any, calls: list[Call], region: str, timeout: float, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Make planned calls.

    Args:
        client: boto3's client of EventBridge Scheduler. It adds a ClientToken, the same in each of its own attempts.
        calls: The calls.
        region: The region for messages.
        timeout: For how many seconds a call is repeated because AWS does not know a new role yet.
        sleep: Waits some seconds.

    Raises:
        ReadError: Scheduler refused one; those before it are carried out.
    """
    # Counted, not measured: a call that hangs must not use up the attempts of the others.
    left = int(timeout // PAUSE_SECONDS)
    for call in calls:
        while True:
            try:
                with translated(call.action, region):
                    getattr(client, call.method)(**call.arguments)
                break
            except ReadError as error:
                if error.code == ABSENT and call.method == "delete_schedule":
                    break
                if left <= 0 or error.code != INVALID or ROLE_UNKNOWN not in error.detail:
                    raise
            left -= 1
            sleep(PAUSE_SECONDS)


def delete(client: Any, name: str, region: str) -> None:
    """Delete a group with its schedules, unless it is gone meanwhile.

    Raises:
        ReadError: Scheduler refused it.
    """
    try:
        with translated("scheduler:DeleteScheduleGroup", region):
            client.delete_schedule_group(Name=name)
    except ReadError as error:
        if error.code not in (ABSENT, EXISTS):
            raise


def wait_until_gone(
    client: Any, name: str, region: str, timeout: float, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Return whether a group that is being deleted is gone within some seconds.

    Raises:
        ReadError: Scheduler did not answer.
    """
    for attempt in range(int(timeout // PAUSE_SECONDS) + 1):
        if attempt:
            sleep(PAUSE_SECONDS)
        try:
            with translated("scheduler:GetScheduleGroup", region):
                client.get_schedule_group(Name=name)
        except ReadError as error:
            if error.code == ABSENT:
                return True
            raise
    return False
