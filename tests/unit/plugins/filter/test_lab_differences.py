# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each attribute of a lab in AWS that the role corrects is compared: one change, one difference."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_record import lab_record
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._lab.differences import find_differences

Item = dict[str, Any]

TAGS = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab", "team": "robotics"}
STATEMENT = {"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*"}
TRUST = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
PROFILE_ARN = "arn:aws:iam::123456789012:instance-profile/lab-instance"
RECORD = {"digital_twin_vpc": "vpc-1"}


PARTS = ("iam_role", "network", "security_group", "ssh_key", "instances", "data_volumes", "addresses")


def document(*statements: Item) -> Item:
    return {"Version": "2012-10-17", "Statement": list(statements)}


DECLARED: Item = {
    "name": "lab",
    "tags": TAGS,
    "role": {
        "name": "lab-instance",
        "description": "Instances of the lab lab",
        "attach": ["arn:aws:iam::aws:policy/Agent"],
        "detach": ["arn:aws:iam::aws:policy/Ssm"],
        "permissions_boundary": "arn:aws:iam::123456789012:policy/hosts",
        "tags": TAGS,
        "record": RECORD,
        "inline_policies": [
            {"name": "metrics", "wanted": True, "statement": STATEMENT},
            {"name": "logs", "wanted": False, "statement": STATEMENT},
        ],
    },
    "vpc_id": "vpc-1",
    "vpc_cidr": "10.0.0.0/16",
    "gateway_id": "igw-1",
    "subnet_cidr": "10.0.1.0/24",
    "rules": [
        {"proto": "udp", "from_port": 7400, "to_port": 7649, "group_name": "lab-sg", "rule_desc": "DDS"},
        {"proto": "tcp", "from_port": "22", "to_port": "22", "cidr_ip": ["203.0.113.7/32"], "rule_desc": "SSH"},
    ],
    "key_pair": {"own": True, "id": "key-1", "name": "lab", "public_key": "ssh-ed25519 AAAA", "file_missing": False},
    "hosts": ["lab-1"],
    "termination_protection": False,
    "root_volumes": ["vol-1"],
    "volume": {"size": 200, "iops": 3000, "throughput": 125},
    "addresses": [{"index": "1", "allocation_id": "eipalloc-1", "public_ip": "203.0.113.9", "name": "lab-1"}],
    "pending": False,
}
FOUND: Item = {
    "roles": [
        {
            "role_name": "lab-instance",
            "description": "Instances of the lab lab",
            "trust_policy": document(TRUST),
            "tags": {**TAGS, **RECORD, "of": "others"},
            "managed_policies": ["arn:aws:iam::aws:policy/Agent", "arn:aws:iam::123456789012:policy/own"],
            "permissions_boundary": "arn:aws:iam::123456789012:policy/hosts",
            "inline_policies": {"lab-instance-metrics": document(STATEMENT), "of-others": document()},
        }
    ],
    "instance_profiles": [{"arn": PROFILE_ARN, "roles": ["lab-instance"], "tags": TAGS}],
    "vpcs": [
        {
            "vpc_id": "vpc-1",
            "cidr_block_association_set": [
                {"cidr_block": "10.0.0.0/16", "cidr_block_state": {"state": "associated"}},
                {"cidr_block": "10.9.0.0/16", "cidr_block_state": {"state": "associated"}},
            ],
            "enable_dns_support": True,
            "enable_dns_hostnames": True,
            "tags": {**TAGS, "Name": "lab-vpc"},
        }
    ],
    "internet_gateways": [
        {
            "internet_gateway_id": "igw-1",
            "attachments": [{"vpc_id": "vpc-1", "state": "available"}],
            "tags": {**TAGS, "Name": "lab-igw"},
        }
    ],
    "subnets": [
        {
            "subnet_id": "subnet-1",
            "vpc_id": "vpc-1",
            "cidr_block": "10.0.1.0/24",
            "map_public_ip_on_launch": False,
            "assign_ipv6_address_on_creation": False,
            "ipv6_cidr_block_association_set": [],
            "tags": {**TAGS, "Name": "lab-subnet"},
        }
    ],
    "route_tables": [
        {
            "vpc_id": "vpc-1",
            "routes": [
                {"destination_cidr_block": "10.0.0.0/16", "gateway_id": "local", "origin": "CreateRouteTable"},
                {
                    "destination_cidr_block": "0.0.0.0/0",
                    "gateway_id": "igw-1",
                    "origin": "CreateRoute",
                    "state": "active",
                },
            ],
            "associations": [{"main": False, "subnet_id": "subnet-1"}],
            "tags": {**TAGS, "Name": "lab-routes"},
        }
    ],
    "security_groups": [
        {
            "group_id": "sg-1",
            "group_name": "lab-sg",
            "vpc_id": "vpc-1",
            "description": "Hosts of the lab lab",
            "ip_permissions": [
                {
                    "ip_protocol": "udp",
                    "from_port": 7400,
                    "to_port": 7649,
                    "user_id_group_pairs": [{"group_id": "sg-1", "user_id": "123456789012", "description": "DDS"}],
                },
                {
                    "ip_protocol": "tcp",
                    "from_port": 22,
                    "to_port": 22,
                    "ip_ranges": [{"cidr_ip": "203.0.113.7/32", "description": "SSH"}],
                },
            ],
            "ip_permissions_egress": [{"ip_protocol": "-1", "ip_ranges": [{"cidr_ip": "0.0.0.0/0"}]}],
            "tags": {**TAGS, "Name": "lab-sg"},
        }
    ],
    "key_pairs": [
        {
            "key_name": "lab",
            "key_pair_id": "key-1",
            "public_key": "ssh-ed25519 AAAA comment",
            "tags": {**TAGS, "Name": "lab"},
        }
    ],
    "instances": [
        {
            "instance_id": "i-1",
            "vpc_id": "vpc-1",
            "state": {"name": "running"},
            "security_groups": [{"group_id": "sg-1"}],
            "network_interfaces": [{}],
            "iam_instance_profile": {"arn": PROFILE_ARN},
            "metadata_options": {
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
                "state": "applied",
            },
            "attributes": {"disable_api_termination": {"value": False}},
            "public_ip_address": "203.0.113.9",
            "tags": {**TAGS, "Name": "lab-1", "digital_twin_index": "1"},
        }
    ],
    "root_volumes": [{"id": "vol-1", "type": "gp3", "size": 200, "iops": 3000, "throughput": 125, "tags": TAGS}],
    "addresses": [{"allocation_id": "eipalloc-1", "tags": {**TAGS, "Name": "lab-1", "digital_twin_index": "1"}}],
}


def differ(found: Item, declared: Item) -> list[str]:
    return [line for lines in find_differences(found, declared).values() for line in lines]


def test_a_lab_as_declared_does_not_differ() -> None:
    parts = find_differences(FOUND, DECLARED)
    assert parts == {part: [] for part in PARTS}


KINDS = {
    "roles": "role",
    "instance_profiles": "instance profile",
    "vpcs": "VPC",
    "internet_gateways": "internet gateway",
    "subnets": "subnet",
    "route_tables": "route table",
    "security_groups": "security group",
    "key_pairs": "key pair",
    "instances": "lab-1",
}


@pytest.mark.parametrize(("kind", "title"), KINDS.items())
def test_what_is_missing_or_there_twice_is_missing(kind: str, title: str) -> None:
    items: list[dict[str, Any]]
    # A lab may have several subnets.
    for items in ([], *([FOUND[kind] * 2] if kind != "subnets" else [])):
        assert f"{title}: missing" in differ({**FOUND, kind: items}, DECLARED)


@pytest.mark.parametrize("kind", [*KINDS, "root_volumes", "addresses"])
def test_each_lost_tag_is_found(kind: str) -> None:
    # An instance without a number is not the host's.
    ignored = {"of"} if kind == "addresses" else {"of", "digital_twin_index"}
    for tag in {*TAGS, *FOUND[kind][0]["tags"]} - ignored:
        found = deepcopy(FOUND)
        found[kind][0]["tags"].pop(tag)
        assert any(line.endswith(": tags") for line in differ(found, DECLARED)), tag


def test_a_subnet_in_another_zone_belongs_to_the_lab() -> None:
    found = deepcopy(FOUND)
    second = {**found["subnets"][0], "subnet_id": "subnet-2", "cidr_block": "10.0.0.0/24"}
    found["subnets"].insert(0, second)
    assert differ(found, DECLARED) == ["route table: subnets"]
    found["route_tables"][0]["associations"].append({"main": False, "subnet_id": "subnet-2"})
    assert differ(found, DECLARED) == []
    second["map_public_ip_on_launch"] = True
    assert differ(found, DECLARED) == ["subnet: public addresses"]


Change = Callable[[Item], Any]
RULE = {"ip_protocol": "tcp", "from_port": 1, "to_port": 1}


def item(kind: str, **values: Any) -> Change:
    return lambda found: found[kind][0].update(values)


def add(kind: str, field: str, value: Any) -> Change:
    return lambda found: found[kind][0][field].append(value)


CHANGES: list[tuple[str, Change]] = [
    ("role: description", item("roles", description="")),
    ("role: trust policy", item("roles", trust_policy=document())),
    ("role: managed policies", item("roles", managed_policies=[])),
    ("role: managed policies", add("roles", "managed_policies", "arn:aws:iam::aws:policy/Ssm")),
    ("role: permissions boundary", item("roles", permissions_boundary="")),
    ("role: inline policies", item("roles", inline_policies=None)),
    ("role: inline policies", item("roles", inline_policies={})),
    ("role: inline policies", item("roles", inline_policies={"lab-instance-metrics": document()})),
    (
        "role: inline policies",
        item("roles", inline_policies={"lab-instance-metrics": document(STATEMENT), "lab-instance-logs": document()}),
    ),
    ("instance profile: role", item("instance_profiles", roles=[])),
    ("VPC: missing", item("vpcs", vpc_id="vpc-2")),
    ("VPC: network", item("vpcs", cidr_block_association_set=[])),
    ("VPC: DNS support", item("vpcs", enable_dns_support=False)),
    ("VPC: DNS hostnames", item("vpcs", enable_dns_hostnames=False)),
    ("internet gateway: missing", item("internet_gateways", internet_gateway_id="igw-2")),
    ("internet gateway: VPC", item("internet_gateways", attachments=[])),
    ("subnet: network", item("subnets", cidr_block="10.0.2.0/24")),
    ("subnet: public addresses", item("subnets", map_public_ip_on_launch=True)),
    ("subnet: IPv6", item("subnets", assign_ipv6_address_on_creation=True)),
    ("subnet: IPv6", item("subnets", ipv6_cidr_block_association_set=[{}])),
    ("route table: routes", item("route_tables", routes=[])),
    (
        "route table: routes",
        add("route_tables", "routes", {"destination_cidr_block": "1.0.0.0/8", "origin": "CreateRoute"}),
    ),
    ("route table: routes", lambda found: found["route_tables"][0]["routes"][1].update(gateway_id="igw-2")),
    ("route table: routes", lambda found: found["route_tables"][0]["routes"][1].update(state="blackhole")),
    ("route table: subnets", item("route_tables", associations=[])),
    ("route table: subnets", add("route_tables", "associations", {"main": False, "subnet_id": "subnet-2"})),
    ("security group: name", item("security_groups", group_name="other")),
    ("security group: description", item("security_groups", description="other")),
    ("security group: inbound rules", lambda found: found["security_groups"][0]["ip_permissions"].pop()),
    *(
        ("security group: inbound rules", add("security_groups", "ip_permissions", {**RULE, **source}))
        for source in (
            {"ip_ranges": [{"cidr_ip": "0.0.0.0/0"}]},
            {"ipv6_ranges": [{"cidr_ipv6": "::/0"}]},
            {"prefix_list_ids": [{"prefix_list_id": "pl-1"}]},
            {"user_id_group_pairs": [{"group_id": "sg-2"}]},
        )
    ),
    (
        "security group: inbound rules",
        lambda found: found["security_groups"][0]["ip_permissions"][1]["ip_ranges"][0].update(description="x"),
    ),
    ("security group: outbound rules", item("security_groups", ip_permissions_egress=[])),
    (
        "security group: outbound rules",
        add("security_groups", "ip_permissions_egress", {**RULE, "ip_ranges": [{"cidr_ip": "::"}]}),
    ),
    ("key pair: id", item("key_pairs", key_pair_id="key-2")),
    ("key pair: public key", item("key_pairs", public_key="ssh-ed25519 BBBB")),
    ("lab-1: state", item("instances", state={"name": "stopped"})),
    ("lab-1: security groups", add("instances", "security_groups", {"group_id": "sg-2"})),
    ("lab-1: network interfaces", add("instances", "network_interfaces", {})),
    ("lab-1: instance profile", item("instances", iam_instance_profile=None)),
    ("lab-1: metadata options", lambda found: found["instances"][0]["metadata_options"].update(http_tokens="optional")),
    ("lab-1: termination protection", item("instances", attributes={"disable_api_termination": {"value": True}})),
    ("lab-1: missing", item("instances", state={"name": "shutting-down"})),
    *(("vol-1: performance", item("root_volumes", **{key: 1})) for key in ("type", "size", "iops", "throughput")),
    ("address of lab-1: instance", item("instances", public_ip_address=None)),
]


@pytest.mark.parametrize(("line", "change"), CHANGES, ids=[line for line, _change in CHANGES])
def test_each_change_is_found(line: str, change: Change) -> None:
    found = deepcopy(FOUND)
    change(found)
    assert line in differ(found, DECLARED)


@pytest.mark.parametrize(
    ("declared", "lines"),
    [
        ({"pending": True}, ["record: pending"]),
        ({"addresses": []}, ["address of lab-1: missing"]),
        ({"hosts": ["lab-1", "lab-2"]}, ["lab-2: missing", "address of lab-2: missing"]),
        ({"key_pair": {**DECLARED["key_pair"], "file_missing": True}}, ["key pair: private key file"]),
        ({"key_pair": {"own": False}}, []),
        ({"role": {**DECLARED["role"], "permissions_boundary": ""}}, []),
        ({"root_volumes": ["vol-2"]}, ["vol-2: performance", "vol-2: tags"]),
    ],
)
def test_a_changed_description_is_found(declared: Item, lines: list[str]) -> None:
    assert differ(FOUND, {**DECLARED, **declared}) == lines


def test_record() -> None:
    assert lab_record({"1": "eipalloc-1", "9": "eipalloc-9"}, "vpc-1", "igw-1", "key-1") == {
        "digital_twin_vpc": "vpc-1",
        "digital_twin_gateway": "igw-1",
        "digital_twin_key_pair": "key-1",
        "digital_twin_addresses_1": "1=eipalloc-1",
        "digital_twin_addresses_2": "9=eipalloc-9",
        "digital_twin_pending": "",
    }
