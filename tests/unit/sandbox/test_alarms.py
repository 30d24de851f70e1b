# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of the sandbox's alarms on instances, and which alarms are refused, through boto3."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.cloudwatch import CloudWatch

STOP = "arn:aws:automate:us-east-1:ec2:stop"
TERMINATE = "arn:aws:automate:us-east-1:ec2:terminate"
REBOOT = "arn:aws:swf:us-east-1:123456789012:action/actions/AWS_EC2.InstanceId.Reboot/1.0"
RECOVER = "arn:aws:automate:us-east-1:ec2:recover"
TOPIC = "arn:aws:sns:us-east-1:123456789012:people"


class Rebooted:
    """Records the requests to the hosts."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.followed = 0

    def follow(self) -> None:
        self.followed += 1

    def reboot(self, ids: Iterable[str]) -> None:
        self.ids += ids


@pytest.fixture
def hosts() -> Rebooted:
    return Rebooted()


@pytest.fixture
def server(hosts: Rebooted) -> Iterator[CloudWatch]:
    with CloudWatch(hosts=hosts) as cloudwatch:
        yield cloudwatch


@pytest.fixture
def instance(server: CloudWatch) -> str:
    ec2 = server.client("ec2")
    return str(ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def put(server: CloudWatch, instance: str, *actions: str, **changes: Any) -> None:
    settings = {
        "AlarmName": "idle",
        "Namespace": "DigitalTwin",
        "MetricName": "GPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": instance}, {"Name": "GpuIndex", "Value": "0"}],
        "Statistic": "Maximum",
        "Period": 300,
        "EvaluationPeriods": 6,
        "Threshold": 5.0,
        "ComparisonOperator": "LessThanThreshold",
        "AlarmActions": list(actions),
        **changes,
    }
    server.client().put_metric_alarm(**{name: value for name, value in settings.items() if value is not None})


def set_state(server: CloudWatch, state: str) -> None:
    server.client().set_alarm_state(AlarmName="idle", StateValue=state, StateReason="test")


def state(server: CloudWatch, instance: str) -> str:
    (reservation,) = server.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
    return str(reservation["Instances"][0]["State"]["Name"])


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (STOP, ("stopped", "StopInstances")),
        (TERMINATE, ("terminated", "TerminateInstances")),
        (REBOOT, ("running", "RebootInstances")),
        (RECOVER, ("running", "RebootInstances")),
    ],
)
def test_a_raised_alarm_acts(
    server: CloudWatch, hosts: Rebooted, instance: str, action: str, outcome: tuple[str, str]
) -> None:
    then, call = outcome
    put(server, instance, TOPIC, action)
    followed = hosts.followed
    set_state(server, "ALARM")
    assert state(server, instance) == then
    assert hosts.followed == followed + 1
    assert hosts.ids == ([instance] if call == "RebootInstances" else [])
    (entry,) = server.calls(call)
    assert (entry["alarm"], entry["instance"], entry["refused"], entry["mutating"]) == ("idle", instance, "", True)


def test_only_the_change_to_alarm_acts(server: CloudWatch, instance: str) -> None:
    put(server, instance, STOP)
    set_state(server, "OK")
    set_state(server, "INSUFFICIENT_DATA")
    assert state(server, instance) == "running"
    set_state(server, "ALARM")
    assert state(server, instance) == "stopped"
    server.client("ec2").start_instances(InstanceIds=[instance])
    put(server, instance, STOP)
    set_state(server, "ALARM")
    assert state(server, instance) == "running", "an alarm that stays raised must not act again"
    set_state(server, "OK")
    set_state(server, "ALARM")
    assert state(server, instance) == "stopped"


@pytest.mark.parametrize("changes", [{"ActionsEnabled": False}, {"AlarmActions": [TOPIC]}, {"OKActions": [STOP]}])
def test_an_alarm_without_such_an_action_leaves_the_instance(
    server: CloudWatch, instance: str, changes: dict[str, Any]
) -> None:
    put(server, instance, **{"AlarmActions": [STOP] if "ActionsEnabled" in changes else [], **changes})
    set_state(server, "ALARM")
    assert state(server, instance) == "running"


def test_a_failed_action_is_recorded(server: CloudWatch, instance: str) -> None:
    put(server, instance, STOP)
    server.client("ec2").terminate_instances(InstanceIds=[instance])
    set_state(server, "ALARM")
    (entry,) = server.calls("StopInstances")
    assert entry["refused"] == "the instance is terminated"
    put(server, "i-0123456789abcdef0", STOP)
    set_state(server, "OK")
    set_state(server, "ALARM")
    assert "i-0123456789abcdef0" in server.calls("StopInstances")[-1]["refused"]


def test_a_protected_instance_is_not_terminated(server: CloudWatch, instance: str) -> None:
    server.client("ec2").modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    put(server, instance, TERMINATE)
    set_state(server, "ALARM")
    assert state(server, instance) == "running"
    assert "disableApiTermination" in server.calls("TerminateInstances")[0]["refused"]


def history(server: CloudWatch, **asked: Any) -> list[dict[str, Any]]:
    pages = server.client().get_paginator("describe_alarm_history").paginate(**asked)
    return [item for page in pages for item in page["AlarmHistoryItems"]]


def test_the_history_has_the_actions(server: CloudWatch, instance: str) -> None:
    put(server, instance, TOPIC, STOP)
    set_state(server, "ALARM")
    set_state(server, "OK")
    actions = history(server, AlarmName="idle", HistoryItemType="Action", ScanBy="TimestampAscending")
    (alarm,) = server.client().describe_alarms()["MetricAlarms"]
    assert [row["HistorySummary"] for row in actions] == [
        f"Successfully executed action {action}" for action in (TOPIC, STOP)
    ]
    for row, action in zip(actions, (TOPIC, STOP), strict=True):
        assert (row["AlarmName"], row["AlarmType"]) == ("idle", "MetricAlarm")
        data = json.loads(row["HistoryData"])
        assert (data["actionState"], data["notificationResource"]) == ("Succeeded", action)
        moment = datetime.fromtimestamp(data["stateUpdateTimestamp"] / 1000, UTC)
        assert moment <= row["Timestamp"] + timedelta(milliseconds=1)
        assert moment <= alarm["StateUpdatedTimestamp"]
    newest = history(server, HistoryItemType="StateUpdate")
    assert [row["HistorySummary"] for row in newest] == [
        "Alarm updated from ALARM to OK",
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
    ]
    assert json.loads(newest[0]["HistoryData"])["newState"] == {"stateValue": "OK", "stateReason": "test"}


def test_the_history_is_read_by_time_and_in_pages_and_outlives_the_alarm(server: CloudWatch, instance: str) -> None:
    put(server, instance)
    for number in range(6):
        set_state(server, ("ALARM", "OK")[number % 2])
    server.client().delete_alarms(AlarmNames=["idle"])
    found = history(server, PaginationConfig={"PageSize": 4})
    assert len(found) == 6
    assert [row["Timestamp"] for row in found] == sorted((row["Timestamp"] for row in found), reverse=True)
    assert history(server, PaginationConfig={"PageSize": 4}, AlarmName="other") == []
    now = datetime.now(UTC)
    assert len(history(server, StartDate=now - timedelta(hours=1), EndDate=now + timedelta(hours=1))) == 6
    assert (
        history(server, StartDate=now + timedelta(hours=1)) == history(server, EndDate=now - timedelta(hours=1)) == []
    )


def test_the_history_has_a_failed_action(server: CloudWatch, instance: str) -> None:
    put(server, instance, STOP)
    server.client("ec2").terminate_instances(InstanceIds=[instance])
    set_state(server, "ALARM")
    (row,) = history(server, HistoryItemType="Action")
    assert row["HistorySummary"] == f"Failed to execute action {STOP}"
    assert json.loads(row["HistoryData"])["actionState"] == "Failed"


def metrics(instance: str) -> list[dict[str, Any]]:
    metric = {
        "Namespace": "DigitalTwin",
        "MetricName": "GPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": instance}],
    }
    return [
        {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Maximum"}, "ReturnData": False},
        {"Id": "e1", "Expression": "MAX([m1])", "ReturnData": True},
    ]


PLAIN = dict.fromkeys(("Namespace", "MetricName", "Dimensions", "Statistic", "Period"))


def test_an_alarm_with_a_list_of_metrics_acts(server: CloudWatch, instance: str) -> None:
    query = {**metrics(instance)[0], "ReturnData": True}
    put(server, instance, STOP, **PLAIN, Metrics=[query])
    set_state(server, "ALARM")
    assert state(server, instance) == "stopped"


def test_metric_math_must_not_act_on_ec2(server: CloudWatch, instance: str) -> None:
    with pytest.raises(ClientError, match="EC2 actions are not supported for alarms based on math") as caught:
        put(server, instance, STOP, **PLAIN, Metrics=metrics(instance))
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    put(server, instance, TOPIC, **PLAIN, Metrics=metrics(instance))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"Dimensions": [{"Name": "Host", "Value": "twin-1"}]},
            "only be used if the alarm is monitoring an EC2 inst",
        ),
        ({"Period": 3000, "EvaluationPeriods": 29}, "across more than a day"),
        ({"Period": 3600, "EvaluationPeriods": 169}, "across more than seven days"),
    ],
)
def test_a_refused_alarm_does_not_change_the_existing_one(
    server: CloudWatch, instance: str, changes: dict[str, Any], named: str
) -> None:
    put(server, instance, STOP)
    with pytest.raises(ClientError, match=named):
        put(server, instance, STOP, **changes)
    (alarm,) = server.client().describe_alarms()["MetricAlarms"]
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (300, 6)
    put(server, instance, STOP, Period=3600, EvaluationPeriods=168)


def test_an_alarm_begins_without_data_and_keeps_its_state(server: CloudWatch, instance: str) -> None:
    put(server, instance)
    (alarm,) = server.client().describe_alarms()["MetricAlarms"]
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"
    set_state(server, "OK")
    put(server, instance, Threshold=7.0)
    (alarm,) = server.client().describe_alarms()["MetricAlarms"]
    assert (alarm["StateValue"], alarm["Threshold"]) == ("OK", 7.0)
