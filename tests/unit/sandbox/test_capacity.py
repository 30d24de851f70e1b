# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's capacity faults by zone and type, for launches and starts, through botocore."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from .conftest import AWS, code_of

FREE = (
    r"You can currently get g5\.xlarge capacity by not specifying .* or choosing us-east-1c, us-east-1d, us-east-1f\."
)


def stopped(aws: AWS, zone: str, kind: str = "g5.xlarge") -> str:
    """Return a stopped instance in a zone."""
    instance_id = aws.run(InstanceType=kind, Placement={"AvailabilityZone": zone})
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    return instance_id


@pytest.mark.parametrize("call", ["launch", "start"])
def test_the_message_names_the_zones_with_capacity(aws: AWS, call: str) -> None:
    """Those that offer the type, without those of any capacity fault for it."""
    instance_id = stopped(aws, "us-east-1a")
    aws.fault("capacity", zones=["us-east-1a"])
    aws.fault("capacity", zones=["us-east-1b"], types=["g5.xlarge"])
    aws.fault("capacity", zones=["us-east-1c"], types=["g4dn.xlarge"])
    aws.fault("throttling", zones=["us-east-1d"])
    with pytest.raises(ClientError, match=FREE) as caught:
        if call == "launch":
            aws.run(Placement={"AvailabilityZone": "us-east-1a"})
        else:
            aws.ec2.start_instances(InstanceIds=[instance_id])
    assert caught.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    assert "sufficient g5.xlarge capacity in the Availability Zone you requested (us-east-1a)" in str(caught.value)


def test_no_capacity_anywhere_names_no_zone(aws: AWS) -> None:
    aws.fault("capacity")
    with pytest.raises(ClientError, match=r"\(us-east-1a\)\.$"):
        aws.run(Placement={"AvailabilityZone": "us-east-1a"})


@pytest.mark.parametrize(
    ("rule", "fails"),
    [
        ({"zones": ["us-east-1a"]}, True),
        ({"zones": ["us-east-1b"]}, False),
        ({"types": ["g5.xlarge"]}, True),
        ({"types": ["g4dn.xlarge"]}, False),
        ({"zones": ["us-east-1a"], "types": ["g4dn.xlarge"]}, False),
        ({"action": "RunInstances"}, False),
        ({"action": "StartInstances"}, True),
    ],
)
def test_a_start_meets_the_faults_of_its_place(aws: AWS, rule: dict[str, object], fails: bool) -> None:
    instance_id = stopped(aws, "us-east-1a")
    aws.fault("capacity", service="ec2", **rule)
    if fails:
        assert code_of(aws.ec2.start_instances, InstanceIds=[instance_id]) == "InsufficientInstanceCapacity"
        assert aws.state(instance_id) == "stopped"
    else:
        aws.ec2.start_instances(InstanceIds=[instance_id])
        assert aws.state(instance_id) == "running"


def test_a_changed_type_meets_other_faults(aws: AWS) -> None:
    instance_id = stopped(aws, "us-east-1a")
    aws.fault("capacity", types=["g5.xlarge"])
    code_of(aws.ec2.start_instances, InstanceIds=[instance_id])
    aws.ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "g5.2xlarge"})
    aws.ec2.start_instances(InstanceIds=[instance_id])
    assert aws.state(instance_id) == "running"


def test_each_instance_of_a_start_needs_capacity(aws: AWS) -> None:
    first, second = stopped(aws, "us-east-1a"), stopped(aws, "us-east-1b")
    aws.fault("capacity", zones=["us-east-1b"])
    assert code_of(aws.ec2.start_instances, InstanceIds=[first, second]) == "InsufficientInstanceCapacity"
    assert (aws.state(first), aws.state(second)) == ("stopped", "stopped")


def test_only_calls_that_place_an_instance_need_capacity(aws: AWS) -> None:
    instance_id = aws.run()
    aws.fault("capacity")
    aws.ec2.start_instances(InstanceIds=[instance_id])
    aws.ec2.stop_instances(InstanceIds=[instance_id])
    assert code_of(aws.run, DryRun=True) == "DryRunOperation"
    aws.ec2.terminate_instances(InstanceIds=[instance_id])
    assert aws.instances() == []


def test_the_journal_records_the_fault(aws: AWS) -> None:
    instance_id = stopped(aws, "us-east-1a")
    aws.fault("capacity", count=1)
    code_of(aws.ec2.start_instances, InstanceIds=[instance_id])
    aws.ec2.start_instances(InstanceIds=[instance_id])
    assert [call["fault"] for call in aws.calls("StartInstances")] == ["capacity", None]
