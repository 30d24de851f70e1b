# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_data_volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_data_volumes
short_description: Plan the data volumes of a lab's hosts
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares the data volumes of a lab with its description. Each host has one at most, in its zone, which outlives its
    instance.
  - A data volume belongs to a lab by its record alone, as any caller that may tag resources can give the tags to
    others.
  - Contacts nothing, changes nothing.
options:
  _input:
    description:
      - C(instances) and C(data_volumes) of the lab, as P(digital_twin.robotics_lab.lab_ownership#filter) returns them.
    type: dict
    required: true
  lab:
    description:
      - C(name), C(region), C(hosts), the numbers of its hosts, C(size), C(iops) and C(throughput) of a data volume, its
        C(tags), the user's C(prices) and C(instance_catalogue), C(listed) prices if there are any.
      - C(recorded) has the ids of its data volumes by the number of their host, as
        P(digital_twin.robotics_lab.lab_ownership#filter) returns them.
      - C(zones) are the zones in which a new host can be launched, if they are known.
    type: dict
    required: true
  others:
    description: Data volumes that carry the tags of the lab and do not belong to it.
    type: list
    elements: dict
    default: []
seealso:
  - plugin: digital_twin.robotics_lab.lab_ownership
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Report what prevents the data volumes
  ansible.builtin.debug:
    msg: "{{ (found | digital_twin.robotics_lab.lab_data_volumes(lab)).problems }}"
  vars:
    found: {instances: [], data_volumes: []}
    lab:
      name: warehouse
      region: us-east-1
      hosts: ["1"]
      size: 100
      iops: 3000
      throughput: 125
      tags: {}
      recorded: {}
      prices: {}
      instance_catalogue: []
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    problems:
      description: What prevents it, one line each.
      type: list
      elements: str
    notes:
      description: What stays and costs money, and where hosts are launched, one line each.
      type: list
      elements: str
    zones:
      description: The zones of existing data volumes by the number of their host. With a size of 0 it is empty.
      type: dict
    create:
      description:
        - The hosts that get a new data volume, each with C(index), C(host), C(volume_id), C(zone), C(instance_id),
          C(device) and C(tags). Zone and instance are empty where the host does not exist yet.
      type: list
      elements: dict
    attach:
      description: The hosts whose data volume is attached, in the same form.
      type: list
      elements: dict
    modify:
      description: The hosts whose data volume differs, in the same form, with what differs as C(modify).
      type: list
      elements: dict
    differences:
      description: The differences in words.
      type: list
      elements: str
    lines:
      description: The data volumes in words, each with its price.
      type: list
      elements: str
  sample:
    problems: []
    notes: []
    zones: {"1": us-east-1a}
    create: []
    attach: []
    modify: []
    differences: []
    lines: ["vol-0123456789abcdef1 (100 GiB in us-east-1a, $8.00 a month), the data volume of warehouse-1"]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..plugin_utils._lab.data_volumes import plan_data_volumes


def lab_data_volumes(
    found: Mapping[str, Any], lab: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return the plan."""
    return plan_data_volumes(found, others, lab)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_data_volumes": lab_data_volumes}
