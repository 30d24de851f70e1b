# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read an AWS account: one method per API call. Nothing here changes the account."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from .errors import ReadError, translated
from .resources import (
    Address,
    Caller,
    Gateway,
    Gpu,
    Image,
    Instance,
    InstanceProfile,
    InstanceType,
    Key,
    KeyPair,
    Role,
    Rule,
    SecurityGroup,
    Subnet,
    Volume,
    Vpc,
    read_instance,
    read_tags,
)

# Services whose prefix in IAM actions differs from boto3's client name.
IAM_PREFIXES = {"service-quotas": "servicequotas"}


def home_region(region: str) -> str:
    """Return the region of the same partition that every account has enabled and that lists the others."""
    for prefix, home in (("cn-", "cn-north-1"), ("us-gov-", "us-gov-west-1")):
        if region.startswith(prefix):
            return home
    return "us-east-1"


class Account:
    """Reads of one account in one region.

    Every method may raise ReadError. A missing resource is an empty answer, not an error.
    """

    def __init__(self, connect: Callable[[str, str], Any], region: str) -> None:
        """Save how to connect.

        Args:
            connect: Returns the client of a service (boto3's name) in a region.
            region: The region of the calls, unless a method uses another.
        """
        self._connect = connect
        self._region = region
        self._clients: dict[tuple[str, str], Any] = {}

    def read(self, service: str, operation: str, region: str = "", **parameters: object) -> dict[str, Any]:
        """Make one call with all its pages, and turn exceptions into a ReadError."""
        region = region or self._region
        action = f"{IAM_PREFIXES.get(service, service)}:{''.join(map(str.capitalize, operation.split('_')))}"
        answer: dict[str, Any]
        with translated(action, region):
            if (service, region) not in self._clients:
                self._clients[service, region] = self._connect(service, region)
            client = self._clients[service, region]
            if client.can_paginate(operation):
                answer = client.get_paginator(operation).paginate(**parameters).build_full_result()
            else:
                answer = getattr(client, operation)(**parameters)
        return answer

    def find(self, absent: tuple[str, ...], service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one call to which an error code in `absent` means that the resource does not exist."""
        try:
            return self.read(service, operation, **parameters)
        except ReadError as error:
            if error.code in absent:
                return {}
            raise

    def caller(self) -> Caller:
        """Return the caller (sts:GetCallerIdentity, which no policy can deny)."""
        answer = self.read("sts", "get_caller_identity", region=home_region(self._region))
        return Caller(answer["Account"], answer["Arn"])

    def regions(self) -> dict[str, bool]:
        """Return the partition's regions and whether the account has each enabled."""
        answer = self.read("ec2", "describe_regions", region=home_region(self._region), AllRegions=True)
        return {region["RegionName"]: region.get("OptInStatus") != "not-opted-in" for region in answer["Regions"]}

    def zones(self) -> list[str]:
        """Return the region's zones for instances, without local and wavelength zones."""
        answer = self.read("ec2", "describe_availability_zones")
        return sorted(
            zone["ZoneName"]
            for zone in answer["AvailabilityZones"]
            if zone.get("ZoneType", "availability-zone") == "availability-zone" and zone["State"] == "available"
        )

    def instance_types(self, names: list[str]) -> dict[str, InstanceType]:
        """Return EC2's description of instance types; empty when the region lacks one of them."""
        answer = self.find(("InvalidInstanceType",), "ec2", "describe_instance_types", InstanceTypes=names)
        return {
            info["InstanceType"]: InstanceType(
                name=info["InstanceType"],
                vcpus=info["VCpuInfo"]["DefaultVCpus"],
                memory_mib=info["MemoryInfo"]["SizeInMiB"],
                network=info.get("NetworkInfo", {}).get("NetworkPerformance", ""),
                architectures=info.get("ProcessorInfo", {}).get("SupportedArchitectures", []),
                usage_classes=info.get("SupportedUsageClasses", []),
                gpus=[
                    Gpu(
                        name=gpu.get("Name", ""),
                        manufacturer=gpu.get("Manufacturer", ""),
                        count=gpu.get("Count", 0),
                        memory_mib=gpu.get("MemoryInfo", {}).get("SizeInMiB", 0),
                    )
                    for gpu in info.get("GpuInfo", {}).get("Gpus", [])
                ],
            )
            for info in answer.get("InstanceTypes", [])
        }

    def offerings(self, names: list[str]) -> dict[str, list[str]]:
        """Return the zones that offer each of some instance types."""
        answer = self.read(
            "ec2",
            "describe_instance_type_offerings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": names}],
        )
        zones: dict[str, list[str]] = {name: [] for name in names}
        for offering in answer["InstanceTypeOfferings"]:
            zones[offering["InstanceType"]].append(offering["Location"])
        return {name: sorted(places) for name, places in zones.items()}

    def vpcs(self) -> list[Vpc]:
        """Return all VPCs of the region."""
        answer = self.read("ec2", "describe_vpcs")
        return [Vpc(vpc["VpcId"], vpc["CidrBlock"], read_tags(vpc.get("Tags"))) for vpc in answer["Vpcs"]]

    def subnets(self, tags: dict[str, str]) -> list[Subnet]:
        """Return the subnets that carry all of some tags."""
        answer = self.read("ec2", "describe_subnets", Filters=_tag_filters(tags))
        return [
            Subnet(
                subnet["SubnetId"],
                subnet["CidrBlock"],
                subnet["AvailabilityZone"],
                read_tags(subnet.get("Tags")),
                subnet.get("VpcId", ""),
            )
            for subnet in answer["Subnets"]
        ]

    def instances(self, states: list[str], tags: dict[str, str]) -> list[Instance]:
        """Return the instances in some states that carry all of some tags."""
        filters = [{"Name": "instance-state-name", "Values": states}, *_tag_filters(tags)]
        answer = self.read("ec2", "describe_instances", Filters=filters)
        return [
            read_instance(instance) for reservation in answer["Reservations"] for instance in reservation["Instances"]
        ]

    def gateways(self, tags: dict[str, str]) -> list[Gateway]:
        """Return the internet gateways that carry all of some tags."""
        answer = self.read("ec2", "describe_internet_gateways", Filters=_tag_filters(tags))
        return [
            Gateway(
                gateway["InternetGatewayId"],
                [attachment.get("VpcId", "") for attachment in gateway.get("Attachments", [])],
                read_tags(gateway.get("Tags")),
            )
            for gateway in answer["InternetGateways"]
        ]

    def security_groups(self, tags: dict[str, str]) -> list[SecurityGroup]:
        """Return the security groups that carry all of some tags, with the IPv4 networks of their inbound rules."""
        answer = self.read("ec2", "describe_security_groups", Filters=_tag_filters(tags))
        return [
            SecurityGroup(
                group["GroupId"],
                group["GroupName"],
                group.get("VpcId", ""),
                [
                    Rule(
                        permission["IpProtocol"],
                        permission.get("FromPort", -1),
                        permission.get("ToPort", -1),
                        source["CidrIp"],
                        source.get("Description", ""),
                    )
                    for permission in group.get("IpPermissions", [])
                    for source in permission.get("IpRanges", [])
                ],
            )
            for group in answer["SecurityGroups"]
        ]

    def addresses(self) -> list[Address]:
        """Return all Elastic IP addresses of the region."""
        answer = self.read("ec2", "describe_addresses")
        return [
            Address(
                address.get("AllocationId", ""),
                address.get("PublicIp", ""),
                read_tags(address.get("Tags")),
                address.get("InstanceId") or address.get("NetworkInterfaceId") or "",
            )
            for address in answer["Addresses"]
        ]

    def volumes(self, tags: dict[str, str], identifiers: Collection[str] = ()) -> list[Volume]:
        """Return the volumes that carry all of some tags, and those of some ids."""
        filters = [
            _tag_filters(tags),
            *([[{"Name": "volume-id", "Values": sorted(identifiers)}]] if identifiers else []),
        ]
        found = [
            volume for given in filters for volume in self.read("ec2", "describe_volumes", Filters=given)["Volumes"]
        ]
        return [
            Volume(
                volume["VolumeId"],
                volume["Size"],
                volume["AvailabilityZone"],
                read_tags(volume.get("Tags")),
                next((attachment["InstanceId"] for attachment in volume.get("Attachments", [])), ""),
            )
            for volume in {volume["VolumeId"]: volume for volume in found}.values()
        ]

    def key_pairs(self, names: list[str]) -> list[KeyPair]:
        """Return the key pairs that exist among some names."""
        answer = self.read("ec2", "describe_key_pairs", Filters=[{"Name": "key-name", "Values": names}])
        return [
            KeyPair(pair["KeyName"], read_tags(pair.get("Tags")), pair.get("KeyPairId", ""))
            for pair in answer["KeyPairs"]
        ]

    def image_id(self, parameter: str) -> str:
        """Return the image id that a public SSM parameter holds; empty when the region has no such parameter."""
        answer = self.find(("ParameterNotFound",), "ssm", "get_parameter", Name=parameter)
        return str(answer.get("Parameter", {}).get("Value", ""))

    def image(self, image_id: str) -> Image | None:
        """Return an image, or None when it does not exist or is not shared with the account."""
        absent = ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable")
        answer = self.find(absent, "ec2", "describe_images", ImageIds=[image_id])
        for image in answer.get("Images", []):
            root = [
                mapping.get("Ebs", {}).get("VolumeSize", 0)
                for mapping in image.get("BlockDeviceMappings", [])
                if mapping.get("DeviceName") == image.get("RootDeviceName")
            ]
            return Image(
                image_id=image["ImageId"],
                name=image.get("Name", ""),
                state=image.get("State", ""),
                architecture=image.get("Architecture", ""),
                root_device_type=image.get("RootDeviceType", ""),
                platform=image.get("Platform", ""),
                root_size=max(root, default=0),
            )
        return None

    def default_key(self) -> str:
        """Return the default key with which EBS encrypts volumes."""
        return str(self.read("ec2", "get_ebs_default_kms_key_id")["KmsKeyId"])

    def key(self, key_id: str) -> Key | None:
        """Return a KMS key, or None when it does not exist."""
        answer = self.find(("NotFoundException",), "kms", "describe_key", KeyId=key_id)
        if not answer:
            return None
        found = answer["KeyMetadata"]
        return Key(
            found.get("Arn", key_id),
            found.get("KeyState", "Enabled"),
            found.get("KeySpec", "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT",
        )

    def role(self, name: str) -> Role | None:
        """Return an IAM role, or None when it does not exist."""
        answer = self.find(("NoSuchEntity",), "iam", "get_role", RoleName=name)
        if not answer:
            return None
        return Role(answer["Role"]["RoleName"], read_tags(answer["Role"].get("Tags")))

    def has_policy(self, arn: str) -> bool:
        """Return whether a managed policy with this ARN exists."""
        return bool(self.find(("NoSuchEntity",), "iam", "get_policy", PolicyArn=arn))

    def instance_profile(self, name: str) -> InstanceProfile | None:
        """Return an IAM instance profile, or None when it does not exist."""
        answer = self.find(("NoSuchEntity",), "iam", "get_instance_profile", InstanceProfileName=name)
        if not answer:
            return None
        profile = answer["InstanceProfile"]
        return InstanceProfile(profile["InstanceProfileName"], read_tags(profile.get("Tags")))

    def quota(self, service: str, code: str) -> float | None:
        """Return the value of a quota, or None when AWS does not list it."""
        absent = ("NoSuchResourceException",)
        answer = self.find(absent, "service-quotas", "get_service_quota", ServiceCode=service, QuotaCode=code)
        return float(answer["Quota"]["Value"]) if answer else None


def _tag_filters(tags: dict[str, str]) -> list[dict[str, Any]]:
    """Return the filters that select resources with all of some tags."""
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
