# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it, against a local AWS that records every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws import get_metric_data
from ansible_collections.digital_twin.robotics_lab.plugins.modules import cloudwatch_metrics_info

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]

HOST = {"InstanceId": "i-0123456789abcdef0"}
GPU = {**HOST, "GpuIndex": "0"}
UTILIZATION = {"name": "GPUUtilization", "namespace": "DigitalTwin", "dimensions": GPU}
HEARTBEAT = {"name": "Heartbeat", "namespace": "DigitalTwin", "dimensions": HOST, "statistic": "Minimum"}
ASKED = "cloudwatch:GetMetricData in us-east-1"


@pytest.fixture
def run(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module and return its result; earlier calls are deleted."""

    def run_module(*metrics: dict[str, Any], **given: object) -> dict[str, Any]:
        capsys.readouterr()
        cloud.asked.clear()
        arguments = {"metrics": list(metrics), "region": "us-east-1", **given}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            cloudwatch_metrics_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def put(cloud: Cloud, metric: dict[str, Any], when: datetime, *values: float) -> None:
    """Write values of a metric as the publisher on a host does."""
    dimensions = [{"Name": name, "Value": value} for name, value in sorted(metric["dimensions"].items())]
    cloud.client("cloudwatch").put_metric_data(
        Namespace=metric["namespace"],
        MetricData=[
            {
                "MetricName": metric["name"],
                "Dimensions": dimensions,
                "Timestamp": when,
                "Values": list(values),
                "Counts": [1.0] * len(values),
            }
        ],
    )


def minutes_ago(minutes: int) -> datetime:
    """Return the beginning of the minute some minutes ago."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes)


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_newest_datapoint_of_each_metric(run: Run, cloud: Cloud) -> None:
    new, old = minutes_ago(3), minutes_ago(5)
    put(cloud, UTILIZATION, old, 90.0)
    put(cloud, UTILIZATION, new, 10.0, 20.0, 60.0)
    put(cloud, {**UTILIZATION, "dimensions": {**HOST, "GpuIndex": "1"}}, new, 99.0)
    put(cloud, HEARTBEAT, minutes_ago(40), 1.0)
    maximum = {**UTILIZATION, "statistic": "Maximum", "label": "busiest"}
    result = run(UTILIZATION, maximum, HEARTBEAT)
    assert result["metrics"] == [
        {
            **UTILIZATION,
            "statistic": "Average",
            "label": "GPUUtilization Average",
            "timestamp": iso(new),
            "value": 30.0,
        },
        {**maximum, "timestamp": iso(new), "value": 60.0},
        {**HEARTBEAT, "label": "Heartbeat Minimum", "timestamp": None, "value": None},
    ]
    assert not result["changed"]
    assert cloud.asked == [ASKED]
    assert run(HEARTBEAT, minutes=60, _ansible_check_mode=True)["metrics"][0]["value"] == 1.0


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_begins_with_an_empty_aws(cloud: Cloud, turn: int) -> None:
    assert cloud.client("cloudwatch").list_metrics()["Metrics"] == [], f"turn {turn}"
    put(cloud, HEARTBEAT, minutes_ago(1), 1.0)
    # As after a client that is not boto's.
    cloud.asked.clear()


def test_since_knows_nothing_older(run: Run, cloud: Cloud) -> None:
    written = minutes_ago(5)
    put(cloud, HEARTBEAT, written, 1.0)
    assert run(HEARTBEAT, since=iso(written))["metrics"][0]["value"] == 1.0
    assert run(HEARTBEAT, since=str(written.timestamp()))["metrics"][0]["value"] == 1.0
    assert run(HEARTBEAT, since=iso(written + timedelta(seconds=1)))["metrics"][0]["value"] is None
    # Nothing has been written in a time that has not come: AWS is not asked.
    assert run(HEARTBEAT, since=iso(minutes_ago(-9)))["metrics"][0]["value"] is None
    assert cloud.asked == []


def test_hundreds_of_metrics_take_several_requests(run: Run, cloud: Cloud) -> None:
    requests: list[int] = []

    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        requests.append(len(parameters["MetricDataQueries"]))
        return {
            "MetricDataResults": [
                {
                    "Id": query["Id"],
                    "Label": query["Id"],
                    "Timestamps": [minutes_ago(1)],
                    "Values": [int(query["Id"][1:])],
                }
                for query in parameters["MetricDataQueries"]
            ]
        }

    cloud.answers["GetMetricData"] = answer
    result = run(*[UTILIZATION] * 1001)
    assert requests == [500, 500, 1]
    assert [metric["value"] for metric in result["metrics"]] == list(range(1001))


def test_an_answer_of_several_pages(run: Run, cloud: Cloud) -> None:
    last = minutes_ago(1)
    newest = last.astimezone(timezone(timedelta(hours=-5)))

    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        if parameters.get("NextToken"):
            before = last - timedelta(minutes=1)
            rest = {"Id": "m0", "Label": "x", "Timestamps": [before], "Values": [1.0], "StatusCode": "Complete"}
            return {"MetricDataResults": [rest]}
        first = {"Id": "m0", "Label": "x", "Timestamps": [newest], "Values": [2.0], "StatusCode": "PartialData"}
        return {"MetricDataResults": [first], "NextToken": "more"}

    cloud.answers["GetMetricData"] = answer
    (told,) = run(UTILIZATION)["metrics"]
    assert (told["timestamp"], told["value"]) == (iso(last), 2.0)
    assert cloud.asked == [ASKED, ASKED]


def test_what_cloudwatch_is_asked(run: Run, cloud: Cloud) -> None:
    asked: list[dict[str, Any]] = []

    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        asked.append(parameters)
        return {"MetricDataResults": []}

    cloud.answers["GetMetricData"] = answer
    (told,) = run({**UTILIZATION, "statistic": "p95", "dimensions": {"GpuIndex": 0}}, period=300, minutes=30)["metrics"]
    assert (told["value"], told["label"]) == (None, "")
    (parameters,) = asked
    (query,) = parameters["MetricDataQueries"]
    assert query["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "GpuIndex", "Value": "0"}]
    assert (query["MetricStat"]["Stat"], query["MetricStat"]["Period"]) == ("p95", 300)
    assert {parameters[key].timestamp() % 300 for key in ("StartTime", "EndTime")} == {0}
    assert timedelta(minutes=30) < parameters["EndTime"] - parameters["StartTime"] <= timedelta(minutes=35)
    assert parameters["StartTime"] < datetime.now(UTC) <= parameters["EndTime"]


def test_an_error_of_cloudwatch_is_not_a_missing_value(run: Run, cloud: Cloud) -> None:
    messages = [{"Code": "Internal", "Value": "try later"}]
    result = {"Id": "m0", "Label": "x", "Timestamps": [], "Values": [], "StatusCode": "InternalError"}
    cloud.answers["GetMetricData"] = {"MetricDataResults": [{**result, "Messages": messages}]}
    refusal = run(UTILIZATION)["msg"]
    assert refusal.startswith('AWS answer: "cloudwatch:GetMetricData" failed in us-east-1 with InternalError ')
    assert "(metric GPUUtilization: try later). " in refusal


def test_a_denied_call_names_the_permission(run: Run, cloud: Cloud) -> None:
    cloud.refuse("GetMetricData", "AccessDenied")
    assert run(UTILIZATION)["msg"].startswith(
        'AWS permission: "cloudwatch:GetMetricData" is denied to the caller in us-east-1. '
    )


@pytest.mark.parametrize(
    ("metric", "given", "line"),
    [
        ({}, {"period": 90}, "period: 90 is not a period. Allowed: 1, 5, 10, 20, 30, or a multiple of 60 seconds. "),
        ({}, {"period": -60}, "period: -60 is not a period. "),
        ({}, {"minutes": 0}, "minutes: 0 is out of range. Allowed: 1 to 21600. "),
        ({}, {"since": "yesterday"}, 'since: "yesterday" is not a valid time ('),
        ({}, {"since": "9" * 30}, 'since: "999999999999999999999999999999" is not a valid time ('),
        (
            {"statistic": "Median"},
            {},
            'statistic: "Median" is not a statistic (metric GPUUtilization). Allowed: Average',
        ),
        ({"statistic": "p101"}, {}, 'statistic: "p101" is not a statistic (metric GPUUtilization). '),
        (
            {"dimensions": {str(number): "x" for number in range(31)}},
            {},
            "dimensions: 31 dimensions are too many (metric GPUUtilization). Allowed: at most 30. ",
        ),
    ],
)
def test_bad_input_is_refused_without_asking_aws(
    run: Run, cloud: Cloud, metric: dict[str, Any], given: dict[str, Any], line: str
) -> None:
    result = run({**UTILIZATION, **metric}, **given)
    assert result["failed"]
    assert result["msg"].startswith(line)
    assert cloud.asked == []


@pytest.mark.parametrize(
    "text", ["2026-11-24T12:00:00Z", "2026-11-24T12:00:00", "2026-11-24T13:00+01:00", "1795521600"]
)
def test_moments(text: str) -> None:
    assert get_metric_data.read_moment(text) == datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_returned_values_are_documented(run: Run) -> None:
    documented = yaml.safe_load(cloudwatch_metrics_info.RETURN)
    result = run(UTILIZATION)
    assert set(result) - {"changed", "invocation"} == set(documented)
    assert set(result["metrics"][0]) == set(documented["metrics"]["contains"])
