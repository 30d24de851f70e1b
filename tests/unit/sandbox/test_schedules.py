# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's EventBridge Scheduler against AWS's documented rules, through botocore and on a clock that is moved."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from sandbox.cloud.process import ticking
from sandbox.errors import SandboxError
from sandbox.settings import REGION

from .conftest import AWS, code_of

START = "arn:aws:scheduler:::aws-sdk:ec2:startInstances"
STOP = "arn:aws:scheduler:::aws-sdk:ec2:stopInstances"
GROUP_ARN = f"arn:aws:scheduler:{REGION}:{DEFAULT_ACCOUNT_ID}:schedule-group/lab"


class Lab:
    """A group with a role, and schedules in it."""

    def __init__(self, aws: AWS) -> None:
        self.aws = aws
        self.client = aws.client("scheduler")
        self.client.create_schedule_group(Name="lab", Tags=[{"Key": "lab", "Value": "one"}])
        self.role = self.role_with({"StringEquals": {"aws:SourceArn": GROUP_ARN}})

    def role_with(self, condition: dict[str, Any], service: str = "scheduler.amazonaws.com") -> str:
        """Create a role that a service can assume, and return its ARN."""
        statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Condition": condition}]})
        iam = self.aws.client("iam")
        name = f"role-{len(iam.list_roles()['Roles'])}"
        return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"])

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of a schedule; a change may begin with Target_."""
        target = {"Arn": STOP, "RoleArn": self.role, "Input": json.dumps({"InstanceIds": ["i-1"]})}
        target |= {name.removeprefix("Target_"): value for name, value in changes.items() if name.startswith("Target_")}
        wanted = {
            "Name": "stop",
            "GroupName": "lab",
            "ScheduleExpression": "cron(0 18 ? * MON-FRI *)",
            "ScheduleExpressionTimezone": "Europe/Berlin",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": target,
        }
        return wanted | {name: value for name, value in changes.items() if not name.startswith("Target_")}

    def create(self, **changes: Any) -> str:
        """Create a schedule and return its ARN."""
        return str(self.client.create_schedule(**self.settings(**changes))["ScheduleArn"])

    def clock(self, verb: str, text: str) -> int:
        """Move the clock; return the number of calls."""
        name = "time" if verb == "set" else "by"
        return int(self.aws.control("POST", f"clock/{verb}", {name: text})["calls"])

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls of schedules, oldest first."""
        return list(self.aws.control("GET", "schedules")["calls"])[self.known :]

    known = 0


@pytest.fixture
def lab(aws: AWS) -> Lab:
    found = Lab(aws)
    found.known = len(aws.control("GET", "schedules")["calls"])
    return found


def test_calls_are_named_by_their_operation(lab: Lab) -> None:
    lab.create()
    lab.client.get_schedule(Name="stop", GroupName="lab")
    lab.client.list_schedules(GroupName="lab")
    lab.client.list_tags_for_resource(ResourceArn=GROUP_ARN)
    lab.client.delete_schedule(Name="stop", GroupName="lab")
    lab.client.delete_schedule_group(Name="lab")
    rows = [call for call in lab.aws.control("GET", "calls") if call["service"] == "scheduler"]
    assert [(row["action"], row["mutating"]) for row in rows] == [
        ("CreateScheduleGroup", True),
        ("CreateSchedule", True),
        ("GetSchedule", False),
        ("ListSchedules", False),
        ("ListTagsForResource", False),
        ("DeleteSchedule", True),
        ("DeleteScheduleGroup", True),
    ]


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("throttling", "ThrottlingException", 429),
        ("denied", "AccessDeniedException", 403),
        ("error", "InternalServerException", 500),
        ("invalid", "ValidationException", 400),
    ],
)
def test_faults_hit_an_operation(lab: Lab, kind: str, code: str, status: int) -> None:
    lab.aws.fault(kind, service="scheduler", action="CreateSchedule", count=1)
    lab.client.list_schedules()
    with pytest.raises(ClientError) as caught:
        lab.create()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    lab.create()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ScheduleExpression": "cron(99 99 nonsense)"}, "Invalid Schedule Expression"),
        ({"ScheduleExpressionTimezone": "Mars/Base"}, "Mars/Base"),
        ({"Name": "with blank"}, "with blank"),
        ({"Name": "n" * 65}, "failed to satisfy"),
        ({"State": "ON"}, "State"),
        ({"ActionAfterCompletion": "FORGET"}, "ActionAfterCompletion"),
        ({"Description": "d" * 513}, "description"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "FlexibleTimeWindow"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}}, "aximumWindowInMinutes"),
        ({"Target_RetryPolicy": {"MaximumEventAgeInSeconds": 86401}}, "aximumEventAgeInSeconds"),
        ({"Target_RetryPolicy": {"MaximumRetryAttempts": 186}}, "aximumRetryAttempts"),
        ({"Target_Arn": "arn:aws:scheduler:::aws-sdk:ec2:StopInstances"}, "not in correct format"),
        ({"Target_Arn": "arn:aws:scheduler:::aws-sdk:ec2:describeInstances"}, "not in correct format"),
        ({"Target_Input": "InstanceIds"}, "JSON"),
        ({"Target_RoleArn": "arn:aws:iam::123456789012:role/missing"}, "must allow AWS EventBridge Scheduler"),
        ({"EndDate": datetime(2020, 1, 1, tzinfo=UTC)}, "EndDate"),
    ],
)
def test_what_aws_refuses(lab: Lab, changes: dict[str, Any], words: str) -> None:
    for write in (lab.client.create_schedule, lab.client.update_schedule):
        with pytest.raises(ClientError, match=words) as caught:
            write(**lab.settings(**changes))
        assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert lab.client.list_schedules(GroupName="lab")["Schedules"] == []


@pytest.mark.parametrize(
    ("condition", "service", "allowed"),
    [
        ({}, "scheduler.amazonaws.com", True),
        ({}, "ec2.amazonaws.com", False),
        ({"StringEquals": {"aws:SourceAccount": DEFAULT_ACCOUNT_ID}}, "scheduler.amazonaws.com", True),
        ({"StringEquals": {"aws:SourceAccount": "000000000000"}}, "scheduler.amazonaws.com", False),
        ({"ArnLike": {"aws:SourceArn": GROUP_ARN.replace("lab", "*")}}, "scheduler.amazonaws.com", True),
        ({"StringEquals": {"aws:SourceArn": GROUP_ARN.replace("lab", "other")}}, "scheduler.amazonaws.com", False),
        # The trap: the source is the group, never the schedule.
        (
            {"ArnEquals": {"aws:SourceArn": GROUP_ARN.replace("-group/lab", "/lab/stop")}},
            "scheduler.amazonaws.com",
            False,
        ),
    ],
)
def test_the_role_must_trust_the_group(lab: Lab, condition: dict[str, Any], service: str, allowed: bool) -> None:
    role = lab.role_with(condition, service)
    if allowed:
        lab.create(Target_RoleArn=role)
    else:
        assert code_of(lab.create, Target_RoleArn=role) == "ValidationException"


def test_groups(lab: Lab) -> None:
    client = lab.client
    lab.create()
    assert code_of(client.create_schedule_group, Name="lab") == "ConflictException"
    assert len(client.list_schedules(GroupName="lab")["Schedules"]) == 1, "a second creation must not empty the group"
    assert code_of(lab.create, GroupName="other") == "ResourceNotFoundException"
    assert code_of(client.get_schedule, Name="stop", GroupName="other") == "ResourceNotFoundException"
    assert code_of(client.delete_schedule, Name="other", GroupName="lab") == "ResourceNotFoundException"
    assert code_of(client.delete_schedule_group, Name="other") == "ResourceNotFoundException"
    assert code_of(client.delete_schedule_group, Name="default") == "ValidationException"
    assert client.list_tags_for_resource(ResourceArn=GROUP_ARN)["Tags"] == [{"Key": "lab", "Value": "one"}]
    unknown = GROUP_ARN.replace("lab", "other")
    assert code_of(client.tag_resource, ResourceArn=unknown, Tags=[]) == "ResourceNotFoundException"
    schedule = GROUP_ARN.replace("-group/lab", "/lab/stop")
    assert code_of(client.tag_resource, ResourceArn=schedule, Tags=[]) == "ValidationException"
    client.delete_schedule_group(Name="lab")
    assert client.list_schedules()["Schedules"] == []


def test_a_second_schedule_of_a_name_is_a_conflict(lab: Lab) -> None:
    arn = lab.create(ClientToken="t")
    assert lab.create(ClientToken="t") == arn
    assert code_of(lab.create) == "ConflictException"
    assert code_of(lab.create, ClientToken="t", Description="other") == "ConflictException"


def test_an_update_resets_what_it_is_not_given(lab: Lab) -> None:
    retry = {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 5}
    more = {"State": "DISABLED", "Description": "d", "ActionAfterCompletion": "DELETE"}
    lab.create(Target_RetryPolicy=retry, **more)
    plain = lab.settings()
    del plain["ScheduleExpressionTimezone"]
    lab.client.update_schedule(**plain)
    found = lab.client.get_schedule(Name="stop", GroupName="lab")
    assert found["State"] == "ENABLED"
    assert found["ActionAfterCompletion"] == "NONE"
    assert found["ScheduleExpressionTimezone"] == "UTC"
    assert not found.get("Description")
    assert found["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert code_of(lab.client.update_schedule, **lab.settings(Name="other")) == "ResourceNotFoundException"


def test_a_schedule_stops_and_starts_an_instance(lab: Lab) -> None:
    lab.clock("set", "2026-11-30T06:00:00+00:00")
    instance_id = lab.aws.run()
    given = json.dumps({"InstanceIds": [instance_id]})
    lab.create(Target_Input=given)
    lab.create(Name="start", ScheduleExpression="cron(0 8 ? * MON-FRI *)", Target_Arn=START, Target_Input=given)
    assert lab.clock("set", "2026-11-30T16:59:59+00:00") == 1, "the start at 08:00 in Berlin"
    assert lab.aws.state(instance_id) == "running"
    assert lab.clock("advance", "1s") == 1
    assert lab.aws.state(instance_id) == "stopped"
    assert lab.clock("advance", "14h") == 1
    assert lab.aws.state(instance_id) == "running"
    assert [(row["schedule"], row["due"], row["outcome"]) for row in lab.calls()] == [
        ("start", "2026-11-30T07:00:00+00:00", "delivered"),
        ("stop", "2026-11-30T17:00:00+00:00", "delivered"),
        ("start", "2026-12-01T07:00:00+00:00", "delivered"),
    ]
    (call,) = lab.aws.calls("StopInstances")
    assert (call["by"], call["schedule"].rpartition("/")[2], call["mutating"]) == ("scheduler", "stop", True)


def test_a_weekend_and_a_disabled_schedule_call_nothing(lab: Lab) -> None:
    lab.clock("set", "2026-12-04T17:00:00+00:00")
    lab.create()
    assert lab.clock("set", "2026-12-07T16:59:00+00:00") == 0
    lab.client.update_schedule(**lab.settings(State="DISABLED"))
    assert lab.clock("advance", "10d") == 0
    lab.client.update_schedule(**lab.settings())
    assert lab.clock("advance", "1d") == 1, "what was missed is not made up for"


@pytest.mark.parametrize(
    ("day", "missing"),
    [("2026-03-29", True), ("2026-10-25", False)],
    ids=["the clock jumps over it", "the clock shows it twice"],
)
def test_daylight_saving(lab: Lab, day: str, missing: bool) -> None:
    lab.clock("set", f"{day}T00:00:00+00:00")
    lab.create(ScheduleExpression="cron(30 2 * * ? *)")
    assert lab.clock("advance", "5h") == (0 if missing else 1)
    assert lab.clock("advance", "1d") == 1


def test_a_start_without_capacity_is_tried_again_for_its_age(lab: Lab) -> None:
    lab.clock("set", "2026-11-30T06:59:00+00:00")
    instance_id = lab.aws.run()
    lab.aws.ec2.stop_instances(InstanceIds=[instance_id])
    lab.create(
        ScheduleExpression="cron(0 8 ? * MON-FRI *)",
        Target_Arn=START,
        Target_Input=json.dumps({"InstanceIds": [instance_id]}),
        Target_RetryPolicy={"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 185},
    )
    lab.aws.fault("capacity", action="StartInstances")
    lab.clock("advance", "10m")
    (call,) = lab.calls()
    assert call["outcome"] == "pending"
    assert {row["error"] for row in call["attempts"]} == {"InsufficientInstanceCapacity"}
    assert [row["time"][11:16] for row in call["attempts"]] == ["07:00", "07:01", "07:03", "07:07"]
    lab.clock("advance", "2h")
    (call,) = lab.calls()
    assert call["outcome"] == "dropped"
    assert datetime.fromisoformat(call["attempts"][-1]["time"]) <= datetime(2026, 11, 30, 8, tzinfo=UTC)
    lab.aws.heal()
    lab.clock("advance", "4h")
    assert lab.aws.state(instance_id) == "stopped", "a dropped start must not come later"


def test_a_retry_succeeds(lab: Lab) -> None:
    """The trap of the default age: a start of the morning that comes in the evening."""
    lab.clock("set", "2026-11-30T06:59:00+00:00")
    instance_id = lab.aws.run()
    lab.aws.ec2.stop_instances(InstanceIds=[instance_id])
    given = json.dumps({"InstanceIds": [instance_id]})
    lab.create(ScheduleExpression="cron(0 8 ? * MON-FRI *)", Target_Arn=START, Target_Input=given)
    lab.aws.fault("capacity", action="StartInstances")
    lab.clock("advance", "11h")
    lab.aws.heal()
    lab.clock("advance", "1h")
    assert lab.aws.state(instance_id) == "running"
    (call,) = lab.calls()
    assert call["outcome"] == "delivered"


@pytest.mark.parametrize(
    ("attempts", "kind", "expected"), [(0, "throttling", 1), (2, "throttling", 3), (5, "denied", 1), (1, "lost", 2)]
)
def test_the_number_of_attempts(lab: Lab, attempts: int, kind: str, expected: int) -> None:
    lab.clock("set", "2026-11-30T16:59:00+00:00")
    lab.create(Target_RetryPolicy={"MaximumRetryAttempts": attempts, "MaximumEventAgeInSeconds": 86400})
    lab.aws.fault(kind, service="ec2", action="StopInstances")
    lab.clock("advance", "1h")
    (call,) = lab.calls()
    assert (len(call["attempts"]), call["outcome"]) == (expected, "dropped")
    assert len(lab.aws.calls("StopInstances")) == expected


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "InvalidInstanceID"),
        ({"Target_Input": json.dumps({"Instances": []})}, "ValidationException"),
        ({"Target_Arn": STOP.replace("stopInstances", "haltInstances")}, "ValidationException"),
        ({"Target_Arn": "arn:aws:scheduler:::aws-sdk:ssm:sendCommand"}, "Unsupported"),
        ({"Target_Arn": "arn:aws:lambda:us-east-1:123456789012:function:f"}, "Unsupported"),
    ],
)
def test_a_failure_is_visible_and_counted(lab: Lab, changes: dict[str, Any], code: str) -> None:
    """A dead instance id is the failure of a schedule whose instance was replaced."""
    cloudwatch_backends[DEFAULT_ACCOUNT_ID].reset()
    lab.clock("set", "2026-11-30T16:59:00+00:00")
    lab.create(**changes)
    lab.clock("advance", "1h")
    (call,) = lab.calls()
    assert call["outcome"] == "dropped"
    assert call["attempts"][0]["error"].startswith(code)
    now, cloudwatch = datetime.now(UTC), lab.aws.client("cloudwatch")
    for metric in ("InvocationAttemptCount", "TargetErrorCount", "InvocationDroppedCount"):
        (point,) = cloudwatch.get_metric_statistics(
            Namespace="AWS/Scheduler",
            MetricName=metric,
            Dimensions=[{"Name": "ScheduleGroup", "Value": "lab"}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=86400,
            Statistics=["Sum"],
        )["Datapoints"]
        assert point["Sum"] == 1, metric


@pytest.mark.parametrize("action", ["NONE", "DELETE"])
def test_a_schedule_of_one_time(lab: Lab, action: str) -> None:
    lab.clock("set", "2026-11-30T10:00:00+00:00")
    lab.create(ScheduleExpression="at(2026-11-30T12:00:00)", ActionAfterCompletion=action)
    assert lab.clock("advance", "30d") == 1
    assert lab.calls()[0]["due"] == "2026-11-30T11:00:00+00:00"
    assert bool(lab.client.list_schedules(GroupName="lab")["Schedules"]) is (action == "NONE")


def test_a_schedule_begins_and_ends(lab: Lab) -> None:
    lab.clock("set", "2026-11-30T00:00:00+00:00")
    begin = datetime(2026, 12, 2, tzinfo=UTC)
    more = {"StartDate": begin, "EndDate": begin + timedelta(days=2), "ScheduleExpression": "cron(0 18 * * ? *)"}
    lab.create(**more)
    assert lab.clock("advance", "10d") == 2
    assert [row["due"][:10] for row in lab.calls()] == ["2026-12-02", "2026-12-03"]


def test_the_clock_stands_and_moves(lab: Lab) -> None:
    lab.clock("set", "2026-11-30T12:00:00+01:00")

    def report() -> dict[str, Any]:
        return dict(lab.aws.control("GET", "schedules"))

    assert report()["clock"] == {"time": "2026-11-30T11:00:00+00:00", "stands": True}
    lab.create()
    assert report()["schedules"][0]["next"] == "2026-11-30T17:00:00+00:00"
    assert lab.clock("set", "2026-11-01T00:00:00+00:00") == 0, "a clock that is set back calls nothing"
    assert report()["schedules"][0]["next"] == "2026-11-02T17:00:00+00:00"
    for text in ("tomorrow", "2026-11-30T12:00:00", ""):
        with pytest.raises(SandboxError, match="with its offset"):
            lab.clock("set", text)
    for text in ("5", "1w", "-1h", "401d"):
        with pytest.raises(SandboxError, match="at most 400d"):
            lab.clock("advance", text)
    lab.aws.control("POST", "clock/reset")
    assert report()["clock"]["stands"] is False


def test_a_running_clock_fires(lab: Lab, served: AWS) -> None:
    instance_id = lab.aws.run()
    lab.create(ScheduleExpression="rate(1 day)", Target_Input=json.dumps({"InstanceIds": [instance_id]}))
    with ticking(served.proxy.tick, 0.05):
        end = datetime.now(UTC) + timedelta(seconds=10)
        while lab.aws.state(instance_id) != "stopped":
            assert datetime.now(UTC) < end, "the schedule did not fire"
    assert [row["outcome"] for row in lab.calls()] == ["delivered"]


def test_a_spot_instance_that_ec2_stopped_is_not_started(lab: Lab) -> None:
    lab.clock("set", "2026-11-30T06:59:00+00:00")
    instance_id = lab.aws.spot()
    lab.aws.control("POST", "spot/interrupt", {"name": instance_id, "notice": 0})
    given = json.dumps({"InstanceIds": [instance_id]})
    lab.create(ScheduleExpression="cron(0 8 ? * MON-FRI *)", Target_Arn=START, Target_Input=given)
    lab.clock("advance", "1h")
    (call,) = lab.calls()
    assert (call["attempts"][0]["error"], call["outcome"]) == ("IncorrectSpotRequestState", "dropped")
