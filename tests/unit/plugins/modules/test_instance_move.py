# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module that moves hosts to another zone, against a local AWS: without capacity, throttled, killed at any call."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._power import calls, images, move, options
from ansible_collections.digital_twin.robotics_lab.plugins.modules import instance_move, instance_start, instance_stop
from botocore.config import Config

from tests.support.local_aws import LocalAws, running

ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
OFFERING = {"g5.xlarge": ZONES, "g5.2xlarge": ZONES}
LAUNCH = {"kind": "capacity", "action": "RunInstances"}
LIVE = ["pending", "running", "stopping", "stopped"]
NAMES = (f"lab-{letters}" for letters in map("".join, itertools.product("abcdefgh", repeat=3)))
MODULES = {"move": instance_move, "start": instance_start, "stop": instance_stop}
MOVE, ACTION = "digital_twin_move", "digital_twin_last_action"


class KilledError(BaseException):
    """Ends a module as SIGKILL does."""


@dataclass
class Fate:
    """When a module is killed.

    Attributes:
        number: At which of its changing calls; 0 for never.
        after: Whether AWS carries that call out.
        seen: The number of changing calls so far.
        dead: Whether it was killed. Nothing that still runs of it reaches AWS.
    """

    number: int = 0
    after: bool = False
    seen: int = 0
    dead: bool = False

    def meet(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a changing call that may be the last one."""

        def call(**given: Any) -> Any:
            self.seen += 1
            if self.seen != self.number:
                return function(**given)
            self.dead = True
            if self.after:
                function(**given)
            raise KilledError

        return call


@dataclass
class Client:
    """A client of EC2 that a module uses until it is killed."""

    inner: Any
    fate: Fate
    changed: Callable[[str, Any], Any]

    def __getattr__(self, name: str) -> Any:
        if self.fate.dead:
            raise KilledError
        found = getattr(self.inner, name)
        if name == "describe_images":
            return lambda **given: self.changed(name, found(**given))
        return found if name.startswith(("describe_", "get_paginator")) else self.fate.meet(found)


@dataclass
class Lab:
    """A lab of one stopped host with a data disk and an Elastic IP, in the first zone."""

    aws: LocalAws
    ec2: Any
    output: Callable[[], str]
    fate: Fate
    name: str = field(default_factory=lambda: next(NAMES))
    vpc: str = ""
    table: str = ""
    host: str = ""
    address: str = ""
    disks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        ec2 = self.ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=ZONES[0])["Subnet"]
        self.table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        group = ec2.create_security_group(GroupName="lab", Description="lab", VpcId=self.vpc)["GroupId"]
        ec2.create_tags(Resources=[subnet["SubnetId"], self.table], Tags=listed(self.tags))
        ec2.associate_route_table(RouteTableId=self.table, SubnetId=subnet["SubnetId"])
        image = ec2.describe_images(Owners=["099720109477"])["Images"][0]
        own = {**self.tags, "Name": self.host_name, "digital_twin_index": "1", "digital_twin_gpus": "1", "team": "a"}
        root = {"VolumeType": "gp3", "VolumeSize": 200, "Encrypted": True, "DeleteOnTermination": True}
        self.host = ec2.run_instances(
            ImageId=image["ImageId"],
            InstanceType="g5.xlarge",
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet["SubnetId"],
            SecurityGroupIds=[group],
            Monitoring={"Enabled": True},
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            BlockDeviceMappings=[{"DeviceName": image["RootDeviceName"], "Ebs": root}],
            TagSpecifications=[{"ResourceType": kind, "Tags": listed(own)} for kind in ("instance", "volume")],
        )["Instances"][0]["InstanceId"]
        ec2.modify_instance_attribute(InstanceId=self.host, DisableApiTermination={"Value": True})
        data = ec2.create_volume(AvailabilityZone=ZONES[0], Size=50, VolumeType="gp2")["VolumeId"]
        ec2.create_tags(Resources=[data], Tags=listed({"Name": "maps"}))
        ec2.attach_volume(VolumeId=data, InstanceId=self.host, Device="/dev/sdf")
        self.disks = [row["VolumeId"] for row in self.volumes(self.only()).values()]
        found = ec2.allocate_address(Domain="vpc")
        self.address = found["AllocationId"]
        ec2.associate_address(AllocationId=self.address, InstanceId=self.host)
        self.started_an_hour_ago()
        ec2.stop_instances(InstanceIds=[self.host])
        self.aws.calls()

    def started_an_hour_ago(self) -> None:
        """Set the last start of its host. EC2 reports times in seconds, and an image must be younger than that."""
        begun = datetime.now(UTC) - timedelta(hours=1)
        self.aws.control("POST", "runs", {"instance": self.host, "start": begun.isoformat()})

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which its resources are found."""
        return {"digital_twin_lab": self.name, "managed_by": "digital_twin.robotics_lab"}

    @property
    def host_name(self) -> str:
        """The name of its host."""
        return f"{self.name}-1"

    def run(self, verb: str = "move", *, check: bool = False, **given: Any) -> dict[str, Any]:
        """Run a module for the instances that exist, and return its result."""
        self.output()
        rows = [{"name": self.host_name, "instance_id": row["InstanceId"]} for row in self.instances()]
        arguments = {"region": "us-east-1", "hosts": rows, "retry_timeout": 3, "wait_timeout": 5}
        if verb == "move":
            arguments |= {"name": self.name, "move": [self.host_name], "zones": OFFERING, "image_timeout": 1}
        arguments |= {"variable_prefix": "lab_", "_ansible_check_mode": check, **given}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            MODULES[verb].main()
        result: dict[str, Any] = json.loads(self.output())
        return result

    def killed(self, number: int, *, after: bool, **given: Any) -> bool:
        """Run the module and kill it at one of its changing calls; return whether it made that many."""
        fate = self.fate
        fate.number, fate.after, fate.seen = number, after, 0
        try:
            self.run(**given)
        except KilledError:
            return True
        finally:
            fate.number, fate.dead = 0, False
        return False

    def instances(self) -> list[dict[str, Any]]:
        """Return its instances that exist."""
        filters = [{"Name": "vpc-id", "Values": [self.vpc]}, {"Name": "instance-state-name", "Values": LIVE}]
        groups = self.ec2.describe_instances(Filters=filters)["Reservations"]
        return [row for group in groups for row in group["Instances"]]

    def only(self) -> dict[str, Any]:
        """Return its only instance."""
        (row,) = self.instances()
        return row

    def volumes(self, host: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the volumes of an instance by their device."""
        ids = {row["Ebs"]["VolumeId"]: row["DeviceName"] for row in host["BlockDeviceMappings"]}
        found = self.ec2.describe_volumes(VolumeIds=list(ids))["Volumes"]
        return {ids[row["VolumeId"]]: row for row in found}

    def census(self) -> dict[str, list[str]]:
        """Return what exists, by kind."""
        subnets = self.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["Subnets"]
        images_made = self.ec2.describe_images(Owners=["self"])["Images"]
        snapshots = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {
            "instances": [row["InstanceId"] for row in self.instances()],
            "images": [row["ImageId"] for row in images_made if self.name in row["Name"]],
            "snapshots": [row["SnapshotId"] for row in snapshots if row["VolumeId"] in self.disks],
            "subnets": [row["SubnetId"] for row in subnets],
            "holders": [row.get("InstanceId", "") for row in self.addresses()],
        }

    def addresses(self) -> list[dict[str, Any]]:
        """Return its Elastic IP."""
        found: list[dict[str, Any]] = self.ec2.describe_addresses(AllocationIds=[self.address])["Addresses"]
        return found

    def changes(self) -> list[str]:
        """Return the changing calls since the last time."""
        return [entry["action"] for entry in self.aws.calls() if entry["mutating"]]

    def moved(self, zone: str = ZONES[1]) -> dict[str, Any]:
        """Check that the host is one other instance, with all that it had, and that nothing else is left."""
        new = self.only()
        assert new["InstanceId"] != self.host
        assert (new["State"]["Name"], new["Placement"]["AvailabilityZone"]) == ("running", zone)
        census = self.census()
        assert (census["images"], census["snapshots"], census["holders"]) == ([], [], [new["InstanceId"]])
        tags = plain(new)
        action = tags.pop(ACTION)
        assert action.startswith("move person ")
        expected = {**self.tags, "Name": self.host_name, "digital_twin_index": "1", "team": "a"}
        assert tags == {**expected, "digital_twin_gpus": "1"}
        disks = self.volumes(new)
        assert {row["Size"] for row in disks.values()} == {200, 50}
        assert plain(disks["/dev/sdf"]) == {"Name": "maps"}
        assert plain(disks[new["RootDeviceName"]])["Name"] == self.host_name
        # Only the first disk goes with the instance, as before.
        assert [row["Ebs"]["DeleteOnTermination"] for row in new["BlockDeviceMappings"]] == [True, False]
        (table,) = self.ec2.describe_route_tables(RouteTableIds=[self.table])["RouteTables"]
        assert new["SubnetId"] in [entry.get("SubnetId") for entry in table["Associations"]]
        return new


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def plain(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """Run a local AWS for all tests of this file."""
    with running(Path(tmp_path_factory.mktemp("aws"))) as found:
        yield found


@pytest.fixture(scope="module")
def clients(aws: LocalAws) -> dict[int, Any]:
    """Return clients of EC2 by the number of their attempts. To make one takes longer than most calls."""

    def client(attempts: int) -> Any:
        make: Any = boto3.client
        keys = {"aws_access_key_id": aws.key.id, "aws_secret_access_key": aws.key.secret}
        config = Config(retries={"mode": "standard", "total_max_attempts": attempts})
        return make("ec2", endpoint_url=aws.url, region_name="us-east-1", config=config, **keys)

    return {attempts: client(attempts) for attempts in (1, 4)}


@dataclass
class World:
    """Makes labs, and changes what modules see of AWS."""

    aws: LocalAws
    ec2: Any
    output: Callable[[], str]
    fate: Fate
    state: str = ""
    meanwhile: Callable[[], Any] | None = None

    def lab(self) -> Lab:
        """Make a lab."""
        return Lab(self.aws, self.ec2, self.output, self.fate)

    def seen(self, _name: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the description of images as modules see it: in another state, if one is set.

        With `meanwhile`, something else happens while an image is looked for, once.
        """
        if self.meanwhile and answer["Images"]:
            self.meanwhile()
            self.meanwhile = None
        rows = [{**row, "State": self.state or row["State"]} for row in answer["Images"]]
        return {**answer, "Images": rows}


@pytest.fixture
def world(
    aws: LocalAws, clients: dict[int, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[World]:
    """Return the account, in which nothing is left of the hosts after the test."""
    fate = Fate()
    found = World(aws, clients[4], lambda: capsys.readouterr().out, fate)
    wrapped = {attempts: Client(client, fate, found.seen) for attempts, client in clients.items()}
    monkeypatch.setattr(options, "client_of", lambda *_: wrapped[4])
    monkeypatch.setattr(options, "connector", lambda _module, attempts: lambda *_: wrapped[attempts])
    for module in (calls, images, move):
        monkeypatch.setattr(module, "LOOK", 0.1)
    monkeypatch.setattr(move, "LATE", 0.3)
    yield found
    aws.mend()


@pytest.fixture
def lab(world: World) -> Lab:
    return world.lab()


def test_a_host_moves_with_all_that_it_has(lab: Lab) -> None:
    before = lab.only()
    # The first zone that is tried has no room either.
    lab.aws.inject(**LAUNCH, zones=[ZONES[1]])
    plan = lab.run(check=True)
    assert lab.changes() == []
    data = lab.volumes(before)["/dev/sdf"]["VolumeId"]
    row = {"name": lab.host_name, "step": "begin", "instance_id": lab.host, "zone": ZONES[0], "zones": ZONES[1:]}
    assert (plan["changed"], plan["moves"]) == (True, [{**row, "gib": 250, "staying": [data], "protected": True}])
    result = lab.run()
    assert not result.get("failed"), result
    new = lab.moved(ZONES[2])
    calls_made = lab.changes()
    order = ["CreateImage", "RunInstances", "AssociateAddress", "TerminateInstances", "DeregisterImage"]
    assert sorted(order, key=calls_made.index) == order
    assert "StartInstances" not in calls_made
    assert [(row["instance_id"], row["state"]) for row in result["hosts"]] == [(new["InstanceId"], "running")]
    for key in ("KeyName", "SecurityGroups", "MetadataOptions", "InstanceType", "Monitoring", "Architecture"):
        assert new.get(key) == before.get(key), key
    protected = lab.ec2.describe_instance_attribute(InstanceId=new["InstanceId"], Attribute="disableApiTermination")
    assert protected["DisableApiTermination"]["Value"]
    root = lab.volumes(new)[new["RootDeviceName"]]
    assert (root["VolumeType"], root["Encrypted"]) == ("gp3", True)
    # Its data disk was not to be deleted with the instance.
    assert any(
        line.startswith(f"{lab.host_name}: {data} in {ZONES[0]} stays and costs money") for line in result["lines"]
    )
    assert lab.ec2.describe_volumes(VolumeIds=[data])["Volumes"][0]["State"] == "available"
    # No subnet is left where there was no capacity.
    assert len(lab.census()["subnets"]) == 2
    lab.aws.mend()
    for check in (False, True):
        assert not lab.run(check=check)["changed"]
    assert lab.changes() == []


def test_no_zone_has_capacity(lab: Lab) -> None:
    before, tags = lab.census(), plain(lab.only())
    lab.aws.inject(**LAUNCH)
    result = lab.run(instance_types=[{"name": "g5.2xlarge", "zones": ZONES}])
    assert (result["failed"], result["no_capacity"]) == (True, True)
    places = "us-east-1b, us-east-1c (InsufficientInstanceCapacity)"
    assert f"g5.xlarge on demand in {places}; g5.2xlarge on demand in {places}" in result["msg"]
    assert result["msg"].endswith("It is still stopped in us-east-1a, and its image was deleted.")
    assert lab.changes().count("RunInstances") == 4
    # The image would have been made of the old instance's disks, which still exist.
    assert lab.census() == before
    found = plain(lab.only())
    assert found.pop("digital_twin_last_error").startswith("move ")
    assert (found, lab.only()["State"]["Name"]) == (tags, "stopped")
    lab.aws.mend()
    assert not lab.run(instance_types=[{"name": "g5.2xlarge", "zones": ZONES}]).get("failed")
    lab.moved()


def test_a_further_type(lab: Lab) -> None:
    lab.aws.inject(**LAUNCH, types=["g5.xlarge"])
    assert not lab.run(instance_types=[{"name": "g4dn.12xlarge", "zones": ZONES}]).get("failed")
    tags = plain(lab.only())
    assert lab.only()["InstanceType"] == "g4dn.12xlarge"
    assert (tags["digital_twin_gpus"], tags["digital_twin_instance_type"]) == ("4", "g5.xlarge")


@pytest.mark.parametrize(
    "action", ["CreateImage", "RunInstances", "AssociateAddress", "TerminateInstances", "DeleteSnapshot"]
)
def test_a_denied_call_loses_nothing(lab: Lab, action: str) -> None:
    volumes = {row["VolumeId"] for row in lab.volumes(lab.only()).values()}
    before = lab.census()
    lab.aws.inject(kind="denied", action=action)
    result = lab.run()
    assert result["failed"]
    assert action in result["msg"]
    if action in ("CreateImage", "RunInstances"):
        assert (lab.census(), MOVE in plain(lab.only())) == (before, False)
    if action != "DeleteSnapshot":
        assert lab.host in lab.census()["instances"]
        assert volumes <= {row["VolumeId"] for row in lab.ec2.describe_volumes()["Volumes"]}
    states = [row["State"]["Name"] for row in lab.instances()]
    assert states.count("running") <= 1
    lab.aws.mend()
    # What was begun is ended even if no host is to move now.
    unfinished = action in ("AssociateAddress", "TerminateInstances", "DeleteSnapshot")
    rows = [{"name": lab.host_name, "instance_id": row["InstanceId"]} for row in lab.instances()]
    # One instance is enough to find the other: the old one by its image, the new one by its tag.
    known = [row for row in rows if (row["instance_id"] == lab.host) == (action == "TerminateInstances")] or rows
    result = lab.run(move=[] if unfinished else [lab.host_name], hosts=known)
    assert not result.get("failed"), result
    assert [row["instance_id"] for row in result["hosts"]] == [lab.moved()["InstanceId"]]


def test_every_changing_call_is_throttled_once(lab: Lab) -> None:
    lab.aws.inject(kind="throttling", count=1, each=True)
    result = lab.run()
    assert not result.get("failed"), result
    lab.moved()


def test_answers_that_are_lost(lab: Lab) -> None:
    for action in ("CreateImage", "RunInstances", "TerminateInstances", "DeregisterImage"):
        lab.aws.inject(kind="lost", action=action, count=1, seconds=0)
    result = lab.run()
    assert not result.get("failed"), result
    made = lab.changes()
    # The call whose answer was lost is made again, and AWS carries it out once.
    assert (made.count("CreateImage"), made.count("RunInstances")) == (2, 2)
    lab.moved()


def end_after(lab: Lab, number: int, *, after: bool) -> bool:
    """Kill a run at a changing call, check what it leaves, and run it again; return whether it made that many."""
    if not lab.killed(number, after=after):
        return False
    hosts = {row["InstanceId"]: row["State"]["Name"] for row in lab.instances()}
    # The old one stays stopped until it is terminated.
    assert hosts.pop(lab.host, "stopped") == "stopped"
    assert len(hosts) <= 1
    result = lab.run()
    assert not result.get("failed"), (number, after, result)
    lab.moved()
    lab.changes()
    assert not lab.run()["changed"]
    assert lab.changes() == []
    return True


# The calls around those that could make a second machine or lose one.
@pytest.mark.parametrize(
    ("call", "after"),
    [("CreateImage", True), ("RunInstances", False), ("RunInstances", True), ("TerminateInstances", True)],
)
def test_a_killed_run_is_continued(world: World, call: str, after: bool) -> None:
    number = sequence(world).index(call) + 1
    assert end_after(world.lab(), number, after=after)


@pytest.mark.full
@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_is_killed_at_any_call_is_continued(world: World, after: bool) -> None:
    made = sequence(world)
    assert len(made) >= 10
    for number in range(1, len(made) + 1):
        assert end_after(world.lab(), number, after=after)


def sequence(world: World) -> list[str]:
    """Return the changing calls of a move."""
    lab = world.lab()
    assert not lab.run().get("failed")
    return lab.changes()


def test_an_unfinished_move_blocks_what_would_start_the_old_instance(lab: Lab) -> None:
    lab.aws.inject(kind="denied", action="AssociateAddress")
    assert lab.run()["failed"]
    lab.aws.mend()
    assert len(lab.instances()) == 2
    lab.changes()
    result = lab.run("start")
    assert "its move to another zone has not ended" in result["msg"]
    assert "Terminate neither. Run playbooks/start.yml with lab_move_zone_confirm" in result["msg"]
    assert lab.changes() == []
    # A stop for the night does not keep the next run from ending it.
    assert not lab.run("stop").get("failed")
    # Another program starts the old one.
    lab.ec2.start_instances(InstanceIds=[lab.host])
    lab.changes()
    result = lab.run()
    assert "Decide which instance has the data that you need, terminate the other one, run this again" in result["msg"]
    assert lab.changes() == []
    # It now has data that its image lacks.
    lab.ec2.stop_instances(InstanceIds=[lab.host])
    # EC2 reports the start in whole seconds, and the next image must be younger.
    time.sleep(1.1)
    lab.changes()
    assert "has run after the image of" in lab.run()["msg"]
    assert lab.changes() == []
    (new,) = [row["InstanceId"] for row in lab.instances() if row["InstanceId"] != lab.host]
    lab.ec2.modify_instance_attribute(InstanceId=new, DisableApiTermination={"Value": False})
    lab.ec2.terminate_instances(InstanceIds=[new])
    result = lab.run()
    assert not result.get("failed"), result
    assert any("was older than its last start, and was deleted" in line for line in result["lines"])
    assert lab.moved()["InstanceId"] != new


def test_a_host_that_runs_while_its_image_is_made_loses_nothing(world: World, lab: Lab) -> None:
    def used_for_an_hour() -> None:
        lab.ec2.start_instances(InstanceIds=[lab.host])
        lab.ec2.stop_instances(InstanceIds=[lab.host])

    before = lab.census()
    world.meanwhile = used_for_an_hour
    result = lab.run()
    assert "has run since its image" in result["msg"]
    assert lab.census() == before
    lab.started_an_hour_ago()
    assert not lab.run().get("failed")
    lab.moved()


def test_a_volume_attached_after_the_image_was_made_is_not_replaced_by_an_empty_one(lab: Lab) -> None:
    assert lab.killed(2, after=True)
    assert len(lab.census()["images"]) == 1
    later = lab.ec2.create_volume(AvailabilityZone=ZONES[0], Size=7, VolumeType="gp3")["VolumeId"]
    lab.ec2.attach_volume(VolumeId=later, InstanceId=lab.host, Device="/dev/sdg")
    result = lab.run()
    assert f"lacks {later}, attached after it was made. The image was deleted." in result["msg"]
    assert [row["InstanceId"] for row in lab.instances()] == [lab.host]
    assert not lab.run().get("failed")
    assert [row["Size"] for row in lab.volumes(lab.only()).values()] == [200, 50, 7]


def test_a_forged_tag_adds_no_foreign_instance(world: World, lab: Lab) -> None:
    other = world.lab()
    lab.ec2.create_tags(Resources=[lab.host], Tags=listed({MOVE: f"from {other.host} ami-0123456789abcdef0"}))
    before = (other.only(), other.census())
    lab.run()
    assert (other.only(), other.census()) == before
    assert [row["InstanceId"] for row in lab.instances()] == [lab.host]


def test_a_move_is_given_up_when_the_host_runs_again(lab: Lab) -> None:
    before = lab.census()
    assert lab.killed(3, after=False)
    assert len(lab.census()["snapshots"]) == 2
    lab.ec2.start_instances(InstanceIds=[lab.host])
    result = lab.run(move=[])
    assert not result.get("failed"), result
    assert lab.census() == before
    assert MOVE not in plain(lab.only())


def test_an_image_that_does_not_become_available(world: World, lab: Lab) -> None:
    world.state = "pending"
    result = lab.run()
    assert "is still pending after 1 s" in result["msg"]
    assert "raise lab_move_timeout" in result["msg"]
    assert len(lab.census()["images"]) == 1
    world.state = "failed"
    result = lab.run()
    assert "AWS could not make its image (failed" in result["msg"]
    assert (lab.census()["images"], lab.census()["snapshots"], plain(lab.only()).get(MOVE)) == ([], [], None)
    world.state = ""
    assert not lab.run().get("failed")
    lab.moved()


def test_backups_of_others_stay(lab: Lab) -> None:
    snapshot = lab.ec2.create_snapshot(VolumeId=lab.volumes(lab.only())["/dev/sdf"]["VolumeId"])["SnapshotId"]
    lab.ec2.create_tags(Resources=[snapshot], Tags=listed({**lab.tags, MOVE: lab.host}))
    backup = lab.ec2.create_image(InstanceId=lab.host, Name=f"backup of {lab.name}")["ImageId"]
    before = lab.census()
    assert not lab.run().get("failed")
    after = lab.census()
    assert (after["images"], after["snapshots"]) == ([backup], before["snapshots"])


def test_an_image_of_another_origin_with_the_name_stops_the_move(lab: Lab) -> None:
    other = lab.ec2.run_instances(ImageId=lab.only()["ImageId"], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    name = f"digital-twin-{lab.name}-move-{lab.host}"
    image = lab.ec2.create_image(InstanceId=other, Name=name)["ImageId"]
    lab.changes()
    result = lab.run()
    assert f"{image}: has the name {name}, and was not made of {lab.host}." in result["msg"]
    assert lab.changes() == []
    lab.ec2.terminate_instances(InstanceIds=[other])
