# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of one host in a local AWS, made by a few calls, for tests that need its tags, record and instance only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.record import Record, write_record

from sandbox.cloud.machine_images import machine_image_rows
from tests.support.local_aws import LocalAws

REGION = "us-east-1"


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    """Return tags as AWS lists them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@dataclass
class SmallLab:
    """The lab."""

    aws: LocalAws
    name: str
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of all that belongs to it."""
        return {"digital_twin_lab": self.name, "managed_by": "digital_twin.robotics_lab"}

    def specification(self, kind: str) -> list[dict[str, Any]]:
        """Return how EC2 tags a new resource."""
        return [{"ResourceType": kind, "Tags": listed({**self.tags, "digital_twin_index": "1"})}]

    def make(self) -> SmallLab:
        """Create role, VPC, address, key pair and one instance."""
        ec2, iam = self.aws.client("ec2"), self.aws.client("iam")
        self.ids["vpc"] = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=self.specification("vpc"))["Vpc"][
            "VpcId"
        ]
        self.ids["subnet"] = ec2.create_subnet(
            VpcId=self.ids["vpc"],
            CidrBlock="10.0.1.0/24",
            AvailabilityZone=f"{REGION}a",
            TagSpecifications=self.specification("subnet"),
        )["Subnet"]["SubnetId"]
        self.ids["address"] = ec2.allocate_address(TagSpecifications=self.specification("elastic-ip"))["AllocationId"]
        pair = ec2.create_key_pair(KeyName=self.name, TagSpecifications=self.specification("key-pair"))["KeyPairId"]
        record = write_record(Record(self.ids["vpc"], "igw-1", pair, {"1": self.ids["address"]}))
        role = f"{self.name}-instance"
        own = {**self.tags, "digital_twin_region": REGION, **record}
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}", Tags=listed(own))
        iam.create_instance_profile(InstanceProfileName=role)
        iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        self.ids["instance"] = self.launch()
        return self

    def launch(self, instance_type: str = "g5.xlarge", subnet: str = "") -> str:
        """Launch another instance with the same number, and return its id."""
        image = machine_image_rows()[0]["ami_id"]
        found = self.aws.client("ec2").run_instances(
            ImageId=image,
            InstanceType=instance_type,
            KeyName=self.name,
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet or self.ids["subnet"],
            IamInstanceProfile={"Name": f"{self.name}-instance"},
            BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 200, "VolumeType": "gp3"}}],
            TagSpecifications=self.specification("instance"),
        )["Instances"]
        return str(found[0]["InstanceId"])
