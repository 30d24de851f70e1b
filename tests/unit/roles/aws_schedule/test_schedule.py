# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's schedules start and stop instances of a local AWS, whose Scheduler has a clock that is moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.loaders
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_schedule_plan import lab_schedule_plan
from ansible_collections.digital_twin.robotics_lab.plugins.modules import (
    iam_service_role,
    lab_schedule_info,
    scheduler_schedule,
)

from sandbox.cloud.process import control
from tests.support.ansible_programs import execute
from tests.support.lab import kill_when
from tests.support.local_aws import LocalAws, running
from tests.support.project import ROOT, clean_environment

# One loader for all modules, as each new session would parse the service models again.
LOADER = botocore.loaders.create_loader()
ROLE = "digital_twin.robotics_lab.aws_schedule"
REMOVED = str(ROOT / "playbooks/tasks/schedule_removed.yml")
# A run is killed at each of these calls, one after the other.
CREATING = [
    ("iam", "CreateRole"),
    ("iam", "PutRolePolicy"),
    ("scheduler", "CreateScheduleGroup"),
    ("scheduler", "CreateSchedule"),
    ("monitoring", "PutMetricAlarm"),
]
DELETING = [("scheduler", "DeleteScheduleGroup"), ("iam", "DeleteRole"), ("monitoring", "DeleteAlarms")]
REGION = "us-east-1"
OFFICE = {"start": "08:00", "stop": "19:30", "days": "weekdays", "zone": "Europe/Berlin"}


@dataclass
class Cloud:
    """A local AWS."""

    aws: LocalAws
    folder: Path
    seen: int = 0
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        return self.clients.get(service) or self.clients.setdefault(service, self.aws.client(service))

    def launch(self) -> str:
        """Launch an instance and return its id."""
        ec2 = self.client("ec2")
        image = ec2.describe_images(Owners=["amazon", "self"])["Images"][0]["ImageId"]
        answer = ec2.run_instances(ImageId=image, InstanceType="g5.xlarge", MinCount=1, MaxCount=1)
        return str(answer["Instances"][0]["InstanceId"])

    def state(self, instance: str) -> str:
        """Return the state of an instance."""
        answer = self.client("ec2").describe_instances(InstanceIds=[instance])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def clock(self, time: str) -> None:
        """Move the clock of the Scheduler; moved forward, it carries out what is due."""
        control(self.aws.url, self.aws.key, "POST", "clock/set", {"time": f"{time.replace(' ', 'T')}:00+00:00"})

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls of schedules since the last time."""
        found: list[dict[str, Any]] = control(self.aws.url, self.aws.key, "GET", "schedules")["calls"]
        new = found[self.seen :]
        self.seen = len(found)
        return new

    def done(self) -> list[str]:
        """Return what schedules have done since the last time: verb, time in UTC, and the outcome unless delivered."""
        return [
            " ".join(
                [
                    "start" if call["target"].endswith(":startInstances") else "stop",
                    f"{datetime.fromisoformat(call['due']):%m-%d %H:%M}",
                    *([] if call["outcome"] == "delivered" else [call["outcome"]]),
                ]
            )
            for call in self.calls()
        ]

    def group(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the schedules of a lab's group by their names."""
        client = self.client("scheduler")
        rows = client.list_schedules(GroupName=f"digital-twin-{name}")["Schedules"]
        return {row["Name"]: client.get_schedule(Name=row["Name"], GroupName=row["GroupName"]) for row in rows}

    def everything(self) -> dict[str, list[str]]:
        """Return the names of all groups, roles and alarms."""
        scheduler, iam, watch = (self.client(name) for name in ("scheduler", "iam", "cloudwatch"))
        return {
            "groups": [row["Name"] for row in scheduler.list_schedule_groups()["ScheduleGroups"]],
            "roles": [row["RoleName"] for row in iam.list_roles()["Roles"]],
            "alarms": [row["AlarmName"] for row in watch.describe_alarms()["MetricAlarms"]],
        }


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("aws")
    with running(folder) as aws:
        yield Cloud(aws, folder)


@dataclass
class Scheduled:
    """A lab whose schedule the modules of the role create in this process."""

    cloud: Cloud
    name: str
    instances: list[str]
    times: dict[str, Any]
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def run(self, module: Any, **given: Any) -> dict[str, Any]:
        """Run a module."""
        self.capture.readouterr()
        with patch_module_args({"region": REGION, **given}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(self.capture.readouterr().out)
        assert not result.get("failed"), result["msg"]
        return result

    def call(self, verb: str, timer: str) -> str:
        """Return the call that changes the schedule of a timer and the first instance."""
        return f"scheduler:{verb}Schedule {timer}-{self.instances[0]}"

    def apply(self, now: str, awake_until: str = "") -> list[str]:
        """Do what the role does at a time in UTC; return the calls that change the group."""
        moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
        with self.patch.context() as patch:
            for module in (lab_schedule_info, scheduler_schedule):
                patch.setattr(module, "datetime", SimpleNamespace(now=lambda _zone: moment))
            return self.apply_at(moment, awake_until)

    def plan(self, now: datetime, state: dict[str, Any], awake_until: str = "") -> dict[str, Any]:
        """Return what the filter of the role returns at a time."""
        description = {
            "name": self.name,
            "region": REGION,
            "times": self.times,
            "instances": self.instances,
            "tags": {},
            "permissions_boundary": "",
            "alarm_topics": [],
            "awake_until": awake_until,
            "now": now,
        }
        return lab_schedule_plan(description, state)

    def apply_at(self, now: datetime, awake_until: str) -> list[str]:
        """Do what the role does now."""
        plan = self.plan(now, self.run(lab_schedule_info, name=self.name), awake_until)
        assert (plan["problems"], plan["conflicts"]) == ([], [])
        role, group = plan["role"], plan["group"]
        if not plan["differences"]:
            return []
        trust = {"service": "scheduler.amazonaws.com", "trust_conditions": role["trust_conditions"]}
        self.run(iam_service_role, name=role["name"], tags=role["tags"], **trust)
        policy = {"RoleName": role["name"], "PolicyName": role["name"], "PolicyDocument": json.dumps(role["policy"])}
        self.cloud.client("iam").put_role_policy(**policy)
        return list(self.run(scheduler_schedule, **group)["actions"])


@pytest.fixture
def lab(
    cloud: Cloud, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Scheduled]:
    """Return a lab of its own with one instance; its group is deleted at the end."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in cloud.aws.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.session.create_loader", lambda _path: LOADER)
    cloud.aws.mend()
    cloud.done()
    made = Scheduled(
        cloud, f"lab-{abs(hash(request.node.name)) % 10**8}", [cloud.launch()], dict(OFFICE), capsys, monkeypatch
    )
    yield made
    if f"digital-twin-{made.name}" in cloud.everything()["groups"]:
        cloud.client("scheduler").delete_schedule_group(Name=f"digital-twin-{made.name}")


def command_of(cloud: Cloud, part: str, *words: str, **given: Any) -> list[str]:
    """Return the command that runs the role, or a file of tasks."""
    file = cloud.folder / "play.yml"
    include: dict[str, Any] = {"ansible.builtin.include_role": {"name": ROLE, "tasks_from": part}}
    if part.endswith(".yml"):
        include = {"ansible.builtin.include_tasks": part}
    file.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [include]}]))
    values = {"aws_schedule_name": "warehouse", "aws_schedule_region": REGION, **given}
    command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", str(file)]
    return [*command, "--extra-vars", json.dumps(values), *words]


def play(cloud: Cloud, part: str, *words: str, **given: Any) -> tuple[str, int, int]:
    """Run the role, or a file of tasks; return its output, the status and the number of changed tasks."""
    command = command_of(cloud, part, *words, **given)
    done = execute(command, {**clean_environment(), **cloud.aws.environment})
    assert "WARNING" not in done.stderr, done.stderr
    output = " ".join((done.stdout + done.stderr).split())
    return output, done.returncode, int(done.stdout.rpartition("changed=")[2].split()[0])


def kill(cloud: Cloud, part: str, service: str, call: str, **given: Any) -> None:
    """Run the role, and kill it with all its processes when AWS has carried out a call."""
    cloud.aws.inject(kind="stalled", service=service, action=call, count=1)

    def stalled() -> bool:
        return any(row["kind"] == "stalled" and row["hits"] for row in cloud.aws.control("GET", "faults"))

    environment = {**clean_environment(), **cloud.aws.environment}
    kill_when(command_of(cloud, part, **given), environment, cloud.folder / "killed.log", stalled, call)
    cloud.aws.mend()


def mutating(cloud: Cloud) -> list[str]:
    """Return the changing calls since the last time."""
    return [call["action"] for call in cloud.aws.calls() if call["mutating"]]


def test_the_role(cloud: Cloud) -> None:
    """Created, changed, carried out over both changes of the clocks in 2027, and deleted, beside another group."""
    before = cloud.everything()
    other = {"Name": "digital-twin-warehouse-2", "Tags": [{"Key": "digital_twin_lab", "Value": "warehouse-2"}]}
    cloud.client("scheduler").create_schedule_group(**other)
    instance = cloud.launch()
    cloud.clock("2027-03-26 05:00")
    mutating(cloud)
    lab: dict[str, Any] = {
        "aws_schedule_times": OFFICE,
        "aws_schedule_instances": [instance],
        "__aws_schedule_now": "2027-03-26T05:00:00",
    }

    _output, status, changed = play(cloud, "main", "--check", **lab)
    assert (status, changed > 0, mutating(cloud)) == (0, True, [])
    output, status, _changed = play(cloud, "main", **lab)
    assert status == 0, output
    made = mutating(cloud)
    assert made.count("CreateSchedule") == 2
    assert "Next start: Fri 2027-03-26 08:00 (Europe/Berlin)." in output
    _output, status, changed = play(cloud, "main", **lab)
    assert (status, changed, mutating(cloud)) == (0, 0, [])

    # Of two schedules only the changed one is written.
    lab["aws_schedule_times"] = {**OFFICE, "stop": "19:00"}
    assert play(cloud, "main", **lab)[1:] == (0, 1)
    assert mutating(cloud) == ["UpdateSchedule"]

    # 08:00 is 07:00 in UTC until 27 March, and 06:00 from the 28th.
    cloud.clock("2027-03-29 18:00")
    assert cloud.done() == ["start 03-26 07:00", "stop 03-26 18:00", "start 03-29 06:00", "stop 03-29 17:00"]
    assert cloud.state(instance) == "stopped"
    cloud.clock("2027-10-29 00:00")
    working = [day for day in range(213) if (date(2027, 3, 30) + timedelta(days=day)).weekday() < 5]
    assert len(cloud.done()) == 2 * len(working)
    cloud.clock("2027-11-01 12:00")
    assert cloud.done() == ["start 10-29 06:00", "stop 10-29 17:00", "start 11-01 07:00"]
    assert cloud.state(instance) == "running"

    # The instance was replaced.
    second = cloud.launch()
    lab |= {"aws_schedule_instances": [second], "__aws_schedule_now": "2027-11-01T12:00:00"}
    output, status, _changed = play(cloud, "verify", **lab)
    assert (status, "schedule stop, schedule start" in output) == (2, True)
    assert play(cloud, "main", **lab)[1:] == (0, 1)
    assert sorted(cloud.group("warehouse")) == [f"start-{second}", f"stop-{second}"]
    cloud.clock("2027-11-01 19:00")
    assert (cloud.state(instance), cloud.state(second)) == ("running", "stopped")

    output, status, changed = play(cloud, "destroy")
    assert (status, changed) == (0, 3), output
    assert cloud.everything() == {**before, "groups": [*before["groups"], other["Name"]]}
    assert play(cloud, "destroy")[1:] == (0, 0)
    cloud.client("scheduler").delete_schedule_group(Name=other["Name"])


@pytest.mark.full
def test_a_run_that_is_killed_at_any_moment_is_repeated(cloud: Cloud) -> None:
    before = cloud.everything()
    lab: dict[str, Any] = {
        "aws_schedule_name": "killed",
        "aws_schedule_times": OFFICE,
        "aws_schedule_instances": [cloud.launch(), cloud.launch()],
    }
    for service, call in CREATING:
        kill(cloud, "main", service, call, **lab)
    output, status, _changed = play(cloud, "main", **lab)
    assert status == 0, output
    made = cloud.everything()
    assert {kind: len(made[kind]) - len(before[kind]) for kind in made} == {"groups": 1, "roles": 1, "alarms": 2}
    assert len(cloud.group("killed")) == 2 * 2
    assert play(cloud, "main", **lab)[1:] == (0, 0)
    for service, call in DELETING:
        kill(cloud, "destroy", service, call, aws_schedule_name="killed")
    output, status, _changed = play(cloud, "destroy", aws_schedule_name="killed")
    assert status == 0, output
    assert cloud.everything() == before


@pytest.mark.parametrize(
    ("now", "until", "end", "expected"),
    [
        # The night in which the clocks go forward, and that in which they go back: held, then stopped.
        pytest.param(
            "2027-03-27 12:00",
            "2027-03-28 01:30",
            "2027-03-28 20:00",
            ["stop 03-28 01:30", "start 03-28 06:00", "stop 03-28 17:30"],
            id="forward",
        ),
        pytest.param(
            "2027-10-30 12:00",
            "2027-10-31 01:30",
            "2027-10-31 20:00",
            ["stop 10-31 01:30", "start 10-31 07:00", "stop 10-31 18:30"],
            id="back",
        ),
        # Over the whole night into working hours: only the next evening stops.
        pytest.param(
            "2027-03-27 12:00",
            "2027-03-28 09:00",
            "2027-03-28 20:00",
            ["start 03-28 06:00", "stop 03-28 17:30"],
            id="over the night",
        ),
    ],
)
def test_awake(lab: Scheduled, now: str, until: str, end: str, expected: list[str]) -> None:
    cloud, lab.times = lab.cloud, {**OFFICE, "days": "daily"}
    cloud.clock(now)
    lab.apply(now)
    tag = f"{until.replace(' ', 'T')}:00Z"
    changed = lab.apply(now, tag)
    assert lab.call("Update", "stop") in changed
    assert lab.apply(now, tag) == []
    cloud.clock(end)
    assert cloud.done() == expected
    # It has ended by itself: what is left is the schedule without it.
    assert lab.apply(end, tag) == []
    assert sorted(cloud.group(lab.name)) == [f"start-{lab.instances[0]}", f"stop-{lab.instances[0]}"]


def test_awake_is_not_forgotten_and_can_end_early(lab: Scheduled) -> None:
    cloud = lab.cloud
    cloud.clock("2027-02-01 16:00")
    lab.apply("2027-02-01 16:00")
    lab.apply("2027-02-01 16:00", "2027-02-01T22:00:00Z")
    # Its stop at 18:30 was held. A run in between keeps that in mind, and so does a later end.
    cloud.clock("2027-02-01 19:00")
    assert lab.apply("2027-02-01 19:00", "2027-02-01T22:00:00Z") == []
    assert lab.call("Update", "stop-awake") in lab.apply("2027-02-01 19:00", "2027-02-01T23:00:00Z")
    # Ended early, the lab stops within minutes, and not a second time.
    cloud.clock("2027-02-01 20:00")
    assert lab.call("Update", "stop-awake") in lab.apply("2027-02-01 20:00")
    assert lab.apply("2027-02-01 20:01") == []
    cloud.clock("2027-02-02 06:00")
    assert cloud.done() == ["stop 02-01 20:05"]
    assert cloud.state(lab.instances[0]) == "stopped"


def test_awake_that_ends_early_before_it_held_a_stop(lab: Scheduled) -> None:
    cloud = lab.cloud
    cloud.clock("2027-02-01 12:00")
    lab.apply("2027-02-01 12:00")
    lab.apply("2027-02-01 12:00", "2027-02-01T22:00:00Z")
    assert lab.call("Delete", "stop-awake") in lab.apply("2027-02-01 13:00")
    cloud.clock("2027-02-01 23:00")
    assert cloud.done() == ["stop 02-01 18:30"]


def test_stop_only(lab: Scheduled) -> None:
    cloud, lab.times = lab.cloud, {"stop": "20:00", "days": "daily", "zone": "Asia/Kolkata"}
    cloud.clock("2027-02-01 12:00")
    assert lab.apply("2027-02-01 12:00") == [
        f"scheduler:CreateScheduleGroup digital-twin-{lab.name}",
        lab.call("Create", "stop"),
    ]
    cloud.clock("2027-02-03 12:00")
    assert cloud.done() == ["stop 02-01 14:30", "stop 02-02 14:30"]
    assert cloud.state(lab.instances[0]) == "stopped"


def test_exceptions(lab: Scheduled) -> None:
    cloud = lab.cloud
    lab.times = {
        **OFFICE,
        "exceptions": [
            {"date": "2026-12-24", "start": "09:00", "stop": "12:00"},
            {"date": "2026-12-25", "closed": True},
        ],
    }
    cloud.clock("2026-12-23 05:00")
    lab.apply("2026-12-23 05:00")
    assert lab.apply("2026-12-23 05:00") == []
    cloud.clock("2026-12-28 20:00")
    assert cloud.done() == [
        "start 12-23 07:00",
        "stop 12-23 18:30",
        "start 12-24 08:00",
        "stop 12-24 11:00",
        "start 12-28 07:00",
        "stop 12-28 18:30",
    ]
    # What is over is removed with the next run, once.
    assert sorted(lab.apply("2026-12-29 05:00")) == [lab.call("Delete", "start"), lab.call("Delete", "stop")]
    assert lab.apply("2026-12-29 05:00") == []


def test_times_that_are_removed_from_the_description(lab: Scheduled) -> None:
    """As provision.yml sees it."""
    cloud, before = lab.cloud, lab.cloud.everything()
    without = {"aws_schedule_name": lab.name, "aws_schedule_instances": lab.instances, "aws_schedule_times": {}}
    cloud.clock("2027-02-01 12:00")
    lab.apply("2027-02-01 12:00")
    # A caller without rights for schedules may have none, and still creates the lab.
    cloud.aws.inject(kind="denied", service="scheduler", action="GetScheduleGroup")
    mutating(cloud)
    output, status, _changed = play(cloud, REMOVED, **without)
    cloud.aws.mend()
    assert (status, mutating(cloud)) == (0, []), output
    assert "It is not known whether the lab still has a schedule" in output
    output, status, changed = play(cloud, REMOVED, **without)
    assert (status, changed) == (0, 2), output
    assert f"aws_schedule_times of the lab {lab.name} is empty, so its schedule is deleted: schedule group" in output
    assert cloud.everything() == before
    assert play(cloud, REMOVED, **without)[1:] == (0, 0)


def test_a_terminated_instance_does_not_keep_the_others_running(lab: Scheduled) -> None:
    cloud = lab.cloud
    lab.instances.append(cloud.launch())
    cloud.clock("2027-02-01 12:00")
    assert sum(call.startswith("scheduler:CreateSchedule ") for call in lab.apply("2027-02-01 12:00")) == 4
    assert lab.apply("2027-02-01 12:00") == []
    first, second = lab.instances
    cloud.client("ec2").terminate_instances(InstanceIds=[second])
    cloud.clock("2027-02-01 20:00")
    assert sorted(cloud.done()) == ["stop 02-01 18:30", "stop 02-01 18:30 dropped"]
    assert cloud.state(first) == "stopped"
    # A report for a person has one line for each time.
    state = lab.run(lab_schedule_info, name=lab.name)
    plan = lab.plan(datetime(2027, 2, 1, 20, tzinfo=UTC), state)
    assert plan["report"] == [
        "Next start: Tue 2027-02-02 08:00 (Europe/Berlin).",
        "Next stop: Tue 2027-02-02 19:30 (Europe/Berlin).",
    ]
    lab.instances.remove(second)
    plan = lab.plan(datetime(2027, 2, 1, 20, tzinfo=UTC), state)
    excess = [f"excess schedule start of {second}", f"excess schedule stop of {second}"]
    assert [line for line in plan["wrong"] if "alarm" not in line] == excess
    assert sorted(lab.apply("2027-02-01 20:00")) == [
        f"scheduler:DeleteSchedule start-{second}",
        f"scheduler:DeleteSchedule stop-{second}",
    ]
    assert sorted(cloud.group(lab.name)) == [f"start-{first}", f"stop-{first}"]


def test_a_start_without_capacity_does_not_come_in_the_evening(lab: Scheduled) -> None:
    cloud = lab.cloud
    cloud.client("ec2").stop_instances(InstanceIds=lab.instances)
    cloud.clock("2027-02-01 05:00")
    lab.apply("2027-02-01 05:00")
    cloud.aws.inject(kind="capacity", action="StartInstances")
    cloud.clock("2027-02-01 18:00")
    assert cloud.done() == ["start 02-01 07:00 dropped"]
    cloud.aws.mend()
    cloud.clock("2027-02-02 06:30")
    assert cloud.state(lab.instances[0]) == "stopped"
    state = lab.run(lab_schedule_info, name=lab.name, failure_hours=24)
    assert state["failures"]["dropped"]["count"] == 1
    assert state["failures"]["errors"]["count"] > 1
    description = {"name": lab.name, "region": REGION, "times": lab.times, "instances": lab.instances, "tags": {}}
    more = {"permissions_boundary": "", "alarm_topics": [], "awake_until": "", "now": "2027-02-02T06:30:00"}
    (line,) = [row for row in lab_schedule_plan(description | more, state)["report"] if "failed" in row]
    assert "1 of its starts and stops were given up" in line


def test_a_start_with_capacity_after_half_an_hour(lab: Scheduled) -> None:
    cloud = lab.cloud
    cloud.client("ec2").stop_instances(InstanceIds=lab.instances)
    cloud.clock("2027-02-01 05:00")
    lab.apply("2027-02-01 05:00")
    cloud.aws.inject(kind="capacity", action="StartInstances")
    cloud.clock("2027-02-01 07:30")
    assert cloud.state(lab.instances[0]) == "stopped"
    cloud.aws.mend()
    cloud.clock("2027-02-01 08:00")
    assert cloud.state(lab.instances[0]) == "running"


def test_the_key_of_the_volumes(lab: Scheduled) -> None:
    key = lab.cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    description = {"name": lab.name, "region": REGION, "times": OFFICE, "instances": lab.instances, "tags": {}}
    more = {"permissions_boundary": "", "alarm_topics": [], "awake_until": "", "now": "2027-02-02T06:30:00"}
    state = lab.run(lab_schedule_info, name=lab.name)
    assert (state["volume_key"], state["unread"]) == ("", [])
    plan = lab_schedule_plan(description | more, {**state, "volume_key": key})
    grants = [row for row in plan["role"]["policy"]["Statement"] if row["Action"] == "kms:CreateGrant"]
    assert [(row["Resource"], row["Condition"]) for row in grants] == [
        (key, {"Bool": {"kms:GrantIsForAWSResource": "true"}})
    ]
    assert any("kms:CreateGrant" in line and key in line for line in plan["warnings"])
    lab.apply("2027-02-02 06:30")
