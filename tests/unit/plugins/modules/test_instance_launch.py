# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it, against a local AWS over HTTP that has faults and writes down every request."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import instance_launch
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from sandbox.cloud.process import control
from sandbox.cloud.proxy import Proxy
from sandbox.keys import Key, Keys
from tests.unit.plugins.conftest import IMAGE_ID

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]
KEY = Key.new()
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
LAB_TAGS = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab"}
READS = ("Describe", "Get", "List")
CAPACITY = {"kind": "capacity", "action": "RunInstances"}


@dataclass
class Tokens:
    """Answers a repeated token of RunInstances as EC2 does, and keeps the fields of every request.

    Attributes:
        lose: How many answers of RunInstances to lose after the call was carried out.
    """

    behind: Callable[..., Iterable[bytes]]
    lose: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    answers: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        fields = {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
        if fields.get("Action") != "RunInstances":
            return self.behind({**environ, "wsgi.input": Body(body)}, start_response)
        self.requests.append(fields)
        token = fields["ClientToken"]
        if token in self.answers:
            given, answer = self.answers[token]
            if given != fields:
                error = "<Code>IdempotentParameterMismatch</Code><Message>Arguments are inconsistent.</Message>"
                text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>1</RequestID></Response>"
                start_response("400 Bad Request", [("Content-Type", "text/xml")])
                return [text.encode()]
            start_response("200 OK", [("Content-Type", "text/xml")])
            return [answer]
        statuses: list[str] = []

        def note(status: str, headers: list[tuple[str, str]], *_more: Any) -> None:
            statuses.append(status)
            if not self.lose or not status.startswith("200"):
                start_response(status, headers)

        answer = b"".join(self.behind({**environ, "wsgi.input": Body(body)}, note))
        if statuses[0].startswith("200"):
            self.answers[token] = (fields, answer)
            if self.lose:
                self.lose -= 1
                start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"lost"]
        return [answer]


class Body:
    """The body of a request, for WSGI."""

    def __init__(self, body: bytes) -> None:
        """Hold it."""
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        size = len(self._body) if size is None or size < 0 else size
        part, self._body = self._body[:size], self._body[size:]
        return part


@dataclass
class Aws:
    """The local AWS, with a lab's VPC in it."""

    url: str
    cloud: Cloud
    tokens: Tokens
    vpc_id: str = ""
    table_id: str = ""
    subnet_id: str = ""
    group_id: str = ""

    @property
    def ec2(self) -> Any:
        """A client that meets no fault."""
        return self.cloud.client("ec2")

    def inject(self, **rule: Any) -> None:
        """Make calls fail."""
        control(self.url, KEY, "POST", "faults", {"service": "ec2", **rule})

    def calls(self) -> list[str]:
        """Return the actions that AWS received since the last call of this, without those of this test."""
        entries = control(self.url, KEY, "GET", "calls")
        control(self.url, KEY, "DELETE", "calls")
        return [entry["action"] for entry in entries if entry["service"] == "ec2"]

    def instances(self) -> list[dict[str, Any]]:
        """Return the instances that exist."""
        live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        groups = self.ec2.describe_instances(Filters=live)["Reservations"]
        return [instance for group in groups for instance in group["Instances"]]

    def subnets(self) -> dict[str, str]:
        """Return the lab's subnets by zone."""
        inside = [{"Name": "vpc-id", "Values": [self.vpc_id]}]
        found = self.ec2.describe_subnets(Filters=inside)["Subnets"]
        return {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in found}


@pytest.fixture
def aws(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """Serve a local AWS with a lab's VPC, subnet in the first zone, route table and security group."""
    tokens = Tokens(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        "127.0.0.1", 0, Proxy("test", tokens, Keys(KEY)), threaded=True, request_handler=MotoRequestHandler
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY.secret)
    local = Aws(url, cloud, tokens)
    ec2, tags = local.ec2, [{"Key": key, "Value": value} for key, value in LAB_TAGS.items()]
    local.vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    local.subnet_id = ec2.create_subnet(VpcId=local.vpc_id, CidrBlock="10.0.1.0/24", AvailabilityZone=ZONES[0])[
        "Subnet"
    ]["SubnetId"]
    local.table_id = ec2.create_route_table(VpcId=local.vpc_id)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=local.table_id, SubnetId=local.subnet_id)
    local.group_id = ec2.create_security_group(GroupName="lab", Description="lab", VpcId=local.vpc_id)["GroupId"]
    ec2.create_tags(Resources=[local.subnet_id, local.table_id], Tags=tags)
    yield local
    server.shutdown()
    thread.join(timeout=10)
    server.server_close()


@pytest.fixture
def run(aws: Aws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module for a lab with one host, but for what is given, and return its result."""

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        arguments = {
            "name": "lab",
            "region": "us-east-1",
            "hosts": ["1"],
            "vpc_id": aws.vpc_id,
            "vpc_cidr": "10.0.0.0/16",
            "subnet_cidr": "10.0.1.0/24",
            "instance_types": [{"name": "g5.xlarge", "zones": ZONES}],
            "image_id": IMAGE_ID,
            "security_groups": [aws.group_id],
            "volume_size": 200,
            "tags": {"team": "robotics"},
            "host_tags": {"digital_twin_ssh_user": "ubuntu"},
            "retry_timeout": 20,
            "variable_prefix": "lab_",
            **given,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            instance_launch.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def mutating(calls: list[str]) -> list[str]:
    return [call for call in calls if not call.startswith(READS)]


def test_the_first_zone_is_empty(run: Run, aws: Aws) -> None:
    aws.inject(**CAPACITY, zones=[ZONES[0]])
    result = run()
    assert not result.get("failed"), result
    assert mutating(aws.calls()) == ["RunInstances", "CreateSubnet", "AssociateRouteTable", "RunInstances"]
    (instance,) = aws.instances()
    subnets = aws.subnets()
    assert set(subnets) == {ZONES[0], ZONES[1]}
    assert (instance["SubnetId"], instance["InstanceType"]) == (subnets[ZONES[1]], "g5.xlarge")
    (found,) = result["instances"]
    assert (found["instance_id"], found["created"]) == (instance["InstanceId"], True)
    assert [attempt["code"] for attempt in result["tries"]] == ["InsufficientInstanceCapacity", ""]
    assert result["lines"][1] == f"lab-1: g5.xlarge in us-east-1b, on demand: {instance['InstanceId']} runs"
    # The new subnet is the lab's, and has its routes.
    table = aws.ec2.describe_route_tables(RouteTableIds=[aws.table_id])["RouteTables"][0]
    assert subnets[ZONES[1]] in [entry.get("SubnetId") for entry in table["Associations"]]
    subnet = aws.ec2.describe_subnets(SubnetIds=[subnets[ZONES[1]]])["Subnets"][0]
    assert LAB_TAGS.items() <= {tag["Key"]: tag["Value"] for tag in subnet["Tags"]}.items()
    assert not subnet["MapPublicIpOnLaunch"]

    # The second run changes nothing, whatever AWS has by now.
    again = run()
    assert not again["changed"]
    assert again["instances"] == [{**found, "created": False}]
    assert mutating(aws.calls()) == []


def test_what_a_host_gets(run: Run, aws: Aws) -> None:
    aws.ec2.create_key_pair(KeyName="key")
    run(user_data="#!/bin/sh\n", termination_protection=True, key_name="key", volume_iops=4000)
    (instance,) = aws.instances()
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    expected = {**LAB_TAGS, "team": "robotics", "Name": "lab-1", "digital_twin_index": "1"}
    assert tags == {**expected, "digital_twin_ssh_user": "ubuntu", "digital_twin_gpus": "1"}
    assert instance["KeyName"] == "key"
    (fields,) = aws.tokens.requests
    assert {
        "MetadataOptions.HttpTokens": "required",
        "MetadataOptions.HttpPutResponseHopLimit": "1",
        "BlockDeviceMapping.1.Ebs.Encrypted": "true",
        "BlockDeviceMapping.1.Ebs.VolumeType": "gp3",
        "BlockDeviceMapping.1.Ebs.Iops": "4000",
        "DisableApiTermination": "true",
        "MinCount": "1",
        "MaxCount": "1",
    }.items() <= fields.items()
    assert {fields[f"TagSpecification.{number}.ResourceType"] for number in (1, 2)} == {"instance", "volume"}
    assert not [key for key in fields if key.startswith("InstanceMarketOptions")]
    volume = aws.ec2.describe_volumes()["Volumes"][0]
    assert LAB_TAGS.items() <= {tag["Key"]: tag["Value"] for tag in volume["Tags"]}.items()


def test_check_mode_changes_nothing(run: Run, aws: Aws) -> None:
    aws.calls()
    assert run(_ansible_check_mode=True)["changed"]
    assert mutating(aws.calls()) == []
    assert aws.instances() == []
    run()
    assert not run(_ansible_check_mode=True)["changed"]


def test_no_zone_has_capacity(run: Run, aws: Aws) -> None:
    before = aws.subnets()
    aws.inject(**CAPACITY)
    result = run()
    assert (result["failed"], result["no_capacity"], result["changed"]) == (True, True, False)
    assert result["msg"] == (
        "lab_instance_type: AWS has no machine for lab-1 at the moment: g5.xlarge on demand in us-east-1a, us-east-1b, "
        "us-east-1c (InsufficientInstanceCapacity). Run this again later, set lab_capacity_wait to go on trying, or "
        "allow other types or zones."
    )
    assert len(result["lines"]) == 3
    assert aws.calls().count("RunInstances") == 3
    assert aws.instances() == []
    assert aws.subnets() == before


def test_the_zone_of_a_data_volume_binds_its_host(run: Run, aws: Aws) -> None:
    bound = {"host_zones": {"1": ZONES[1]}}
    aws.inject(**CAPACITY, zones=[ZONES[1]], count=1)
    result = run(**bound)
    assert (result["no_capacity"], aws.instances(), aws.calls().count("RunInstances")) == (True, [], 1)
    assert result["msg"].endswith("Its data volume is in us-east-1b, so that it is launched only there.")
    assert "us-east-1a" not in result["msg"]
    assert not run(**bound).get("failed")
    (instance,) = aws.instances()
    assert instance["Placement"]["AvailabilityZone"] == ZONES[1]


def test_only_the_last_type_has_capacity(run: Run, aws: Aws) -> None:
    aws.inject(**CAPACITY, types=["g6.xlarge", "g5.xlarge"])
    types = [{"name": name, "zones": ZONES, "gpus": 1} for name in ("g6.xlarge", "g5.xlarge", "g4dn.12xlarge")]
    types[2]["gpus"] = 4
    result = run(instance_types=types)
    assert not result.get("failed"), result
    (instance,) = aws.instances()
    assert instance["InstanceType"] == "g4dn.12xlarge"
    # Back in the first zone: the others' subnets were tried, and are gone.
    assert set(aws.subnets()) == {ZONES[0]}
    assert aws.calls().count("RunInstances") == 7
    assert {"Key": "digital_twin_gpus", "Value": "4"} in instance["Tags"]


def test_a_quota_is_the_same_in_every_zone(run: Run, aws: Aws) -> None:
    aws.inject(kind="invalid", code="VcpuLimitExceeded", action="RunInstances")
    result = run(instance_types=[{"name": name, "zones": ZONES} for name in ("g6.xlarge", "g5.xlarge")])
    assert aws.calls().count("RunInstances") == 2
    assert result["msg"].endswith("Ask for a higher quota in Service Quotas, or stop other instances.")


def test_a_failed_offer_is_not_tried_for_the_next_host(run: Run, aws: Aws) -> None:
    aws.inject(**CAPACITY, zones=[ZONES[0]])
    result = run(hosts=["1", "2", "3"])
    assert not result.get("failed"), result
    assert aws.calls().count("RunInstances") == 4
    assert {instance["Placement"]["AvailabilityZone"] for instance in aws.instances()} == {ZONES[1]}
    # Another host goes where the first ones are.
    run(hosts=["4"])
    assert {instance["Placement"]["AvailabilityZone"] for instance in aws.instances()} == {ZONES[1]}


def test_throttling_is_waited_for_within_a_bound(run: Run, aws: Aws) -> None:
    aws.inject(kind="throttling", action="RunInstances", count=2)
    assert not run().get("failed")
    assert aws.calls().count("RunInstances") == 3
    aws.inject(kind="throttling", action="RunInstances")
    started = time.monotonic()
    result = run(hosts=["2"], retry_timeout=2)
    assert time.monotonic() - started < 10
    assert result["failed"]
    assert not result["no_capacity"]
    assert "RequestLimitExceeded" in result["msg"]
    assert "\n" not in result["msg"]
    assert len(aws.instances()) == 1


def test_a_lost_answer_makes_no_second_machine(run: Run, aws: Aws) -> None:
    aws.tokens.lose = 2
    result = run()
    assert not result.get("failed"), result
    assert len({fields["ClientToken"] for fields in aws.tokens.requests}) == 1
    (instance,) = aws.instances()
    assert result["instances"][0]["instance_id"] == instance["InstanceId"]


def test_a_killed_run_makes_no_second_machine(run: Run, aws: Aws) -> None:
    run()
    (instance,) = aws.instances()
    # EC2 does not list the new instance by its tags yet.
    aws.ec2.delete_tags(Resources=[instance["InstanceId"]], Tags=[{"Key": "digital_twin_lab"}])
    result = run()
    assert [found["InstanceId"] for found in aws.instances()] == [instance["InstanceId"]]
    assert result["instances"][0]["instance_id"] == instance["InstanceId"]
    # Nor when the user has changed something in between.
    result = run(volume_size=300)
    assert result["instances"][0]["instance_id"] == instance["InstanceId"]
    assert [found["InstanceId"] for found in aws.instances()] == [instance["InstanceId"]]


def test_a_terminated_host_is_replaced(run: Run, aws: Aws) -> None:
    run()
    (first,) = aws.instances()
    aws.ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    # The same token with other arguments, and no instance that still exists.
    result = run(volume_size=300)
    assert not result.get("failed"), result
    (second,) = aws.instances()
    assert second["InstanceId"] != first["InstanceId"]


def test_what_nothing_can_help_ends_the_search(run: Run, aws: Aws) -> None:
    aws.inject(kind="denied", action="RunInstances")
    result = run()
    assert aws.calls().count("RunInstances") == 1
    assert "Allow the call in the policies of the caller." in result["msg"]
    assert not result["no_capacity"]


def test_spot_stops_and_never_ends_by_itself(run: Run, aws: Aws) -> None:
    run(market="spot", max_price="0.50", termination_protection=True)
    (fields,) = aws.tokens.requests
    options = {key: value for key, value in fields.items() if key.startswith("InstanceMarketOptions")}
    assert options == {
        "InstanceMarketOptions.MarketType": "spot",
        "InstanceMarketOptions.SpotOptions.SpotInstanceType": "persistent",
        "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior": "stop",
        "InstanceMarketOptions.SpotOptions.MaxPrice": "0.50",
    }
    assert "DisableApiTermination" not in fields
    kinds = {value for key, value in fields.items() if re.fullmatch(r"TagSpecification\.\d\.ResourceType", key)}
    assert kinds == {"instance", "volume", "spot-instances-request"}
    assert aws.instances()[0]["InstanceLifecycle"] == "spot"


def test_on_demand_after_spot_only_if_allowed(run: Run, aws: Aws) -> None:
    aws.inject(kind="invalid", code="MaxSpotInstanceCountExceeded", action="RunInstances", count=1)
    assert run(market="spot")["no_capacity"]
    aws.inject(kind="invalid", code="MaxSpotInstanceCountExceeded", action="RunInstances", count=1)
    result = run(market="auto")
    assert not result.get("failed"), result
    assert [attempt["market"] for attempt in result["tries"]] == ["spot", "on-demand"]
    assert "InstanceLifecycle" not in aws.instances()[0]


def reservation(identifier: str, **more: Any) -> dict[str, Any]:
    """Return a capacity reservation as EC2 describes it."""
    return {
        "CapacityReservationId": identifier,
        "InstanceType": "g4dn.xlarge",
        "AvailabilityZone": ZONES[2],
        "State": "active",
        "AvailableInstanceCount": 1,
        "ReservationType": "default",
        **more,
    }


def test_reservations_come_first(run: Run, aws: Aws) -> None:
    aws.cloud.answers["DescribeCapacityReservations"] = {
        "CapacityReservations": [
            reservation("cr-full", AvailableInstanceCount=0),
            reservation("cr-block", ReservationType="capacity-block"),
            reservation("cr-open"),
        ]
    }
    aws.inject(kind="invalid", code="ReservationCapacityExceeded", action="RunInstances", count=1)
    result = run(capacity_reservations=["cr-full", "cr-block", "cr-open"])
    assert not result.get("failed"), result
    assert result["lines"][0] == "cr-full: skipped, as it is active with 0 free instances"
    assert [(attempt["reservation"], attempt["market"]) for attempt in result["tries"]] == [
        ("cr-block", "capacity-block"),
        ("cr-open", "on-demand"),
    ]
    (fields,) = aws.tokens.requests
    key = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
    assert (fields[key], fields["InstanceType"]) == ("cr-open", "g4dn.xlarge")
    assert run(hosts=["2"], capacity_reservations=["cr-none"])["msg"] == (
        "lab_capacity_reservations: cr-none does not exist in us-east-1. Correct or remove it."
    )


def test_a_vpc_without_room_for_a_subnet(run: Run, aws: Aws) -> None:
    aws.inject(**CAPACITY, zones=[ZONES[0]])
    result = run(vpc_cidr="10.0.1.0/24")
    assert "(InsufficientFreeAddressesInSubnet)" in result["msg"]
    assert "Choose a larger lab_subnet_cidr or lab_vpc_cidr for a new lab." in result["msg"]
    assert set(aws.subnets()) == {ZONES[0]}


def test_two_instances_of_one_host_are_reported(run: Run, aws: Aws) -> None:
    run()
    tags = aws.instances()[0]["Tags"]
    aws.ec2.run_instances(
        ImageId=IMAGE_ID,
        MinCount=1,
        MaxCount=1,
        SubnetId=aws.subnet_id,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    assert run()["msg"].startswith("lab-1: has several instances (")
