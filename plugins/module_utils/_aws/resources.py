# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an AWS account has, as this collection describes it. Pure: nothing here calls AWS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Caller:
    """The caller: the account's id and the ARN."""

    account_id: str
    arn: str


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU of an instance type, with the memory of each in MiB."""

    name: str
    manufacturer: str
    count: int
    memory_mib: int


@dataclass(frozen=True)
class InstanceType:
    """An instance type as EC2 describes it; `network` is EC2's text, such as "Up to 25 Gigabit"."""

    name: str
    vcpus: int
    memory_mib: int
    network: str
    architectures: list[str]
    usage_classes: list[str]
    gpus: list[Gpu] = field(default_factory=list)


@dataclass(frozen=True)
class Vpc:
    """A VPC and its first network."""

    vpc_id: str
    cidr: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subnet:
    """A subnet; its VPC is None if it was not read."""

    subnet_id: str
    cidr: str
    zone: str
    tags: dict[str, str] = field(default_factory=dict)
    vpc_id: str | None = None


@dataclass(frozen=True)
class Rule:
    """An inbound rule of a security group: a range of ports that one IPv4 network may reach."""

    protocol: str
    from_port: int
    to_port: int
    cidr: str
    description: str = ""


@dataclass(frozen=True)
class SecurityGroup:
    """A security group. Its name, unlike its tags, cannot be changed."""

    group_id: str
    name: str
    vpc_id: str
    rules: list[Rule] = field(default_factory=list)


@dataclass(frozen=True)
class Instance:
    """An instance that is not terminated.

    Attributes:
        vpc_id: Its VPC. This and the next two are None if they were not read, and empty if it has none.
        key_name: The key pair that it was launched with.
        profile: Name of its IAM instance profile.
        root_volume: Id of its root volume, or empty.
    """

    instance_id: str
    instance_type: str
    state: str
    spot: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    vpc_id: str | None = None
    key_name: str | None = None
    profile: str | None = None
    root_volume: str = ""


@dataclass(frozen=True)
class Address:
    """An Elastic IP address; `holder` is the id of the instance or network interface that has it, or empty."""

    allocation_id: str
    public_ip: str
    tags: dict[str, str] = field(default_factory=dict)
    holder: str = ""


@dataclass(frozen=True)
class Volume:
    """A data volume; `holder` is the id of the instance that has it, or empty."""

    volume_id: str
    size: int
    zone: str
    tags: dict[str, str] = field(default_factory=dict)
    holder: str = ""


@dataclass(frozen=True)
class Gateway:
    """An internet gateway, and the VPCs that it is attached to."""

    gateway_id: str
    vpc_ids: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KeyPair:
    """A key pair in EC2; its public key is empty if it was not read."""

    name: str
    tags: dict[str, str] = field(default_factory=dict)
    key_pair_id: str = ""
    public_key: str = ""


@dataclass(frozen=True)
class Image:
    """An image; `root_size` is the size of its root snapshot in GiB."""

    image_id: str
    name: str
    state: str
    architecture: str
    root_device_type: str
    platform: str
    root_size: int


@dataclass(frozen=True)
class Key:
    """A key of KMS; only a symmetric one can encrypt volumes."""

    arn: str
    state: str
    symmetric: bool


@dataclass(frozen=True)
class Role:
    """An IAM role."""

    name: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InstanceProfile:
    """An IAM instance profile, by which an instance gets a role."""

    name: str
    tags: dict[str, str] = field(default_factory=dict)


def read_tags(listed_tags: list[dict[str, str]] | None) -> dict[str, str]:
    """Return AWS's list of keys and values as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in listed_tags or []}


def profile_name(arn: str) -> str:
    """Return the name of an instance profile from its ARN, which may have a path."""
    return arn.rpartition("/")[2]


def read_instance(instance: dict[str, Any]) -> Instance:
    """Return an instance from the answer of ec2:DescribeInstances."""
    roots = [
        mapping.get("Ebs", {}).get("VolumeId", "")
        for mapping in instance.get("BlockDeviceMappings", [])
        if mapping.get("DeviceName") == instance.get("RootDeviceName")
    ]
    return Instance(
        instance_id=instance["InstanceId"],
        instance_type=instance["InstanceType"],
        state=instance["State"]["Name"],
        spot=instance.get("InstanceLifecycle") == "spot",
        tags=read_tags(instance.get("Tags")),
        vpc_id=instance.get("VpcId", ""),
        key_name=instance.get("KeyName", ""),
        profile=profile_name(instance.get("IamInstanceProfile", {}).get("Arn", "")),
        root_volume=next(iter(roots), ""),
    )
