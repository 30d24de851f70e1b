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
  - Any caller that may tag resources can give a lab's tags to others. What belongs to a lab is also in its VPC, and an
    instance has its key pair and its instance profile as well. Contacts nothing, changes nothing.
options:
  _input:
    description:
      - What carries the lab's tags, by kind, each a list as the C(_info) modules of C(amazon.aws) return it -
        C(vpcs), C(security_groups), C(subnets), C(route_tables), C(internet_gateways), C(instances), C(addresses),
        C(volumes) and C(key_pairs).
      - Without C(vpcs) the VPC of the others is not compared, without C(instances) not the instance that has an
        address.
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
"""

EXAMPLES = r"""
- name: Report what only carries the lab's tags
  ansible.builtin.debug:
    msg: "{{ (found | digital_twin.robotics_lab.lab_ownership('warehouse')).foreign }}"
  vars:
    found:
      instances: "{{ instances_info.instances }}"
      volumes: "{{ volumes_info.volumes }}"
"""

RETURN = r"""
_value:
  description: What belongs to the lab, and what does not.
  type: dict
  contains:
    own:
      description: The kinds of the input, each with what belongs to the lab.
      type: dict
      sample: {volumes: [{id: vol-0123456789abcdef0}]}
    foreign:
      description: What does not, each as one phrase with the reason.
      type: list
      elements: str
      sample: [volume vol-0123456789abcdef1 (it is not the root volume of an instance of the lab)]
    blocking:
      description: Those of them that are in the lab's VPC, which cannot be deleted while they are there.
      type: list
      elements: str
      sample: []
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws_account import (
    Address,
    Instance,
    SecurityGroup,
    Vpc,
    profile_name,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab_ownership import (
    Foreign,
    lab_keys,
    wrong_with_address,
    wrong_with_instance,
    wrong_with_place,
    wrong_with_vpc,
)

Found = dict[str, list[dict[str, Any]]]


def lab_ownership(found: Found, lab: str, key_name: str = "") -> dict[str, Any]:
    """Return what belongs to a lab, and what only carries its tags."""
    own: Found = dict(found)
    foreign: list[Foreign] = []

    def keep(kind: str, title: str, identifier: str, wrong: Callable[[dict[str, Any]], str]) -> None:
        """Keep of a kind what nothing is wrong with, and note the rest."""
        reasons = [(item, wrong(item)) for item in found.get(kind, [])]
        if kind in found:
            own[kind] = [item for item, reason in reasons if not reason]
        foreign.extend(Foreign(title, item[identifier], reason) for item, reason in reasons if reason)

    groups = [
        SecurityGroup(group["group_id"], group["group_name"], group.get("vpc_id") or "")
        for group in found.get("security_groups", [])
    ]
    keep("vpcs", "VPC", "vpc_id", lambda vpc: wrong_with_vpc(lab, read_vpc(vpc), groups))
    vpc_ids = {vpc["vpc_id"] for vpc in own["vpcs"]} if "vpcs" in own else None
    for kind, title, identifier in (
        ("security_groups", "security group", "group_id"),
        ("subnets", "subnet", "subnet_id"),
        ("route_tables", "route table", "route_table_id"),
    ):
        keep(kind, title, identifier, lambda item: wrong_with_place(item.get("vpc_id") or "", vpc_ids))
    # One that is attached to nothing was made by a run that died before it could attach it.
    keep(
        "internet_gateways", "internet gateway", "internet_gateway_id", lambda item: _wrong_with_gateway(item, vpc_ids)
    )
    keys = lab_keys(lab, key_name)
    keep(
        "instances",
        "instance",
        "instance_id",
        lambda item: wrong_with_instance(lab, keys, vpc_ids, read_instance(item)),
    )
    instance_ids = {item["instance_id"] for item in own["instances"]} if "instances" in own else None
    keep("addresses", "address", "public_ip", lambda item: wrong_with_address(instance_ids, read_address(item)))
    roots = {read_instance(item).root_volume for item in own.get("instances", [])}
    keep(
        "volumes",
        "volume",
        "id",
        lambda item: "" if item["id"] in roots else "it is not the root volume of an instance of the lab",
    )
    keep(
        "key_pairs",
        "key pair",
        "key_name",
        lambda item: "" if item["key_name"] == lab else f"the lab's own key pair is {lab}",
    )
    here = {item["instance_id"] for item in found.get("instances", []) if item.get("vpc_id") in (vpc_ids or ())}
    return {
        "own": own,
        "foreign": [str(thing) for thing in foreign],
        "blocking": [str(thing) for thing in foreign if thing.identifier in here],
    }


def _wrong_with_gateway(item: dict[str, Any], vpc_ids: set[str] | None) -> str:
    """Return why a tagged internet gateway does not belong to a lab, or nothing."""
    places = [attachment.get("vpc_id") or "" for attachment in item.get("attachments") or []]
    return next(filter(None, (wrong_with_place(place, vpc_ids) for place in places)), "")


def read_vpc(item: dict[str, Any]) -> Vpc:
    """Return a VPC from what amazon.aws.ec2_vpc_net_info returns."""
    return Vpc(item["vpc_id"], item.get("cidr_block") or "", item.get("tags") or {})


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
