# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of schedules and budgets, killed at calls that change something, and run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox.waiting import wait_until
from tests.support import module_programs
from tests.support.account import holdings
from tests.support.local_aws import LocalAws, running

REGION, ACCOUNT, NAME = "us-east-1", "123456789012", "warehouse"
GROUP = f"digital-twin-{NAME}"
SECONDS = 60
HOSTS = ("i-0123456789abcdef0", "i-0fedcba9876543210")
ROLES = {"scheduler": "scheduler.amazonaws.com", "budgets": "budgets.amazonaws.com"}
MAIL, TOPIC = "operations@example.com", f"arn:aws:sns:{REGION}:{ACCOUNT}:operators"


@dataclass
class Managed:
    """What a module manages in a local AWS."""

    aws: LocalAws
    folder: Path
    module: str
    service: str
    defaults: dict[str, Any]
    clients: dict[str, Any] = field(default_factory=dict)

    def run(self, **given: Any) -> dict[str, Any]:
        """Run the module to its end, and return its result."""
        arguments = {**self.defaults, **given}
        result = module_programs.run(self.module, arguments, self.aws.environment, self.folder / "result")
        assert not result.get("failed"), result
        return result

    def kill(self, call: str, **given: Any) -> None:
        """Run the module, and kill it when a call is carried out whose answer it does not get yet."""
        self.aws.inject(kind="stalled", service=self.service, action=call, count=1)
        output = self.folder / "killed"
        child = module_programs.start(self.module, {**self.defaults, **given}, self.aws.environment, output)
        wait_until(self.stalled, what=call, seconds=SECONDS, pause=0.02, log=output)
        child.kill()
        assert child.wait(SECONDS) < 0
        self.aws.mend()

    def stalled(self) -> bool:
        """Return whether a call is stalled."""
        return any(row["kind"] == "stalled" and row["hits"] for row in self.aws.control("GET", "faults"))

    def kill_at_each_call(self, **given: Any) -> list[str]:
        """Kill one run after the other at its first changing call, until one has none; return these calls."""
        killed = []
        while planned := self.run(_ansible_check_mode=True, **given)["actions"]:
            call = planned[0].partition(":")[2].split()[0]
            self.kill(call, **given)
            killed.append(call)
            assert len(killed) < 30, killed
        return killed

    def settled(self, **given: Any) -> None:
        """Check that another run changes nothing, and makes no changing call."""
        self.aws.calls()
        assert not self.run(**given)["changed"]
        assert [call["action"] for call in self.aws.calls() if call["mutating"]] == []

    def found(self) -> list[Any]:
        """Return what exists, without times and the ids that AWS chooses."""
        client = self.aws.client(self.service)
        if self.service == "scheduler":
            rows = client.list_schedules(GroupName=GROUP)["Schedules"]
            schedules = [client.get_schedule(Name=row["Name"], GroupName=GROUP) for row in rows]
            keys = ("Name", "ScheduleExpression", "Target", "State")
            return [{key: row[key] for key in keys} for row in sorted(schedules, key=lambda row: str(row["Name"]))]
        named = {"AccountId": ACCOUNT, "BudgetName": GROUP}
        budget = client.describe_budget(**named)["Budget"]
        notifications = client.describe_notifications_for_budget(**named)["Notifications"]
        actions = client.describe_budget_actions_for_budget(**named)["Actions"]
        keys = ("ActionThreshold", "Definition", "ExecutionRoleArn", "Subscribers")
        return [
            budget["BudgetLimit"],
            sorted((row["Threshold"], row["NotificationType"]) for row in notifications),
            [{key: row[key] for key in keys} for row in actions],
        ]

    def names(self) -> set[tuple[str, str]]:
        """Return every resource of the account, and its budgets."""
        budgets = self.aws.client("budgets").describe_budgets(AccountId=ACCOUNT)
        return holdings(self.aws.client) | {("budget", row["BudgetName"]) for row in budgets.get("Budgets") or []}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as local:
        for name, service in ROLES.items():
            statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
            document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            local.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
        yield local


@pytest.fixture
def group(aws: LocalAws, tmp_path: Path) -> Iterator[Managed]:
    owner = {"digital_twin_lab": NAME}
    made = Managed(
        aws, tmp_path, "scheduler_schedule", "scheduler", {"name": GROUP, "region": REGION, "owner_tags": owner}
    )
    yield made
    aws.mend()
    made.run(state="absent")


@pytest.fixture
def budget(aws: LocalAws, tmp_path: Path) -> Iterator[Managed]:
    options = {"instance_ids": [HOSTS[0]], "role_arn": f"arn:aws:iam::{ACCOUNT}:role/budgets", "notify": [MAIL]}
    made = Managed(aws, tmp_path, "lab_budget", "budgets", {"name": NAME, "region": REGION, "limit": 200, **options})
    yield made
    aws.mend()
    made.run(state="absent")


def schedules(*hosts: str, hour: int = 18) -> list[dict[str, Any]]:
    """Return the options of a stop and a start of each host."""
    return [
        {
            "name": f"{verb}-{host}",
            "expression": f"cron(0 {hour if verb == 'stop' else 8} ? * MON *)",
            "target_arn": f"arn:aws:scheduler:::aws-sdk:ec2:{verb}Instances",
            "role_arn": f"arn:aws:iam::{ACCOUNT}:role/scheduler",
            "input": {"InstanceIds": [host]},
        }
        for verb in ("stop", "start")
        for host in hosts
    ]


def test_a_group_after_a_run_that_was_killed(group: Managed) -> None:
    before = group.names()
    wanted = {"schedules": schedules(*HOSTS)}
    group.kill("CreateSchedule", **wanted)
    # What was declared first exists: a stop.
    assert [row["Name"] for row in group.found()] == [f"stop-{HOSTS[0]}"]
    group.run(**wanted)
    group.settled(**wanted)
    made = {("schedule", row["name"]) for row in wanted["schedules"]} | {("schedule group", GROUP)}
    assert group.names() - before == made
    group.kill("DeleteScheduleGroup", state="absent")
    group.run(state="absent")
    assert group.names() == before


def test_a_budget_after_a_run_that_was_killed(budget: Managed) -> None:
    before = budget.names()
    budget.kill("CreateBudget")
    budget.run()
    budget.settled()
    assert budget.names() - before == {("budget", GROUP)}
    assert len(budget.found()[2]) == 1
    budget.kill("DeleteBudgetAction", state="absent")
    budget.run(state="absent")
    assert budget.names() == before


@pytest.mark.full
def test_a_group_that_is_killed_at_every_call(group: Managed) -> None:
    before = group.names()
    wanted = {"schedules": schedules(*HOSTS)}
    assert group.kill_at_each_call(**wanted) == ["CreateScheduleGroup", *["CreateSchedule"] * 4]
    group.settled(**wanted)
    made = group.found()
    # One host is gone, another time, and a tag.
    changed = {"schedules": schedules(HOSTS[0], hour=20), "tags": {"team": "robotics"}}
    assert group.kill_at_each_call(**changed) == ["TagResource", "UpdateSchedule", *["DeleteSchedule"] * 2]
    group.settled(**changed)
    assert [row["ScheduleExpression"] for row in group.found()] == ["cron(0 8 ? * MON *)", "cron(0 20 ? * MON *)"]
    group.kill_at_each_call(**wanted)
    assert group.found() == made
    assert group.kill_at_each_call(state="absent") == ["DeleteScheduleGroup"]
    assert group.names() == before


@pytest.mark.full
def test_a_budget_that_is_killed_at_every_call(budget: Managed) -> None:
    before = budget.names()
    assert budget.kill_at_each_call() == ["CreateBudget", "CreateBudgetAction"]
    budget.settled()
    made = budget.found()
    changed = {"limit": 300, "notify": [MAIL, TOPIC], "instance_ids": [HOSTS[1]]}
    assert budget.kill_at_each_call(**changed) == [
        "UpdateBudget",
        "DeleteNotification",
        "CreateNotification",
        "UpdateBudgetAction",
    ]
    budget.settled(**changed)
    assert budget.found()[2][0]["Definition"]["SsmActionDefinition"]["InstanceIds"] == [HOSTS[1]]
    budget.kill_at_each_call()
    assert budget.found() == made
    assert budget.kill_at_each_call(state="absent") == ["DeleteBudgetAction", "DeleteBudget"]
    assert budget.names() == before
