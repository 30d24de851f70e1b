# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of a lab of two instances, next to another of one, as AWS describes them."""

from __future__ import annotations

import base64
import collections
import json
import os
from pathlib import Path
from typing import Any

import boto3
import pytest

OWN = {"digital_twin_lab": "lab-a", "managed_by": "digital_twin.robotics_lab"}
USERS = {"team": "robotics", "cost_centre": "4711"}
FILTERS: list[Any] = [{"Name": f"tag:{key}", "Values": [value]} for key, value in OWN.items()]
ADMINS = {"203.0.113.7/32", "198.51.100.0/24"}
# The addresses of two successive callers.
VIEWERS = {"203.0.113.9/32", "198.51.100.4/32"}


def tags_of(resource: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


@pytest.fixture(scope="module")
def ec2() -> Any:
    return boto3.client("ec2")


@pytest.fixture(scope="module")
def vpc(ec2: Any) -> dict[str, Any]:
    (only,) = ec2.describe_vpcs(Filters=FILTERS)["Vpcs"]
    return dict(only)


@pytest.fixture(scope="module")
def subnet(ec2: Any) -> dict[str, Any]:
    (only,) = ec2.describe_subnets(Filters=FILTERS)["Subnets"]
    return dict(only)


@pytest.fixture(scope="module")
def group(ec2: Any) -> dict[str, Any]:
    (only,) = ec2.describe_security_groups(Filters=FILTERS)["SecurityGroups"]
    return dict(only)


@pytest.fixture(scope="module")
def instances(ec2: Any) -> dict[str, dict[str, Any]]:
    """Return the instances by name; the scenario has stopped one and started it again."""
    states = [{"Name": "instance-state-name", "Values": ["running"]}]
    rows = [
        row for entry in ec2.describe_instances(Filters=FILTERS + states)["Reservations"] for row in entry["Instances"]
    ]
    assert len(rows) == 2
    return {tags_of(row)["Name"]: row for row in rows}


def held(moment: str) -> set[tuple[str, str]]:
    """Return what the account held at a moment of the scenario, as (type, name)."""
    rows = json.loads((Path(os.environ["SCRATCH"]) / f"{moment}.json").read_text("utf-8"))
    return {(kind, name) for kind, name in rows}


def test_exactly_one_lab_was_added() -> None:
    before, after = held("neighbour"), held("made")
    assert before <= after, "the neighbour has lost something"
    assert collections.Counter(kind for kind, _ in after - before) == {
        "address": 2,
        "instance": 2,
        "instance profile": 1,
        "internet gateway": 1,
        "key pair": 1,
        "network acl": 1,  # AWS creates one with every VPC
        "network interface": 2,
        "role": 1,
        "route table": 2,  # AWS creates one of these with every VPC
        "security group": 2,
        "subnet": 1,
        "volume": 2,
        "vpc": 1,
    }


def test_network(ec2: Any, vpc: dict[str, Any], subnet: dict[str, Any]) -> None:
    assert vpc["CidrBlock"] == "10.0.0.0/16"
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        answer = ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=attribute)
        assert answer[attribute[0].upper() + attribute[1:]]["Value"], attribute
    assert (subnet["CidrBlock"], subnet["VpcId"]) == ("10.0.1.0/24", vpc["VpcId"])
    assert not subnet["MapPublicIpOnLaunch"]
    (gateway,) = ec2.describe_internet_gateways(Filters=FILTERS)["InternetGateways"]
    assert [attachment["VpcId"] for attachment in gateway["Attachments"]] == [vpc["VpcId"]]
    (table,) = ec2.describe_route_tables(Filters=FILTERS)["RouteTables"]
    assert [row["SubnetId"] for row in table["Associations"]] == [subnet["SubnetId"]]
    (way_out,) = [route for route in table["Routes"] if route["DestinationCidrBlock"] == "0.0.0.0/0"]
    assert way_out["GatewayId"] == gateway["InternetGatewayId"]


def test_rules_are_exactly_these(group: dict[str, Any]) -> None:
    sources = {
        (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]): {row["CidrIp"] for row in rule["IpRanges"]}
        | {row["GroupId"] for row in rule["UserIdGroupPairs"]}
        for rule in group["IpPermissions"]
    }
    assert sources == {
        ("tcp", 22, 22): ADMINS,
        ("udp", 9150, 9250): ADMINS,
        ("tcp", 8080, 8080): VIEWERS,
        ("tcp", 8765, 8765): VIEWERS,
        ("tcp", 49100, 49100): VIEWERS,
        ("udp", 47998, 47998): VIEWERS,
        ("udp", 9150, 9399): {group["GroupId"]},
        ("tcp", 7447, 7447): {group["GroupId"]},
    }
    (out,) = group["IpPermissionsEgress"]
    assert (out["IpProtocol"], [row["CidrIp"] for row in out["IpRanges"]]) == ("-1", ["0.0.0.0/0"])


@pytest.mark.parametrize("number", [1, 2])
def test_instance(
    number: int, ec2: Any, instances: dict[str, Any], group: dict[str, Any], subnet: dict[str, Any]
) -> None:
    instance = instances[f"lab-a-{number}"]
    assert instance["InstanceType"] == "g6.2xlarge"
    assert instance["ImageId"] == "ami-0d7a2404000000001"
    assert instance["SubnetId"] == subnet["SubnetId"]
    assert instance["KeyName"] == "lab-a"
    assert instance["IamInstanceProfile"]["Arn"].endswith(":instance-profile/lab-a-instance")
    assert [row["GroupId"] for row in instance["SecurityGroups"]] == [group["GroupId"]]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    wanted = (
        OWN
        | USERS
        | {
            "Name": f"lab-a-{number}",
            "digital_twin_index": f"{number}",
            "digital_twin_ssh_user": "ubuntu",
            "digital_twin_gpus": "1",
        }
    )
    assert tags_of(instance) == wanted
    (address,) = ec2.describe_addresses(Filters=[{"Name": "tag:Name", "Values": [f"lab-a-{number}"]}])["Addresses"]
    assert address["InstanceId"] == instance["InstanceId"]
    assert address["PublicIp"] == instance["PublicIpAddress"]


def test_disks(ec2: Any) -> None:
    volumes = ec2.describe_volumes(Filters=FILTERS)["Volumes"]
    assert sorted(tags_of(volume)["Name"] for volume in volumes) == ["lab-a-1", "lab-a-2"]
    for volume in volumes:
        found = (volume["VolumeType"], volume["Size"], volume["Iops"], volume["Throughput"], volume["Encrypted"])
        # 200 GiB at first; the scenario has enlarged them.
        assert found == ("gp3", 250, 3000, 125, True)


def test_user_data_is_the_short_script(ec2: Any, instances: dict[str, Any]) -> None:
    identifier = instances["lab-a-1"]["InstanceId"]
    answer = ec2.describe_instance_attribute(InstanceId=identifier, Attribute="userData")
    script = base64.b64decode(answer["UserData"]["Value"]).decode()
    assert script.startswith("#!/bin/sh\n")
    assert "/var/log/user-data.log" in script
    assert len(script.splitlines()) < 20


def test_everything_carries_the_tags(
    ec2: Any, vpc: dict[str, Any], subnet: dict[str, Any], group: dict[str, Any]
) -> None:
    (gateway,) = ec2.describe_internet_gateways(Filters=FILTERS)["InternetGateways"]
    (table,) = ec2.describe_route_tables(Filters=FILTERS)["RouteTables"]
    (pair,) = ec2.describe_key_pairs(Filters=FILTERS)["KeyPairs"]
    named = {"vpc": vpc, "igw": gateway, "subnet": subnet, "routes": table, "sg": group}
    for suffix, resource in named.items():
        tags = {key: value for key, value in tags_of(resource).items() if key != "digital_twin_claim"}
        assert tags == OWN | USERS | {"Name": f"lab-a-{suffix}"}, suffix
    for resource in [
        pair,
        *ec2.describe_addresses(Filters=FILTERS)["Addresses"],
        *ec2.describe_volumes(Filters=FILTERS)["Volumes"],
    ]:
        assert tags_of(resource).items() >= (OWN | USERS).items(), resource


def attached_to(role: str) -> set[str]:
    rows = boto3.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    return {row["PolicyName"] for row in rows}


def statements_of(role: str) -> dict[str, list[dict[str, Any]]]:
    """Return the inline policies of a role, by the endings of their names."""
    iam: Any = boto3.client("iam")
    return {
        name.removeprefix(f"{role}-"): list(
            iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]
        )
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }


def metrics_statement(namespace: str) -> dict[str, Any]:
    return {
        "Sid": "Metrics",
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": namespace}},
    }


def test_role_records_what_was_created(ec2: Any, vpc: dict[str, Any]) -> None:
    """Also after a run that changed the lab; the secret of a run that has ended is gone."""
    (gateway,) = ec2.describe_internet_gateways(Filters=FILTERS)["InternetGateways"]
    (pair,) = ec2.describe_key_pairs(Filters=FILTERS)["KeyPairs"]
    hosts = {tags_of(row)["digital_twin_index"]: row for row in ec2.describe_addresses(Filters=FILTERS)["Addresses"]}
    iam: Any = boto3.client("iam")
    tags = tags_of(iam.get_role(RoleName="lab-a-instance")["Role"])
    assert {key: value for key, value in tags.items() if key not in OWN | USERS} == {
        "digital_twin_region": "us-east-1",
        "digital_twin_vpc": vpc["VpcId"],
        "digital_twin_gateway": gateway["InternetGatewayId"],
        "digital_twin_key_pair": pair["KeyPairId"],
        "digital_twin_addresses_1": " ".join(f"{host}={hosts[host]['AllocationId']}" for host in sorted(hosts)),
        "digital_twin_pending": "",
    }


def test_identity() -> None:
    iam: Any = boto3.client("iam")
    profile = iam.get_instance_profile(InstanceProfileName="lab-a-instance")["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["lab-a-instance"]
    role = iam.get_role(RoleName="lab-a-instance")["Role"]
    assert tags_of(role).items() >= (OWN | USERS | {"digital_twin_region": "us-east-1"}).items()


def test_hosts_may_write_metrics_of_their_lab_and_nothing_else() -> None:
    assert attached_to("lab-b-instance") == set()
    assert statements_of("lab-b-instance") == {"metrics": [metrics_statement("DigitalTwin/lab-b")]}


def test_policies_of_an_earlier_version_are_detached_and_log_groups_can_be_added() -> None:
    """A policy that a user attached by hand stays."""
    assert attached_to("lab-a-instance") == {"AmazonS3ReadOnlyAccess"}
    logs = {
        "Sid": "Logs",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
        "Resource": "arn:aws:logs:us-east-1:123456789012:log-group:/digital-twin/lab-a/*",
    }
    assert statements_of("lab-a-instance") == {"metrics": [metrics_statement("Fleet")], "logs": [logs]}
