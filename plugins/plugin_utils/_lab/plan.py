# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""List what would be created for a lab, for check mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def list_missing(found: Mapping[str, Any], declared: Mapping[str, Any]) -> list[str]:
    """Return the missing resources of a lab in words, in the order of their creation."""
    name, role, key, launch = declared["name"], declared["role"], declared["key_pair"], declared["launch"]
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
    instance = f"{launch['instance_type']} with {declared['volume']['size']} GiB from {launch['image_id']}"
    there = {address["name"] for address in declared["addresses"]}
    return [
        *(text for kind, text in parts if not found[kind]),
        *(f"instance {host}, {instance}" for host in launch["hosts"]),
        *(f"data volume {host}-data, {declared['data']['size']} GiB" for host in declared.get("data_missing") or ()),
        *(f"Elastic IP {host}" for host in declared["hosts"] if host not in there),
    ]
