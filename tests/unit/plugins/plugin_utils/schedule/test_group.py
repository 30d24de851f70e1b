# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The schedules of a lab with several instances, as they are named, read back, compared and reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_schedule_plan import lab_schedule_plan
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.schedule_group import Schedule
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._schedule.group import read_held
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._schedule.timers import Held

FIRST, SECOND = "i-0123456789abcdef0", "i-0fedcba9876543210"
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
TIMES = {
    "start": "08:00",
    "stop": "19:30",
    "zone": "Europe/Berlin",
    "exceptions": [{"date": "2026-12-24", "start": "09:00", "stop": "12:00"}],
}
# The schedules of one host.
TIMERS = ("stop", "stop-from-2026-12-25", "stop-on-2026-12-24", "start", "start-from-2026-12-25", "start-on-2026-12-24")


def planned(state: dict[str, Any] | None = None, now: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """Return what the filter of the role returns."""
    description = {
        "name": "warehouse",
        "region": "eu-central-1",
        "times": TIMES,
        "instances": [FIRST, SECOND],
        "tags": {},
        "permissions_boundary": "",
        "alarm_topics": [],
        "awake_until": "",
        "now": now,
        **changes,
    }
    return lab_schedule_plan(description, state)


def existing(now: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """Return the state of a lab whose schedules are as planned."""
    plan = planned({"account_id": "123456789012"}, now, **changes)
    group, role = plan["group"], plan["role"]
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": role["trust_conditions"],
    }
    return {
        "account_id": "123456789012",
        "group": {"name": group["name"], "tags": group["owner_tags"]},
        "schedules": [vars(Schedule(**row)) for row in group["schedules"]],
        "role": {
            "tags": role["tags"],
            "trust_policy": {"Version": "2012-10-17", "Statement": [trust]},
            "inline_policies": {role["name"]: role["policy"]},
        },
    }


def wrong(plan: dict[str, Any], key: str = "wrong") -> list[str]:
    """Return differences of a group and its role."""
    return [line for line in plan[key] if not line.startswith("alarm ")]


def test_each_instance_has_schedules_of_its_own() -> None:
    rows = planned()["group"]["schedules"]
    assert [row["name"] for row in rows] == [f"{timer}-{one}" for timer in TIMERS for one in (FIRST, SECOND)]
    assert all(row["input"] == {"InstanceIds": [row["name"][-len(FIRST) :]]} for row in rows)
    # Scheduler's limit.
    assert max(len(row["name"]) for row in rows) <= 64
    state = existing()
    assert (wrong(planned(state)), wrong(planned(state), "differences")) == ([], [])
    # A run that is killed must not have held a stop without the one that replaces it.
    held = planned(awake_until="2026-12-01T23:00:00Z")["group"]["schedules"]
    assert [row["name"] for row in held[:3]] == [f"stop-awake-{FIRST}", f"stop-awake-{SECOND}", f"stop-{FIRST}"]
    # Before the lab exists, check mode shows when it will start and stop.
    assert [row["name"] for row in planned(instances=[])["group"]["schedules"]] == list(TIMERS)


def test_a_report_has_one_line_for_each_timer() -> None:
    state = existing()
    assert planned(state)["report"] == [
        "Next start: Wed 2026-12-02 08:00 (Europe/Berlin).",
        "Next stop: Tue 2026-12-01 19:30 (Europe/Berlin).",
    ]
    for row in state["schedules"]:
        row["enabled"] = not row["name"].startswith(("stop-i-", f"start-{FIRST}"))
        row["expression"] = "rate(1 day)" if row["name"].startswith("start-from") else row["expression"]
    assert planned(state)["report"][2:] == [
        "The schedule start-from-2026-12-25 is not one of this collection's, so its times are not shown.",
        f"Switched off in EventBridge Scheduler: stop, start of {FIRST}. Run playbooks/schedule.yml.",
    ]
    assert wrong(planned(state)) == ["schedule stop", f"schedule start of {FIRST}", "schedule start-from-2026-12-25"]


def test_schedules_of_an_instance_that_is_gone_are_excess() -> None:
    plan = planned(existing(), instances=[FIRST])
    assert wrong(plan) == [f"excess schedule {timer} of {SECOND}" for timer in TIMERS]
    assert plan["report"][2:] == [
        f"The schedule does not name the lab's instances ({SECOND} differs). Run playbooks/schedule.yml."
    ]
    # One that was added.
    plan = planned(existing(instances=[FIRST]))
    assert wrong(plan) == [f"schedule {timer} of {SECOND}" for timer in TIMERS]


def test_one_schedule_for_all_instances_is_replaced() -> None:
    state = existing()
    state["schedules"] = [{**state["schedules"][0], "name": "stop", "input": {"InstanceIds": [FIRST, SECOND]}}]
    assert wrong(planned(state)) == [*(f"schedule {timer}" for timer in TIMERS), "excess schedule stop"]


@pytest.mark.parametrize(
    ("minutes", "missing"),
    [
        # Due at 11:00. AWS may have deleted it, or not yet, and clocks differ.
        (-10, ["schedule stop-on-2026-12-24"]),
        (-4, []),
        (1, []),
        (600, []),
    ],
)
def test_a_schedule_whose_time_is_over_is_not_wrong(minutes: int, missing: list[str]) -> None:
    now = datetime(2026, 12, 24, 11, tzinfo=UTC) + timedelta(minutes=minutes)
    state = existing()
    assert wrong(planned(state, now)) == []
    state["schedules"] = [row for row in state["schedules"] if not row["name"].startswith("stop-on-")]
    assert wrong(planned(state, now)) == missing


def test_a_schedule_whose_time_is_over_is_removed() -> None:
    plan = planned(existing(), datetime(2026, 12, 26, 12, tzinfo=UTC))
    over = ["stop", "stop-on-2026-12-24", "start", "start-on-2026-12-24"]
    assert wrong(plan, "differences") == [f"excess schedule {timer}" for timer in over]
    assert wrong(plan) == []


def test_a_schedule_that_another_program_wrote_is_wrong() -> None:
    state = existing()
    state["schedules"].append({**state["schedules"][0], "name": "mine", "target_arn": "arn:aws:lambda:x:y", "end": ""})
    state["schedules"].append({**state["schedules"][0], "name": "other", "expression": "rate(1 day)"})
    assert wrong(planned(state)) == ["excess schedule mine", "excess schedule other"]


def test_awake_after_a_run_that_was_interrupted() -> None:
    """The first host is held until 23:00, the second still until 22:00."""
    early, late = (existing(awake_until=f"2026-12-01T{hour}:00:00Z")["schedules"] for hour in (22, 23))
    both = [*(row for row in late if row["name"].endswith(FIRST)), *(row for row in early if SECOND in row["name"])]
    assert sum(row["name"].startswith("stop-awake-") for row in both) == 2
    end = datetime(2026, 12, 1, 23, tzinfo=UTC)
    assert read_held(both, NOW) == Held(NOW, end)
    assert read_held(both, end - timedelta(minutes=30)) == Held(NOW, end)
    assert read_held([row for row in both if "awake" not in row["name"]], NOW) is None


def test_a_lab_without_times() -> None:
    plan = planned(existing(), times={})
    expected = ["schedule group digital-twin-warehouse", "role digital-twin-warehouse-schedule"]
    assert (plan["existing"], plan["differences"]) == (expected, [])
    assert plan["wrong"] == [f"excess {one}" for one in expected]


def test_the_role_starts_no_instance_whose_move_to_another_zone_has_not_ended() -> None:
    # Without the key, IAM's condition Null is true. The host of such a tag has two instances.
    by_action = {statement["Action"]: statement["Condition"] for statement in planned()["role"]["policy"]["Statement"]}
    own = {"aws:ResourceTag/digital_twin_lab": "warehouse", "aws:ResourceTag/managed_by": "digital_twin.robotics_lab"}
    move = {"Null": {"aws:ResourceTag/digital_twin_move": "true"}}
    assert by_action["ec2:StartInstances"] == {"StringEquals": own, **move}
    assert by_action["ec2:StopInstances"] == {"StringEquals": own}
