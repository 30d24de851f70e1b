# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's spot market against AWS's documented rules, through botocore."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from sandbox.cloud import market
from sandbox.errors import SandboxError
from sandbox.settings import REGION

from .conftest import AWS, code_of


def interrupt(aws: AWS, name: str, **more: Any) -> None:
    aws.control("POST", "spot/interrupt", {"name": name, "notice": 0, **more})


def metadata(instance_id: str) -> dict[str, Any]:
    """Return what the metadata service shows of the market."""
    return market.metadata(ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_instance(instance_id))


def test_a_spot_launch_makes_a_request(aws: AWS) -> None:
    spec = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "lab", "Value": "one"}]}]
    instance_id = aws.spot(TagSpecifications=spec)
    instance, request = aws.instance(instance_id), aws.request()
    assert instance["InstanceLifecycle"] == "spot"
    assert instance["SpotInstanceRequestId"] == request["SpotInstanceRequestId"]
    assert request["SpotInstanceRequestId"].startswith("sir-")
    assert (request["State"], request["Status"]["Code"]) == ("active", "fulfilled")
    assert request["InstanceId"] == instance_id
    assert (request["Type"], request["InstanceInterruptionBehavior"]) == ("persistent", "stop")
    assert request["LaunchedAvailabilityZone"] == instance["Placement"]["AvailabilityZone"]
    assert request["LaunchSpecification"]["InstanceType"] == "g5.xlarge"
    assert request["Tags"] == [{"Key": "lab", "Value": "one"}]
    assert datetime.now(UTC) - request["CreateTime"] < timedelta(minutes=5)


def test_a_launch_on_demand_makes_none(aws: AWS) -> None:
    instance = aws.instance(aws.run())
    assert "InstanceLifecycle" not in instance
    assert "SpotInstanceRequestId" not in instance
    assert aws.ec2.describe_spot_instance_requests()["SpotInstanceRequests"] == []


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("state", "active", True),
        ("state", "open", False),
        ("status-code", "fulfilled", True),
        ("type", "one-time", False),
        ("tag:lab", "one", True),
        ("tag:lab", "two", False),
    ],
)
def test_requests_are_found_by_filter(aws: AWS, name: str, value: str, found: bool) -> None:
    spec = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "lab", "Value": "one"}]}]
    aws.spot(TagSpecifications=spec)
    filters = [{"Name": name, "Values": [value]}]
    assert bool(aws.ec2.describe_spot_instance_requests(Filters=filters)["SpotInstanceRequests"]) is found


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "stop"}, "InvalidParameterCombination"),
        ({"SpotInstanceType": "persistent"}, "InvalidParameterCombination"),
        ({"ValidUntil": datetime(2030, 1, 1, tzinfo=UTC)}, "InvalidParameterCombination"),
        ({"MaxPrice": "0.001"}, "InvalidParameterValue"),
        ({"MaxPrice": "cheap"}, "InvalidParameterValue"),
        ({"MaxPrice": "0.002"}, "SpotMaxPriceTooLow"),
    ],
)
def test_options_that_aws_refuses(aws: AWS, options: dict[str, Any], code: str) -> None:
    given = {"MarketType": "spot", "SpotOptions": options}
    assert code_of(aws.run, InstanceMarketOptions=given) == code
    assert aws.instances() == []
    assert aws.ec2.describe_spot_instance_requests()["SpotInstanceRequests"] == []


def test_a_one_time_instance_cannot_be_stopped(aws: AWS) -> None:
    other, instance_id = aws.run(), aws.spot("one-time")
    with pytest.raises(ClientError, match="associated with a one-time Spot Instance request") as caught:
        aws.ec2.stop_instances(InstanceIds=[other, instance_id])
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert (aws.state(other), aws.state(instance_id)) == ("running", "running")


def test_a_user_stops_and_starts_a_persistent_one(aws: AWS) -> None:
    instance_id = aws.spot()
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    assert aws.status() == ("disabled", "instance-stopped-by-user")
    aws.ec2.start_instances(InstanceIds=[instance_id])
    assert aws.status() == ("active", "fulfilled")
    assert aws.request()["InstanceId"] == instance_id


def test_a_request_is_marked_while_its_instance_stops(aws: AWS) -> None:
    instance_id = aws.spot()
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    instance = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_instance(instance_id)
    instance._state.name, instance._state.code = "stopping", 64
    assert aws.status() == ("active", "marked-for-stop")
    instance._state.name, instance._state.code = "stopped", 80
    assert aws.status() == ("disabled", "instance-stopped-by-user")


@pytest.mark.parametrize(
    ("reason", "code"), [("no-capacity", "instance-stopped-no-capacity"), ("price", "instance-stopped-by-price")]
)
def test_only_ec2_restarts_an_interrupted_instance(aws: AWS, reason: str, code: str) -> None:
    instance_id = aws.spot()
    interrupt(aws, instance_id, reason=reason)
    assert aws.state(instance_id) == "stopped"
    assert aws.status() == ("disabled", code)
    assert aws.instance(instance_id)["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    with pytest.raises(ClientError, match="Only Amazon EC2 can restart an interrupted stopped Spot Instance") as caught:
        aws.ec2.start_instances(InstanceIds=[instance_id])
    assert caught.value.response["Error"]["Code"] == "IncorrectSpotRequestState"
    assert aws.state(instance_id) == "stopped"
    aws.control("POST", "spot/fulfil", {"name": instance_id})
    assert aws.state(instance_id) == "running"
    assert aws.status() == ("active", "fulfilled")
    assert [call["by"] for call in aws.calls("StartInstances") if "by" in call] == ["spot"]


def test_ec2_restarts_only_with_capacity(aws: AWS) -> None:
    instance_id = aws.spot()
    interrupt(aws, instance_id)
    aws.fault("capacity", zones=["us-east-1a"])
    assert code_of(aws.ec2.start_instances, InstanceIds=[instance_id]) == "IncorrectSpotRequestState"
    with pytest.raises(SandboxError, match="no Spot capacity"):
        aws.control("POST", "spot/fulfil", {"name": instance_id})
    assert aws.state(instance_id) == "stopped"
    aws.heal()
    assert aws.state(instance_id) == "stopped", "only the verb restarts it"
    aws.control("POST", "spot/fulfil", {"name": instance_id})
    assert aws.state(instance_id) == "running"


def test_a_user_start_is_not_left_to_the_verb(aws: AWS) -> None:
    instance_id = aws.spot()
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    with pytest.raises(SandboxError, match="EC2 fulfils only"):
        aws.control("POST", "spot/fulfil", {"name": instance_id})
    with pytest.raises(SandboxError, match="Only a running one is interrupted"):
        interrupt(aws, instance_id)
    with pytest.raises(SandboxError, match="is not a spot instance"):
        interrupt(aws, aws.run())


def test_an_interrupted_one_time_instance_is_terminated(aws: AWS) -> None:
    instance_id = aws.spot("one-time")
    interrupt(aws, instance_id)
    assert aws.state(instance_id) == "terminated"
    assert aws.status() == ("closed", "instance-terminated-no-capacity")
    aws.run()
    assert len(aws.instances()) == 1, "a one-time request launches nothing again"


@pytest.mark.parametrize("stopped", [False, True])
def test_the_type_of_a_spot_instance_cannot_be_changed(aws: AWS, stopped: bool) -> None:
    instance_id = aws.spot()
    if stopped:
        aws.ec2.stop_instances(InstanceIds=[instance_id])
    change = {"InstanceId": instance_id, "InstanceType": {"Value": "g5.2xlarge"}}
    assert code_of(aws.ec2.modify_instance_attribute, **change) == "UnsupportedOperation"
    assert aws.instance(instance_id)["InstanceType"] == "g5.xlarge"
    protect = {"InstanceId": instance_id, "DisableApiTermination": {"Value": True}}
    assert code_of(aws.ec2.modify_instance_attribute, **protect) == "UnsupportedOperation"


def test_a_terminated_instance_stays_so_and_its_call_fails_for_others(aws: AWS) -> None:
    terminated, other = aws.run(), aws.run()
    aws.ec2.terminate_instances(InstanceIds=[terminated])
    for call in (aws.ec2.stop_instances, aws.ec2.start_instances):
        assert code_of(call, InstanceIds=[other, terminated]) == "IncorrectInstanceState"
    assert [aws.instance(one)["State"]["Name"] for one in (terminated, other)] == ["terminated", "running"]


def test_the_type_of_another_is_changed_while_it_is_stopped(aws: AWS) -> None:
    instance_id = aws.run()
    change = {"InstanceId": instance_id, "InstanceType": {"Value": "g5.2xlarge"}}
    assert code_of(aws.ec2.modify_instance_attribute, **change) == "IncorrectInstanceState"
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    aws.ec2.modify_instance_attribute(**change)
    assert aws.instance(instance_id)["InstanceType"] == "g5.2xlarge"


@pytest.mark.parametrize("stopped", [False, True])
def test_terminate_without_cancel_launches_again(aws: AWS, stopped: bool) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "lab", "Value": "one"}]}]
    first = aws.spot(TagSpecifications=tags, UserData="#!/bin/sh")
    before = aws.instance(first)
    if stopped:
        aws.ec2.stop_instances(InstanceIds=[first])
    aws.ec2.terminate_instances(InstanceIds=[first])
    (second,) = aws.instances()
    assert second != first
    after = aws.instance(second)
    for name in ("InstanceType", "ImageId", "Tags", "Placement", "SubnetId", "SpotInstanceRequestId"):
        assert after[name] == before[name], name
    assert aws.status() == ("active", "fulfilled")
    assert aws.request()["InstanceId"] == second
    own = [call for call in aws.calls("RunInstances") if call.get("by") == "spot"]
    assert [call["instance"] for call in own] == [second]


def test_a_relaunch_waits_for_capacity(aws: AWS) -> None:
    first = aws.spot()
    aws.fault("capacity", types=["g5.xlarge"])
    aws.ec2.terminate_instances(InstanceIds=[first])
    assert aws.instances() == []
    assert aws.status() == ("open", "capacity-not-available")
    aws.heal()
    assert len(aws.instances()) == 1
    assert aws.status() == ("active", "fulfilled")


def test_a_relaunch_that_cannot_succeed_fails(aws: AWS) -> None:
    """A lab that is destroyed without cancelling: its subnet is gone when there is capacity again."""
    vpc_id = aws.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = aws.ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    first = aws.spot(SubnetId=subnet)
    aws.fault("capacity")
    aws.ec2.terminate_instances(InstanceIds=[first])
    aws.ec2.delete_subnet(SubnetId=subnet)
    aws.heal()
    assert aws.status() == ("failed", "bad-parameters")
    assert aws.instances() == []


def test_instances_are_found_by_market_and_token(aws: AWS) -> None:
    on_demand, spot = aws.run(ClientToken="t"), aws.spot()
    request_id = aws.request()["SpotInstanceRequestId"]
    for name, value, expected in (
        ("instance-lifecycle", "spot", spot),
        ("spot-instance-request-id", request_id, spot),
        ("client-token", "t", on_demand),
    ):
        (found,) = aws.ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
        assert [row["InstanceId"] for row in found["Instances"]] == [expected], name


def test_cancel_then_terminate_leaves_nothing(aws: AWS) -> None:
    instance_id = aws.spot()
    request_id = aws.request()["SpotInstanceRequestId"]
    (row,) = aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request_id])["CancelledSpotInstanceRequests"]
    assert row == {"SpotInstanceRequestId": request_id, "State": "cancelled"}
    assert aws.state(instance_id) == "running"
    assert aws.status() == ("cancelled", "request-canceled-and-instance-running")
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    assert aws.instances() == []
    assert aws.status() == ("cancelled", "instance-terminated-by-user")


@pytest.mark.parametrize("by", ["user", "ec2"])
def test_cancel_terminates_a_stopped_instance(aws: AWS, by: str) -> None:
    instance_id = aws.spot()
    if by == "user":
        aws.ec2.stop_instances(InstanceIds=[instance_id])
    else:
        interrupt(aws, instance_id)
    aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[aws.request()["SpotInstanceRequestId"]])
    assert aws.state(instance_id) == "terminated"
    assert aws.status() == ("cancelled", "instance-terminated-by-service")
    assert aws.instances() == []


def test_cancel_of_an_open_request_launches_nothing(aws: AWS) -> None:
    first = aws.spot()
    aws.fault("capacity")
    aws.ec2.terminate_instances(InstanceIds=[first])
    aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[aws.request()["SpotInstanceRequestId"]])
    aws.heal()
    assert aws.status() == ("cancelled", "canceled-before-fulfillment")
    assert aws.instances() == []


def test_an_expired_request_ends_a_stopped_instance(aws: AWS, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap of launch templates, whose requests expire after seven days."""
    until = datetime.now(UTC) + timedelta(days=7)
    options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop", "ValidUntil": until}
    instance_id = aws.run(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options})
    assert abs(aws.request()["ValidUntil"] - until) < timedelta(seconds=1)
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    monkeypatch.setattr(market, "utcnow", lambda: until + timedelta(seconds=1))
    aws.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "a", "Value": "b"}])
    assert aws.state(instance_id) == "terminated"
    assert aws.status()[0] == "cancelled"


@pytest.mark.parametrize("operation", ["describe_spot_instance_requests", "cancel_spot_instance_requests"])
def test_an_unknown_request_is_an_error(aws: AWS, operation: str) -> None:
    call = getattr(aws.ec2, operation)
    assert code_of(call, SpotInstanceRequestIds=["sir-00000000"]) == "InvalidSpotInstanceRequestID.NotFound"


def test_prices_can_be_set(aws: AWS) -> None:
    def prices(**more: Any) -> dict[str, str]:
        rows = aws.ec2.describe_spot_price_history(InstanceTypes=["g5.xlarge"], **more)["SpotPriceHistory"]
        return {row["AvailabilityZone"]: row["SpotPrice"] for row in reversed(rows)}

    now = datetime.now(UTC)
    assert set(prices(StartTime=now).values()) == {"0.400000"}
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "price": 0.55})
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "price": 0.7, "zone": "us-east-1b"})
    later = datetime.now(UTC)
    found = prices(StartTime=later)
    assert (found["us-east-1a"], found["us-east-1b"]) == ("0.550000", "0.700000")
    assert prices(StartTime=later, AvailabilityZone="us-east-1b") == {"us-east-1b": "0.700000"}
    assert prices(StartTime=later, ProductDescriptions=["Windows"]) == {}
    history = aws.ec2.describe_spot_price_history(
        InstanceTypes=["g5.xlarge"], AvailabilityZone="us-east-1a", StartTime=now - timedelta(hours=1)
    )["SpotPriceHistory"]
    assert [row["SpotPrice"] for row in history] == ["0.550000", "0.400000"]
    with pytest.raises(SandboxError, match="Allowed: more than 0"):
        aws.control("POST", "spot/price", {"type": "g5.xlarge", "price": 0})


def test_a_maximum_price_is_compared(aws: AWS) -> None:
    assert code_of(aws.spot, price="0.39") == "SpotMaxPriceTooLow"
    instance_id = aws.spot(price="0.5")
    assert aws.request()["SpotPrice"] == "0.500000"
    interrupt(aws, instance_id, reason="price")
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "price": 0.6})
    with pytest.raises(SandboxError, match=r"price of 0.5 is lower than .* of 0.6000"):
        aws.control("POST", "spot/fulfil", {"name": instance_id})
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "price": 0.45})
    aws.control("POST", "spot/fulfil", {"name": instance_id})
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "price": 0.6})
    assert code_of(aws.ec2.start_instances, InstanceIds=[instance_id]) == "SpotMaxPriceTooLow"


def test_spot_has_a_quota_of_its_own(aws: AWS) -> None:
    aws.control("POST", "quotas", {"L-3819A6DF": 8})
    aws.spot()
    aws.run()
    assert code_of(aws.spot, InstanceType="g5.2xlarge") == "MaxSpotInstanceCountExceeded"
    aws.spot()
    assert code_of(aws.spot) == "MaxSpotInstanceCountExceeded"
    assert len(aws.instances()) == 3
    aws.run()
    quotas = aws.client("service-quotas")
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-3819A6DF")["Quota"]["Value"] == 8


def test_the_first_spot_launch_creates_the_role(aws: AWS) -> None:
    iam = aws.client("iam")
    aws.run()
    assert code_of(iam.get_role, RoleName="AWSServiceRoleForEC2Spot") == "NoSuchEntity"
    aws.fault("denied", service="iam", action="CreateServiceLinkedRole")
    with pytest.raises(ClientError, match="do not have permission to create the service-linked role") as caught:
        aws.spot()
    assert caught.value.response["Error"]["Code"] == "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    assert len(aws.instances()) == 1
    aws.heal()
    aws.spot()
    role = iam.get_role(RoleName="AWSServiceRoleForEC2Spot")["Role"]
    assert role["Path"] == "/aws-service-role/spot.amazonaws.com/"
    aws.fault("denied", service="iam", action="CreateServiceLinkedRole")
    aws.spot()
    assert len(aws.calls("CreateServiceLinkedRole")) == 1


def test_a_notice_comes_before_the_interruption(aws: AWS) -> None:
    instance_id = aws.spot()
    assert metadata(instance_id)["instance-life-cycle"] == "spot"
    assert "spot" not in metadata(instance_id)
    interrupt(aws, instance_id, notice=1.5)
    notice = json.loads(metadata(instance_id)["spot"]["instance-action"])
    assert notice["action"] == "stop"
    assert abs(datetime.fromisoformat(notice["time"]) - datetime.now(UTC)) < timedelta(seconds=5)
    assert "termination-time" not in metadata(instance_id)["spot"]
    assert (aws.state(instance_id), *aws.status()) == ("running", "active", "marked-for-stop")
    end = time.monotonic() + 10
    while aws.state(instance_id) != "stopped":
        assert time.monotonic() < end, "the notice was not carried out"
        time.sleep(0.1)
    assert aws.status() == ("disabled", "instance-stopped-no-capacity")
    assert "spot" not in metadata(instance_id)


def test_a_terminating_notice_closes_the_request_at_once(aws: AWS) -> None:
    instance_id = aws.spot("one-time")
    interrupt(aws, instance_id, notice=600)
    assert (aws.state(instance_id), *aws.status()) == ("running", "closed", "instance-terminated-no-capacity")
    spot = metadata(instance_id)["spot"]
    assert json.loads(spot["instance-action"])["time"] == spot["termination-time"]
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    assert aws.instances() == []


def test_a_stop_by_the_user_under_a_notice_is_the_user_s(aws: AWS) -> None:
    instance_id = aws.spot()
    interrupt(aws, instance_id, notice=1)
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    aws.ec2.start_instances(InstanceIds=[instance_id])
    assert aws.status() == ("active", "fulfilled")
    interrupt(aws, instance_id, notice=600)
    time.sleep(1.5)
    assert aws.state(instance_id) == "running", "the first notice belonged to an earlier run"
    assert aws.status() == ("active", "marked-for-stop")


def test_a_dry_run_launches_nothing(aws: AWS) -> None:
    aws.fault("capacity")
    given = {"MarketType": "spot", "SpotOptions": {}}
    assert code_of(aws.run, DryRun=True, InstanceMarketOptions=given) == "DryRunOperation"
    assert aws.instances() == []
    assert aws.calls("CreateServiceLinkedRole") == []


def test_events_are_in_metadata_and_status(aws: AWS) -> None:
    instance_id = aws.run()
    events = metadata(instance_id)["events"]
    assert json.loads(events["maintenance"]["scheduled"]) == []
    assert "recommendations" not in events
    aws.control("POST", "maintenance", {"name": instance_id, "code": "system-reboot", "seconds": 3600})
    (event,) = json.loads(metadata(instance_id)["events"]["maintenance"]["scheduled"])
    assert (event["Code"], event["State"]) == ("system-reboot", "active")
    begin = datetime.strptime(event["NotBefore"], "%d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs(begin - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=10)
    (status,) = aws.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
    assert [(row["Code"], row["InstanceEventId"]) for row in status["Events"]] == [("system-reboot", event["EventId"])]
    aws.control("POST", "maintenance", {"name": instance_id, "code": ""})
    assert json.loads(metadata(instance_id)["events"]["maintenance"]["scheduled"]) == []
    with pytest.raises(SandboxError, match="Allowed: instance-reboot"):
        aws.control("POST", "maintenance", {"name": instance_id, "code": "fire"})


def test_a_rebalance_recommendation_is_in_metadata(aws: AWS) -> None:
    instance_id = aws.spot()
    aws.control("POST", "spot/rebalance", {"name": instance_id})
    notice = json.loads(metadata(instance_id)["events"]["recommendations"]["rebalance"])
    assert abs(datetime.fromisoformat(notice["noticeTime"]) - datetime.now(UTC)) < timedelta(seconds=5)
    assert aws.state(instance_id) == "running"
