# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's data volume is created once, outlives its instance and its lab, and is never that of anyone else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_aws import LocalAws, running
from tests.unit.roles.aws_infrastructure.test_launch import Lab, mutating, present

SIZE: dict[str, Any] = {"aws_infrastructure_data_volume_size": 100}


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[LocalAws]:
    with running(tmp_path) as local:
        yield local


def volumes(aws: LocalAws, name: str = "robotics-lab") -> list[dict[str, Any]]:
    """Return the data volumes with the tags of a lab."""
    tags = {"tag:digital_twin_lab": name, "tag:digital_twin_data": "true"}
    filters = [{"Name": key, "Values": [value]} for key, value in tags.items()]
    found: list[dict[str, Any]] = aws.client("ec2").describe_volumes(Filters=filters)["Volumes"]
    return found


def holders(volume: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the states of a volume's attachments, with their devices."""
    return [(row["State"], row["Device"]) for row in volume["Attachments"]]


def hosts(aws: LocalAws) -> list[dict[str, Any]]:
    """Return the instances that run."""
    live = [{"Name": "instance-state-name", "Values": ["running"]}]
    groups = aws.client("ec2").describe_instances(Filters=live)["Reservations"]
    return [instance for group in groups for instance in group["Instances"]]


def forge(aws: LocalAws, volume: dict[str, Any]) -> str:
    """Create a volume of another owner, and copy all tags of the lab's volume to it, with its index."""
    ec2 = aws.client("ec2")
    created: str = ec2.create_volume(AvailabilityZone=volume["AvailabilityZone"], Size=8)["VolumeId"]
    ec2.create_tags(Resources=[created], Tags=volume["Tags"])
    return created


def test_a_data_volume_outlives_its_lab(aws: LocalAws, tmp_path: Path) -> None:
    before = present(aws)
    lab = Lab(aws, tmp_path)
    output, status, _changed = lab.play("main", "--check", **SIZE)
    assert (status, mutating(aws)) == (0, []), output
    assert "data volume robotics-lab-1-data, 100 GiB" in output
    assert "+$762.03 a month if always on" in output

    # AWS has created the volume, and the run did not get the answer: the next one finds it again.
    lab.kill("main", "CreateVolume", **SIZE)
    (volume,) = volumes(aws)
    assert (volume["Attachments"], mutating(aws).count("CreateVolume")) == ([], 1)
    output, status, _changed = lab.play("main", **SIZE)
    assert status == 0, output
    assert "CreateVolume" not in mutating(aws)
    (volume,) = volumes(aws)
    first = volume["VolumeId"]
    assert (volume["VolumeType"], volume["Size"], volume["Encrypted"]) == ("gp3", 100, True)
    assert holders(volume) == [("attached", "/dev/sdf")]
    (host,) = hosts(aws)
    kept = {row["Ebs"]["VolumeId"]: row["Ebs"]["DeleteOnTermination"] for row in host["BlockDeviceMappings"]}
    assert kept[first] is False

    # The copy of all its tags is neither attached nor deleted.
    forged = forge(aws, volume)
    lab.foreign = True
    lab.settled(**SIZE)

    # It is kept with the role that records it, and the lab of this name gets it back.
    output, status, _changed = lab.play("destroy")
    assert status == 0, output
    assert "except its data, which aws_infrastructure_destroy_data=true would delete" in output
    left = present(aws) - before
    assert left == {("volume", first), ("volume", forged), ("role", "robotics-lab-instance")}
    output, status, _changed = lab.play("main", **SIZE)
    assert status == 0, output
    states = {row["VolumeId"]: holders(row) for row in volumes(aws)}
    assert states == {first: [("attached", "/dev/sdf")], forged: []}
    output, status, _changed = lab.play("destroy", aws_infrastructure_destroy_data=True)
    assert status == 0, output
    assert present(aws) - before == {("volume", forged)}


@pytest.mark.full
def test_a_data_volume_grows_and_binds_its_host_to_its_zone(aws: LocalAws, tmp_path: Path) -> None:
    empty = present(aws)
    neighbour, lab = Lab(aws, tmp_path, "neighbour"), Lab(aws, tmp_path)
    output, status, _changed = lab.play("main", **SIZE)
    assert status == 0, output
    (volume,) = volumes(aws)
    first, instance = volume["VolumeId"], volume["Attachments"][0]["InstanceId"]

    # Never smaller. Larger in place. Switched off, it stays and is reported.
    aws.calls()
    output, status, _changed = lab.play(aws_infrastructure_data_volume_size=50)
    assert (status, mutating(aws)) == (2, []), output
    assert f"50 is less than {first}, the data volume of robotics-lab-1, has" in output
    output, status, _changed = lab.play(aws_infrastructure_data_volume_size=120)
    assert status == 0, output
    assert [(row["VolumeId"], row["Size"]) for row in volumes(aws)] == [(first, 120)]
    aws.calls()
    output, status, _changed = lab.play()
    assert (status, mutating(aws)) == (0, []), output
    assert (
        f"{first} (120 GiB in us-east-1a, $9.60 a month), the data volume of robotics-lab-1, stays as it is" in output
    )

    # The instance is replaced, and AWS has a machine in other zones only.
    aws.client("ec2").terminate_instances(InstanceIds=[instance])
    aws.inject(kind="capacity", action="RunInstances", zones=["us-east-1a"])
    output, status, _changed = lab.play(aws_infrastructure_data_volume_size=120)
    assert status == 2, output
    assert "Its data volume is in us-east-1a, so that it is launched only there." in output
    aws.mend()
    output, status, _changed = lab.play(aws_infrastructure_data_volume_size=120)
    assert status == 0, output
    (volume,) = volumes(aws)
    assert (volume["VolumeId"], holders(volume)) == (first, [("attached", "/dev/sdf")])
    assert volume["Attachments"][0]["InstanceId"] != instance

    output, status, _changed = lab.play("data_formatted", aws_infrastructure_formatted=[first])
    assert status == 0, output
    (volume,) = volumes(aws)
    assert "digital_twin_formatted" in [tag["Key"] for tag in volume["Tags"]]

    # Another lab in the account.
    alone = present(aws)
    output, status, _changed = neighbour.play("main", **SIZE)
    assert status == 0, output
    theirs = present(aws) - alone
    stranger = volumes(aws, "neighbour")[0]["VolumeId"]
    aws.calls()
    output, status, _changed = lab.play("data_formatted", aws_infrastructure_formatted=[stranger])
    assert (status, mutating(aws)) == (2, []), output

    output, status, _changed = lab.play("destroy", aws_infrastructure_destroy_data=True)
    assert status == 0, output
    assert present(aws) == empty | theirs
