# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what the account holds, or changes it by hand: `account.py save <file>`, `account.py drift`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3

LIVE = [{"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down", "stopping", "stopped"]}]

# Type: service, operation, its arguments, the key of its list, the key of an entry's name.
READS: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "address": ("ec2", "describe_addresses", {}, "Addresses", "AllocationId"),
    "image": ("ec2", "describe_images", {"Owners": ["self"]}, "Images", "ImageId"),
    "internet gateway": ("ec2", "describe_internet_gateways", {}, "InternetGateways", "InternetGatewayId"),
    "key pair": ("ec2", "describe_key_pairs", {}, "KeyPairs", "KeyName"),
    "network interface": ("ec2", "describe_network_interfaces", {}, "NetworkInterfaces", "NetworkInterfaceId"),
    "route table": ("ec2", "describe_route_tables", {}, "RouteTables", "RouteTableId"),
    "security group": ("ec2", "describe_security_groups", {}, "SecurityGroups", "GroupId"),
    "snapshot": ("ec2", "describe_snapshots", {"OwnerIds": ["self"]}, "Snapshots", "SnapshotId"),
    "subnet": ("ec2", "describe_subnets", {}, "Subnets", "SubnetId"),
    "volume": ("ec2", "describe_volumes", {}, "Volumes", "VolumeId"),
    "vpc": ("ec2", "describe_vpcs", {}, "Vpcs", "VpcId"),
    "instance profile": ("iam", "list_instance_profiles", {}, "InstanceProfiles", "InstanceProfileName"),
    "role": ("iam", "list_roles", {}, "Roles", "RoleName"),
}


def holdings() -> set[tuple[str, str]]:
    """Return everything that the account holds, as (type, name)."""
    connect: Any = boto3.client
    clients = {service: connect(service) for service in ("ec2", "iam")}
    found = {
        (kind, str(entry[name]))
        for kind, (service, operation, arguments, key, name) in READS.items()
        for entry in getattr(clients[service], operation)(**arguments)[key]
    }
    reservations = clients["ec2"].describe_instances(Filters=LIVE)["Reservations"]
    return found | {("instance", row["InstanceId"]) for entry in reservations for row in entry["Instances"]}


def drift() -> None:
    """Do by hand what the next run has to take back: open a port, stop an instance, lose the other's address."""
    ec2: Any = boto3.client("ec2")
    mine = [{"Name": "tag:digital_twin_lab", "Values": ["lab-a"]}]
    group = ec2.describe_security_groups(Filters=mine)["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=3389, ToPort=3389, CidrIp="192.0.2.0/24"
    )
    first = [{"Name": "tag:Name", "Values": ["lab-a-1"]}]
    instance = ec2.describe_instances(Filters=mine + first)["Reservations"][0]["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance])
    second = [{"Name": "tag:Name", "Values": ["lab-a-2"]}]
    address = ec2.describe_addresses(Filters=mine + second)["Addresses"][0]
    ec2.disassociate_address(AssociationId=address["AssociationId"])


if __name__ == "__main__":
    if sys.argv[1] == "save":
        Path(sys.argv[2]).write_text(json.dumps(sorted(holdings())), "utf-8")
    else:
        drift()
