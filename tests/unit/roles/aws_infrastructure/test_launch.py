# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role creates a lab where AWS has capacity, the next run changes nothing, and destroy leaves nothing.

A run may be killed or throttled at any call, and another lab in the account stays as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.account import counts, holdings
from tests.support.ansible_programs import execute
from tests.support.lab import kill_when
from tests.support.local_aws import LocalAws, running
from tests.support.project import clean_environment

ROLE = "digital_twin.robotics_lab.aws_infrastructure"
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
# How many zones of the region offer the type.
OFFERING = 5
CAPACITY = {"kind": "capacity", "action": "RunInstances"}


@dataclass
class Lab:
    """A lab in a local AWS.

    Attributes:
        foreign: Whether resources of others carry its tags, of which preflight warns.
    """

    aws: LocalAws
    folder: Path
    name: str = "robotics-lab"
    market: str = "on_demand"
    foreign: bool = False

    def command(self, part: str, *words: str, **given: Any) -> list[str]:
        """Return the command that runs a part of the role."""
        include = {"ansible.builtin.include_role": {"name": ROLE, "tasks_from": part}}
        file = self.folder / f"{self.name}-{part}.yml"
        file.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [include]}]))
        values = {
            "aws_infrastructure_name": self.name,
            "aws_infrastructure_region": "us-east-1",
            "aws_infrastructure_private_key_file": str(self.folder / f"{self.name}-key"),
            "aws_infrastructure_known_hosts_file": str(self.folder / "known_hosts"),
            "aws_infrastructure_admin_cidrs": ["203.0.113.7/32"],
            "aws_infrastructure_viewer_cidrs": ["203.0.113.7/32"],
            "aws_infrastructure_instance_type": "g5.xlarge",
            "aws_infrastructure_market": self.market,
            "aws_infrastructure_destroy_confirm": self.name,
            **given,
        }
        command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", str(file)]
        return [*command, "--extra-vars", json.dumps(values), *words]

    def play(self, part: str = "main", *words: str, **given: Any) -> tuple[str, int, int]:
        """Run a part of the role, and return its output, the status, and the number of changed tasks."""
        done = execute(self.command(part, *words, **given), {**clean_environment(), **self.aws.environment})
        assert self.foreign or "WARNING" not in done.stderr, done.stderr
        # Ansible wraps long lines.
        output = " ".join((done.stdout + done.stderr).split())
        return output, done.returncode, int(done.stdout.rpartition("changed=")[2].split()[0])

    def kill(self, part: str, call: str, **given: Any) -> None:
        """Run a part of the role, and kill it with all its processes when AWS has received a call."""
        self.aws.inject(kind="stalled", action=call, count=1)

        def stalled() -> bool:
            return any(row["kind"] == "stalled" and row["hits"] for row in self.aws.control("GET", "faults"))

        environment = {**clean_environment(), **self.aws.environment}
        kill_when(self.command(part, **given), environment, self.folder / "killed.log", stalled, call)
        self.aws.mend()

    def settled(self, *words: str, **given: Any) -> None:
        """Check that another run changes nothing, and makes no changing call."""
        self.aws.calls()
        output, status, changed = self.play("main", *words, **given)
        assert (status, changed) == (0, 0), output
        assert mutating(self.aws) == []

    def zones(self, kind: str) -> list[str]:
        """Return the zones of its instances that exist, or of its subnets."""
        ec2 = self.aws.client("ec2")
        own = [{"Name": "tag:digital_twin_lab", "Values": [self.name]}]
        if kind == "subnets":
            return sorted(row["AvailabilityZone"] for row in ec2.describe_subnets(Filters=own)["Subnets"])
        live = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
        groups = ec2.describe_instances(Filters=[*own, live])["Reservations"]
        return [row["Placement"]["AvailabilityZone"] for group in groups for row in group["Instances"]]


def mutating(aws: LocalAws) -> list[str]:
    """Return the changing calls since the last time."""
    return [call["action"] for call in aws.calls() if call["mutating"]]


def present(aws: LocalAws) -> set[tuple[str, str]]:
    """Return the resources of the account, without spot requests that are cancelled."""
    ec2 = aws.client("ec2")
    ended = [{"Name": "state", "Values": ["cancelled", "closed", "failed"]}]
    requests = ec2.describe_spot_instance_requests(Filters=ended)["SpotInstanceRequests"]
    gone = {("spot request", row["SpotInstanceRequestId"]) for row in requests}
    # AWS's own, which stays.
    return holdings(aws.client) - gone - {("role", "AWSServiceRoleForEC2Spot")}


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[LocalAws]:
    with running(tmp_path) as local:
        yield local


def test_a_lab_whose_zones_are_empty_at_first(aws: LocalAws, tmp_path: Path) -> None:
    before = present(aws)
    lab = Lab(aws, tmp_path, market="auto")
    output, status, _changed = lab.play("main", "--check", "--diff")
    assert status == 0, output
    assert mutating(aws) == []
    assert "spot g5.xlarge us-east-1a $0.400, us-east-1b $0.400" in output
    assert "on demand g5.xlarge us-east-1a $1.006, us-east-1b $1.006" in output

    # No zone has capacity in any market: 7.2 s of waiting are two rounds more.
    aws.inject(**CAPACITY)
    output, status, _changed = lab.play(aws_infrastructure_capacity_wait=0.002, aws_infrastructure_capacity_pause=5)
    assert status == 2
    assert mutating(aws).count("RunInstances") == 3 * 2 * OFFERING
    assert output.count("FAILED - RETRYING") == 2
    assert "AWS has no machine for robotics-lab-1 at the moment: g5.xlarge spot in us-east-1a" in output
    assert "there is no spot instance for it; g5.xlarge on demand at $1.006 an hour" in output
    assert (lab.zones("instances"), lab.zones("subnets")) == ([], ZONES[:1])

    # The first zone has none. What the last run has created is used.
    aws.mend()
    aws.inject(**CAPACITY, zones=ZONES[:1])
    output, status, _changed = lab.play()
    assert status == 0, output
    assert mutating(aws).count("RunInstances") == 2
    assert (lab.zones("instances"), lab.zones("subnets")) == (ZONES[1:2], ZONES[:2])
    assert "g5.xlarge in us-east-1b, spot: i-" in output

    output, status, changed = lab.play()
    assert (status, changed) == (0, 0), output
    assert mutating(aws) == []

    output, status, _changed = lab.play("destroy")
    assert status == 0, output
    assert present(aws) == before


# A run is killed at each of these calls, one after the other: AWS carries it out, and the caller gets no answer.
CREATING = [
    "CreateVpc",
    "AttachInternetGateway",
    "CreateSubnet",
    "CreateSecurityGroup",
    "RunInstances",
    "AllocateAddress",
]
DELETING = ["CancelSpotInstanceRequests", "TerminateInstances", "DeleteSubnet"]
ONE_EACH = ("vpc", "subnet", "internet gateway", "instance", "address", "volume", "key pair", "spot request")


@pytest.mark.full
def test_each_kind_of_call_is_throttled_once(aws: LocalAws, tmp_path: Path) -> None:
    lab = Lab(aws, tmp_path)
    aws.inject(kind="throttling", service="*", count=1, each=True)
    output, status, _changed = lab.play()
    assert status == 0, output
    calls = aws.calls()
    hit = Counter((call["service"], call["action"]) for call in calls if call["fault"])
    assert hit == Counter({(call["service"], call["action"]) for call in calls})
    assert {("ec2", "RunInstances"), ("iam", "CreateRole"), ("ec2", "AssociateAddress")} <= hit.keys()
    assert lab.zones("instances") == ZONES[:1]


@pytest.mark.full
def test_a_run_that_is_killed_at_any_moment_is_repeated(aws: LocalAws, tmp_path: Path) -> None:
    lab = Lab(aws, tmp_path, market="spot")
    empty = present(aws)
    for call in CREATING:
        lab.kill("main", call)
    launched = [row for row in aws.calls() if row["action"] == "RunInstances"]
    assert [row["fault"] for row in launched] == ["stalled"]
    output, status, _changed = lab.play()
    assert status == 0, output
    made = counts(present(aws) - empty)
    assert {kind: made[kind] for kind in ONE_EACH} == dict.fromkeys(ONE_EACH, 1)
    assert "RunInstances" not in mutating(aws)
    lab.settled()
    lab.settled("--check", "--diff")


@pytest.mark.full
def test_interrupted_and_destroyed_beside_another_lab(aws: LocalAws, tmp_path: Path) -> None:
    empty = present(aws)
    neighbour, lab = Lab(aws, tmp_path, "neighbour"), Lab(aws, tmp_path, market="spot")
    output, status, _changed = neighbour.play()
    assert status == 0, output
    with_neighbour = present(aws)
    output, status, _changed = lab.play()
    assert status == 0, output
    assert with_neighbour < present(aws)

    # While AWS has taken the machine, a run reports one sentence and changes nothing.
    (request,) = aws.client("ec2").describe_spot_instance_requests()["SpotInstanceRequests"]
    aws.control("POST", "spot/interrupt", {"name": request["InstanceId"], "notice": 0})
    stopped = present(aws)
    aws.calls()
    output, status, _changed = lab.play()
    assert status == 2
    assert "was stopped by AWS, which needed its capacity, and only AWS can start it again" in output
    assert "RunInstances" not in mutating(aws)
    assert present(aws) == stopped

    aws.control("POST", "spot/fulfil", {"name": request["InstanceId"]})
    for call in DELETING:
        lab.kill("destroy", call)
    output, status, _changed = lab.play("destroy")
    assert status == 0, output
    assert present(aws) == with_neighbour
    output, status, _changed = neighbour.play("destroy")
    assert status == 0, output
    assert present(aws) == empty
