# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it, against a local AWS that records every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import cloudwatch_dashboard
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]

BODY = {"widgets": [{"type": "text", "x": 0, "y": 0, "properties": {"markdown": "Größe"}}]}
GET, PUT, DELETE = (f"cloudwatch:{name} in us-east-1" for name in ("GetDashboard", "PutDashboard", "DeleteDashboards"))


@pytest.fixture
def run(cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module on the dashboard "lab", return its result and warnings; earlier calls are deleted."""
    # Ansible collects the warnings of a process, and here one process is many runs.
    warned: list[str] = []
    monkeypatch.setattr(cloudwatch_dashboard, "warn", warned.append)

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        cloud.asked.clear()
        warned.clear()
        with patch_module_args({"name": "lab", "region": "us-east-1", **given}), pytest.raises(SystemExit):
            cloudwatch_dashboard.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**result, "warned": list(warned)}

    return run_module


def stored(cloud: Cloud) -> Any:
    """Return the body of the dashboard "lab" as CloudWatch returns it."""
    return json.loads(cloud.client("cloudwatch").get_dashboard(DashboardName="lab")["DashboardBody"])


def names(cloud: Cloud) -> list[str]:
    """Return the names of all dashboards."""
    return [entry["DashboardName"] for entry in cloud.client("cloudwatch").list_dashboards()["DashboardEntries"]]


def test_life_of_a_dashboard(run: Run, cloud: Cloud) -> None:
    made = run(body=BODY)
    assert made["changed"]
    assert made["dashboard_arn"].endswith(":dashboard/lab")
    assert made["diff"]["before"] == ""
    assert json.loads(made["diff"]["after"]) == BODY
    assert stored(cloud) == BODY

    again = run(body=BODY)
    assert not again["changed"]
    assert again["dashboard_arn"] == made["dashboard_arn"]
    assert cloud.asked == [GET]

    other: dict[str, Any] = {"widgets": []}
    changed = run(body=other)
    assert changed["changed"]
    assert json.loads(changed["diff"]["before"]) == BODY
    assert stored(cloud) == other

    gone = run(state="absent")
    assert (gone["changed"], gone["dashboard_arn"], gone["diff"]["after"]) == (True, "", "")
    assert names(cloud) == []
    assert not run(state="absent")["changed"]
    assert cloud.asked == [GET]


@pytest.mark.parametrize(
    "there",
    [
        '{"widgets": []}',
        '{"widgets": [{"type": "text", "properties": {"markdown": "lab: north"}}]}',
        '{"widgets": [{"type": "metric", "properties": {"title": "lab: south"}}, {"type": "text"}]}',
        '{"widgets": ["lab: south"]}',
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_dashboard_without_the_marker_belongs_to_another_owner(
    run: Run, cloud: Cloud, there: str, *, check_mode: bool
) -> None:
    mine = {"widgets": [{"type": "text", "properties": {"markdown": "## Hall\nlab: south"}}]}
    given = {"marker": "lab: south", "_ansible_check_mode": check_mode}
    cloud.client("cloudwatch").put_dashboard(DashboardName="lab", DashboardBody=there)
    refused = run(body=mine, **given)
    assert refused["msg"] == (
        'name: "lab" is an existing dashboard without lab: south in a text widget. Allowed: a name that no other '
        "dashboard of the account has, whatever its region. Choose another, or delete this dashboard."
    )
    kept = run(state="absent", **given)
    assert (kept["changed"], kept["foreign"]) == (False, True)
    assert cloud.asked == [GET]
    assert stored(cloud) == json.loads(there)


def test_a_dashboard_with_the_marker_is_replaced_and_deleted(run: Run, cloud: Cloud) -> None:
    widget = {"type": "text", "properties": {"markdown": "## Hall\nlab: south"}}
    run(body={"widgets": [widget]}, marker="lab: south")
    changed = run(body={"widgets": [widget, widget]}, marker="lab: south")
    assert (changed["changed"], changed["foreign"]) == (True, False)
    assert stored(cloud) == {"widgets": [widget, widget]}
    refused = run(body=BODY, marker="lab: south")["msg"]
    assert refused.startswith('marker: "lab: south" is not in the body, where the next run expects it. ')
    assert cloud.asked == []
    assert run(state="absent", marker="lab: south")["changed"]
    assert names(cloud) == []


@pytest.mark.parametrize("given", [{"body": BODY}, {"body": {"widgets": []}}, {"state": "absent"}])
def test_a_check_writes_nothing(run: Run, cloud: Cloud, given: dict[str, Any]) -> None:
    assert run(**given, _ansible_check_mode=True)["changed"] == ("body" in given)
    assert cloud.asked == [GET]
    run(body={"widgets": [{"type": "alarm"}]})
    result = run(**given, _ansible_check_mode=True)
    assert result["changed"]
    assert result["diff"]["before"] != result["diff"]["after"]
    assert cloud.asked == [GET]
    assert stored(cloud) == {"widgets": [{"type": "alarm"}]}


def test_order_and_white_space_make_no_difference(run: Run, cloud: Cloud) -> None:
    text = '{ "start":"-PT3H",\n "widgets": [ {"y": 1, "x": 0, "type": "text"} ] }'
    cloud.client("cloudwatch").put_dashboard(DashboardName="lab", DashboardBody=text)
    assert not run(body={"widgets": [{"type": "text", "x": 0, "y": 1}], "start": "-PT3H"})["changed"]
    assert not run(body='{"widgets": [{"type": "text", "x": 0, "y": 1}], "start": "-PT3H"}')["changed"]
    # The order of widgets decides which covers which, and true is not 1.
    assert run(body={"widgets": [{"type": "text", "x": 0, "y": True}], "start": "-PT3H"})["changed"]


def test_a_body_that_is_not_json_is_replaced(run: Run, cloud: Cloud) -> None:
    cloud.answers["GetDashboard"] = {"DashboardArn": "arn", "DashboardBody": "not json"}
    assert run(body=BODY)["changed"]
    assert cloud.asked == [GET, PUT, GET]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"name": "my lab", "body": BODY}, 'name: "my lab" is not a dashboard\'s name. Allowed: 1 to 255 letters'),
        ({"body": "{"}, 'body: "{" is not JSON (Expecting property name enclosed in double quotes: line 1 column 2'),
        ({"body": "[1]"}, "body: [1] is not a JSON object. Allowed: a mapping with the key widgets. Write"),
        ({}, "state is present but all of the following are missing: body"),
    ],
)
def test_bad_input_is_refused_without_asking_aws(run: Run, cloud: Cloud, given: dict[str, Any], line: str) -> None:
    result = run(**given)
    assert result["failed"]
    assert result["msg"].startswith(line)
    assert cloud.asked == []


def test_each_error_in_a_body_is_reported_with_its_place(run: Run, cloud: Cloud) -> None:
    answer: Any = {
        "Error": {"Code": "InvalidParameterInput", "Message": "The dashboard body is invalid"},
        "dashboardValidationMessages": [
            {"DataPath": "/widgets/0/properties/region", "Message": "Should have a region"},
            {"DataPath": "/widgets/1", "Message": "Should have\nrequired property 'type'"},
        ],
    }
    cloud.answers["PutDashboard"] = ClientError(answer, "PutDashboard")
    lines = run(body=BODY)["msg"].splitlines()
    assert [line.partition(". Allowed")[0] for line in lines] == [
        "body: CloudWatch refuses it for lab at /widgets/0/properties/region: Should have a region",
        "body: CloudWatch refuses it for lab at /widgets/1: Should have required property 'type'",
    ]
    del answer["dashboardValidationMessages"]
    assert run(body=BODY)["msg"].startswith("body: CloudWatch refuses it for lab at /: The dashboard body is invalid. ")


def test_warnings_of_cloudwatch_are_reported(run: Run, cloud: Cloud) -> None:
    told = [{"DataPath": "/widgets/0", "Message": "Unknown property"}]
    cloud.answers["PutDashboard"] = {"DashboardValidationMessages": told}
    result = run(body=BODY)
    assert result["changed"]
    assert result["validation_messages"] == [{"data_path": "/widgets/0", "message": "Unknown property"}]
    assert result["warned"] == ["CloudWatch about the dashboard lab: /widgets/0: Unknown property"]


@pytest.mark.parametrize(
    ("operation", "given", "allowed"),
    [
        ("GetDashboard", {"body": BODY}, "a caller that may read these resources"),
        ("PutDashboard", {"body": BODY}, "a caller that may make this change"),
        ("DeleteDashboards", {"state": "absent"}, "a caller that may make this change"),
    ],
)
def test_a_denied_call_names_the_permission(
    run: Run, cloud: Cloud, operation: str, given: dict[str, Any], allowed: str
) -> None:
    if operation == "DeleteDashboards":
        run(body=BODY)
    cloud.refuse(operation, "AccessDenied", "User is not authorized")
    assert run(**given)["msg"] == (
        f'AWS permission: "cloudwatch:{operation}" is denied to the caller in us-east-1. Allowed: {allowed}. '
        f"Allow cloudwatch:{operation} in the policies of this caller."
    )


def test_a_dashboard_that_vanishes_meanwhile_is_gone(run: Run, cloud: Cloud) -> None:
    run(body=BODY)
    cloud.refuse("DeleteDashboards", "ResourceNotFound")
    assert run(state="absent")["changed"]
    assert DELETE in cloud.asked


def test_missing_region_is_one_line(run: Run, cloud: Cloud) -> None:
    result = run(body=BODY, region="")
    assert result["msg"] == ("region: is not set. Allowed: an AWS region such as us-east-1. Set it, or AWS_REGION.")
    assert cloud.asked == []


def test_returned_values_are_documented(run: Run) -> None:
    documented = yaml.safe_load(cloudwatch_dashboard.RETURN)
    assert set(run(body=BODY)) - {"changed", "invocation", "diff", "warned"} == set(documented)
