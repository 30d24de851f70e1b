# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_plan
short_description: List the AWS resources that would be created for a lab
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns what is missing of a lab, in the order in which the role
    P(digital_twin.robotics_lab.aws_infrastructure#role) creates it. For check mode.
options:
  _input:
    description: What belongs to the lab, as P(digital_twin.robotics_lab.lab_ownership#filter) returns it.
    type: dict
    required: true
  declared:
    description: The description of the lab, as for P(digital_twin.robotics_lab.lab_differences#filter).
    type: dict
    required: true
  launch:
    description: The missing instances - their names as C(hosts), C(instance_type), C(image_id) and C(zone).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report what would be created
  ansible.builtin.debug:
    msg: "{{ aws_infrastructure_found | digital_twin.robotics_lab.lab_plan(declared, launch) }}"
"""

RETURN = r"""
_value:
  description: The missing resources in words.
  type: list
  elements: str
  sample: ["VPC warehouse-vpc, 10.0.0.0/16", Elastic IP warehouse-1]
"""

from collections.abc import Mapping
from typing import Any


def lab_plan(found: Mapping[str, Any], declared: Mapping[str, Any], launch: Mapping[str, Any]) -> list[str]:
    """Return what would be created, in the order of creation."""
    name, role, key, volume = declared["name"], declared["role"], declared["key_pair"], declared["volume"]
    role_parts = [f"IAM role {role['name']}", ", ".join(role["attach"]), role["permissions_boundary"]]
    policies = ", ".join(policy["title"] for policy in role["inline_policies"] if policy["wanted"])
    parts = [
        ("roles", " with ".join(filter(None, role_parts))),
        ("roles", f"inline policies for {policies}"),
        ("instance_profiles", f"instance profile {role['name']}"),
        ("vpcs", f"VPC {name}-vpc, {declared['vpc_cidr']}"),
        ("internet_gateways", f"internet gateway {name}-igw"),
        ("subnets", f"subnet {name}-subnet, {declared['subnet_cidr']} in {launch['zone']}"),
        ("route_tables", f"route table {name}-routes, 0.0.0.0/0 to the internet gateway"),
        ("security_groups", f"security group {name}-sg with {len(declared['rules'])} rules"),
        *([("key_pairs", f"key pair {name} from {key['file']}")] if key["own"] else []),
    ]
    instance = f"{launch['instance_type']} with {volume['size']} GiB from {launch['image_id']}"
    there = {address["name"] for address in declared["addresses"]}
    return [
        *(text for kind, text in parts if not found[kind]),
        *(f"instance {host}, {instance}" for host in launch["hosts"]),
        *(f"Elastic IP {host}" for host in declared["hosts"] if host not in there),
    ]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_plan": lab_plan}
