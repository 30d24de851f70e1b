# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the account by hand."""

from __future__ import annotations

import json
from typing import Any

import boto3

ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "cloudwatch:*", "Resource": "*"}]}


def drift() -> None:
    """Do by hand what the next run has to take back: open a port, stop an instance, lose the other's address.

    Also protect an instance from termination, and let the instances do what they like with CloudWatch.

    A policy for somebody's own application is not to be taken back.
    """
    ec2: Any = boto3.client("ec2")
    mine = [{"Name": "tag:digital_twin_lab", "Values": ["lab-a"]}]
    group = ec2.describe_security_groups(Filters=mine)["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpProtocol="tcp", FromPort=3389, ToPort=3389, CidrIp="192.0.2.0/24"
    )
    first = [{"Name": "tag:Name", "Values": ["lab-a-1"]}]
    instance = ec2.describe_instances(Filters=mine + first)["Reservations"][0]["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance])
    ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    second = [{"Name": "tag:Name", "Values": ["lab-a-2"]}]
    address = ec2.describe_addresses(Filters=mine + second)["Addresses"][0]
    ec2.disassociate_address(AssociationId=address["AssociationId"])
    iam: Any = boto3.client("iam")
    iam.attach_role_policy(RoleName="lab-a-instance", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    policy = {"PolicyName": "lab-a-instance-metrics", "PolicyDocument": json.dumps(ANYTHING)}
    iam.put_role_policy(RoleName="lab-a-instance", **policy)


if __name__ == "__main__":
    drift()
