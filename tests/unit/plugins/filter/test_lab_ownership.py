# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What belongs to a lab, of what carries its tags: a lab as the modules of amazon.aws tell of it, and changes to it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_ownership import lab_ownership

PROFILE = {"arn": "arn:aws:iam::123456789012:instance-profile/robots/lab-instance"}
HOST: dict[str, Any] = {
    "instance_id": "i-1",
    "instance_type": "g5.xlarge",
    "state": {"name": "running"},
    "vpc_id": "vpc-1",
    "key_name": "lab",
    "iam_instance_profile": PROFILE,
    "root_device_name": "/dev/sda1",
    "block_device_mappings": [
        {"device_name": "/dev/sda1", "ebs": {"volume_id": "vol-root", "delete_on_termination": True}},
        {"device_name": "/dev/sdf", "ebs": {"volume_id": "vol-data", "delete_on_termination": False}},
    ],
    "tags": {"digital_twin_index": "1"},
}
LAB: dict[str, list[dict[str, Any]]] = {
    "vpcs": [{"vpc_id": "vpc-1", "cidr_block": "10.0.0.0/16", "tags": {"Name": "lab-vpc"}}],
    "security_groups": [{"group_id": "sg-1", "group_name": "lab-sg", "vpc_id": "vpc-1"}],
    "subnets": [{"subnet_id": "subnet-1", "vpc_id": "vpc-1"}],
    "route_tables": [{"route_table_id": "rtb-1", "vpc_id": "vpc-1"}],
    "internet_gateways": [{"internet_gateway_id": "igw-1", "attachments": [{"vpc_id": "vpc-1"}]}],
    "instances": [HOST],
    "addresses": [{"public_ip": "203.0.113.9", "instance_id": "i-1", "tags": {"digital_twin_index": "1"}}],
    "volumes": [{"id": "vol-root"}],
    "key_pairs": [{"key_name": "lab"}],
    "roles": [{"role_name": "lab-instance"}],
}
ELSEWHERE = {**HOST, "instance_id": "i-2", "vpc_id": "vpc-9", "block_device_mappings": []}


def changed(kind: str, *more: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the lab with more things of a kind that carry its tags."""
    lab = deepcopy(LAB)
    lab[kind] += more
    return lab


@pytest.mark.parametrize(
    "lab",
    [
        pytest.param(LAB, id="a lab"),
        pytest.param({kind: [] for kind in LAB}, id="none"),
        # The group's name cannot be edited.
        pytest.param({**LAB, "vpcs": [{"vpc_id": "vpc-1", "tags": {"Name": "renamed by hand"}}]}, id="renamed"),
        pytest.param({**LAB, "security_groups": []}, id="died before the group"),
        pytest.param(
            {**LAB, "internet_gateways": [{"internet_gateway_id": "igw-1", "attachments": []}]}, id="unattached"
        ),
        pytest.param(
            {**LAB, "instances": [], "volumes": [], "addresses": [{**LAB["addresses"][0], "instance_id": ""}]},
            id="an address that no host has yet",
        ),
        pytest.param(
            {**LAB, "instances": [{**HOST, "state": {"name": "shutting-down"}, "vpc_id": None, "key_name": None}]},
            id="going",
        ),
        pytest.param({"instances": [{**HOST, "vpc_id": "vpc-9"}]}, id="without its VPC nothing is known of places"),
    ],
)
def test_what_the_lab_made_is_its_own(lab: dict[str, list[dict[str, Any]]]) -> None:
    assert lab_ownership(lab, "lab") == {"own": lab, "foreign": [], "blocking": []}


@pytest.mark.parametrize(
    ("kind", "thing", "line"),
    [
        pytest.param(
            "volumes",
            {"id": "vol-data"},
            "volume vol-data (it is not the root volume of an instance of the lab)",
            id="a disk that somebody attached",
        ),
        pytest.param(
            "volumes",
            {"id": "vol-free", "tags": {"Name": "lab-1", "digital_twin_index": "1"}},
            "volume vol-free (it is not the root volume of an instance of the lab)",
            id="a disk that is attached to nothing",
        ),
        pytest.param(
            "vpcs",
            {"vpc_id": "vpc-9", "tags": {"Name": "production-vpc"}},
            'VPC vpc-9 (its name is "production-vpc", not "lab-vpc")',
            id="a network",
        ),
        pytest.param(
            "vpcs",
            {"vpc_id": "vpc-9", "tags": {}},
            'VPC vpc-9 (its name is "", not "lab-vpc")',
            id="a network without name",
        ),
        pytest.param(
            "security_groups",
            {"group_id": "sg-9", "group_name": "web", "vpc_id": "vpc-9"},
            "security group sg-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
            id="a group",
        ),
        pytest.param(
            "subnets",
            {"subnet_id": "subnet-9", "vpc_id": "vpc-9"},
            "subnet subnet-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
            id="a subnet",
        ),
        pytest.param(
            "route_tables",
            {"route_table_id": "rtb-9", "vpc_id": "vpc-9"},
            "route table rtb-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
            id="a route table",
        ),
        pytest.param(
            "internet_gateways",
            {"internet_gateway_id": "igw-9", "attachments": [{"vpc_id": "vpc-9"}]},
            "internet gateway igw-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
            id="a gateway",
        ),
        pytest.param(
            "instances",
            ELSEWHERE,
            "instance i-2 (it is in vpc-9, not in the lab's VPC vpc-1)",
            id="an instance in another network",
        ),
        pytest.param(
            "instances",
            {**ELSEWHERE, "vpc_id": None, "key_name": None, "iam_instance_profile": None},
            "instance i-2 (it is not in a VPC, not in the lab's VPC vpc-1; "
            'its key pair is "", not "lab"; its instance profile is "", not "lab-instance")',
            id="an instance with nothing",
        ),
        pytest.param(
            "addresses",
            {"public_ip": "203.0.113.8", "instance_id": "i-9", "tags": {"digital_twin_index": "1"}},
            "address 203.0.113.8 (it is associated with i-9, which does not belong to the lab)",
            id="another server's address",
        ),
        pytest.param(
            "addresses",
            {"public_ip": "203.0.113.8", "network_interface_id": "eni-9", "tags": {"digital_twin_index": "1"}},
            "address 203.0.113.8 (it is associated with eni-9, which does not belong to the lab)",
            id="the address of a NAT gateway",
        ),
        pytest.param(
            "addresses",
            {"public_ip": "203.0.113.8", "tags": {}},
            "address 203.0.113.8 (no host has it, and it has no tag digital_twin_index)",
            id="a spare address",
        ),
        pytest.param(
            "key_pairs",
            {"key_name": "somebody-elses-key"},
            "key pair somebody-elses-key (the lab's own key pair is lab)",
            id="a key pair",
        ),
    ],
)
def test_tags_alone_make_nothing_the_labs(kind: str, thing: dict[str, Any], line: str) -> None:
    judged = lab_ownership(changed(kind, thing), "lab")
    assert judged == {"own": LAB, "foreign": [line], "blocking": []}


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"key_name": "web"}, 'its key pair is "web", not "lab"'),
        (
            {"iam_instance_profile": {"arn": "arn:aws:iam::1:instance-profile/web"}},
            'its instance profile is "web", not "lab-instance"',
        ),
    ],
)
def test_an_instance_that_is_in_the_way_of_the_network_is_told_apart(difference: dict[str, Any], reason: str) -> None:
    stranger = {**HOST, "instance_id": "i-2", "block_device_mappings": [], **difference}
    judged = lab_ownership(changed("instances", stranger), "lab")
    assert judged == {"own": LAB, "foreign": [f"instance i-2 ({reason})"], "blocking": [f"instance i-2 ({reason})"]}


def test_the_key_pair_may_be_one_that_was_there() -> None:
    lab = {**LAB, "instances": [{**HOST, "key_name": "team"}]}
    assert lab_ownership(lab, "lab", "team")["foreign"] == []
    # Made with the lab's own key before another was named.
    assert lab_ownership(LAB, "lab", "team")["foreign"] == []
    assert lab_ownership(lab, "lab")["blocking"] == ['instance i-1 (its key pair is "team", not "lab")']


def test_without_its_network_nothing_in_another_is_the_labs() -> None:
    lab = {**LAB, "vpcs": [{"vpc_id": "vpc-1", "tags": {"Name": "production-vpc"}}], "security_groups": []}
    judged = lab_ownership(lab, "lab")
    assert [kind for kind, things in judged["own"].items() if things] == ["key_pairs", "roles"]
    assert "instance i-1 (it is in vpc-1, not in the lab's VPC, which does not exist)" in judged["foreign"]
