# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module of schedule groups as Ansible runs it, against the sandbox's EventBridge Scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import botocore.loaders
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws import schedule_group
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.errors import ReadError
from ansible_collections.digital_twin.robotics_lab.plugins.modules import iam_service_role, scheduler_schedule

from tests.support.local_aws import LocalAws, running

REGION, ACCOUNT, GROUP = "us-east-1", "123456789012", "digital-twin-warehouse"
STOP = "arn:aws:scheduler:::aws-sdk:ec2:stopInstances"
LOADER = botocore.loaders.create_loader()
OWNER = {"digital_twin_lab": "warehouse"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as found:
        yield found


@pytest.fixture(scope="module")
def client(aws: LocalAws) -> Any:
    return aws.client("scheduler")


@pytest.fixture
def run(
    aws: LocalAws, client: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Return a function that runs the module on the group, which is deleted at the end."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.session.create_loader", lambda _path: LOADER)

    def run_module(**given: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({"name": GROUP, "region": REGION, **given}), pytest.raises(SystemExit):
            scheduler_schedule.main()
        return dict(json.loads(capsys.readouterr().out))

    yield run_module
    names = [row["Name"] for row in client.list_schedule_groups()["ScheduleGroups"]]
    if GROUP in names:
        client.delete_schedule_group(Name=GROUP)


@pytest.fixture
def role(aws: LocalAws, run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the ARN of a role that Scheduler may assume for the group."""
    source = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/{GROUP}"
    conditions = {"StringEquals": {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": source}}
    trust = {"service": "scheduler.amazonaws.com", "trust_conditions": conditions}
    with patch_module_args({"name": "schedule", "region": REGION, **trust}), pytest.raises(SystemExit):
        iam_service_role.main()
    assert "msg" not in json.loads(capsys.readouterr().out)
    (statement,) = aws.client("iam").get_role(RoleName="schedule")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert (statement["Principal"], statement["Condition"]) == ({"Service": trust["service"]}, conditions)
    return f"arn:aws:iam::{ACCOUNT}:role/schedule"


def stop(role: str, **changes: Any) -> dict[str, Any]:
    """Return the options of a schedule."""
    given = {"InstanceIds": ["i-0123456789abcdef0"]}
    wanted = {"name": "stop", "expression": "cron(0 18 ? * MON *)", "target_arn": STOP, "role_arn": role}
    return {**wanted, "input": given, **changes}


def test_life_of_a_group(run: Run, client: Any, aws: LocalAws, role: str) -> None:
    wanted = {"owner_tags": OWNER, "tags": {"team": "robotics"}, "schedules": [stop(role), stop(role, name="other")]}
    aws.calls()
    planned = run(**wanted, _ansible_check_mode=True)
    assert planned["changed"]
    assert [call for call in aws.calls() if call["mutating"]] == []
    made = run(**wanted)
    assert made["actions"] == planned["actions"]
    assert made["diff"] == planned["diff"]
    # AWS's defaults are not differences.
    assert run(**wanted)["changed"] is False

    wanted["schedules"] = [stop(role, timezone="Europe/Berlin", retry_seconds=3600)]
    changed = run(**wanted)
    assert changed["actions"] == ["scheduler:UpdateSchedule stop", "scheduler:DeleteSchedule other"]
    found = client.get_schedule(Name="stop", GroupName=GROUP)
    assert found["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 185}
    wanted["tags"] = {"team": "other"}
    assert run(**wanted)["actions"] == [f"scheduler:TagResource {GROUP}"]

    assert run(state="absent", _ansible_check_mode=True)["changed"]
    assert run(state="absent", owner_tags=OWNER)["changed"]
    assert GROUP not in [row["Name"] for row in client.list_schedule_groups()["ScheduleGroups"]]
    assert run(state="absent")["changed"] is False


def test_an_update_keeps_what_is_not_declared(run: Run, client: Any, role: str) -> None:
    run(schedules=[stop(role)])
    found = client.get_schedule(Name="stop", GroupName=GROUP)
    letters = {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:letters"}
    fields = ("Name", "GroupName", "ScheduleExpression", "FlexibleTimeWindow")
    client.update_schedule(
        **{key: found[key] for key in fields}, Target={**found["Target"], "DeadLetterConfig": letters}, State="DISABLED"
    )
    assert run(schedules=[stop(role)])["actions"] == ["scheduler:UpdateSchedule stop"]
    found = client.get_schedule(Name="stop", GroupName=GROUP)
    assert (found["Target"]["DeadLetterConfig"], found["State"]) == (letters, "ENABLED")


def test_a_begin_that_is_over_is_no_difference(run: Run, role: str) -> None:
    assert run(schedules=[stop(role, begin="2026-01-01T00:00:00Z")])["changed"]
    assert run(schedules=[stop(role)])["changed"] is False
    later = stop(role, begin="2099-01-01T00:00:00Z", end="2099-02-01T00:00:00Z")
    assert run(schedules=[later])["actions"] == ["scheduler:UpdateSchedule stop"]
    assert run(schedules=[later])["changed"] is False


def test_the_group_of_another_owner(run: Run, client: Any, role: str) -> None:
    client.create_schedule_group(Name=GROUP, Tags=[{"Key": "digital_twin_lab", "Value": "other"}])
    refused = run(owner_tags=OWNER, schedules=[stop(role)])
    assert refused["failed"]
    assert "is the name of a schedule group without the tags digital_twin_lab=warehouse" in refused["msg"]
    left = run(owner_tags=OWNER, state="absent")
    assert (left["changed"], left["foreign"]) == (False, True)
    assert client.get_schedule_group(Name=GROUP)["Arn"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "b", "begin": "tomorrow"}, 'schedules.begin: "tomorrow" is not a time'),
        ({"name": "stop"}, 'schedules: "stop" occurs twice'),
        ({"name": "b", "expression": "cron(99 99 nonsense)"}, "Invalid Schedule Expression"),
    ],
)
def test_what_is_refused(run: Run, role: str, changes: dict[str, Any], words: str) -> None:
    refused = run(schedules=[stop(role), stop(role, **changes)])
    assert refused["failed"]
    assert words in refused["msg"]


@pytest.mark.parametrize("created_after", [0, 1, 2, 3])
def test_a_role_that_is_new(aws: LocalAws, run: Run, client: Any, created_after: int) -> None:
    """AWS knows a new role some seconds later. The wait is bounded: two pauses of three seconds."""
    assert run()["changed"]
    iam, pauses = aws.client("iam"), []
    name = f"late-{created_after}"

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == created_after:
            create()

    def create() -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "scheduler.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)

    if not created_after:
        create()
    schedule = schedule_group.Schedule(**stop(f"arn:aws:iam::{ACCOUNT}:role/{name}"))
    found = schedule_group.read(client, GROUP, REGION)
    calls = schedule_group.plan(found, GROUP, {}, [schedule], datetime.now(UTC))
    if created_after > 2:
        with pytest.raises(ReadError, match="execution role"):
            schedule_group.apply(client, calls, REGION, 6, sleep)
    else:
        schedule_group.apply(client, calls, REGION, 6, sleep)
        assert client.get_schedule(Name="stop", GroupName=GROUP)["State"] == "ENABLED"
    assert pauses == [3.0] * min(created_after, 2)
