# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter ros2_network_mismatches."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ros2_network_mismatches
short_description: List settings in which ROS 2 hosts differ
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares the settings of several hosts. Contacts nothing, changes nothing.
options:
  _input:
    description: >-
      Hosts by name, each with its C(domain_id), C(rmw) and C(discovery), as the role C(ros2_networking) has them
      without their prefix, and its C(machine_id), as M(digital_twin.robotics_lab.ros2_network_info) returns it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Compare two hosts
  ansible.builtin.debug:
    msg: "{{ hosts | digital_twin.robotics_lab.ros2_network_mismatches }}"
  vars:
    hosts:
      robot-1: {domain_id: 0, rmw: rmw_cyclonedds_cpp, discovery: peers, machine_id: a1}
      robot-2: {domain_id: 42, rmw: rmw_cyclonedds_cpp, discovery: peers, machine_id: b2}
"""

RETURN = r"""
_value:
  description: The differences, each with its C(symptom), C(cause) and C(remedy).
  type: list
  elements: dict
  sample:
    - symptom: some hosts receive nothing from the others
      cause: ros2_networking_domain_id is 0 on robot-1; 42 on robot-2
      remedy: set ros2_networking_domain_id to one value on all hosts, such as 0, and apply the role
"""

from typing import Any

from ..module_utils._ros2.diagnosis import compare_hosts


def ros2_network_mismatches(hosts: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Return the differences between hosts."""
    return [vars(finding) for finding in compare_hosts(hosts)]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"ros2_network_mismatches": ros2_network_mismatches}
