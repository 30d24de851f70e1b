# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the account by hand: `account.py drift`, `strangers` (print their ids), `leave` (their ids) or `key`."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3

ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "cloudwatch:*", "Resource": "*"}]}


def drift() -> None:
    """Make changes that the next run must revert: open a port, stop an instance, detach the address of another.

    Also protect an instance from termination, allow the instances everything in CloudWatch, and attach the two AWS
    managed policies that earlier versions attached. The policy for S3 belongs to a user's application and must stay.
    """
    ec2: Any = boto3.client("ec2")
    mine = [{"Name": "tag:digital_twin_lab", "Values": ["lab-a"]}]
    group = ec2.describe_security_groups(Filters=mine)["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=3389, ToPort=3389, CidrIp="192.0.2.0/24"
    )
    # A run from another address leaves this rule. It must stay, and its address be admitted to the other viewer ports.
    source = {"CidrIp": "198.51.100.4/32", "Description": "Foxglove Studio (address of a caller)"}
    viewer = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "IpRanges": [source]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[viewer])
    first = [{"Name": "tag:Name", "Values": ["lab-a-1"]}]
    instance = ec2.describe_instances(Filters=mine + first)["Reservations"][0]["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    second = [{"Name": "tag:Name", "Values": ["lab-a-2"]}]
    address = ec2.describe_addresses(Filters=mine + second)["Addresses"][0]
    ec2.disassociate_address(AssociationId=address["AssociationId"])
    iam: Any = boto3.client("iam")
    for name in ("AmazonS3ReadOnlyAccess", "AmazonSSMManagedInstanceCore", "CloudWatchAgentServerPolicy"):
        iam.attach_role_policy(RoleName="lab-a-instance", PolicyArn=f"arn:aws:iam::aws:policy/{name}")
    policy = {"PolicyName": "lab-a-instance-metrics", "PolicyDocument": json.dumps(ANYTHING)}
    iam.put_role_policy(RoleName="lab-a-instance", **policy)


TAGS = [{"Key": "digital_twin_lab", "Value": "lab-a"}, {"Key": "managed_by", "Value": "digital_twin.robotics_lab"}]


def tagged(kind: str, name: str) -> list[dict[str, Any]]:
    """Return tags of the lab and of its first host for a new resource."""
    more = [{"Key": "Name", "Value": name}, {"Key": "digital_twin_index", "Value": "1"}]
    return [{"ResourceType": kind, "Tags": TAGS + more}]


def strangers() -> None:
    """Create resources of another owner with the lab's tags.

    These are a network with a server, an address, a key pair and two disks. One disk is attached to a host of the lab.
    """
    ec2: Any = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=tagged("vpc", "production-vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", TagSpecifications=tagged("subnet", "lab-a-subnet"))
    subnet_id = subnet["Subnet"]["SubnetId"]
    group = ec2.create_security_group(
        GroupName="web", Description="web", VpcId=vpc, TagSpecifications=tagged("security-group", "lab-a-sg")
    )["GroupId"]
    ec2.create_key_pair(KeyName="key-of-another-owner", TagSpecifications=tagged("key-pair", "lab-a"))
    server = ec2.run_instances(
        ImageId="ami-0d7a1300000000001",
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet_id,
        TagSpecifications=tagged("instance", "lab-a-1"),
    )["Instances"][0]["InstanceId"]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", "lab-a-1"))
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=server)
    host = ec2.describe_instances(
        Filters=[{"Name": "tag:Name", "Values": ["lab-a-1"]}, {"Name": "key-name", "Values": ["lab-a"]}]
    )["Reservations"][0]["Instances"][0]
    zone = host["Placement"]["AvailabilityZone"]
    volumes = [
        ec2.create_volume(AvailabilityZone=zone, Size=10, TagSpecifications=tagged("volume", "lab-a-1"))["VolumeId"]
        for _number in range(2)
    ]
    ec2.attach_volume(VolumeId=volumes[0], InstanceId=host["InstanceId"], Device="/dev/sdf")
    made = [vpc, subnet_id, group, "key-of-another-owner", server, address["PublicIp"], *volumes]
    sys.stdout.write("\n".join(made) + "\n")


def leave(made: list[str]) -> None:
    """Remove what `strangers` has created; fail if any of it is missing."""
    vpc, subnet, group, key, server, address, *volumes = made
    ec2: Any = boto3.client("ec2")
    (found,) = ec2.describe_addresses(PublicIps=[address])["Addresses"]
    if found["InstanceId"] != server:
        raise SystemExit(f"{address} was moved to {found['InstanceId']}")
    if len(ec2.describe_key_pairs(KeyNames=[key])["KeyPairs"]) != 1:
        raise SystemExit(f"{key} is gone")
    ec2.disassociate_address(AssociationId=found["AssociationId"])
    ec2.release_address(AllocationId=found["AllocationId"])
    ec2.terminate_instances(InstanceIds=[server])
    # EC2 deletes it with the instance; the emulator keeps that of an instance that was launched without naming one.
    of_it = [{"Name": "vpc-id", "Values": [vpc]}]
    for interface in ec2.describe_network_interfaces(Filters=of_it)["NetworkInterfaces"]:
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    for volume in volumes:
        ec2.delete_volume(VolumeId=volume)
    ec2.delete_key_pair(KeyName=key)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


def key() -> None:
    """Set a key pending deletion as the default for EBS encryption."""
    kms, ec2 = boto3.client("kms"), boto3.client("ec2")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    ec2.modify_ebs_default_kms_key_id(KmsKeyId=key_id)
    kms.schedule_key_deletion(KeyId=key_id)


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    if verb == "leave":
        leave(arguments)
    else:
        {"drift": drift, "strangers": strangers, "key": key}[verb]()
