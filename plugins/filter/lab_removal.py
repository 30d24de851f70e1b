# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_removal."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_removal
short_description: List the AWS resources of a lab that a removal deletes
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns what is to be deleted of a lab, and what prevents it. Contacts nothing, changes nothing.
options:
  _input:
    description: What belongs to the lab, as P(digital_twin.robotics_lab.lab_ownership#filter) returns it.
    type: dict
    required: true
  backups:
    description: Whether images and snapshots are deleted as well.
    type: bool
    default: false
  data:
    description: Whether data volumes are deleted as well. The lab's role, which records them, stays with kept ones.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Report what is left of a lab
  ansible.builtin.debug:
    msg: "{{ (aws_infrastructure_found | digital_twin.robotics_lab.lab_removal).lines }}"
"""

RETURN = r"""
_value:
  description: The resources to delete.
  type: dict
  contains:
    lines:
      description: One line for each kind, with the identifiers by which the console shows the resources.
      type: list
      elements: str
      sample: ["instances: i-0123456789abcdef0", "vpcs: vpc-0123456789abcdef0"]
    volumes:
      description: Those of the input that AWS does not delete with their instances.
      type: list
      elements: dict
      sample: [{id: vol-0123456789abcdef0}]
    protected:
      description: Ids of the instances that have termination protection.
      type: list
      elements: str
      sample: [i-0123456789abcdef0]
    backups:
      description: Ids of the images and snapshots.
      type: list
      elements: str
      sample: [ami-0123456789abcdef0]
    data_volumes:
      description: The data volumes to delete.
      type: list
      elements: dict
      sample: []
    kept:
      description: The data volumes that stay.
      type: list
      elements: dict
      sample: [{id: vol-0123456789abcdef1}]
    roles:
      description: The roles to delete.
      type: list
      elements: dict
      sample: [{role_name: warehouse-instance}]
    cleared:
      description: The tags of a role that stays, with which it records the data volumes alone. Empty when it does.
      type: dict
      sample: {digital_twin_vpc: ""}
    unsafe:
      description: A line for each kept data volume that AWS would delete with its instance.
      type: list
      elements: str
      sample: []
    recorded:
      description: The id of the VPC, as C(vpc), and the allocation ids of the addresses that the lab has recorded.
      type: dict
      sample: {vpc: vpc-0123456789abcdef0, addresses: [eipalloc-0123456789abcdef0]}
"""

from collections.abc import Mapping
from typing import Any

from ..module_utils._lab.record import ADDRESS_TAGS, VPC_TAG, clear_record
from ..plugin_utils._lab.data_volumes import check_kept
from ..plugin_utils._lab.kinds import BACKUPS, KINDS


def lab_removal(found: Mapping[str, Any], backups: bool = False, data: bool = False) -> dict[str, Any]:
    """Return what is to be deleted of a lab."""
    volumes = list(found.get("data_volumes") or ())
    kept = [] if data else volumes
    stays = {"data_volumes", "roles"} if kept else set()
    ids = {kind: [item[key] for item in found.get(kind) or ()] for kind, (_title, key) in KINDS.items()}
    instances = found.get("instances") or ()
    deleted_with_instances = {
        mapping["ebs"]["volume_id"]
        for item in instances
        for mapping in item.get("block_device_mappings") or ()
        if mapping["device_name"] == item.get("root_device_name") and mapping["ebs"]["delete_on_termination"]
    }
    tags: dict[str, str] = next((role["tags"] for role in found.get("roles") or ()), {})
    recorded = " ".join(tags.get(name, "") for name in ADDRESS_TAGS).split()
    return {
        "lines": [
            f"{kind.replace('_', ' ')}: {', '.join(ids[kind])}"
            for kind in KINDS
            if ids[kind] and (backups or kind not in BACKUPS) and kind not in stays
        ],
        "volumes": [item for item in found.get("volumes") or () if item["id"] not in deleted_with_instances],
        "protected": [
            item["instance_id"] for item in instances if item["attributes"]["disable_api_termination"]["value"]
        ],
        "data_volumes": volumes if data else [],
        "kept": kept,
        "roles": [] if kept else list(found.get("roles") or ()),
        "cleared": clear_record(tags) if kept else {},
        "unsafe": [line for item in instances for line in check_kept(item, {volume["id"]: volume for volume in kept})],
        "backups": ids["images"] + ids["snapshots"],
        "recorded": {
            "vpc": tags.get(VPC_TAG, ""),
            "addresses": [entry.rpartition("=")[2] for entry in recorded],
        },
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_removal": lab_removal}
