# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role records what a lab uses, reports what it costs, and destroy leaves no record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.local_aws import LocalAws, running
from tests.support.small_lab import SmallLab
from tests.unit.roles.aws_infrastructure.test_launch import Lab, mutating

NAME = "robotics-lab"
Play = Callable[..., tuple[str, int, int]]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as local:
        aws_prices(local)
        yield local


def aws_prices(aws: LocalAws) -> None:
    """Set prices that differ from the collection's own."""
    aws.control("POST", "prices", {"region": "us-east-1", "type": "g5.xlarge", "price": 1.5, "reserved": 0.9})
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "zone": "us-east-1a", "price": 0.5})


@pytest.fixture(scope="module")
def lab(aws: LocalAws) -> SmallLab:
    made = SmallLab(aws, NAME).make()
    start = datetime.now(UTC) - timedelta(hours=2)
    aws.control("POST", "runs", {"instance": made.ids["instance"], "start": start.isoformat()})
    return made


@pytest.fixture
def play(aws: LocalAws, lab: SmallLab, tmp_path: Path) -> Play:
    aws.calls()
    return Lab(aws, tmp_path).play


def records(aws: LocalAws, lab: str = NAME) -> list[str]:
    """Return the parameters of a lab."""
    pages = aws.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=f"/digital-twin/{lab}/usage")
    return [item["Name"] for page in pages for item in page["Parameters"]]


def test_the_cost_is_recorded_and_reported(aws: LocalAws, play: Play) -> None:
    output, status, changed = play("cost")
    assert (status, changed, set(mutating(aws))) == (0, 0, {"PutParameter"}), output
    for sentence in ("hours on demand", "$0.5000 an hour", "at a discount of 40.0 % would have"):
        assert sentence in output, output
    output, status, changed = play("cost")
    assert (status, changed, mutating(aws)) == (0, 0, []), output


def test_the_prices_that_were_used_are_named(aws: LocalAws, play: Play) -> None:
    output, _status, _changed = play("summary")
    assert "prices of the Price List API of AWS for us-east-1, published 2026-11-27" in output
    assert "Cost: $1.53 an hour" in output
    aws.inject(service="pricing", kind="denied", action="GetProducts")
    aws.inject(service="ssm", kind="denied", action="GetParametersByPath")
    output, status, changed = play("cost")
    aws.mend()
    # A denied call fails no verb.
    assert (status, changed) == (0, 0), output
    assert "The cost of this month is not known. AWS permission:" in output
    assert "ssm:GetParametersByPath" in output


BUDGET = {"aws_infrastructure_budget": 200, "aws_infrastructure_budget_notify": ["operations@example.com"]}


def names(aws: LocalAws) -> tuple[list[str], list[str]]:
    """Return the names of all budgets, and of the roles that AWS Budgets may assume."""
    budgets = aws.client("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
    roles = aws.client("iam").list_roles()["Roles"]
    return [item["BudgetName"] for item in budgets], [
        item["RoleName"] for item in roles if "budgets.amazonaws.com" in str(item["AssumeRolePolicyDocument"])
    ]


def test_one_variable_creates_the_budget_and_removes_it(aws: LocalAws, play: Play) -> None:
    output, status, changed = play("budget", **BUDGET)
    assert (status, changed > 0) == (0, True), output
    assert names(aws) == ([f"digital-twin-{NAME}"], [f"digital-twin-{NAME}-budget"])
    aws.calls()
    output, status, changed = play("budget", **BUDGET)
    assert (status, changed, mutating(aws)) == (0, 0, []), output
    output, status, changed = play("budget")
    assert (status, names(aws)) == (0, ([], [])), output


def test_destroy_leaves_no_record_and_no_budget(aws: LocalAws, play: Play) -> None:
    """The record is kept by choice, and removed by the next destroy. That of another lab stays, and its budget."""
    name = f"/digital-twin/{NAME}-b/usage/2026-10-1"
    aws.client("ssm").put_parameter(Name=name, Value="1 2026-10", Type="String")
    limit = {"BudgetName": f"digital-twin-{NAME}-b", "BudgetType": "COST", "TimeUnit": "MONTHLY"}
    aws.client("budgets").create_budget(
        AccountId="123456789012", Budget={**limit, "BudgetLimit": {"Amount": "1", "Unit": "USD"}}
    )
    output, status, _changed = play("budget", **BUDGET)
    assert status == 0, output
    play("cost")
    aws.inject(service="monitoring", kind="denied", action="GetMetricData")
    output, status, _changed = play("destroy", aws_infrastructure_keep_usage=True)
    aws.mend()
    # A lab whose usage cannot be recorded is destroyed, and the report says what is missing.
    assert status == 0, output
    assert "The last hours of the lab will be missing in its record. AWS permission:" in output
    assert names(aws) == ([f"digital-twin-{NAME}-b"], [])
    assert "The record of the usage stays, which costs nothing: /digital-twin/robotics-lab/usage/" in output
    assert records(aws)
    output, status, _changed = play("destroy")
    assert status == 0, output
    assert "Nothing is left of the lab robotics-lab" in output
    assert (records(aws), records(aws, f"{NAME}-b")) == ([], [name])
