# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The budget of a lab against a local AWS: it stops the lab's instances, and no others."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.modules import lab_budget

from tests.support.local_aws import LocalAws, running
from tests.support.run_module import runner
from tests.support.small_lab import SmallLab

Run = Callable[..., dict[str, Any]]
NAMES = (f"budget-{number}" for number in itertools.count(1))
ACCOUNT = "123456789012"
MAIL = "operations@example.com"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:alarms"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as local:
        yield local


@pytest.fixture
def lab(aws: LocalAws) -> SmallLab:
    made = SmallLab(aws, next(NAMES)).make()
    role(aws, made.name, "budgets.amazonaws.com")
    aws.calls()
    return made


def role(aws: LocalAws, name: str, service: str) -> str:
    """Create a role that a service may assume, and return its ARN."""
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]}
    made = aws.client("iam").create_role(RoleName=f"digital-twin-{name}", AssumeRolePolicyDocument=json.dumps(trust))
    return str(made["Role"]["Arn"])


@pytest.fixture
def run(aws: LocalAws, lab: SmallLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(lab_budget, "PAUSE", 0)
    return runner(
        aws,
        lab_budget.main,
        monkeypatch,
        capsys,
        name=lab.name,
        limit=200,
        notify=[MAIL],
        instance_ids=[lab.ids["instance"]],
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/digital-twin-{lab.name}",
    )


def mutating(aws: LocalAws) -> list[str]:
    """Return the changing calls since the last time."""
    return [call["action"] for call in aws.calls() if call["mutating"]]


def actions_of(aws: LocalAws, lab: SmallLab) -> list[dict[str, Any]]:
    """Return the actions of a lab's budget."""
    found: list[dict[str, Any]] = aws.client("budgets").describe_budget_actions_for_budget(
        AccountId=ACCOUNT, BudgetName=f"digital-twin-{lab.name}"
    )["Actions"]
    return found


def state_of(aws: LocalAws, identifier: str) -> str:
    """Return the state of an instance."""
    (group,) = aws.client("ec2").describe_instances(InstanceIds=[identifier])["Reservations"]
    return str(group["Instances"][0]["State"]["Name"])


def test_twice_and_in_check_mode(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    would = run(check=True)
    assert (would["changed"], mutating(aws)) == (True, [])
    first = run()
    assert first["actions"] == would["actions"] == ["budgets:CreateBudget", "budgets:CreateBudgetAction"]
    assert mutating(aws) == ["CreateBudget", "CreateBudgetAction"]
    budget = aws.client("budgets").describe_budget(AccountId=ACCOUNT, BudgetName=first["budget"])["Budget"]
    assert budget["BudgetLimit"] == {"Amount": "200.00", "Unit": "USD"}
    assert budget["CostFilters"]["TagKeyValue"] == [f"user:digital_twin_lab${lab.name}"]
    again = run()
    assert (again["changed"], mutating(aws)) == (False, [])


def test_it_stops_the_instances_of_the_lab_only(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    other = SmallLab(aws, next(NAMES)).make()
    run()
    aws.control("POST", "budgets/spend", {"name": f"digital-twin-{lab.name}", "amount": 199})
    assert state_of(aws, lab.ids["instance"]) == "running"
    aws.calls()
    answer = aws.control("POST", "budgets/spend", {"name": f"digital-twin-{lab.name}", "amount": 201})
    assert answer == {"states": ["EXECUTION_SUCCESS"]}
    assert (state_of(aws, lab.ids["instance"]), state_of(aws, other.ids["instance"])) == ("stopped", "running")
    (call,) = [call for call in aws.calls() if call["mutating"]]
    assert (call["action"], call["by"]) == ("StopInstances", "budgets")


def test_a_replaced_instance_is_the_one_that_is_stopped(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    run()
    aws.client("ec2").terminate_instances(InstanceIds=[lab.ids["instance"]])
    other = lab.launch()
    aws.calls()
    assert run(instance_ids=[other])["actions"] == ["budgets:UpdateBudgetAction"]
    (action,) = actions_of(aws, lab)
    assert action["Definition"]["SsmActionDefinition"]["InstanceIds"] == [other]
    assert not run(instance_ids=[other])["changed"]
    aws.control("POST", "budgets/spend", {"name": f"digital-twin-{lab.name}", "amount": 250})
    assert state_of(aws, other) == "stopped"


@pytest.mark.parametrize(
    ("given", "calls"),
    [
        ({"limit": 300}, ["UpdateBudget"]),
        (
            {"notify": [MAIL, TOPIC]},
            ["DeleteNotification", "CreateNotification", "UpdateBudgetAction"],
        ),
        ({"instance_ids": []}, ["DeleteBudgetAction"]),
    ],
    ids=["limit", "subscribers", "no instances"],
)
def test_what_differs_is_changed(run: Run, aws: LocalAws, given: dict[str, Any], calls: list[str]) -> None:
    run()
    aws.calls()
    assert run(**given)["changed"]
    assert mutating(aws) == calls
    assert not run(**given)["changed"]


def test_a_budget_of_someone_else_stays(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    """Also that of a lab of the same name in another region."""
    run()
    aws.calls()
    for given in ({}, {"state": "absent"}):
        refused = run(region="eu-west-1", **given)
        assert "does not carry the tags of this lab" in refused["msg"]
        assert f"The budget digital-twin-{lab.name} exists" in refused["msg"]
    assert mutating(aws) == []


def test_it_is_removed(run: Run, aws: LocalAws, lab: SmallLab) -> None:
    run()
    kept = SmallLab(aws, next(NAMES))
    run(name=kept.name, instance_ids=[])
    aws.calls()
    assert run(state="absent", check=True)["changed"]
    assert mutating(aws) == []
    assert run(state="absent")["changed"]
    assert mutating(aws) == ["DeleteBudgetAction", "DeleteBudget"]
    assert not run(state="absent")["changed"]
    names = [item["BudgetName"] for item in aws.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]]
    assert f"digital-twin-{lab.name}" not in names
    assert f"digital-twin-{kept.name}" in names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": 0}, "limit: 0 is not a limit. Allowed: more than 0 US dollars a month."),
        ({"notify": []}, "notify: empty."),
        ({"notify": [TOPIC, f"{TOPIC}-2"]}, "one SNS topic and ten e-mail addresses"),
        ({"role_arn": ""}, "role_arn: empty."),
        ({"name": "x*"}, 'name: "x*" is not the name of a lab.'),
    ],
)
def test_refused_before_anything_is_changed(run: Run, aws: LocalAws, given: dict[str, Any], message: str) -> None:
    assert message in run(**given)["msg"]
    assert mutating(aws) == []


def test_a_role_that_budgets_may_not_assume(run: Run, aws: LocalAws) -> None:
    """The budget exists then, and the next run completes it."""
    wrong = role(aws, f"{next(NAMES)}-wrong", "ec2.amazonaws.com")
    assert "budgets:CreateBudgetAction" in run(role_arn=wrong)["msg"]
    assert run()["actions"] == ["budgets:CreateBudgetAction"]


def test_a_denied_call_is_named(run: Run, aws: LocalAws) -> None:
    for action, permission in (("DescribeBudget", "budgets:ViewBudget"), ("CreateBudget", "budgets:ModifyBudget")):
        aws.inject(service="budgets", kind="denied", action=action)
        result = run()
        aws.mend()
        assert f'AWS permission: "{permission}"' in result["msg"]
