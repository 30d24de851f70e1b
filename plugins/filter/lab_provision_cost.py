# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_provision_cost."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_provision_cost
short_description: Calculate what provisioning a lab changes in its cost
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares the hosts of a lab with its description, at the list prices of its region.
  - Contacts nothing, changes nothing.
options:
  _input:
    description: The instances of the lab, as M(digital_twin.robotics_lab.lab_resources_info) returns them.
    type: list
    elements: dict
    required: true
  volumes:
    description: Their root volumes, in the same form.
    type: list
    elements: dict
    required: true
  declared:
    description:
      - The description of the lab, as in P(digital_twin.robotics_lab.lab_differences#filter). C(volume) has C(size),
        C(iops) and C(throughput) of each root volume, C(launch) the C(hosts) to create and their C(instance_type).
      - C(data), if any, has C(size), C(iops) and C(throughput) of the data volumes, and the numbers of the C(hosts)
        that have one.
    type: dict
    required: true
  lab:
    description: C(region), the user's C(prices) and C(instance_catalogue), and C(listed) prices if there are any.
    type: dict
    required: true
  data_volumes:
    description: The data volumes of the lab, as P(digital_twin.robotics_lab.lab_ownership#filter) returns them.
    type: list
    elements: dict
    default: []
  excess:
    description: The ids of instances that are terminated.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Report what the changes cost
  ansible.builtin.debug:
    msg: "{{ (instances | digital_twin.robotics_lab.lab_provision_cost(volumes, declared, lab)).line }}"
  vars:
    instances: []
    volumes: []
    declared:
      volume: {size: 200, iops: 3000, throughput: 125}
      launch: {hosts: [warehouse-1], instance_type: g5.xlarge}
    lab: {region: us-east-1, prices: {}, instance_catalogue: []}
"""

RETURN = r"""
_value:
  description:
    - The difference, as P(digital_twin.robotics_lab.lab_cost_change#filter) returns it. Without any C(line) is empty.
  type: dict
  sample:
    per_month: 754.03
    per_month_stopped: 19.65
    without_price: []
    estimated: false
    line: This change costs +$754.03 a month if always on, +$19.65 stopped.
"""

from typing import Any

from ..plugin_utils._cost.prices import own_types, prices_of
from ..plugin_utils._cost.rates import difference, difference_line, provisioned, provisioned_disks


def lab_provision_cost(
    instances: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    declared: dict[str, Any],
    lab: dict[str, Any],
    excess: list[str] | None = None,
    *,
    data_volumes: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the difference."""
    before, after = provisioned(instances, volumes, declared, excess or [])
    data = declared.get("data")
    disks = provisioned_disks(data_volumes or [], data) if data else ([], [])
    prices = prices_of(lab["region"], lab["prices"], own_types(lab["instance_catalogue"]), lab.get("listed"))
    found = difference(before, after, prices, disks)
    changes = (before, disks[0]) != (after, disks[1]) and (found["per_month"] != 0 or found["per_month_stopped"] != 0)
    return {**found, "line": difference_line(found) if changes else ""}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_provision_cost": lab_provision_cost}
