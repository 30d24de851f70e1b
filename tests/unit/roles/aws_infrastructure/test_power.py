# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role stops, starts and resizes a lab in place, whether AWS has capacity or not, and makes no second machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.local_aws import LocalAws, running
from tests.unit.roles.aws_infrastructure.test_launch import Lab, mutating

CAPACITY = {"kind": "capacity", "action": "StartInstances"}


def resources(aws: LocalAws) -> dict[str, list[str]]:
    """Return the ids of what exists in EC2, by kind."""
    ec2 = aws.client("ec2")
    groups = ec2.describe_instances()["Reservations"]
    return {
        "instances": [item["InstanceId"] for group in groups for item in group["Instances"]],
        "volumes": [item["VolumeId"] for item in ec2.describe_volumes()["Volumes"]],
        "subnets": [item["SubnetId"] for item in ec2.describe_subnets()["Subnets"]],
        "addresses": [item["AllocationId"] for item in ec2.describe_addresses()["Addresses"]],
    }


def host(aws: LocalAws) -> dict[str, Any]:
    """Return the instance of the lab."""
    live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    (group,) = aws.client("ec2").describe_instances(Filters=live)["Reservations"]
    instance: dict[str, Any] = group["Instances"][0]
    return instance


def shape(aws: LocalAws) -> tuple[str, str]:
    """Return the type and the state of the host."""
    instance = host(aws)
    return instance["InstanceType"], instance["State"]["Name"]


def test_a_lab_is_stopped_started_and_resized_in_place(tmp_path: Path) -> None:
    auto = {"aws_infrastructure_instance_type": "auto", "aws_infrastructure_profile": "nav"}
    larger = {"aws_infrastructure_instance_type": "g5.2xlarge"}
    with running(tmp_path) as aws:
        play = Lab(aws, tmp_path).play
        play()
        before, first = resources(aws), host(aws)["InstanceId"]
        output, status, _changed = play("stop")
        assert (status, *shape(aws)) == (0, "g5.xlarge", "stopped"), output

        # A named type has no further ones: the same again, for two rounds more.
        mutating(aws)
        aws.inject(**CAPACITY)
        given: dict[str, Any] = {"aws_infrastructure_capacity_wait": 0.002, "aws_infrastructure_capacity_pause": 5}
        output, status, _changed = play("start", **given)
        assert (status, *shape(aws)) == (2, "g5.xlarge", "stopped")
        assert "by a user of the collection." in output
        assert output.count("FAILED - RETRYING") == 2
        assert "Its disk is in us-east-1a, so that it starts only there." in output
        assert [call for call in mutating(aws) if call != "CreateTags"] == ["StartInstances"] * 3

        # A further one on which the profile runs, for the whole lab.
        aws.mend()
        aws.inject(**CAPACITY, types=["g5.xlarge"])
        output, status, _changed = play(**auto)
        assert (status, *shape(aws)) == (0, "g4dn.xlarge", "running"), output
        calls = mutating(aws)
        assert (calls.count("StartInstances"), calls.count("RunInstances")) == (2, 0)
        assert "This change costs -$350.40 a month if always on" in output
        aws.mend()

        output, status, changed = play("resize", "--check", **larger)
        assert (status, changed, mutating(aws)) == (0, 1, []), output
        assert "robotics-lab-1: g4dn.xlarge would become g5.2xlarge" in output
        assert "This change costs +$500.78 a month if always on, +$0.00 stopped." in output
        given = {"aws_infrastructure_instance_type": "g4dn.2xlarge", "aws_infrastructure_profile": "full"}
        output, status, _changed = play("resize", **given)
        assert status == 2
        assert "g4dn.2xlarge cannot be the type of robotics-lab-1: riva and nim need a GPU of" in output
        assert mutating(aws) == []
        output, status, changed = play("resize", **larger)
        assert (status, changed, *shape(aws)) == (0, 1, "g5.2xlarge", "running"), output
        assert "RunInstances" not in mutating(aws)

        output, status, _changed = play("summary")
        assert "robotics-lab-1 was resized on 2" in output
        assert "start failed" not in output
        assert (resources(aws), host(aws)["InstanceId"]) == (before, first)
