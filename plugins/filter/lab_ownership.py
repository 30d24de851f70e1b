# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_ownership."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_ownership
short_description: Separate the resources of a lab from others that carry its tags
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Any caller that may tag resources can give a lab's tags to others. What belongs to a lab is in its record, which are
    tags of its IAM role, or it is in the recorded VPC. An instance has the lab's key pair and instance profile as well.
  - Contacts nothing, changes nothing.
options:
  _input:
    description:
      - Resources with the lab's tags, by kind, each a list as the C(_info) modules of C(amazon.aws) return it -
        C(vpcs), C(security_groups), C(subnets), C(route_tables), C(internet_gateways), C(instances), C(addresses),
        C(volumes), C(data_volumes), C(key_pairs), C(images) and C(snapshots).
      - C(image_snapshots) are the snapshots of the images, whatever tags they carry. They are not returned.
      - Other kinds are returned as they are.
    type: dict
    required: true
  lab:
    description: The lab's name.
    type: str
    required: true
  key_name:
    description: Key pair of the instances where it is not the lab's own.
    type: str
    default: ""
  region:
    description: The lab's region.
    type: str
    default: ""
  role_tags:
    description:
      - Tags of the lab's IAM role. If the role does not exist, an empty mapping, which records nothing.
      - Without this option places, addresses, gateways and key pairs are not compared.
    type: dict
  adopt:
    description: Ids of VPC, internet gateway, addresses, key pair, volumes, snapshots and images that belong to the lab
      although it has not recorded them.
    type: list
    elements: str
    default: []
  public_key:
    description: The lab's public key, by which the key pair of a lab without a record is found.
    type: str
    default: ""
  root_volumes:
    description: Ids of root volumes that the lab had, by which its snapshots are found after its instances are gone.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Report what only carries the lab's tags
  ansible.builtin.debug:
    msg: >-
      {{ (found | digital_twin.robotics_lab.lab_ownership('warehouse', region='eu-central-1',
                                                          role_tags=role.roles[0].tags)).foreign }}
  vars:
    found:
      instances: "{{ instances_info.instances }}"
      volumes: "{{ volumes_info.volumes }}"
"""

RETURN = r"""
_value:
  description: The resources that belong to the lab, and those that do not.
  type: dict
  contains:
    own:
      description:
        - The kinds of the input, each with the resources that belong to the lab. Data volumes have the number of their
          host as C(index), which is that of the record.
      type: dict
      sample: {volumes: [{id: vol-0123456789abcdef0}]}
    foreign:
      description: The resources that do not belong to the lab, each as one phrase with the reason.
      type: list
      elements: str
      sample: [volume vol-0123456789abcdef1 (it is not the root volume of an instance of the lab)]
    lines:
      description: The same, each as one line with the remedy.
      type: list
      elements: str
      sample:
        - volume vol-0123456789abcdef1 (it is not the root volume of an instance of the lab). Remove its tag
          digital_twin_lab, or, if the lab created it, add it to aws_infrastructure_adopt.
    root_volumes:
      description: Ids of the root volumes of the lab's instances, and those of O(root_volumes).
      type: list
      elements: str
      sample: [vol-0123456789abcdef0]
    data_volumes:
      description: Ids of the lab's data volumes by the number of their host, also of those that no longer exist.
      type: dict
      sample: {"1": vol-0123456789abcdef2}
    blocking:
      description: Those of them that are in the lab's VPC, which cannot be deleted while they are there.
      type: list
      elements: str
      sample: []
"""

from collections.abc import Callable, Collection
from typing import Any

from ..module_utils._aws.resources import Address, Gateway, Instance, KeyPair, SecurityGroup, Volume, Vpc, profile_name
from ..module_utils._lab.ownership import (
    Claimed,
    Foreign,
    lab_keys,
    settle,
    wrong_with_address,
    wrong_with_data_volume,
    wrong_with_gateway,
    wrong_with_group,
    wrong_with_instance,
    wrong_with_key_pair,
    wrong_with_place,
    wrong_with_vpc,
)
from ..module_utils._lab.record import Record, read_record
from ..module_utils._problem import shown
from ..plugin_utils._lab.differences import plain
from ..plugin_utils._lab.kinds import KINDS

Item = dict[str, Any]
Found = dict[str, list[Item]]
Judge = Callable[[Item], str]

# Kinds that are only read to assess others.
NOT_OWN = ("image_snapshots", "named_key_pairs")
# The variable of role aws_infrastructure.
ADOPT = "aws_infrastructure_adopt"


def lab_ownership(
    found: Found,
    lab: str,
    key_name: str = "",
    *,
    region: str = "",
    role_tags: dict[str, str] | None = None,
    adopt: Collection[str] = (),
    public_key: str = "",
    root_volumes: Collection[str] = (),
) -> dict[str, Any]:
    """Return what belongs to a lab, and what only carries its tags."""
    # In a text, `in` would match parts of an id.
    adopt = {adopt} if isinstance(adopt, str) else set(adopt)
    keys = lab_keys(lab, key_name)
    record = None
    if role_tags is not None:
        claimed = Claimed(
            [read_vpc(item) for item in found["vpcs"]] if "vpcs" in found else None,
            [read_instance(item) for item in found.get("instances", [])],
            [read_gateway(item) for item in found.get("internet_gateways", [])],
            [read_address(item) for item in found.get("addresses", [])],
            [read_key_pair(item) for item in found.get("key_pairs", [])],
            [read_volume(item) for item in found.get("data_volumes", [])],
        )
        record = settle(lab, keys, read_record(lab, region, role_tags), claimed, adopt=adopt, public_key=public_key)

    own: Found = {kind: items for kind, items in found.items() if kind not in NOT_OWN}
    foreign: list[Foreign] = []

    def separate(judges: dict[str, Judge], adopted: set[str]) -> None:
        for kind, judge in judges.items():
            title, identifier = KINDS[kind]
            reasons = [(item, "" if item[identifier] in adopted else judge(item)) for item in found.get(kind, [])]
            if kind in found:
                own[kind] = [item for item, reason in reasons if not reason]
            foreign.extend(Foreign(title, item[identifier], reason) for item, reason in reasons if reason)

    # What the user adopts of these kinds is already in the record.
    separate(recorded_judges(lab, keys, record), set())
    if record and "data_volumes" in own:
        numbers = {identifier: number for number, identifier in record.data_volumes.items()}
        own["data_volumes"] = [{**plain(item), "index": numbers[item["id"]]} for item in own["data_volumes"]]
    # An instance that is shutting down may no longer have a VPC, so only its launch was assessed.
    launched = [read_instance(item) for item in own.get("instances", [])]
    roots = {*root_volumes, *(item.root_volume for item in launched if item.vpc_id or record is None)} - {""}
    if "root_volumes" in found:
        own["root_volumes"] = [item for item in found["root_volumes"] if item["id"] in roots]
    copies = [*found.get("snapshots", []), *found.get("image_snapshots", [])]
    snapshots = {item["snapshot_id"] for item in copies if item.get("volume_id") in roots}
    separate(disk_judges(roots, snapshots), adopt)

    here = {
        item[KINDS[kind][1]]
        for kind in ("instances", "security_groups")
        for item in found.get(kind, [])
        if record and record.vpc_id and item.get("vpc_id") == record.vpc_id
    }
    return {
        "own": own,
        "foreign": [str(thing) for thing in foreign],
        "lines": [f"{thing}. {thing.remedy(ADOPT)}" for thing in foreign],
        "blocking": [str(thing) for thing in foreign if thing.identifier in here],
        "root_volumes": sorted(roots),
        "data_volumes": dict(record.data_volumes) if record else {},
    }


def recorded_judges(lab: str, keys: set[str], record: Record | None) -> dict[str, Judge]:
    """Return by kind why a resource is not the lab's, for the kinds that its record decides."""

    def place(item: Item) -> str:
        return wrong_with_place(record, item.get("vpc_id") or "")

    def group(item: Item) -> str:
        judged = SecurityGroup(item["group_id"], item["group_name"], item.get("vpc_id") or "")
        return wrong_with_group(lab, record, judged)

    return {
        "vpcs": lambda item: wrong_with_vpc(record, item["vpc_id"]),
        "security_groups": group,
        "subnets": place,
        "route_tables": place,
        "internet_gateways": lambda item: wrong_with_gateway(record, read_gateway(item)),
        "instances": lambda item: wrong_with_instance(lab, keys, record, read_instance(item)),
        "addresses": lambda item: wrong_with_address(record, read_address(item)),
        "key_pairs": lambda item: wrong_with_key_pair(record, read_key_pair(item)),
        "data_volumes": lambda item: wrong_with_data_volume(record, item["id"]),
    }


def disk_judges(roots: set[str], snapshots: set[str]) -> dict[str, Judge]:
    """Return the same for disks and their copies, which belong to the lab's root volumes and their snapshots."""

    def volume(item: Item) -> str:
        return "" if item["id"] in roots else "it is not the root volume of an instance of the lab"

    def image(item: Item) -> str:
        parts = {
            (mapping.get("ebs") or {}).get("snapshot_id", "") for mapping in item.get("block_device_mappings") or []
        } - {"", None}
        return "" if parts and parts <= snapshots else "it was not made of a root volume of the lab"

    def snapshot(item: Item) -> str:
        origin = shown(item.get("volume_id") or "")
        return "" if item["snapshot_id"] in snapshots else f"it is a copy of {origin}, not of a root volume of the lab"

    return {"volumes": volume, "images": image, "snapshots": snapshot}


def read_vpc(item: Item) -> Vpc:
    """Return a VPC from what amazon.aws.ec2_vpc_net_info returns."""
    return Vpc(item["vpc_id"], item.get("cidr_block") or "", item.get("tags") or {})


def read_gateway(item: Item) -> Gateway:
    """Return an internet gateway from what amazon.aws.ec2_vpc_igw_info returns."""
    places = [attachment.get("vpc_id") or "" for attachment in item.get("attachments") or []]
    return Gateway(item["internet_gateway_id"], places, item.get("tags") or {})


def read_key_pair(item: Item) -> KeyPair:
    """Return a key pair from what amazon.aws.ec2_key_info returns."""
    return KeyPair(
        item["key_name"], item.get("tags") or {}, item.get("key_pair_id") or "", item.get("public_key") or ""
    )


def read_volume(item: Item) -> Volume:
    """Return a data volume from what amazon.aws.ec2_vol_info returns."""
    holder = next((attachment.get("instance_id") or "" for attachment in item.get("attachment_set") or []), "")
    return Volume(item["id"], item.get("size") or 0, item.get("zone") or "", item.get("tags") or {}, holder)


def read_instance(item: dict[str, Any]) -> Instance:
    """Return an instance from what amazon.aws.ec2_instance_info returns."""
    roots = [
        (mapping.get("ebs") or {}).get("volume_id", "")
        for mapping in item.get("block_device_mappings") or []
        if mapping.get("device_name") == item.get("root_device_name")
    ]
    return Instance(
        instance_id=item["instance_id"],
        instance_type=item.get("instance_type") or "",
        state=(item.get("state") or {}).get("name", ""),
        tags=item.get("tags") or {},
        vpc_id=item.get("vpc_id") or "",
        key_name=item.get("key_name") or "",
        profile=profile_name((item.get("iam_instance_profile") or {}).get("arn", "")),
        root_volume=next(iter(roots), ""),
    )


def read_address(item: dict[str, Any]) -> Address:
    """Return an Elastic IP address from what amazon.aws.ec2_eip_info returns."""
    holder = item.get("instance_id") or item.get("network_interface_id") or ""
    return Address(item.get("allocation_id") or "", item["public_ip"], item.get("tags") or {}, holder)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"lab_ownership": lab_ownership}
