# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules that start, stop and resize hosts, against a local AWS with faults, a spot market and a journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._power import calls, options
from ansible_collections.digital_twin.robotics_lab.plugins.modules import (
    instance_resize,
    instance_start,
    instance_stop,
)
from botocore.config import Config

from sandbox.cloud.process import control
from tests.support.local_aws import LocalAws, running

ZONE = "us-east-1a"
TYPES = [{"name": name, "zones": [ZONE]} for name in ("g5.xlarge", "g5.2xlarge", "g4dn.12xlarge")]
CAPACITY = {"kind": "capacity", "action": "StartInstances"}
ACTION, ERROR, OWN_TYPE, RESIZE = (
    "digital_twin_last_action",
    "digital_twin_last_error",
    "digital_twin_instance_type",
    "digital_twin_resize",
)
MODULES = {"start": instance_start, "stop": instance_stop, "resize": instance_resize}


class KilledError(BaseException):
    """Ends a module as SIGKILL does: nothing of it runs after the call."""


@dataclass
class Lab:
    """Hosts in a local AWS, and the modules.

    Attributes:
        hosts: The instance ids by name.
    """

    aws: LocalAws
    ec2: Any
    output: Callable[[], str]
    hosts: dict[str, str]

    def launch(self, name: str, **given: Any) -> str:
        """Launch a host and return its instance id."""
        tags = [{"Key": "digital_twin_gpus", "Value": "1"}]
        options = {"InstanceType": "g5.xlarge", "Placement": {"AvailabilityZone": ZONE}, **given}
        images = self.ec2.describe_images()["Images"]
        found = self.ec2.run_instances(
            ImageId=next(image["ImageId"] for image in images if image["Architecture"] == "x86_64"),
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
            **options,
        )
        self.hosts[name] = str(found["Instances"][0]["InstanceId"])
        return self.hosts[name]

    def stop(self, name: str = "lab-1") -> None:
        """Stop a host as the console does."""
        self.ec2.stop_instances(InstanceIds=[self.hosts[name]])

    def run(self, verb: str, *, check: bool = False, **given: Any) -> dict[str, Any]:
        """Run a module for all hosts, and return its result."""
        self.output()
        arguments = {
            "region": "us-east-1",
            "hosts": [{"name": name, "instance_id": identifier} for name, identifier in self.hosts.items()],
            "wait_timeout": 10,
            "retry_timeout": 15,
            "variable_prefix": "lab_",
            "_ansible_check_mode": check,
            **given,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            MODULES[verb].main()
        result: dict[str, Any] = json.loads(self.output())
        return result

    def instance(self, name: str = "lab-1") -> dict[str, Any]:
        """Return a host's instance."""
        found = self.ec2.describe_instances(InstanceIds=[self.hosts[name]])
        instance: dict[str, Any] = found["Reservations"][0]["Instances"][0]
        return instance

    def state(self, name: str = "lab-1") -> tuple[str, str]:
        """Return the type and the state of a host."""
        instance = self.instance(name)
        return instance["InstanceType"], instance["State"]["Name"]

    def tags(self, name: str = "lab-1") -> dict[str, str]:
        """Return the tags of a host, without the times of the last action and error."""
        tags = {tag["Key"]: tag["Value"] for tag in self.instance(name).get("Tags", [])}
        return {key: value[:12] if key in (ACTION, ERROR) else value for key, value in tags.items()}

    def census(self) -> dict[str, list[str]]:
        """Return what exists in EC2, by kind."""
        groups = self.ec2.describe_instances()["Reservations"]
        live = [item for group in groups for item in group["Instances"] if item["State"]["Name"] != "terminated"]
        return {
            "instances": [item["InstanceId"] for item in live],
            "volumes": [item["VolumeId"] for item in self.ec2.describe_volumes()["Volumes"]],
            "snapshots": [item["SnapshotId"] for item in self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]],
            "requests": [
                item["SpotInstanceRequestId"]
                for item in self.ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
            ],
        }

    def changes(self) -> list[str]:
        """Return the changing calls since the last time."""
        return [entry["action"] for entry in self.aws.calls() if entry["mutating"]]


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


@pytest.fixture
def lab(
    aws: LocalAws, clients: dict[int, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Lab]:
    """Return a lab with one running host, which is gone after the test."""
    monkeypatch.setattr(options, "client_of", lambda *_: clients[4])
    monkeypatch.setattr(options, "connector", lambda _module, attempts: lambda *_: clients[attempts])
    monkeypatch.setattr(calls, "LOOK", 0.1)
    found = Lab(aws, clients[4], lambda: capsys.readouterr().out, {})
    found.launch("lab-1")
    aws.calls()
    yield found
    aws.mend()
    ec2 = found.ec2
    rows = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    if rows:
        ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[row["SpotInstanceRequestId"] for row in rows])
    ec2.terminate_instances(InstanceIds=list(found.hosts.values()))


def test_start(lab: Lab) -> None:
    lab.stop()
    before = lab.census()
    lab.changes()
    assert lab.run("start", check=True)["changed"]
    assert lab.changes() == []
    result = lab.run("start")
    assert not result.get("failed"), result
    assert lab.changes() == ["StartInstances", "CreateTags"]
    assert lab.state() == ("g5.xlarge", "running")
    assert lab.tags()[ACTION] == "start person"
    (reason,) = result["reasons"]
    assert "by the API of EC2: a user, the console, or another program of the account." in reason
    assert result["lines"] == ["lab-1: g5.xlarge in us-east-1a, on demand: started"]
    assert result["hosts"] == [
        {
            "name": "lab-1",
            "instance_id": lab.hosts["lab-1"],
            "instance_type": "g5.xlarge",
            "previous_type": "g5.xlarge",
            "state": "running",
        }
    ]
    for check in (False, True):
        assert not lab.run("start", check=check)["changed"]
    assert lab.changes() == []
    assert lab.census() == before


def test_stop(lab: Lab) -> None:
    assert lab.run("stop", check=True)["changed"]
    assert lab.changes() == []
    result = lab.run("stop")
    assert not result.get("failed"), result
    # The tag first.
    assert lab.changes() == ["CreateTags", "StopInstances"]
    assert lab.state() == ("g5.xlarge", "stopped")
    assert lab.tags()[ACTION] == "stop person "
    for check in (False, True):
        assert not lab.run("stop", check=check)["changed"]
    assert lab.changes() == []
    (reason,) = lab.run("start", check=True)["reasons"]
    assert reason.endswith("by a user of the collection.")


def test_the_cause_of_a_stop_is_recorded(lab: Lab) -> None:
    lab.run("stop", cause="schedule")
    (reason,) = lab.run("start")["reasons"]
    assert reason.endswith("by its schedule.")


def test_a_host_starts_as_a_further_type(lab: Lab) -> None:
    lab.stop()
    before = lab.census()
    lab.changes()
    lab.aws.inject(**CAPACITY, types=["g5.xlarge", "g5.2xlarge"])
    result = lab.run("start", instance_types=TYPES)
    assert not result.get("failed"), result
    # One start for each type, and the host's own type is known before it changes.
    assert [call for call in lab.changes() if call != "CreateTags"] == [
        "StartInstances",
        "ModifyInstanceAttribute",
        "StartInstances",
        "ModifyInstanceAttribute",
        "StartInstances",
    ]
    assert lab.state() == ("g4dn.12xlarge", "running")
    # The number of GPUs is that of the type.
    assert lab.tags() == {"digital_twin_gpus": "4", OWN_TYPE: "g5.xlarge", ACTION: "start person"}
    assert [line.split(": ")[2] for line in result["lines"]] == [*["InsufficientInstanceCapacity"] * 2, "started"]
    assert not lab.run("start", instance_types=TYPES)["changed"]
    assert lab.census() == before

    # The next start tries its own type first.
    lab.aws.mend()
    lab.stop()
    result = lab.run("start", instance_types=TYPES)
    assert result["hosts"][0]["previous_type"] == "g4dn.12xlarge"
    assert lab.state() == ("g5.xlarge", "running")
    assert lab.tags() == {"digital_twin_gpus": "1", ACTION: "start person"}


def test_no_type_has_capacity(lab: Lab) -> None:
    lab.stop()
    before = lab.census()
    lab.aws.inject(**CAPACITY)
    result = lab.run("start", instance_types=TYPES)
    assert (result["failed"], result["no_capacity"]) == (True, True)
    assert result["msg"] == (
        "lab_instance_type: AWS has no machine for lab-1 at the moment: g5.xlarge on demand in us-east-1a "
        "(InsufficientInstanceCapacity); g5.2xlarge on demand in us-east-1a (InsufficientInstanceCapacity); "
        "g4dn.12xlarge on demand in us-east-1a (InsufficientInstanceCapacity). Its disk is in us-east-1a, so that it "
        "starts only there. Run this again later, set lab_capacity_wait to go on trying, or allow further types with "
        "lab_further_types and lab_further_types_price. To move it to another zone with all of its disks, run "
        "playbooks/start.yml with lab_move_zone_confirm set to the lab's name. With --check that shows what changes."
    )
    # It has its own type again.
    assert lab.state() == ("g5.xlarge", "stopped")
    assert {**lab.tags(), ERROR: lab.tags()[ERROR][:6]} == {"digital_twin_gpus": "1", ERROR: "start "}
    assert lab.census() == before
    # A success removes the error.
    lab.aws.mend()
    assert not lab.run("start").get("failed")
    assert lab.tags() == {"digital_twin_gpus": "1", ACTION: "start person"}
    assert "RunInstances" not in lab.changes()


def test_what_fails_for_one_host_is_not_tried_for_the_next(lab: Lab) -> None:
    lab.launch("lab-2")
    for name in lab.hosts:
        lab.stop(name)
    lab.changes()
    lab.aws.inject(**CAPACITY, types=["g5.xlarge"])
    result = lab.run("start", instance_types=TYPES)
    assert not result.get("failed"), result
    assert lab.changes().count("StartInstances") == 3
    assert {lab.state(name) for name in lab.hosts} == {("g5.2xlarge", "running")}


def test_one_of_two_hosts_does_not_start(lab: Lab) -> None:
    lab.launch("lab-2", InstanceType="g4dn.xlarge")
    for name in lab.hosts:
        lab.stop(name)
    lab.aws.inject(**CAPACITY, types=["g4dn.xlarge"])
    result = lab.run("start")
    assert result["failed"]
    assert result["no_capacity"]
    assert result["msg"].endswith(
        "lab-1 runs, and costs money. Run playbooks/stop.yml if the lab is of no use without the others."
    )
    assert lab.state() == ("g5.xlarge", "running")


def test_throttling_is_waited_for(lab: Lab) -> None:
    lab.stop()
    lab.changes()
    for action in ("StartInstances", "CreateTags", "DescribeInstances"):
        lab.aws.inject(kind="throttling", action=action, count=2)
    assert not lab.run("start").get("failed")
    assert lab.changes().count("StartInstances") == 3
    lab.aws.inject(kind="throttling", action="StopInstances", count=2)
    assert not lab.run("stop").get("failed")
    lab.aws.inject(kind="throttling", action="StartInstances")
    result = lab.run("start", instance_types=TYPES, retry_timeout=1)
    assert "RequestLimitExceeded" in result["msg"]
    assert not result["no_capacity"]
    assert lab.state() == ("g5.xlarge", "stopped")


def test_a_lost_answer_is_no_failure(lab: Lab) -> None:
    lab.stop()
    lab.aws.inject(kind="lost", action="StartInstances", count=1)
    assert not lab.run("start").get("failed")
    lab.aws.inject(kind="lost", action="StopInstances", count=1)
    assert not lab.run("stop").get("failed")
    assert lab.state() == ("g5.xlarge", "stopped")


@pytest.mark.parametrize(("verb", "action"), [("start", "StartInstances"), ("stop", "StopInstances")])
def test_a_missing_right_ends_the_search(lab: Lab, verb: str, action: str) -> None:
    if verb == "start":
        lab.stop()
    lab.changes()
    lab.aws.inject(kind="denied", action=action)
    result = lab.run(verb, instance_types=TYPES) if verb == "start" else lab.run(verb)
    assert "Allow the call in the policies of the caller." in result["msg"]
    assert lab.changes().count(action) == 1


def test_a_caller_who_may_not_tag_stops_and_starts(lab: Lab) -> None:
    lab.changes()
    lab.aws.inject(kind="denied", action="CreateTags")
    for verb, state in (("stop", "stopped"), ("start", "running")):
        result = lab.run(verb)
        assert not result.get("failed"), result
        assert lab.state() == ("g5.xlarge", state)
        assert any("the tags were not written (UnauthorizedOperation)" in line for line in result["lines"])


def test_a_host_that_is_refused_leaves_the_others_stopped(lab: Lab) -> None:
    second = lab.launch("lab-2")
    lab.ec2.modify_instance_attribute(InstanceId=lab.hosts["lab-1"], DisableApiStop={"Value": True})
    result = lab.run("stop")
    assert "lab-1" in result["msg"]
    assert lab.state("lab-2")[1] == "stopped", second


def test_a_type_without_description_or_of_another_architecture_is_skipped(lab: Lab) -> None:
    lab.stop()
    lab.aws.inject(**CAPACITY, types=["g5.xlarge"])
    types = [{"name": name, "zones": [ZONE]} for name in ("g5g.xlarge", "g9.huge", "g5.2xlarge")]
    result = lab.run("start", instance_types=types)
    assert not result.get("failed"), result
    assert lab.state() == ("g5.2xlarge", "running")
    assert [line.split(": ")[2] for line in result["lines"]] == [
        "InsufficientInstanceCapacity",
        "Unsupported",
        "InvalidInstanceType",
        "started",
    ]


def spot(lab: Lab, kind: str = "persistent") -> str:
    """Launch a spot host, and return its request."""
    options = {"SpotInstanceType": kind}
    if kind == "persistent":
        options["InstanceInterruptionBehavior"] = "stop"
    lab.launch("lab-2", InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})
    return str(lab.instance("lab-2")["SpotInstanceRequestId"])


def test_a_spot_host_stops_and_starts_as_it_is(lab: Lab) -> None:
    spot(lab)
    assert not lab.run("stop").get("failed")
    lab.changes()
    lab.aws.inject(**CAPACITY, types=["g5.xlarge"])
    result = lab.run("start", instance_types=TYPES)
    # Only the one on demand has become another type.
    assert lab.state("lab-1") == ("g5.2xlarge", "running")
    assert lab.state("lab-2") == ("g5.xlarge", "stopped")
    assert "g5.xlarge spot in us-east-1a (InsufficientInstanceCapacity)" in result["msg"]
    assert lab.changes().count("ModifyInstanceAttribute") == 1
    lab.aws.mend()
    assert not lab.run("start").get("failed")
    assert lab.state("lab-2") == ("g5.xlarge", "running")


def test_an_interrupted_spot_host_is_left_to_aws(lab: Lab) -> None:
    request = spot(lab)
    control(lab.aws.url, lab.aws.key, "POST", "spot/interrupt", {"name": request, "notice": 0})
    lab.changes()
    stopped = lab.run("stop", hosts=[{"name": "lab-2", "instance_id": lab.hosts["lab-2"]}])
    assert not stopped["changed"]
    assert "starts it again, by itself" in stopped["lines"][0]
    result = lab.run("start", hosts=[{"name": "lab-2", "instance_id": lab.hosts["lab-2"]}])
    assert result["msg"] == (
        "lab-2: AWS has stopped this spot instance to use its capacity (instance-stopped-no-capacity), and only AWS "
        "starts it again, by itself, when there is capacity in us-east-1a. Its disk stays. Wait, or destroy the lab "
        "and create it with another market."
    )
    assert result["reasons"] == ["lab-2 was stopped by AWS, which needed the spot capacity."]
    assert "StartInstances" not in lab.changes()
    assert not result["no_capacity"]


def test_a_spot_host_that_would_be_lost_is_not_stopped(lab: Lab) -> None:
    request = spot(lab)
    lab.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    result = lab.run("stop")
    assert "AWS terminates the instance with its disk when it is stopped" in result["msg"]
    # Nor any other.
    assert lab.state("lab-1")[1] == lab.state("lab-2")[1] == "running"


def test_a_one_time_spot_host_is_refused(lab: Lab) -> None:
    spot(lab, "one-time")
    result = lab.run("stop")
    assert "AWS does not stop the instances of one-time spot requests" in result["msg"]
    assert lab.state("lab-1")[1] == "running"


def test_resize(lab: Lab) -> None:
    before = lab.census()
    lab.changes()
    result = lab.run("resize", instance_type="g4dn.12xlarge", check=True)
    assert (result["changed"], result["lines"]) == (True, ["lab-1: g5.xlarge would become g4dn.12xlarge"])
    assert lab.changes() == []
    result = lab.run("resize", instance_type="g4dn.12xlarge")
    assert not result.get("failed"), result
    assert result["lines"] == ["lab-1: g5.xlarge is now g4dn.12xlarge, running"]
    assert lab.state() == ("g4dn.12xlarge", "running")
    assert lab.tags() == {"digital_twin_gpus": "4", ACTION: "resize perso"}
    assert lab.census() == before
    lab.changes()
    for check in (False, True):
        assert not lab.run("resize", instance_type="g4dn.12xlarge", check=check)["changed"]
    assert lab.changes() == []


def test_resize_leaves_a_stopped_host_stopped(lab: Lab) -> None:
    lab.run("stop")
    result = lab.run("resize", instance_type="g5.2xlarge")
    assert result["lines"] == ["lab-1: g5.xlarge is now g5.2xlarge, stopped"]
    assert lab.state() == ("g5.2xlarge", "stopped")
    # What has stopped it stays recorded.
    assert lab.tags() == {"digital_twin_gpus": "1", ACTION: "stop person "}


def test_resize_keeps_the_further_type_of_a_host(lab: Lab) -> None:
    lab.stop()
    lab.aws.inject(**CAPACITY, types=["g5.xlarge"])
    lab.run("start", instance_types=TYPES)
    assert lab.tags()[OWN_TYPE] == "g5.xlarge"
    lab.changes()
    assert lab.run("resize", instance_type="g5.2xlarge", check=True)["lines"] == [
        "lab-1: is g5.2xlarge already, and would keep this type"
    ]
    assert lab.run("resize", instance_type="g5.2xlarge")["changed"]
    assert "StopInstances" not in lab.changes()
    assert OWN_TYPE not in lab.tags()
    assert not lab.run("resize", instance_type="g5.2xlarge")["changed"]


def test_a_host_with_two_instances_is_not_started(lab: Lab) -> None:
    lab.launch("lab-2")
    pair = [{"name": "lab-1", "instance_id": identifier} for identifier in lab.hosts.values()]
    for name in lab.hosts:
        lab.stop(name)
    lab.changes()
    for result in (lab.run("start", hosts=pair), lab.run("resize", hosts=pair, instance_type="g5.2xlarge")):
        assert "lab-1: has several instances" in result["msg"]
    assert lab.changes() == []


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        ({}, "g9.huge", "EC2 does not know g9.huge in us-east-1"),
        ({}, "g5g.xlarge", "g5g.xlarge is of the architecture arm64, and the disk of lab-2 is for x86_64"),
        (
            {"Placement": {"AvailabilityZone": "us-east-1e"}},
            "g5.2xlarge",
            "us-east-1e, where the disk of lab-2 is, does not offer g5.2xlarge",
        ),
    ],
)
def test_resize_refuses(lab: Lab, given: dict[str, Any], wanted: str, expected: str) -> None:
    lab.launch("lab-2", **given)
    lab.changes()
    for check in (True, False):
        assert expected in lab.run("resize", instance_type=wanted, check=check)["msg"]
    # Nor was the other one changed.
    assert lab.changes() == []
    assert lab.state() == ("g5.xlarge", "running")


def test_resize_refuses_spot(lab: Lab) -> None:
    spot(lab)
    assert (
        "lab-2 is a spot instance, whose type AWS does not change"
        in lab.run("resize", instance_type="g5.2xlarge")["msg"]
    )
    assert lab.state() == ("g5.xlarge", "running")


def test_a_resize_without_capacity_goes_back(lab: Lab) -> None:
    before = lab.census()
    lab.aws.inject(**CAPACITY, types=["g5.2xlarge"])
    result = lab.run("resize", instance_type="g5.2xlarge")
    assert (
        "lab-1 did not become lab_instance_type (g5.2xlarge in us-east-1a: InsufficientInstanceCapacity"
        in (result["msg"])
    )
    assert result["msg"].endswith("It is g5.xlarge again, and running. Try later, or use another type.")
    assert lab.state() == ("g5.xlarge", "running")
    assert RESIZE not in lab.tags()
    assert lab.tags()["digital_twin_gpus"] == "1"
    assert lab.tags()[ERROR].startswith("resize ")
    assert lab.census() == before
    # Neither type: it is stopped as what it was, and start can go on.
    lab.aws.inject(**CAPACITY, types=["g5.xlarge"])
    assert "It is g5.xlarge again, but stopped" in lab.run("resize", instance_type="g5.2xlarge")["msg"]
    assert lab.state() == ("g5.xlarge", "stopped")
    lab.aws.mend()
    assert not lab.run("start").get("failed")
    assert lab.tags() == {"digital_twin_gpus": "1", ACTION: "start person"}


def killed(lab: Lab, monkeypatch: pytest.MonkeyPatch, number: int, verb: str, **given: Any) -> bool:
    """Run a module that ends right after one of its changing calls; return whether it made that many."""
    made = 0
    change, tag = calls.Power.change, calls.Power.tag

    def count(power: calls.Power, before: int) -> None:
        nonlocal made
        made += power.changes - before
        if made >= number:
            raise KilledError

    def changed(power: calls.Power, *arguments: Any, **options: Any) -> Any:
        before = power.changes
        found = change(power, *arguments, **options)
        count(power, before)
        return found

    def tagged(power: calls.Power, *arguments: Any, **options: Any) -> None:
        before = power.changes
        tag(power, *arguments, **options)
        count(power, before)

    with monkeypatch.context() as patch:
        patch.setattr(calls.Power, "change", changed)
        patch.setattr(calls.Power, "tag", tagged)
        try:
            lab.run(verb, **given)
        except KilledError:
            return True
    return False


@pytest.mark.parametrize(
    ("verb", "given", "expected"),
    [
        ("start", {"instance_types": TYPES}, ("g4dn.12xlarge", "running")),
        ("start", {"instance_types": [TYPES[0], TYPES[2]]}, ("g5.xlarge", "stopped")),
        ("stop", {}, ("g5.xlarge", "stopped")),
        ("resize", {"instance_type": "g4dn.12xlarge"}, ("g4dn.12xlarge", "running")),
        ("resize", {"instance_type": "g5.2xlarge"}, ("g5.xlarge", "running")),
    ],
)
def test_a_killed_run_is_completed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, verb: str, given: dict[str, Any], expected: tuple[str, str]
) -> None:
    before, number = lab.census(), 1
    kinds = ["g5.xlarge", "g5.2xlarge"] if verb == "start" else ["g5.2xlarge"]
    kinds += ["g4dn.12xlarge"] if verb == "start" and expected[1] == "stopped" else []
    lab.changes()
    while True:
        if verb == "start":
            lab.run("stop")
        elif verb == "stop":
            lab.run("start")
        lab.aws.inject(**CAPACITY, types=kinds)
        if not killed(lab, monkeypatch, number, verb, **given):
            break
        message = lab.run(verb, **given).get("msg", "")
        if "run this again with g5.xlarge" in message:
            # Only the tag knows the type before.
            assert (verb, lab.state()) == ("resize", ("g5.2xlarge", "stopped")), number
            lab.run(verb, instance_type="g5.xlarge")
        assert lab.state() == expected, number
        tags = lab.tags()
        assert RESIZE not in tags, number
        assert tags["digital_twin_gpus"] == ("4" if expected[0] == "g4dn.12xlarge" else "1"), number
        assert tags.get(OWN_TYPE, expected[0]) == ("g5.xlarge" if verb == "start" else expected[0]), number
        assert not lab.run(verb, **given)["changed"] or expected == ("g5.xlarge", "stopped") or verb == "resize"
        lab.aws.mend()
        if lab.state() != ("g5.xlarge", "running"):
            lab.run("resize", instance_type="g5.xlarge")
            lab.run("start")
        number += 1
        assert number < 20
    assert number > 1
    assert lab.census() == before
    assert "RunInstances" not in lab.changes()


def test_the_number_of_gpus_is_right_after_a_killed_return_to_the_own_type(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.stop()
    lab.aws.inject(**CAPACITY)
    # The fourth change is that back to its own type.
    assert killed(lab, monkeypatch, 4, "start", instance_types=[TYPES[2]])
    assert (*lab.state(), lab.tags()["digital_twin_gpus"]) == ("g5.xlarge", "stopped", "4")
    lab.aws.mend()
    assert not lab.run("start").get("failed")
    assert lab.tags() == {"digital_twin_gpus": "1", ACTION: "start person"}


def test_a_tag_alone_makes_no_host_another_type(lab: Lab) -> None:
    lab.stop()
    lab.ec2.create_tags(Resources=[lab.hosts["lab-1"]], Tags=[{"Key": OWN_TYPE, "Value": "g4dn.12xlarge"}])
    lab.changes()
    assert not lab.run("start", instance_types=TYPES[:2]).get("failed")
    assert lab.state() == ("g5.xlarge", "running")
    assert "ModifyInstanceAttribute" not in lab.changes()


@pytest.mark.parametrize("forged", ["g4dn.12xlarge running", "g5g.xlarge running", "g9.huge running", "; running"])
def test_a_forged_tag_chooses_no_type_to_return_to(lab: Lab, forged: str) -> None:
    lab.ec2.create_tags(Resources=[lab.hosts["lab-1"]], Tags=[{"Key": RESIZE, "Value": forged}])
    lab.aws.inject(**CAPACITY, types=["g5.2xlarge"])
    result = lab.run("resize", instance_type="g5.2xlarge")
    assert result["msg"].endswith("It is g5.xlarge again, and running. Try later, or use another type.")
    assert lab.state() == ("g5.xlarge", "running")

    # The same for a host that has the type already: what it was before is not known.
    lab.stop()
    lab.ec2.modify_instance_attribute(InstanceId=lab.hosts["lab-1"], InstanceType={"Value": "g5.2xlarge"})
    lab.ec2.create_tags(Resources=[lab.hosts["lab-1"]], Tags=[{"Key": RESIZE, "Value": forged}])
    lab.changes()
    result = lab.run("resize", instance_type="g5.2xlarge")
    assert lab.state() == ("g5.2xlarge", "stopped")
    assert "ModifyInstanceAttribute" not in lab.changes()
    name = forged.split(" ", maxsplit=1)[0]
    assert (f"check that type and run this again with {name}." in result.get("msg", "")) is (name != ";")
