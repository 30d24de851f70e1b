# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it, against a local AWS that records every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import cloudwatch_info

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]

BODY = {"widgets": [{"type": "text", "properties": {"markdown": "Größe"}}]}
EVERYTHING = {"alarm_name_prefix": "lab-", "log_group_name_prefix": "/lab/", "dashboard_name": "lab"}
NOTHING: dict[str, Any] = {"alarms": [], "log_groups": [], "dashboards": []}


@pytest.fixture
def run(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module and return its result."""

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        cloud.asked.clear()
        with patch_module_args({"region": "us-east-1", **given}), pytest.raises(SystemExit):
            cloudwatch_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def put_alarm(cloud: Cloud, name: str) -> None:
    """Create an alarm."""
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="Lab",
        MetricName="Heartbeat",
        Dimensions=[{"Name": "InstanceId", "Value": "i-1"}],
        Statistic="Minimum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="LessThanThreshold",
        OKActions=["arn:aws:sns:us-east-1:123456789012:operators"],
    )


def put_log_group(cloud: Cloud, name: str, days: int = 0, **tags: str) -> None:
    """Create a log group."""
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName=name, tags=tags)
    if days:
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)


def test_everything_is_read_in_one_call(run: Run, cloud: Cloud) -> None:
    for name in ("lab-1-heartbeat", "lab-2-heartbeat", "other-heartbeat"):
        put_alarm(cloud, name)
    put_log_group(cloud, "/lab/application", 30, team="robotics", lab="lab")
    put_log_group(cloud, "/lab/bootstrap")
    put_log_group(cloud, "/other/bootstrap")
    cloud.client("cloudwatch").put_dashboard(DashboardName="lab", DashboardBody=json.dumps(BODY))
    found = run(**EVERYTHING)
    assert not found["changed"]
    assert found["account_id"] == "123456789012"
    assert [alarm["alarm_name"] for alarm in found["alarms"]] == ["lab-1-heartbeat", "lab-2-heartbeat"]
    first = found["alarms"][0]
    assert first["dimensions"] == [{"name": "InstanceId", "value": "i-1"}]
    assert (first["threshold"], first["alarm_actions"]) == (1.0, [])
    assert first["ok_actions"] == ["arn:aws:sns:us-east-1:123456789012:operators"]
    assert found["log_groups"] == [
        {"name": "/lab/application", "retention_days": 30, "tags": {"team": "robotics", "lab": "lab"}},
        {"name": "/lab/bootstrap", "retention_days": 0, "tags": {}},
    ]
    (dashboard,) = found["dashboards"]
    assert (dashboard["name"], dashboard["body"]) == ("lab", BODY)
    assert dashboard["dashboard_arn"].endswith(":dashboard/lab")


def test_nothing_is_found_in_an_empty_account(run: Run) -> None:
    found = run(**EVERYTHING)
    assert {key: found[key] for key in NOTHING} == NOTHING


def test_more_than_a_page_of_alarms(run: Run, cloud: Cloud) -> None:
    for number in range(110):
        put_alarm(cloud, f"lab-{number:03}")
    assert len(run(alarm_name_prefix="lab-")["alarms"]) == 110


@pytest.mark.parametrize(
    ("given", "calls"),
    [
        ({}, []),
        ({"alarm_name_prefix": "lab-"}, ["cloudwatch:DescribeAlarms"]),
        ({"log_group_name_prefix": "/lab/"}, ["logs:DescribeLogGroups"]),
        ({"dashboard_name": "lab"}, ["cloudwatch:GetDashboard"]),
    ],
)
def test_only_what_an_option_names_is_read(run: Run, cloud: Cloud, given: dict[str, str], calls: list[str]) -> None:
    run(**given)
    assert [call.removesuffix(" in us-east-1") for call in cloud.asked] == ["sts:GetCallerIdentity", *calls]


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("DescribeAlarms", "cloudwatch:DescribeAlarms"),
        ("DescribeLogGroups", "logs:DescribeLogGroups"),
        ("ListTagsForResource", "logs:ListTagsForResource"),
        ("GetDashboard", "cloudwatch:GetDashboard"),
    ],
)
def test_a_denied_call_names_the_permission(run: Run, cloud: Cloud, operation: str, permission: str) -> None:
    put_log_group(cloud, "/lab/application")
    cloud.refuse(operation, "AccessDenied")
    result = run(**EVERYTHING)
    assert result["failed"]
    assert result["msg"].startswith(f'AWS permission: "{permission}" is denied to the caller in us-east-1. ')


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dashboard_name": "a b"}, 'name: "a b" is not a dashboard\'s name. '),
        ({"region": ""}, "region: is not set. "),
    ],
)
def test_invalid_options_are_refused_before_any_call(
    run: Run, cloud: Cloud, given: dict[str, str], message: str
) -> None:
    result = run(**given)
    assert result["failed"]
    assert result["msg"].startswith(message)
    assert cloud.asked == []
