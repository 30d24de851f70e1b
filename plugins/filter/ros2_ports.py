# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter ros2_ports."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ros2_ports
short_description: Compute the ports of a ROS domain
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the UDP ports that DDS uses in a ROS domain, for a firewall or a security group, and the ports of a Fast DDS
    discovery server and a Zenoh router.
options:
  _input:
    description: The ROS domain, 0 to 101.
    type: int
    required: true
  participants:
    description: How many participants each host has, 1 to 120. Without it, all ports of the domain are returned.
    type: int
"""

EXAMPLES = r"""
- name: Show the ports of domain 42
  ansible.builtin.debug:
    msg: "{{ (42 | digital_twin.robotics_lab.ros2_ports).range }}"

- name: Show the ports that 20 participants on each host need
  ansible.builtin.debug:
    msg: "{{ (0 | digital_twin.robotics_lab.ros2_ports(participants=20)).range }}"
"""

RETURN = r"""
_value:
  description: >-
    The C(first) and the C(last) UDP port, both as a C(range), the UDP port of a Fast DDS C(discovery_server) and the
    TCP port of a C(zenoh) router.
  type: dict
  sample: {first: 17900, last: 18149, range: 17900-18149, discovery_server: 11811, zenoh: 7447}
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils._ros2 import ports
from ..module_utils._values import whole_number


def ros2_ports(domain: object, participants: object = None) -> dict[str, Any]:
    """Return the ports of a ROS domain."""
    number = whole_number(domain)
    lowest, highest = ports.DOMAINS
    if number is None or not lowest <= number <= highest:
        raise AnsibleFilterError(f"ros2_ports: {domain!r} is not a ROS domain. Allowed: {lowest} to {highest}.")
    found = ports.of_domain(number)
    if participants is not None:
        count, most = whole_number(participants), ports.most_participants(number)
        if count is None or not 1 <= count <= most:
            raise AnsibleFilterError(f"ros2_ports: participants is {participants!r}. Allowed: 1 to {most}.")
        found = ports.of_participants(number, count)
    return {
        "first": found.first,
        "last": found.last,
        "range": str(found),
        "discovery_server": ports.DISCOVERY_SERVER,
        "zenoh": ports.ZENOH_ROUTER,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"ros2_ports": ros2_ports}
