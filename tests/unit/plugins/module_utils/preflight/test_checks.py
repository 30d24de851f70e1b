# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test every comparison of an account with a lab, by the table checks.yml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.errors import DENIED, ReadError
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.resources import (
    Address,
    Caller,
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
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.ownership import Foreign
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.record import Record
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight import checks, facts
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.description import (
    Inputs,
    LabDescription,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.inputs import read_lab
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.snapshot import (
    CALLER_MARK,
    AccountSnapshot,
    list_sources,
)

Describe = Callable[[dict[str, Any]], Inputs]

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("checks.yml").read_text())
CASES = [
    pytest.param(check, case.get("lab", {}), case.get("read", {}), case.get("refuses", case.get("warns", [])))
    for check, cases in TABLE.items()
    for case in cases
]
CASE_NAMES = [f"{check}-{number}" for check, cases in TABLE.items() for number in range(len(cases))]

A10G = {"name": "A10G", "manufacturer": "NVIDIA", "count": 1, "memory_mib": 22888}
T4 = {"name": "T4", "manufacturer": "NVIDIA", "count": 1, "memory_mib": 15360}
EMPTY_ACCOUNT: dict[str, Any] = {
    "caller": {"account_id": "123456789012", "arn": "arn:aws:iam::123456789012:user/robotics"},
    "regions": {"us-east-1": True, "eu-west-1": True, "ap-east-1": False},
    "zones": ["us-east-1a", "us-east-1b", "us-east-1e"],
    "offerings": {"g5.xlarge": ["us-east-1a", "us-east-1b", "us-east-1-lax-1a"], "g4dn.xlarge": ["us-east-1e"]},
    "type_info": [
        {"name": "g5.xlarge", "vcpus": 4, "memory_mib": 16384, "network": "Up to 10 Gigabit", "gpus": [A10G]},
        {"name": "g4dn.2xlarge", "vcpus": 8, "memory_mib": 32768, "gpus": [T4]},
    ],
    "vpcs": [],
    "subnets": [],
    "instances": [],
    "running": [],
    "addresses": [],
    "key_pairs": [],
    "role": None,
    "instance_profile": None,
    "image_id": "ami-1",
    "image": {},
    "limits": {"L-DB2E81BA": 64.0, "L-0263D0A3": 5.0, "L-F678F1CE": 5.0, "L-417A185B": 0.0},
}
GOOD_IMAGE = {
    "image_id": "ami-1",
    "name": "ubuntu",
    "state": "available",
    "architecture": "x86_64",
    "root_device_type": "ebs",
    "platform": "",
    "root_size": 8,
}
PLURALS = {
    "vpcs": Vpc,
    "subnets": Subnet,
    "instances": Instance,
    "running": Instance,
    "addresses": Address,
    "key_pairs": KeyPair,
}


def instance_type(entry: dict[str, Any]) -> InstanceType:
    """Create an instance type from a table's entry."""
    defaults = {"network": "", "architectures": ["x86_64"], "usage_classes": ["on-demand"]}
    return InstanceType(**{**defaults, **entry, "gpus": [Gpu(**gpu) for gpu in entry.get("gpus", [])]})


def snapshot_of(read: dict[str, Any]) -> AccountSnapshot:
    """Create the snapshot of an empty account with changed values."""
    values = {**EMPTY_ACCOUNT, **read}
    for name, kind in PLURALS.items():
        if values[name] is not None:
            values[name] = [kind(**entry) for entry in values[name]]
    if values["type_info"] is not None:
        values["type_info"] = {entry["name"]: instance_type(entry) for entry in values["type_info"]}
    values["caller"] = values["caller"] and Caller(**values["caller"])
    values["role"] = values["role"] and Role(**values["role"])
    profile = values["instance_profile"]
    values["instance_profile"] = profile and InstanceProfile(**profile)
    values["image"] = None if values["image"] is None else Image(**{**GOOD_IMAGE, **values["image"]})
    if values.get("groups") is not None:
        groups = [{**group, "rules": [Rule(**rule) for rule in group.get("rules", [])]} for group in values["groups"]]
        values["groups"] = [SecurityGroup(**group) for group in groups]
    values["key"] = Key(**values["key"]) if values.get("key") else None
    values["foreign"] = [Foreign(**thing) for thing in values.get("foreign", [])]
    values["record"] = Record(**values["record"]) if values.get("record") is not None else None
    values["failures"] = [ReadError(**failure) for failure in values.get("failures", [])]
    return AccountSnapshot(**values)


def lab_of(describe: Describe, given: dict[str, Any]) -> LabDescription:
    """Create a lab from a valid description with changed values; a number of ports stands for that many."""
    port = {"from_port": 8080, "to_port": 8080, "protocol": "tcp", "audience": "viewer"}
    if isinstance(given.get("ports"), int):
        given = {**given, "ports": [port] * given["ports"]}
    return read_lab(describe(given))


@pytest.mark.parametrize(("check", "lab", "read", "lines"), CASES, ids=CASE_NAMES)
def test_check(describe: Describe, check: str, lab: dict[str, Any], read: dict[str, Any], lines: list[str]) -> None:
    found = getattr(checks, check)(lab_of(describe, lab), snapshot_of(read))
    assert [str(line) for line in found] == lines


def test_table_has_every_check() -> None:
    assert set(TABLE) == {check.__name__ for check in checks.CHECKS} | {"find_account_warnings"}


def test_unread_values_cause_no_problems(describe: Describe) -> None:
    unread = AccountSnapshot(
        failures=[ReadError(DENIED, "ec2:DescribeVpcs", "us-east-1", "UnauthorizedOperation", "no")]
    )
    lab = lab_of(describe, {"key_name": "operations", "availability_zone": "us-east-1a"})
    (line,) = map(str, checks.check_account(lab, unread))
    assert line == (
        'AWS permission: "ec2:DescribeVpcs" is denied to the caller in us-east-1. Allowed: a caller that may read '
        "these resources. Allow ec2:DescribeVpcs in the policies of this caller."
    )
    assert checks.find_account_warnings(lab, unread) == []


def test_failures_name_the_caller(describe: Describe) -> None:
    failure = {"kind": "denied", "action": "iam:GetRole", "where": "us-east-1", "code": "AccessDenied", "detail": ""}
    (line,) = map(str, checks.check_account(lab_of(describe, {}), snapshot_of({"failures": [failure]})))
    assert "is denied to arn:aws:iam::123456789012:user/robotics in us-east-1" in line


OWN = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab"}
MARK = CALLER_MARK


def rule(cidr: str, port: int, description: str, protocol: str = "tcp") -> dict[str, Any]:
    """Return a rule of a security group in the form of a table."""
    return {"protocol": protocol, "from_port": port, "to_port": port, "cidr": cidr, "description": description}


GROUP: dict[str, Any] = {
    "group_id": "sg-1",
    "name": "lab-sg",
    "vpc_id": "vpc-1",
    "rules": [
        rule("203.0.113.7/32", 22, "SSH" + MARK),
        rule("198.51.100.4/32", 22, "SSH" + MARK),
        rule("198.51.100.9/32", 8765, "Foxglove" + MARK),
        # Added by hand, at a port of the lab or another; and networks that no caller can have.
        rule("198.51.100.5/32", 22, "SSH"),
        rule("198.51.100.6/32", 31337, "mine" + MARK),
        rule("198.51.100.7/32", 22, "SSH" + MARK, protocol="udp"),
        rule("0.0.0.0/0", 22, "SSH" + MARK),
    ],
}


@pytest.mark.parametrize(
    ("given", "read", "admins", "viewers"),
    [
        pytest.param({}, {}, ["198.51.100.4/32"], ["198.51.100.9/32"], id="a colleague before"),
        pytest.param({"caller_audiences": []}, {}, [], [], id="lists are exact"),
        pytest.param({"caller_audiences": ["viewer"]}, {}, [], ["198.51.100.9/32"], id="one list is"),
        pytest.param(
            {"remove_sources": ["198.51.100.4", "192.0.2.1/32"]}, {}, [], ["198.51.100.9/32"], id="removed on request"
        ),
        pytest.param({}, {"groups": None}, [], [], id="not read"),
        pytest.param({}, {"groups": []}, [], [], id="the first run"),
        pytest.param({}, {"groups": [{**GROUP, "vpc_id": "vpc-9"}]}, [], [], id="the group of another network"),
        pytest.param({}, {"groups": [{**GROUP, "name": "web"}]}, [], [], id="another group"),
    ],
)
def test_addresses_of_earlier_callers_stay(
    describe: Describe, given: dict[str, Any], read: dict[str, Any], admins: list[str], viewers: list[str]
) -> None:
    vpc = {"vpc_id": "vpc-1", "cidr": "10.0.0.0/16", "tags": {**OWN, "Name": "lab-vpc"}}
    snapshot = snapshot_of({"vpcs": [vpc], "groups": [GROUP], **read})
    lab = lab_of(describe, {"caller_audiences": ["admin", "viewer"], **given})
    caller = "203.0.113.7/32"
    expected = {"admin": [caller, *admins], "viewer": [caller, *viewers]}
    assert list_sources(lab, snapshot) == expected
    # The next run finds what a run has created.
    again = [rule(cidr, 22, "SSH" + MARK) for cidr in expected["admin"]]
    again += [rule(cidr, 8765, "Foxglove" + MARK) for cidr in expected["viewer"]]
    snapshot = snapshot_of({"vpcs": [vpc], "groups": [{**GROUP, "rules": again}]})
    assert list_sources(lab, snapshot) == expected


def test_facts_about_an_empty_account(describe: Describe) -> None:
    described = facts.describe_account(lab_of(describe, {"instance_count": 2}), snapshot_of({}))
    assert described.pop("record").keys() == {"digital_twin_pending"}
    assert described.pop("claims").keys() == {"vpc", "gateway", "key_pair", "address-1", "address-2"}
    assert described == {
        "account_id": "123456789012",
        "caller_arn": "arn:aws:iam::123456789012:user/robotics",
        "region": "us-east-1",
        "partition": "aws",
        "availability_zone": "us-east-1a",
        "availability_zones": ["us-east-1a", "us-east-1b"],
        "instance": {
            "type": "g5.xlarge",
            "in_catalogue": True,
            "gpu": "A10G",
            "gpu_count": 1,
            "gpu_memory_gib": 22.4,
            "vcpus": 4,
            "memory_gib": 16.0,
            "network_gbps": 10.0,
        },
        "image": {"image_id": "ami-1", "name": "ubuntu", "root_size": 8},
        "existing": {
            "vpc_id": "",
            "gateway_id": "",
            "key_pair_id": "",
            "subnet_id": "",
            "subnets": [],
            "instances": [],
            "addresses": [],
            "root_volumes": [],
            "data_volumes": {},
            "missing_hosts": ["lab-1", "lab-2"],
        },
        "permissions_boundary": "",
        "sources": {"admin": ["203.0.113.7/32"], "viewer": ["203.0.113.7/32"]},
        "quotas": [
            {
                "service": "ec2",
                "code": "L-DB2E81BA",
                "title": "Running On-Demand G and VT instances",
                "unit": "vCPUs",
                "limit": 64.0,
                "in_use": 0,
                "needed": 8,
            },
            {
                "service": "ec2",
                "code": "L-0263D0A3",
                "title": "EC2-VPC Elastic IPs",
                "unit": "Elastic IP addresses",
                "limit": 5.0,
                "in_use": 0,
                "needed": 2,
            },
            {
                "service": "vpc",
                "code": "L-F678F1CE",
                "title": "VPCs per Region",
                "unit": "VPCs",
                "limit": 5.0,
                "in_use": 0,
                "needed": 1,
            },
        ],
    }


def test_a_new_lab_is_created_in_the_zone_of_its_kept_data_volume(describe: Describe) -> None:
    read = {
        "data_volumes": [Volume("vol-1", 100, "us-east-1b")],
        "record": {"data_volumes": {"1": "vol-1"}, "readable": True, "started": True},
    }
    lab = lab_of(describe, {"data_volume_size": 100})
    described = facts.describe_account(lab, snapshot_of(read))
    assert described["availability_zone"] == "us-east-1b"
    assert described["record"]["digital_twin_data_volumes_1"] == "1=vol-1"
    assert "data-1" in described["claims"]
    chosen = lab_of(describe, {"availability_zone": "us-east-1a"})
    assert facts.describe_account(chosen, snapshot_of(read))["availability_zone"] == "us-east-1a"


def test_facts_about_an_existing_lab(describe: Describe) -> None:
    own = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab"}
    host = {**own, "digital_twin_index": "1", "Name": "lab-1"}
    read = {
        "vpcs": [{"vpc_id": "vpc-0", "cidr": "172.31.0.0/16"}, {"vpc_id": "vpc-1", "cidr": "10.0.0.0/16", "tags": own}],
        "subnets": [{"subnet_id": "subnet-1", "cidr": "10.0.1.0/24", "zone": "us-east-1b", "tags": own}],
        "instances": [
            {
                "instance_id": "i-1",
                "instance_type": "g5.xlarge",
                "state": "running",
                "tags": host,
                "root_volume": "vol-1",
            },
            # Excess.
            {
                "instance_id": "i-2",
                "instance_type": "g5.xlarge",
                "state": "running",
                "tags": {**host, "Name": "lab-2", "digital_twin_index": "2"},
                "root_volume": "vol-2",
            },
        ],
        "addresses": [
            {"allocation_id": "eipalloc-1", "public_ip": "203.0.113.1", "tags": host, "holder": "i-1"},
            {"allocation_id": "eipalloc-2", "public_ip": "203.0.113.2"},
        ],
        "image_id": None,
        "image": None,
        "record": {
            "vpc_id": "vpc-1",
            "gateway_id": "igw-1",
            "key_pair_id": "key-1",
            # The record preserves former resources.
            "addresses": {"1": "eipalloc-1", "9": "eipalloc-9"},
            "started": True,
            "readable": True,
        },
    }
    described = facts.describe_account(lab_of(describe, {}), snapshot_of(read))
    assert described["availability_zone"] == "us-east-1b"
    assert described["existing"] == {
        "vpc_id": "vpc-1",
        "gateway_id": "igw-1",
        "key_pair_id": "key-1",
        "subnet_id": "subnet-1",
        "subnets": [{"subnet_id": "subnet-1", "availability_zone": "us-east-1b", "cidr": "10.0.1.0/24"}],
        "instances": [
            {"name": f"lab-{number}", "instance_id": f"i-{number}", "instance_type": "g5.xlarge", "state": "running"}
            for number in (1, 2)
        ],
        "addresses": [{"name": "lab-1", "index": "1", "allocation_id": "eipalloc-1", "public_ip": "203.0.113.1"}],
        "root_volumes": ["vol-1"],
        "data_volumes": {},
        "missing_hosts": [],
    }
    assert "image" not in described
    assert described["claims"] == {}
    assert described["record"] == {
        "digital_twin_vpc": "vpc-1",
        "digital_twin_gateway": "igw-1",
        "digital_twin_key_pair": "key-1",
        "digital_twin_addresses_1": "1=eipalloc-1",
        "digital_twin_addresses_2": "9=eipalloc-9",
    }
    assert [quota["needed"] for quota in described["quotas"]] == [0, 0, 0]


def test_catalogue_overrides_ec2(describe: Describe) -> None:
    catalogue = [{"type": "g5.xlarge", "gpu_memory_gib": 24, "price_per_hour": 1.006}]
    lab = lab_of(describe, {"instance_catalogue": catalogue})
    known = facts.describe_instance_type(lab, snapshot_of({}))
    assert (known["gpu_memory_gib"], known["price_per_hour"], known["vcpus"]) == (24, 1.006, 4)


@pytest.mark.parametrize(
    ("phrase", "gbps"),
    [
        ("Up to 25 Gigabit", 25.0),
        ("12.5 Gigabit", 12.5),
        ("4x 100 Gigabit", 400.0),
        ("Moderate", None),
        ("", None),
    ],
)
def test_network_phrases(phrase: str, gbps: float | None) -> None:
    assert facts.read_gbps(phrase) == gbps
