# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which alarm stopped an instance, in the sandbox's history of alarms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.alarm_stops import is_stop
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.last_action import (
    State,
    describe_host,
    read_time,
)
from ansible_collections.digital_twin.robotics_lab.plugins.modules import lab_resources_info

from tests.support.local_aws import LocalAws, running
from tests.support.run_module import runner
from tests.support.small_lab import SmallLab

STOP = "arn:aws:automate:us-east-1:ec2:stop"
TOPIC = "arn:aws:sns:us-east-1:123456789012:operators"
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as local:
        yield local


@pytest.fixture(scope="module")
def lab(aws: LocalAws) -> SmallLab:
    return SmallLab(aws, "warehouse").make()


@pytest.fixture
def run(aws: LocalAws, lab: SmallLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    aws.client("ec2").start_instances(InstanceIds=[lab.ids["instance"]])
    aws.calls()
    given = {"name": lab.name, "kinds": ["instances"], "alarm_stops": True}
    return runner(aws, lab_resources_info.main, monkeypatch, capsys, **given)


def raise_alarm(aws: LocalAws, name: str, instance: str, *actions: str) -> None:
    """Create an alarm on an instance, and raise it."""
    client = aws.client("cloudwatch")
    client.put_metric_alarm(
        AlarmName=name,
        Namespace="DigitalTwin",
        MetricName="GPUUtilization",
        Dimensions=[{"Name": "InstanceId", "Value": instance}],
        Statistic="Maximum",
        Period=300,
        EvaluationPeriods=288,
        Threshold=5.0,
        ComparisonOperator="LessThanThreshold",
        AlarmActions=list(actions),
    )
    client.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    client.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="test")


def test_an_alarm_that_stopped_a_host_is_named(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    identifier = lab.ids["instance"]
    other = lab.launch()
    assert run()["alarm_stops"] == []
    # Neither asks for the history of alarms: no host is stopped.
    assert "DescribeAlarmHistory" not in [call["action"] for call in aws.calls()]
    # An alarm that only notifies, and one that stops another instance.
    raise_alarm(aws, "warehouse-1-gpu-hot", identifier, TOPIC)
    raise_alarm(aws, "other-1-gpu-idle", other, STOP)
    aws.client("ec2").stop_instances(InstanceIds=[identifier])
    assert [row["instance_id"] for row in run()["alarm_stops"]] == [other]
    aws.client("ec2").terminate_instances(InstanceIds=[other])
    assert run()["alarm_stops"] == []

    aws.client("ec2").start_instances(InstanceIds=[identifier])
    raise_alarm(aws, "warehouse-1-gpu-idle", identifier, TOPIC, STOP)
    aws.calls()
    result = run()
    (row,) = result["alarm_stops"]
    assert [call for call in aws.calls() if call["mutating"]] == []
    named = {"verb": "stop", "cause": "alarm", "alarm": "warehouse-1-gpu-idle", "instance_id": identifier}
    assert row == {**named, "time": row["time"]}
    (instance,) = [item for item in result["resources"]["instances"] if item["instance_id"] == identifier]
    state = State("stopped", instance["state_reason"]["code"], instance["state_transition_reason"])
    when = read_time(row["time"])
    assert when
    (line,) = describe_host("warehouse-1", state, {}, when, [(f"alarm {row['alarm']}", when)])
    assert line.endswith(" by the alarm warehouse-1-gpu-idle.")

    # The caller may not read the history, CloudWatch has a failure, or the tag explains the stop.
    for code in ("", "InternalServiceFault"):
        aws.inject(service="monitoring", kind="denied", code=code, action="DescribeAlarmHistory")
        without = run()
        aws.mend()
        assert (without["alarm_stops"], without["resources"]) == ([], result["resources"])
    tag = [{"Key": "digital_twin_last_action", "Value": f"stop person {row['time']}"}]
    aws.client("ec2").create_tags(Resources=[identifier], Tags=tag)
    aws.calls()
    assert run()["alarm_stops"] == []
    assert "DescribeAlarmHistory" not in [call["action"] for call in aws.calls()]


@pytest.mark.parametrize(
    ("action", "state", "expected"),
    [
        (STOP, "Succeeded", True),
        ("arn:aws-cn:automate:cn-north-1:ec2:stop", "Succeeded", True),
        ("arn:aws:swf:us-east-1:123456789012:action/actions/AWS_EC2.InstanceId.Stop/1.0", "Succeeded", True),
        (STOP, "Failed", False),
        (STOP, "InProgress", False),
        ("arn:aws:automate:us-east-1:ec2:reboot", "Succeeded", False),
        (TOPIC, "Succeeded", False),
    ],
)
def test_actions(action: str, state: str, expected: bool) -> None:
    assert is_stop(json.dumps({"actionState": state, "notificationResource": action})) is expected


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"actionState": "Succeeded"}'])
def test_what_is_not_an_action(text: str) -> None:
    assert not is_stop(text)
