# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a launch whose first zone is empty: amazon.aws.ec2_instance and instance_launch, alternating.

Both run in the sandbox's AWS without hosts, in which the first zone has no capacity and the second has some. A user of
ec2_instance then launches in the next zone by another task, which is counted as well. The seconds are those from the
start of the first module to the running instance, with what Ansible itself needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.ansible_programs import execute
from tests.support.local_aws import LocalAws, running
from tests.support.project import clean_environment

ZONES = ["us-east-1a", "us-east-1b"]
TYPE = "g5.xlarge"
TAGS = {"digital_twin_lab": "bench", "managed_by": "digital_twin.robotics_lab"}


@dataclass
class Network:
    """A VPC with a subnet in each zone and a security group."""

    vpc_id: str
    subnets: list[str]
    group_id: str
    image_id: str

    @classmethod
    def create(cls, ec2: Any) -> Network:
        """Create it."""
        tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
            for number, zone in enumerate(ZONES, start=1)
        ]
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        group = ec2.create_security_group(GroupName="bench", Description="bench", VpcId=vpc)["GroupId"]
        ec2.create_tags(Resources=[*subnets, table], Tags=tags)
        for subnet in subnets:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        image = ec2.describe_images(Owners=["099720109477"])["Images"][0]["ImageId"]
        return cls(vpc, subnets, group, image)


def peer(network: Network) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tasks of a user of amazon.aws.ec2_instance: the first zone, then the second."""
    for subnet in network.subnets:
        yield (
            "amazon.aws.ec2_instance",
            {
                "region": "us-east-1",
                "name": "bench-peer",
                "instance_type": TYPE,
                "image_id": network.image_id,
                "vpc_subnet_id": subnet,
                "security_groups": [network.group_id],
                "state": "running",
            },
        )


def ours(network: Network) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the task that launches in any zone."""
    yield (
        "digital_twin.robotics_lab.instance_launch",
        {
            "region": "us-east-1",
            "name": "bench",
            "hosts": ["1"],
            "vpc_id": network.vpc_id,
            "vpc_cidr": "10.0.0.0/16",
            "subnet_cidr": "10.0.1.0/24",
            "instance_types": [{"name": TYPE, "zones": ZONES}],
            "image_id": network.image_id,
            "security_groups": [network.group_id],
            "volume_size": 100,
        },
    )


def measure(aws: LocalAws, tasks: Iterator[tuple[str, dict[str, Any]]]) -> tuple[float, int]:
    """Run tasks until one succeeds; return the seconds and the calls of RunInstances.

    Raises:
        SystemExit: None succeeded.
    """
    aws.calls()
    begin = time.monotonic()
    for module, arguments in tasks:
        words = [
            "ansible",
            "localhost",
            "--inventory=localhost,",
            "--connection=local",
            "-m",
            module,
            "-a",
            json.dumps(arguments),
        ]
        done = execute(words, {**clean_environment(), **aws.environment})
        if done.returncode == 0:
            seconds = time.monotonic() - begin
            return seconds, sum(call["action"] == "RunInstances" for call in aws.calls())
    raise SystemExit(f"no instance was launched:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Measure both, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured (default: 1)")
    options = parser.parse_args()
    cases = {"amazon.aws.ec2_instance": peer, "instance_launch": ours}
    figures: dict[str, list[tuple[float, int]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as aws:
        ec2 = aws.client("ec2")
        for _round in range(options.rounds):
            for name, tasks in cases.items():
                network = Network.create(ec2)
                aws.inject(kind="capacity", action="RunInstances", zones=ZONES[:1])
                figures[name].append(measure(aws, tasks(network)))
                aws.mend()
                live = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
                ids = [row["InstanceId"] for group in live["Reservations"] for row in group["Instances"]]
                ec2.terminate_instances(InstanceIds=ids)
    print(f"{'first zone empty':<26}{'wall s':>9}{'RunInstances':>14}")
    for name, rows in figures.items():
        seconds, calls = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:<26}{seconds:>9.1f}{calls:>14.0f}")


if __name__ == "__main__":
    main()
