"""EventBridge Scheduler where moto lacks it: validation of schedules and groups, as in AWS's API.

Sources. Read on 2026-11-30: botocore 1.44.5, scheduler 2021-06-30 (patterns, ranges, errors; UpdateSchedule resets what
it is not given); Scheduler User Guide, "Using universal targets" (camel case, no read-only calls) and its document
history of 2023-09-07, with yulin 1085, which quotes it (a role's trust names the group, not a schedule); aws-sdk-js-v3
6494 (message about the role). The role's policies are not evaluated. Inferred: the other messages.
"""

from __future__ import annotations

import fnmatch
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from moto.core.exceptions import JsonRESTError
from moto.iam.models import iam_backends
from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule, scheduler_backends
from moto.scheduler.responses import EventBridgeSchedulerResponse

from sandbox.cloud.clock import Clock
from sandbox.cloud.expressions import ExpressionError, parse, zone_of

NAME = re.compile(r"[0-9a-zA-Z-_.]{1,64}")
UNIVERSAL = re.compile(r"arn:aws[a-z-]*:scheduler:::aws-sdk:(?P<service>[a-z0-9-]+):(?P<action>[a-z]\w+)")
READ_ONLY = re.compile(
    "(get|describe|list|poll|receive|search|scan|query|select|read|lookup|discover|validate|batchGet|batchDescribe"
    "|batchRead|transactGet|adminGet|adminList|testMigration|retrieve|testConnection|translateDocument|isAuthorized"
    "|invokeModel)",
    re.ASCII,
)
ROLE_ERROR = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
SERVICE = "scheduler.amazonaws.com"
AGE, ATTEMPTS = (60, 86400), (0, 185)
CLOCK = Clock()


class Refused(JsonRESTError):
    """An error of the service."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        """Describe it."""
        super().__init__(code, message)
        self.code = status


def invalid(message: str) -> Refused:
    """Return a ValidationException."""
    return Refused("ValidationException", message)


def missing(kind: str, name: str) -> Refused:
    """Return the error about a schedule or group that does not exist."""
    return Refused("ResourceNotFoundException", f"{kind} {name} does not exist.", 404)


def conflict(kind: str, name: str) -> Refused:
    """Return the error about one that exists already."""
    return Refused("ConflictException", f"{kind} {name} already exists.", 409)


def check_name(name: str) -> None:
    """Check the name of a schedule or group.

    :raises Refused: it is too long, or has other characters than AWS allows.
    """
    if not NAME.fullmatch(name):
        raise invalid(f"Value '{name}' failed to satisfy constraint: Member must satisfy {NAME.pattern}")


def check_range(what: str, value: Any, low: int, high: int) -> None:
    """Check a number, unless it is not given.

    :raises Refused: it is outside its range.
    """
    if value is not None and not (isinstance(value, int) and low <= value <= high):
        raise invalid(f"Value '{value}' at '{what}' failed to satisfy constraint: Member must be {low} to {high}")


def check_window(window: dict[str, Any]) -> None:
    """Check a flexible time window.

    :raises Refused: its mode and minutes do not fit together.
    """
    mode, minutes = window.get("Mode"), window.get("MaximumWindowInMinutes")
    if mode not in ("OFF", "FLEXIBLE") or (mode == "FLEXIBLE") != (minutes is not None):
        raise invalid("FlexibleTimeWindow must be OFF, or FLEXIBLE with MaximumWindowInMinutes.")
    check_range("flexibleTimeWindow.maximumWindowInMinutes", minutes, 1, 1440)


def check_target(region: str, account: str, group: str, target: dict[str, Any]) -> None:
    """Check a target and its role.

    :raises Refused: the universal target is not a call that Scheduler makes, or the role does not trust the service.
    """
    arn = str(target.get("Arn", ""))
    if ":aws-sdk:" in arn:
        match = UNIVERSAL.fullmatch(arn)
        if match is None or READ_ONLY.match(match["action"]):
            raise invalid(f"Provided Arn is not in correct format: {arn}")
    try:
        if target.get("Input") is not None and ":aws-sdk:" in arn:
            json.loads(target["Input"])
    except ValueError:
        raise invalid("Invalid Input: it must be JSON.") from None
    policy = target.get("RetryPolicy") or {}
    check_range("target.retryPolicy.maximumEventAgeInSeconds", policy.get("MaximumEventAgeInSeconds"), *AGE)
    check_range("target.retryPolicy.maximumRetryAttempts", policy.get("MaximumRetryAttempts"), *ATTEMPTS)
    source = f"arn:aws:scheduler:{region}:{account}:schedule-group/{group}"
    if not trusts(account, str(target.get("RoleArn", "")), source):
        raise invalid(ROLE_ERROR)


def trusts(account: str, role_arn: str, source: str) -> bool:
    """Return whether a role lets Scheduler assume it for a schedule group."""
    roles = iam_backends[account]["aws"].roles.values()
    role = next((role for role in roles if role.arn == role_arn), None)
    if role is None:
        return False
    document = role.assume_role_policy_document
    policy = json.loads(document) if isinstance(document, str) else document
    statements = policy.get("Statement", [])
    rows = statements if isinstance(statements, list) else [statements]
    return any(
        row.get("Effect") == "Allow"
        and SERVICE in as_list((row.get("Principal") or {}).get("Service"))
        and "sts:AssumeRole" in as_list(row.get("Action"))
        and meets(row.get("Condition") or {}, {"aws:sourcearn": source, "aws:sourceaccount": account})
        for row in rows
        if isinstance(row.get("Principal"), dict)
    )


def as_list(value: Any) -> list[str]:
    """Return the words of a policy's element."""
    return [str(word) for word in value] if isinstance(value, list) else [str(value)]


def meets(condition: dict[str, Any], facts: dict[str, str]) -> bool:
    """Return whether the conditions of a trust hold; one about anything else does not."""
    for operator, keys in condition.items():
        likes = operator in ("ArnLike", "ArnEquals", "StringLike")
        if not likes and operator != "StringEquals":
            return False
        for key, wanted in keys.items():
            fact = facts.get(key.lower(), "")
            match = fnmatch.fnmatchcase if likes else str.__eq__
            if not any(match(fact, word) for word in as_list(wanted)):
                return False
    return True


def check(region: str, account: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Check a CreateSchedule or UpdateSchedule request; return its settings, with AWS's defaults.

    :raises Refused: AWS refuses it.
    """
    check_name(name)
    group = given.get("GroupName") or "default"
    check_name(group)
    if group not in scheduler_backends[account][region].schedule_groups:
        raise missing("Schedule group", group)
    expression, zone = given.get("ScheduleExpression") or "", given.get("ScheduleExpressionTimezone") or "UTC"
    try:
        parse(expression)
        zone_of(zone)
    except ExpressionError as error:
        raise invalid(str(error)) from error
    for field, allowed in (("State", ("ENABLED", "DISABLED")), ("ActionAfterCompletion", ("NONE", "DELETE"))):
        if given.get(field) not in (None, *allowed):
            raise invalid(f"Value '{given[field]}' at '{field}' failed to satisfy constraint: {allowed}")
    if len(given.get("Description") or "") > 512:
        raise invalid("Value at 'description' failed to satisfy constraint: at most 512 characters")
    start, end = given.get("StartDate"), given.get("EndDate")
    if start and end and end <= start:
        raise invalid("The EndDate must come after the StartDate.")
    if end and end <= CLOCK.now().timestamp():
        raise invalid("The EndDate must not be in the past.")
    check_window(given.get("FlexibleTimeWindow") or {})
    target = given.get("Target") or {}
    check_target(region, account, group, target)
    return {
        "description": given.get("Description"),
        "end_date": end,
        "flexible_time_window": given["FlexibleTimeWindow"],
        "group_name": group,
        "kms_key_arn": given.get("KmsKeyArn"),
        "name": name,
        "schedule_expression": expression,
        "schedule_expression_timezone": zone,
        "start_date": start,
        "state": given.get("State") or "ENABLED",
        "target": complete(target),
    }


def complete(target: dict[str, Any]) -> dict[str, Any]:
    """Return a target with the default retry policy: a day, and 185 attempts."""
    policy = {
        "MaximumEventAgeInSeconds": AGE[1],
        "MaximumRetryAttempts": ATTEMPTS[1],
        **(target.get("RetryPolicy") or {}),
    }
    return {**target, "RetryPolicy": policy}


def begin(schedule: Any) -> None:
    """Have a new or changed schedule count from now."""
    schedule.since = CLOCK.now()
    schedule.cursor = None


def path_name(response: Any) -> str:
    """Return the name at the end of a request's path."""
    return unquote(response.uri.split("?")[0].split("/")[-1])


def create_schedule(self: Any) -> str:
    """Answer CreateSchedule."""
    given, name = json.loads(self.body), path_name(self)
    settings = check(self.region, self.current_account, name, given)
    backend = self.scheduler_backend
    if known := backend.schedule_groups[settings["group_name"]].schedules.get(name):
        # A repeated request with its token is the same request: botocore repeats one whose answer was lost.
        if given.get("ClientToken") and known.token == (given["ClientToken"], settings):
            return json.dumps({"ScheduleArn": known.arn})
        raise conflict("Schedule", name)
    kept = json.loads(json.dumps(settings))
    after = given.get("ActionAfterCompletion") or "NONE"
    # moto compares the beginning with the machine's clock.
    schedule = backend.create_schedule(**{**settings, "start_date": None}, action_after_completion=after)
    schedule.start_date = settings["start_date"]
    schedule.token = (given.get("ClientToken"), kept)
    begin(schedule)
    return json.dumps({"ScheduleArn": schedule.arn})


def update_schedule(self: Any) -> str:
    """Answer UpdateSchedule, which resets what it is not given."""
    given, name = json.loads(self.body), path_name(self)
    settings = check(self.region, self.current_account, name, given)
    backend, group = self.scheduler_backend, settings["group_name"]
    if name not in backend.schedule_groups[group].schedules:
        raise missing("Schedule", name)
    schedule = backend.update_schedule(**settings)
    schedule.action_after_completion = given.get("ActionAfterCompletion") or "NONE"
    begin(schedule)
    return json.dumps({"ScheduleArn": schedule.arn})


def create_schedule_group(self: Any) -> str:
    """Answer CreateScheduleGroup."""
    given, name = json.loads(self.body or "{}"), path_name(self)
    check_name(name)
    token, backend = given.get("ClientToken"), self.scheduler_backend
    if known := backend.schedule_groups.get(name):
        if token and getattr(known, "token", None) == token:
            return json.dumps({"ScheduleGroupArn": known.arn})
        raise conflict("Schedule group", name)
    group = backend.create_schedule_group(name=name, tags=given.get("Tags") or [])
    group.token = token
    return json.dumps({"ScheduleGroupArn": group.arn})


def delete_schedule_group(self: Any) -> str:
    """Answer DeleteScheduleGroup, which deletes the group's schedules."""
    name, backend = path_name(self), self.scheduler_backend
    if name == "default":
        raise invalid("The default schedule group can't be deleted.")
    if name not in backend.schedule_groups:
        raise missing("Schedule group", name)
    backend.delete_schedule_group(name)
    return "{}"


def check_tagged(self: Any) -> None:
    """Check that a request is about the tags of an existing group: schedules have none.

    :raises Refused: it is not.
    """
    arn = unquote(self.uri.split("?")[0].split("/tags/")[-1])
    if ":schedule-group/" not in arn:
        raise invalid(f"Value '{arn}' at 'resourceArn' failed to satisfy constraint: only schedule groups have tags")
    if not any(group.arn == arn for group in self.scheduler_backend.schedule_groups.values()):
        raise missing("Schedule group", arn.rpartition("/")[2])


def install() -> None:
    """Patch moto in this process, once."""
    responses: Any = EventBridgeSchedulerResponse
    if responses.create_schedule is create_schedule:
        return
    responses.create_schedule = create_schedule
    responses.update_schedule = update_schedule
    responses.create_schedule_group = create_schedule_group
    responses.delete_schedule_group = delete_schedule_group
    for name in ("tag_resource", "untag_resource", "list_tags_for_resource"):
        setattr(responses, name, checked(getattr(responses, name)))


def checked(answer: Any) -> Any:
    """Return a handler of tags that checks its resource first."""

    def handler(self: Any) -> str:
        check_tagged(self)
        return str(answer(self))

    return handler


def all_schedules() -> list[tuple[str, EventBridgeSchedulerBackend, Schedule]]:
    """Return the schedules of every region that was used, with their region."""
    return [
        (region, backend, schedule)
        for account in list(scheduler_backends.values())
        for region, backend in list(account.items())
        for group in list(backend.schedule_groups.values())
        for schedule in list(group.schedules.values())
    ]


def as_moment(seconds: Any) -> datetime | None:
    """Return the moment of a StartDate or EndDate."""
    return datetime.fromtimestamp(float(seconds), UTC) if seconds else None
