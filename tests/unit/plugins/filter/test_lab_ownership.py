# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The resources of a lab among those with its tags: a lab as the modules of amazon.aws return it, and changes to it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_ownership import lab_ownership
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.record import (
    Record,
    claim,
    read_record,
    write_record,
)

REGION = "eu-central-1"
OWN = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab", "digital_twin_region": REGION}
RECORD = Record("vpc-1", "igw-1", "key-1", {"1": "eipalloc-1"})
ROLE = {**OWN, **write_record(RECORD)}
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
ADDRESS = {
    "public_ip": "203.0.113.9",
    "allocation_id": "eipalloc-1",
    "instance_id": "i-1",
    "tags": {"digital_twin_index": "1"},
}
SNAPSHOT = {"snapshot_id": "snap-1", "volume_id": "vol-root"}
IMAGE = {"image_id": "ami-1", "block_device_mappings": [{"device_name": "/dev/sda1", "ebs": {"snapshot_id": "snap-2"}}]}
Found = dict[str, list[dict[str, Any]]]
LAB: Found = {
    "vpcs": [{"vpc_id": "vpc-1", "cidr_block": "10.0.0.0/16", "tags": {"Name": "lab-vpc"}}],
    "security_groups": [{"group_id": "sg-1", "group_name": "lab-sg", "vpc_id": "vpc-1"}],
    "subnets": [{"subnet_id": "subnet-1", "vpc_id": "vpc-1"}],
    "route_tables": [{"route_table_id": "rtb-1", "vpc_id": "vpc-1"}],
    "internet_gateways": [{"internet_gateway_id": "igw-1", "attachments": [{"vpc_id": "vpc-1"}]}],
    "instances": [HOST],
    "addresses": [ADDRESS],
    "volumes": [{"id": "vol-root"}],
    "key_pairs": [{"key_name": "lab", "key_pair_id": "key-1", "public_key": "ssh-ed25519 AAAA lab"}],
    "snapshots": [SNAPSHOT],
    "images": [IMAGE],
    "roles": [{"role_name": "lab-instance"}],
}
IMAGE_SNAPSHOTS = [{"snapshot_id": "snap-2", "volume_id": "vol-root"}]


def judge(found: Found, role: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Return the result of the filter for resources with the lab's tags."""
    given = {**found, "image_snapshots": IMAGE_SNAPSHOTS}
    return lab_ownership(given, "lab", role_tags=ROLE if role is None else role, region=REGION, **more)


def with_more(kind: str, *more: dict[str, Any]) -> Found:
    """Return the lab with more things of a kind that carry its tags."""
    lab = deepcopy(LAB)
    lab[kind] += more
    return lab


@pytest.mark.parametrize(
    "lab",
    [
        pytest.param(LAB, id="a lab"),
        pytest.param({kind: [] for kind in LAB}, id="none"),
        pytest.param({**LAB, "vpcs": [{"vpc_id": "vpc-1", "tags": {"Name": "renamed by hand"}}]}, id="renamed"),
        pytest.param({**LAB, "security_groups": []}, id="died before the group"),
        pytest.param(
            {**LAB, "internet_gateways": [{"internet_gateway_id": "igw-1", "attachments": []}]}, id="unattached"
        ),
        pytest.param({**LAB, "addresses": [{**ADDRESS, "instance_id": ""}]}, id="an address that no host has yet"),
        pytest.param({**LAB, "addresses": [{**ADDRESS, "tags": {}}]}, id="an address whose number was removed"),
    ],
)
def test_what_the_lab_made_is_its_own(lab: Found) -> None:
    judged = judge(lab)
    assert (judged["own"], judged["foreign"], judged["blocking"]) == (lab, [], [])


def test_an_instance_that_is_shutting_down_has_given_up_its_place_and_keeps_its_disk() -> None:
    going = {**HOST, "state": {"name": "shutting-down"}, "vpc_id": None}
    judged = judge({**LAB, "instances": [going], "snapshots": [], "images": []})
    assert judged["own"]["instances"] == [going]
    assert judged["own"]["volumes"] == []


STRANGERS = [
    ("volumes", {"id": "vol-data"}, "volume vol-data (it is not the root volume of an instance of the lab)"),
    (
        "volumes",
        {"id": "vol-free", "tags": {"Name": "lab-1", "digital_twin_index": "1"}},
        "volume vol-free (it is not the root volume of an instance of the lab)",
    ),
    ("vpcs", {"vpc_id": "vpc-9", "tags": {"Name": "lab-vpc"}}, "VPC vpc-9 (the lab's VPC is vpc-1)"),
    (
        "security_groups",
        {"group_id": "sg-9", "group_name": "lab-sg", "vpc_id": "vpc-9"},
        "security group sg-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
    ),
    (
        "subnets",
        {"subnet_id": "subnet-9", "vpc_id": "vpc-9"},
        "subnet subnet-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
    ),
    (
        "route_tables",
        {"route_table_id": "rtb-9", "vpc_id": "vpc-9"},
        "route table rtb-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
    ),
    (
        "internet_gateways",
        {"internet_gateway_id": "igw-9", "attachments": [{"vpc_id": "vpc-9"}]},
        "internet gateway igw-9 (it is in vpc-9, not in the lab's VPC vpc-1)",
    ),
    (
        "internet_gateways",
        {"internet_gateway_id": "igw-9", "attachments": []},
        "internet gateway igw-9 (it is not in the lab's record)",
    ),
    (
        "instances",
        {**HOST, "instance_id": "i-2", "vpc_id": "vpc-9", "block_device_mappings": []},
        "instance i-2 (it is in vpc-9, not in the lab's VPC vpc-1)",
    ),
    (
        "instances",
        {**HOST, "instance_id": "i-2", "vpc_id": None, "key_name": None, "iam_instance_profile": None},
        "instance i-2 (it is not in a VPC, not in the lab's VPC vpc-1; "
        'its key pair is "", not "lab"; its instance profile is "", not "lab-instance")',
    ),
    # Its owner terminates it and wants to keep its disk.
    (
        "instances",
        {**HOST, "instance_id": "i-2", "vpc_id": "vpc-9", "state": {"name": "shutting-down"}},
        "instance i-2 (it is in vpc-9, not in the lab's VPC vpc-1)",
    ),
    (
        "addresses",
        {"public_ip": "203.0.113.8", "allocation_id": "eipalloc-9", "instance_id": "i-9", "tags": ADDRESS["tags"]},
        "address 203.0.113.8 (it is not in the lab's record, and i-9 has it)",
    ),
    # The owner of a host has given it a second address.
    (
        "addresses",
        {"public_ip": "203.0.113.8", "allocation_id": "eipalloc-9", "instance_id": "i-1", "tags": ADDRESS["tags"]},
        "address 203.0.113.8 (it is not in the lab's record, and i-1 has it)",
    ),
    (
        "addresses",
        {"public_ip": "203.0.113.8", "allocation_id": "eipalloc-9", "tags": ADDRESS["tags"]},
        "address 203.0.113.8 (it is not in the lab's record)",
    ),
    (
        "key_pairs",
        {"key_name": "key-of-another-owner", "key_pair_id": "key-9"},
        "key pair key-of-another-owner (it is not in the lab's record)",
    ),
    (
        "snapshots",
        {"snapshot_id": "snap-9", "volume_id": "vol-9"},
        'snapshot snap-9 (it is a copy of "vol-9", not of a root volume of the lab)',
    ),
    (
        "images",
        {"image_id": "ami-9", "block_device_mappings": [{"ebs": {"snapshot_id": "snap-9"}}]},
        "image ami-9 (it was not made of a root volume of the lab)",
    ),
    # One of its disks belongs to another owner: deregistering it would delete that snapshot as well.
    (
        "images",
        {
            "image_id": "ami-9",
            "block_device_mappings": [{"ebs": {"snapshot_id": "snap-2"}}, {"ebs": {"snapshot_id": "snap-9"}}],
        },
        "image ami-9 (it was not made of a root volume of the lab)",
    ),
    ("images", {"image_id": "ami-9"}, "image ami-9 (it was not made of a root volume of the lab)"),
]


@pytest.mark.parametrize(("kind", "thing", "line"), STRANGERS, ids=[line for _kind, _thing, line in STRANGERS])
def test_tags_alone_make_nothing_the_labs(kind: str, thing: dict[str, Any], line: str) -> None:
    judged = judge(with_more(kind, thing))
    assert (judged["own"], judged["foreign"], judged["blocking"]) == (LAB, [line], [])
    (told,) = judged["lines"]
    assert told.startswith(f"{line}. Remove its tag digital_twin_lab")


@pytest.mark.parametrize("role", [{}, {**ROLE, "digital_twin_region": "eu-west-1"}, {**ROLE, "digital_twin_lab": "2"}])
def test_without_a_record_of_its_own_nothing_is_the_labs(role: dict[str, str]) -> None:
    judged = judge(LAB, role)
    assert [kind for kind, things in judged["own"].items() if things] == ["roles"]


@pytest.mark.parametrize(
    ("kind", "difference", "reason"),
    [
        ("instances", {"key_name": "web"}, 'instance i-2 (its key pair is "web", not "lab")'),
        (
            "instances",
            {"iam_instance_profile": {"arn": "arn:aws:iam::1:instance-profile/web"}},
            'instance i-2 (its instance profile is "web", not "lab-instance")',
        ),
        (
            "security_groups",
            {"group_id": "sg-2", "group_name": "web", "vpc_id": "vpc-1"},
            'security group sg-2 (its name is "web", not "lab-sg")',
        ),
    ],
)
def test_resources_that_block_the_network_are_distinguished(kind: str, difference: dict[str, Any], reason: str) -> None:
    thing = {**HOST, "instance_id": "i-2", "block_device_mappings": []} if kind == "instances" else {}
    judged = judge(with_more(kind, {**thing, **difference}))
    assert (judged["own"], judged["foreign"], judged["blocking"]) == (LAB, [reason], [reason])


def test_the_key_pair_may_be_one_that_was_there() -> None:
    lab = {**LAB, "instances": [{**HOST, "key_name": "team"}]}
    assert judge(lab, key_name="team")["foreign"] == []
    # Made with the lab's own key before another was named.
    assert judge(LAB, key_name="team")["foreign"] == []
    assert judge({**lab, "snapshots": [], "images": []})["blocking"] == [
        'instance i-1 (its key pair is "team", not "lab")'
    ]


def test_a_lab_of_an_earlier_release_is_known_by_its_instances() -> None:
    judged = judge(LAB, OWN, public_key="ssh-ed25519 AAAA elsewhere")
    assert (judged["own"], judged["foreign"]) == (LAB, [])
    # The key pair alone needs the key.
    assert judge(LAB, OWN)["foreign"] == ["key pair lab (it is not in the lab's record)"]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({**LAB, "instances": []}, id="no instance"),
        pytest.param({**LAB, "instances": [{**HOST, "key_name": "web"}]}, id="another key"),
        pytest.param({**LAB, "instances": [{**HOST, "iam_instance_profile": None}]}, id="no profile"),
        pytest.param({**LAB, "instances": [HOST, {**HOST, "vpc_id": "vpc-9"}]}, id="two networks"),
        pytest.param({**LAB, "vpcs": [{"vpc_id": "vpc-9", "tags": {"Name": "lab-vpc"}}]}, id="only another is tagged"),
    ],
)
def test_otherwise_its_network_has_to_be_named(found: Found) -> None:
    judged = judge(found, OWN)
    assert judged["own"]["vpcs"] == judged["own"]["security_groups"] == judged["own"]["addresses"] == []


def test_what_the_user_names_is_the_labs() -> None:
    ids = ["vpc-1", "igw-1", "203.0.113.9", "key-1", "vol-root", "snap-1", "ami-1"]
    judged = judge({**LAB, "instances": []}, OWN, adopt=ids)
    assert (judged["own"], judged["foreign"]) == ({**LAB, "instances": []}, [])
    # The record counts for more, and a part of an id is none.
    other = {"vpc_id": "vpc-9", "tags": {}}
    assert judge(with_more("vpcs", other), adopt=["vpc-9"])["own"]["vpcs"] == LAB["vpcs"]
    assert judge({**LAB, "instances": []}, OWN, adopt="vpc-1,igw-1")["own"]["vpcs"] == []


CLAIMS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("vpcs", "vpc", "vpc_id", {"vpc_id": "vpc-1"}),
    ("internet_gateways", "gateway", "internet_gateway_id", {"internet_gateway_id": "igw-1", "attachments": []}),
    ("key_pairs", "key_pair", "key_pair_id", {"key_name": "lab", "key_pair_id": "key-1"}),
    ("addresses", "address-1", "allocation_id", {"public_ip": "203.0.113.9", "allocation_id": "eipalloc-1"}),
]


@pytest.mark.parametrize(("kind", "thing", "identifier", "item"), CLAIMS, ids=[row[0] for row in CLAIMS])
def test_what_a_run_created_and_could_not_record_is_known_by_its_token(
    kind: str, thing: str, identifier: str, item: dict[str, Any]
) -> None:
    role = {**OWN, "digital_twin_pending": "canary-of-the-role"}

    def claimed(token: str, **more: str) -> dict[str, Any]:
        return {**item, "tags": {"digital_twin_index": "1", "digital_twin_claim": token}, **more}

    token = claim("canary-of-the-role", thing)
    assert judge({kind: [claimed(token)]}, role)["own"][kind] == [claimed(token)]
    # The token of another kind, which is among the tags of that; a guess; the end of the run; and a copy.
    others = [claim("canary-of-the-role", other) for other in ("vpc", "gateway", "address-2", "1") if other != thing]
    for guess in (*others, claim("", thing), ""):
        assert judge({kind: [claimed(guess)]}, role)["own"][kind] == []
    for ended in (OWN, {**OWN, "digital_twin_pending": ""}):
        assert judge({kind: [claimed(token)]}, ended)["own"][kind] == []
    copy = claimed(token, **{identifier: "copy"})
    assert judge({kind: [claimed(token), copy]}, role)["own"][kind] == []


def test_the_record_of_the_largest_lab_fits_the_tags_of_a_role() -> None:
    addresses = {str(host): f"eipalloc-{host:017x}" for host in range(1, 33)}
    volumes = {str(host): f"vol-{host:017x}" for host in range(1, 33)}
    record = Record("vpc-1", "igw-1", "key-1", addresses, volumes, "s" * 32)
    tags = write_record(record)
    assert len(tags) == 12
    assert max(map(len, tags.values())) <= 256
    read = read_record("lab", REGION, {**OWN, **tags})
    assert (read.vpc_id, read.gateway_id, read.key_pair_id, read.secret) == ("vpc-1", "igw-1", "key-1", "s" * 32)
    assert (read.addresses, read.data_volumes) == (addresses, volumes)
