# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_security_group_rules."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_security_group_rules
short_description: Format open ports as the rules of a security group
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns rules for M(amazon.aws.ec2_security_group), first those between the hosts, then those for the outside.
  - The variables of role aws_infrastructure decide which ports are open, in C(defaults/main.yml) and C(vars/main/security_group.yml).
options:
  _input:
    description:
      - The ports that are open to the outside, each with C(protocol), C(from_port), C(to_port), C(description) and
        C(audience).
    type: list
    elements: dict
    required: true
  internal_ports:
    description: The ports that are open between the hosts, in the same form without C(audience).
    type: list
    elements: dict
    required: true
  group:
    description: Name of the security group.
    type: str
    required: true
  sources:
    description: The networks of each audience.
    type: dict
    required: true
  caller_audiences:
    description:
      - Audiences whose sources are addresses of callers. The descriptions of their rules are marked, so that
        M(digital_twin.robotics_lab.lab_preflight) preserves these addresses.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Configure the security group
  amazon.aws.ec2_security_group:
    name: warehouse-sg
    description: Hosts
    rules: "{{ ports | digital_twin.robotics_lab.lab_security_group_rules([], 'warehouse-sg', sources) }}"
  vars:
    ports: [{protocol: tcp, from_port: 22, to_port: 22, description: SSH, audience: admin}]
    sources: {admin: [203.0.113.7/32]}
"""

RETURN = r"""
_value:
  description: The rules.
  type: list
  elements: dict
  sample: [{proto: tcp, from_port: 22, to_port: 22, cidr_ip: [203.0.113.7/32], rule_desc: SSH}]
"""

from collections.abc import Collection, Mapping
from typing import Any

from ..module_utils._preflight.snapshot import CALLER_MARK

# So that the mark fits within the 255 characters of a description.
LONGEST_MARKED = 200


def _opened(port: Mapping[str, Any]) -> dict[str, Any]:
    """Return protocol and range of a port."""
    return {"proto": port["protocol"], "from_port": int(port["from_port"]), "to_port": int(port["to_port"])}


def lab_security_group_rules(
    ports: list[dict[str, Any]],
    internal_ports: list[dict[str, Any]],
    group: str,
    sources: Mapping[str, list[str]],
    caller_audiences: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Format open ports as the rules of a security group."""
    between = [
        {**_opened(port), "group_name": group, "rule_desc": f"{port['description']} between the hosts of the lab"}
        for port in internal_ports
    ]
    outside = [
        {
            **_opened(port),
            "cidr_ip": sources[port["audience"]],
            "rule_desc": port["description"][:LONGEST_MARKED] + CALLER_MARK
            if port["audience"] in caller_audiences
            else port["description"],
        }
        for port in ports
    ]
    return between + outside


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_security_group_rules": lab_security_group_rules}
