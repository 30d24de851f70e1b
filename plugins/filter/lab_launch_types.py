# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_launch_types."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_launch_types
short_description: List the instance types to try for a lab, in order
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns a lab's instance type, then all others on which its profile runs well, the cheapest first, for
    M(digital_twin.robotics_lab.instance_launch). Contacts nothing, changes nothing.
positional: first, zones, described, most
options:
  _input:
    description: The C(offers) of P(digital_twin.robotics_lab.stack_offers#filter). Empty for no other type.
    type: list
    elements: dict
    required: true
  first:
    description: The type of the lab, with its C(name), C(zones) and C(gpus).
    type: dict
    required: true
  zones:
    description: The zones that offer each type. A type without zones is left out.
    type: dict
    default: {}
  described:
    description: Instance types as EC2's DescribeInstanceTypes returns them, for their GPUs.
    type: list
    elements: dict
    default: []
  most:
    description:
      - How many times the price of the first one another type may cost.
      - Without a price for the first one, there is no other type.
    type: float
    default: 2.0
  lab:
    description:
      - Where the prices are from, its C(region) and C(instance_catalogue), with the user's prices. When empty, the
        types have no prices.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report the types to try
  ansible.builtin.debug:
    msg: "{{ offers.offers | digital_twin.robotics_lab.lab_launch_types(first, offered.zones, offered.described) }}"
  vars:
    first: {name: g6.xlarge, zones: [us-east-1a], gpus: 1}
"""

RETURN = r"""
_value:
  description: The types in order, for the module's O(digital_twin.robotics_lab.instance_launch#module:instance_types).
  type: list
  elements: dict
  sample:
    - {name: g6.xlarge, zones: [us-east-1a], gpus: 1, price_per_hour: 0.8048, price_estimated: false}
    - {name: g5.xlarge, zones: [us-east-1a, us-east-1b], gpus: 1, price_per_hour: 1.006, price_estimated: false}
"""

from typing import Any

from ..plugin_utils._cost.prices import own_types, prices_of


def lab_launch_types(
    offers: list[dict[str, Any]],
    first: dict[str, Any],
    zones: dict[str, list[str]] | None = None,
    described: list[dict[str, Any]] | None = None,
    most: float = 2.0,
    *,
    lab: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the instance types to try, in order."""
    places = zones or {}
    gpus = {
        entry["InstanceType"]: sum(int(gpu["Count"]) for gpu in entry.get("GpuInfo", {}).get("Gpus", []))
        for entry in described or []
    }
    prices = {offer["type"]: offer["price_per_hour"] for offer in offers}
    limit = (prices.get(first["name"]) or 0) * most
    names = [
        offer["type"]
        for offer in offers
        if not offer["reasons"]
        and offer["type"] != first["name"]
        and offer["price_per_hour"] is not None
        and offer["price_per_hour"] <= limit
        and places.get(offer["type"])
    ]
    others = [{"name": name, "zones": list(places[name]), "gpus": gpus.get(name, 1)} for name in names]
    found = [{"name": first["name"], "zones": list(first["zones"]), "gpus": int(first["gpus"])}, *others]
    if not lab:
        return found
    known = prices_of(lab["region"], None, own_types(lab["instance_catalogue"]))
    costs = [known.instance(entry["name"]) for entry in found]
    return [
        {**entry, "price_per_hour": price, "price_estimated": estimated}
        for entry, (price, estimated) in zip(found, costs, strict=True)
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"lab_launch_types": lab_launch_types}
