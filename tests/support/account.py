# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the resources of an AWS account by type, to check that none are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LIVE = [{"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down", "stopping", "stopped"]}]

# Type: service, operation, its arguments, the key of its list, the key of an entry's id.
READS: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "address": ("ec2", "describe_addresses", {}, "Addresses", "AllocationId"),
    "image": ("ec2", "describe_images", {"Owners": ["self"]}, "Images", "ImageId"),
    "internet gateway": ("ec2", "describe_internet_gateways", {}, "InternetGateways", "InternetGatewayId"),
    "key pair": ("ec2", "describe_key_pairs", {}, "KeyPairs", "KeyName"),
    "launch template": ("ec2", "describe_launch_templates", {}, "LaunchTemplates", "LaunchTemplateId"),
    "network acl": ("ec2", "describe_network_acls", {}, "NetworkAcls", "NetworkAclId"),
    "network interface": ("ec2", "describe_network_interfaces", {}, "NetworkInterfaces", "NetworkInterfaceId"),
    "route table": ("ec2", "describe_route_tables", {}, "RouteTables", "RouteTableId"),
    "security group": ("ec2", "describe_security_groups", {}, "SecurityGroups", "GroupId"),
    "snapshot": ("ec2", "describe_snapshots", {"OwnerIds": ["self"]}, "Snapshots", "SnapshotId"),
    "spot request": ("ec2", "describe_spot_instance_requests", {}, "SpotInstanceRequests", "SpotInstanceRequestId"),
    "subnet": ("ec2", "describe_subnets", {}, "Subnets", "SubnetId"),
    "volume": ("ec2", "describe_volumes", {}, "Volumes", "VolumeId"),
    "vpc": ("ec2", "describe_vpcs", {}, "Vpcs", "VpcId"),
    "instance profile": ("iam", "list_instance_profiles", {}, "InstanceProfiles", "InstanceProfileName"),
    "policy": ("iam", "list_policies", {"Scope": "Local"}, "Policies", "Arn"),
    "role": ("iam", "list_roles", {}, "Roles", "RoleName"),
    "parameter": ("ssm", "describe_parameters", {}, "Parameters", "Name"),
    "alarm": ("cloudwatch", "describe_alarms", {}, "MetricAlarms", "AlarmName"),
    "dashboard": ("cloudwatch", "list_dashboards", {}, "DashboardEntries", "DashboardName"),
    "log group": ("logs", "describe_log_groups", {}, "logGroups", "logGroupName"),
    "schedule": ("scheduler", "list_schedules", {}, "Schedules", "Name"),
    "schedule group": ("scheduler", "list_schedule_groups", {}, "ScheduleGroups", "Name"),
    "bucket": ("s3", "list_buckets", {}, "Buckets", "Name"),
}


def holdings(client: Callable[[str], Any]) -> set[tuple[str, str]]:
    """Return every resource of the account as (type, id); AWS's own resources are included.

    Args:
        client: makes the boto3 client of a service.
    """
    clients = {service: client(service) for service in {row[0] for row in READS.values()}}
    found = {
        (kind, str(entry[name]))
        for kind, (service, operation, arguments, key, name) in READS.items()
        for entry in getattr(clients[service], operation)(**arguments)[key]
        # A volume that is deleted with its instance does not count.
        if entry.get("State") != "deleting"
    }
    reservations = clients["ec2"].describe_instances(Filters=LIVE)["Reservations"]
    return found | {("instance", row["InstanceId"]) for entry in reservations for row in entry["Instances"]}


def counts(resources: set[tuple[str, str]]) -> dict[str, int]:
    """Return the number of resources of each type."""
    kinds = [kind for kind, name in resources if name]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}
