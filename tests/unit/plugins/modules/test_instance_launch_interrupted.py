# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module in the sandbox's spot market: interrupted by AWS, throttled, and killed at any call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox.waiting import wait_until
from tests.support import module_programs
from tests.support.account import holdings
from tests.support.fork_server import Child
from tests.support.local_aws import LocalAws, running

MODULE = "instance_launch"
SECONDS = 60
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
LIVE = ("pending", "running", "stopping", "stopped")
CAPACITY = {"kind": "capacity", "action": "RunInstances"}
SPOT_ROLE = "AWSServiceRoleForEC2Spot"
NAMES = (f"lab-{letters}" for letters in map("".join, itertools.product("abcdefgh", repeat=2)))


@dataclass
class Lab:
    """A lab's VPC, with a subnet in the first zone, its routes, and a security group."""

    aws: LocalAws
    folder: Path
    name: str = field(default_factory=lambda: next(NAMES))
    vpc_id: str = ""
    table_id: str = ""
    group_id: str = ""
    image_id: str = ""

    def __post_init__(self) -> None:
        ec2 = self.ec2 = self.aws.client("ec2")
        self.vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=self.vpc_id, CidrBlock="10.0.1.0/24", AvailabilityZone=ZONES[0])["Subnet"]
        self.table_id = ec2.create_route_table(VpcId=self.vpc_id)["RouteTable"]["RouteTableId"]
        self.group_id = ec2.create_security_group(GroupName="lab", Description="lab", VpcId=self.vpc_id)["GroupId"]
        self.image_id = ec2.describe_images(Owners=["099720109477"])["Images"][0]["ImageId"]
        tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        ec2.create_tags(Resources=[subnet["SubnetId"], self.table_id], Tags=tags)
        ec2.associate_route_table(RouteTableId=self.table_id, SubnetId=subnet["SubnetId"])
        self.aws.calls()

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which its resources are found."""
        return {"digital_twin_lab": self.name, "managed_by": "digital_twin.robotics_lab"}

    def arguments(self, **given: Any) -> dict[str, Any]:
        """Return the arguments for one host, but for what is given."""
        return {
            "name": self.name,
            "region": "us-east-1",
            "hosts": ["1"],
            "vpc_id": self.vpc_id,
            "vpc_cidr": "10.0.0.0/16",
            "subnet_cidr": "10.0.1.0/24",
            "instance_types": [{"name": "g5.xlarge", "zones": ZONES, "price_per_hour": 1.006}],
            "image_id": self.image_id,
            "security_groups": [self.group_id],
            "volume_size": 200,
            "variable_prefix": "lab_",
            **given,
        }

    def run(self, **given: Any) -> dict[str, Any]:
        """Run the module to its end, and return its result."""
        return module_programs.run(MODULE, self.arguments(**given), self.aws.environment, self.folder / "result")

    def run_until(self, rule: dict[str, Any], **given: Any) -> Child:
        """Run the module until a call is carried out whose answer it does not get yet."""
        self.aws.inject(kind="stalled", count=1, **rule)
        output = self.folder / "stalled"
        child = module_programs.start(MODULE, self.arguments(**given), self.aws.environment, output)
        wait_until(self.stalled, what=f"{rule}", seconds=SECONDS, pause=0.02, log=output)
        return child

    def stalled(self) -> bool:
        """Return whether a call is stalled."""
        return any(row["kind"] == "stalled" and row["hits"] for row in self.aws.control("GET", "faults"))

    def cancelled(self) -> bool:
        """Return whether all of its requests are cancelled."""
        return {row["State"] for row in self.requests()} == {"cancelled"}

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """Return the instances of the VPC, in any state unless some are given, the oldest first."""
        found = self.ec2.describe_instances(Filters=[{"Name": "vpc-id", "Values": [self.vpc_id]}])["Reservations"]
        rows = [row for group in found for row in group["Instances"]]
        return [row for row in rows if not states or row["State"]["Name"] in states]

    def host(self) -> dict[str, Any]:
        """Return the only instance that exists."""
        (row,) = self.instances(*LIVE)
        return dict(row)

    def requests(self) -> list[dict[str, Any]]:
        """Return its spot requests."""
        own = [{"Name": "tag:digital_twin_lab", "Values": [self.name]}]
        return list(self.ec2.describe_spot_instance_requests(Filters=own)["SpotInstanceRequests"])

    def subnets(self) -> dict[str, str]:
        """Return the subnets of the VPC by zone."""
        found = self.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [self.vpc_id]}])["Subnets"]
        return {row["AvailabilityZone"]: row["SubnetId"] for row in found}

    def routed(self) -> set[str]:
        """Return the subnets that have the lab's routes."""
        (table,) = self.ec2.describe_route_tables(RouteTableIds=[self.table_id])["RouteTables"]
        return {entry["SubnetId"] for entry in table["Associations"] if "SubnetId" in entry}

    def launched(self) -> int:
        """Return how many calls have launched an instance since the journal was emptied: of users and of EC2."""
        return sum(call["action"] == "RunInstances" and call["fault"] in (None, "stalled") for call in self.aws.calls())

    def settled(self, **given: Any) -> None:
        """Check that another run changes nothing, and makes no changing call."""
        self.aws.calls()
        again = self.run(**given)
        assert not again.get("failed"), again
        assert not again["changed"]
        assert [call["action"] for call in self.aws.calls() if call["mutating"]] == []


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture
def lab(local: LocalAws, tmp_path: Path) -> Iterator[Lab]:
    yield Lab(local, tmp_path)
    local.mend()


def terminated(lab: Lab, *zones: str) -> str:
    """Launch a spot host and terminate it without its request, which then waits for capacity; return its id.

    Args:
        lab: The lab.
        zones: Those without capacity, of which the first is the host's; all unless some are given.
    """
    assert not lab.run(market="spot").get("failed")
    identifier = str(lab.host()["InstanceId"])
    lab.aws.inject(**CAPACITY, zones=zones)
    lab.ec2.terminate_instances(InstanceIds=[identifier])
    assert [row["State"] for row in lab.requests()] == ["open"]
    lab.aws.calls()
    return identifier


FIRST_EMPTY = {**CAPACITY, "zones": ZONES[:1]}
# The faults of a run, the call at which it is killed, and its market.
KILLS: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "RunInstances": ([], {"action": "RunInstances"}, "on_demand"),
    "RunInstances in spot": ([], {"action": "RunInstances"}, "spot"),
    "CreateSubnet": ([FIRST_EMPTY], {"action": "CreateSubnet"}, "on_demand"),
    "AssociateRouteTable": ([FIRST_EMPTY], {"action": "AssociateRouteTable"}, "auto"),
    "RunInstances in the second zone": ([FIRST_EMPTY], {"action": "RunInstances", "zones": ZONES[1:2]}, "auto"),
    "DeleteSubnet": ([CAPACITY], {"action": "DeleteSubnet"}, "on_demand"),
}


@pytest.mark.parametrize(("faults", "call", "market"), KILLS.values(), ids=KILLS)
def test_a_run_that_is_killed_is_repeated(
    lab: Lab, faults: list[dict[str, Any]], call: dict[str, Any], market: str
) -> None:
    for fault in faults:
        lab.aws.inject(**fault)
    killed = lab.run_until(call, market=market)
    killed.kill()
    assert killed.wait(SECONDS) < 0
    if CAPACITY in faults:
        lab.aws.mend()
    result = lab.run(market=market)
    assert not result.get("failed"), result
    host = lab.host()
    assert [row["instance_id"] for row in result["instances"]] == [host["InstanceId"]]
    assert (lab.launched(), len(lab.instances())) == (1, 1)
    # None that a killed run has created is without the lab's routes once a host is in it.
    assert host["SubnetId"] in lab.routed()
    assert [row["State"] for row in lab.requests()] == (["active"] if "InstanceLifecycle" in host else [])
    lab.settled(market=market)


def test_a_run_that_is_killed_while_it_cancels_a_request(lab: Lab) -> None:
    first = terminated(lab)
    killed = lab.run_until({"action": "CancelSpotInstanceRequests"}, market="spot")
    killed.kill()
    assert killed.wait(SECONDS) < 0
    wait_until(lab.cancelled, what="the call to be carried out", seconds=SECONDS)
    lab.aws.mend()
    result = lab.run(market="spot")
    assert not result.get("failed"), result
    assert sorted(row["State"] for row in lab.requests()) == ["active", "cancelled"]
    assert [row["InstanceId"] for row in lab.instances()] == [first, lab.host()["InstanceId"]]
    lab.settled(market="spot")


def test_every_changing_call_is_throttled_once(lab: Lab) -> None:
    terminated(lab, ZONES[0])
    actions = ["CancelSpotInstanceRequests", "CreateSubnet", "AssociateRouteTable", "RunInstances"]
    for action in actions:
        lab.aws.inject(kind="throttling", action=action, count=1)
    result = lab.run(market="spot")
    assert not result.get("failed"), result
    faults = [(call["action"], call["fault"]) for call in lab.aws.calls() if call["fault"] == "throttling"]
    assert sorted(action for action, _fault in faults) == sorted(actions)
    assert lab.host()["Placement"]["AvailabilityZone"] == ZONES[1]


def test_aws_interrupts_an_instance_while_it_is_launched(lab: Lab) -> None:
    running_module = lab.run_until({"action": "RunInstances"}, market="spot")
    first = lab.host()
    lab.aws.control("POST", "spot/interrupt", {"name": first["InstanceId"], "notice": 0})
    assert lab.host()["State"]["Name"] == "stopped"
    # The call has no answer, and is made again.
    lab.aws.mend()
    assert running_module.wait(SECONDS) == 0, (lab.folder / "stalled").read_text("utf-8")
    host = lab.host()
    assert host["Placement"]["AvailabilityZone"] == ZONES[1]
    assert [row["InstanceId"] for row in lab.instances()] == [first["InstanceId"], host["InstanceId"]]
    assert sorted(row["State"] for row in lab.requests()) == ["active", "cancelled"]
    assert '"code": "SpotInstanceShutdown"' in (lab.folder / "stalled").read_text("utf-8")
    lab.settled(market="spot")


@pytest.mark.parametrize("by", ["AWS", "user"])
def test_a_stopped_spot_host_is_no_missing_one(lab: Lab, by: str) -> None:
    lab.run(market="spot")
    identifier = lab.host()["InstanceId"]
    if by == "AWS":
        lab.aws.control("POST", "spot/interrupt", {"name": identifier, "notice": 0})
    else:
        lab.ec2.stop_instances(InstanceIds=[identifier])
    assert lab.host()["State"]["Name"] == "stopped"
    lab.settled(market="spot")
    assert [row["State"] for row in lab.requests()] == ["disabled"]


def test_a_request_that_waits_launches_no_second_machine(lab: Lab) -> None:
    neighbour = Lab(lab.aws, lab.folder)
    for each in (lab, neighbour):
        assert not each.run(market="spot").get("failed")
    lab.aws.inject(**FIRST_EMPTY)
    for each in (lab, neighbour):
        each.ec2.terminate_instances(InstanceIds=[each.host()["InstanceId"]])
        assert [row["State"] for row in each.requests()] == ["open"]
    # Whatever the market is now.
    result = lab.run(market="on_demand")
    assert not result.get("failed"), result
    assert lab.cancelled()
    assert lab.host()["Placement"]["AvailabilityZone"] == ZONES[1]
    # The neighbour's request still waits. EC2 looks at the waiting requests when there is capacity again.
    assert [row["State"] for row in neighbour.requests()] == ["open"]
    lab.aws.mend()
    assert lab.host()["InstanceId"] == result["instances"][0]["instance_id"]
    assert [row["State"] for row in neighbour.requests()] == ["active"]
    neighbour.settled(market="spot")


def test_a_request_that_only_carries_the_tags_is_left_alone(lab: Lab) -> None:
    stranger = Lab(lab.aws, lab.folder, lab.name)
    assert not stranger.run(market="spot").get("failed")
    lab.aws.inject(**FIRST_EMPTY)
    lab.ec2.terminate_instances(InstanceIds=[stranger.host()["InstanceId"]])
    result = lab.run()
    assert not result.get("failed"), result
    assert [row["State"] for row in lab.requests()] == ["open"]
    assert len(lab.instances(*LIVE)) == 1


def test_a_host_that_its_request_has_launched_without_tags(lab: Lab) -> None:
    terminated(lab)
    lab.aws.mend()
    relaunched = lab.host()
    keys = [{"Key": tag["Key"]} for tag in relaunched["Tags"] if not tag["Key"].startswith("aws:")]
    lab.ec2.delete_tags(Resources=[relaunched["InstanceId"]], Tags=keys)
    lab.aws.calls()
    result = lab.run(market="spot")
    assert not result.get("failed"), result
    assert [row["instance_id"] for row in result["instances"]] == [relaunched["InstanceId"]]
    assert lab.launched() == 0
    tags = {tag["Key"]: tag["Value"] for tag in lab.host()["Tags"]}
    assert lab.tags.items() <= tags.items()
    assert (tags["Name"], tags["digital_twin_index"], tags["digital_twin_gpus"]) == (f"{lab.name}-1", "1", "1")
    assert result["lines"] == [
        f"{lab.name}-1: {relaunched['InstanceId']}, which its spot request had launched, is used"
    ]
    lab.settled(market="spot")


def test_the_first_spot_instance_of_an_account_needs_a_right(lab: Lab) -> None:
    iam = lab.aws.client("iam")
    if any(role["RoleName"] == SPOT_ROLE for role in iam.list_roles()["Roles"]):
        iam.delete_role(RoleName=SPOT_ROLE)
    before = holdings(lab.aws.client)
    lab.aws.inject(kind="denied", service="iam", action="CreateServiceLinkedRole")
    for market in ("spot", "auto"):
        result = lab.run(market=market)
        assert "AuthFailure.ServiceLinkedRoleCreationNotPermitted" in result["msg"]
        assert result["msg"].endswith("Allow iam:CreateServiceLinkedRole for the caller.")
        assert not result["no_capacity"]
    assert holdings(lab.aws.client) == before


def test_a_price_that_is_too_low_in_every_zone(lab: Lab) -> None:
    before = holdings(lab.aws.client)
    result = lab.run(market="spot", max_price="0.01")
    assert result["no_capacity"]
    assert f"{lab.name}-1 at the moment: g5.xlarge spot in {', '.join(ZONES)} (SpotMaxPriceTooLow)." in result["msg"]
    assert holdings(lab.aws.client) == before


def test_a_spot_quota_of_zero_is_the_same_in_every_zone(lab: Lab) -> None:
    lab.aws.control("POST", "quotas", {"L-3819A6DF": 0})
    try:
        result = lab.run(market="auto")
    finally:
        lab.aws.control("POST", "quotas", {"L-3819A6DF": 64})
    assert not result.get("failed"), result
    assert "InstanceLifecycle" not in lab.host()
    assert [call["action"] for call in lab.aws.calls() if call["mutating"]] == ["RunInstances", "RunInstances"]
    assert result["lines"] == [
        f"{lab.name}-1: g5.xlarge in {ZONES[0]}, spot: MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
        f"{lab.name}-1: there is no spot instance for it; g5.xlarge on demand at $1.006 an hour",
        f"{lab.name}-1: g5.xlarge in {ZONES[0]}, on demand: {lab.host()['InstanceId']} runs",
    ]


@pytest.mark.parametrize("state", ["running", "interrupted", "stopped"])
def test_a_cancelled_request_launches_nothing_after_its_instance(lab: Lab, state: str) -> None:
    lab.run(market="spot")
    host = lab.host()
    if state == "interrupted":
        lab.aws.control("POST", "spot/interrupt", {"name": host["InstanceId"], "notice": 0})
    elif state == "stopped":
        lab.ec2.stop_instances(InstanceIds=[host["InstanceId"]])
    arguments = {"region": "us-east-1", "ids": [host["SpotInstanceRequestId"], "sir-unknown"]}

    def cancel(**more: Any) -> dict[str, Any]:
        given = {**arguments, **more}
        return module_programs.run("spot_requests_cancel", given, lab.aws.environment, lab.folder / "cancel")

    assert cancel(_ansible_check_mode=True)["cancelled"] == arguments["ids"][:1]
    assert not lab.cancelled()
    assert cancel()["changed"]
    assert lab.cancelled()
    lab.ec2.terminate_instances(InstanceIds=[host["InstanceId"]])
    assert lab.instances(*LIVE) == []
    assert not cancel()["changed"]
