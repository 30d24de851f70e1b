# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RunInstances' ClientToken in the sandbox against AWS's documented rules, through botocore."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import AWS, IMAGE, code_of


def subnets(aws: AWS) -> dict[str, str]:
    """Return the default subnets by zone."""
    rows = aws.ec2.describe_subnets()["Subnets"]
    return {row["AvailabilityZone"]: row["SubnetId"] for row in rows}


@pytest.mark.parametrize("market", ["on demand", "spot"])
def test_one_token_is_one_instance(aws: AWS, market: str) -> None:
    launch = aws.spot if market == "spot" else aws.run
    first = launch(ClientToken="lab-one")
    assert launch(ClientToken="lab-one") == first
    assert aws.instances() == [first]
    assert len(aws.ec2.describe_spot_instance_requests()["SpotInstanceRequests"]) == (market == "spot")
    assert aws.instance(first)["ClientToken"] == "lab-one"


def test_another_token_is_another_instance(aws: AWS) -> None:
    assert len({aws.run(ClientToken="a"), aws.run(ClientToken="b"), aws.run(ClientToken="A"), aws.run()}) == 4


def test_other_parameters_are_refused(aws: AWS) -> None:
    first = aws.run(ClientToken="t")
    with pytest.raises(ClientError, match="inconsistent with arguments used in previous request") as caught:
        aws.run(ClientToken="t", InstanceType="g5.2xlarge")
    assert caught.value.response["Error"]["Code"] == "IdempotentParameterMismatch"
    assert code_of(aws.spot, ClientToken="t") == "IdempotentParameterMismatch"
    assert aws.instances() == [first]


def test_a_token_is_zonal_where_the_request_names_a_zone(aws: AWS) -> None:
    """The trap: after a failed answer, the same token in the next zone launches a second instance."""
    by_zone = subnets(aws)
    first = aws.run(ClientToken="t", SubnetId=by_zone["us-east-1a"])
    second = aws.run(ClientToken="t", SubnetId=by_zone["us-east-1b"])
    assert first != second
    assert aws.run(ClientToken="t", SubnetId=by_zone["us-east-1a"]) == first
    assert aws.run(ClientToken="t", Placement={"AvailabilityZone": "us-east-1c"}) not in (first, second)
    assert aws.run(ClientToken="t") not in (first, second)
    assert len(aws.instances()) == 4


def test_a_terminated_instance_is_not_returned(aws: AWS) -> None:
    first = aws.run(ClientToken="t")
    aws.ec2.stop_instances(InstanceIds=[first])
    assert aws.run(ClientToken="t") == first
    aws.ec2.terminate_instances(InstanceIds=[first])
    assert code_of(aws.run, ClientToken="t") == "IdempotentInstanceTerminated"
    assert aws.instances() == []


def test_a_request_without_capacity_uses_its_token(aws: AWS) -> None:
    aws.fault("capacity", action="RunInstances", types=["g5.xlarge"])
    assert code_of(aws.run, ClientToken="t") == "InsufficientInstanceCapacity"
    assert code_of(aws.run, ClientToken="t", InstanceType="g5.2xlarge") == "IdempotentParameterMismatch"
    aws.heal()
    assert aws.run(ClientToken="t") == aws.run(ClientToken="t")


@pytest.mark.parametrize("kind", ["throttling", "denied"])
def test_a_request_that_was_not_considered_leaves_its_token(aws: AWS, kind: str) -> None:
    aws.fault(kind, action="RunInstances", count=1)
    code_of(aws.run, ClientToken="t")
    aws.run(ClientToken="t", InstanceType="g5.2xlarge")


def test_a_retry_needs_no_capacity(aws: AWS) -> None:
    first = aws.run(ClientToken="t")
    aws.fault("capacity", action="RunInstances", count=1)
    assert aws.run(ClientToken="t") == first
    assert code_of(aws.run, ClientToken="u") == "InsufficientInstanceCapacity", "the retry must not spend the fault"


def test_the_retry_of_a_lost_answer_launches_nothing(aws: AWS) -> None:
    """botocore makes a token for each call, and sends it again in its own retries."""
    patient = aws.client("ec2", retries={"total_max_attempts": 3})
    aws.fault("lost", action="RunInstances", count=1)
    answer = patient.run_instances(ImageId=IMAGE, InstanceType="g5.xlarge", MinCount=1, MaxCount=1)
    assert aws.instances() == [answer["Instances"][0]["InstanceId"]]
    assert [call["fault"] for call in aws.calls("RunInstances")] == ["lost", None]


def test_a_refused_launch_can_be_repeated(aws: AWS) -> None:
    token = "x" * 65
    assert code_of(aws.run, ClientToken=token) == "InvalidParameterValue"
    assert code_of(aws.spot, ClientToken="t", price="0.01") == "SpotMaxPriceTooLow"
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "price": 0.005})
    assert aws.spot(ClientToken="t", price="0.01") == aws.instances()[0]
