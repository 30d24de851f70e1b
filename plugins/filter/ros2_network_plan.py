# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter ros2_network_plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ros2_network_plan
short_description: Compute ports, sizes and settings of ROS 2 networking
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the UDP ports, the settings of Cyclone DDS, Fast DDS and Zenoh, the environment and the kernel settings,
    or the problems that prevent them. Contacts nothing, changes nothing.
  - The options are those of the role C(ros2_networking), whose README describes them, without their prefix.
options:
  _input:
    description: How ROS 2 hosts should communicate.
    type: dict
    required: true
    suboptions:
      domain_id:
        description: The ROS domain, 0 to 101.
        type: int
        default: 0
      rmw:
        description: The implementation of RMW, V(rmw_cyclonedds_cpp), V(rmw_fastrtps_cpp) or V(rmw_zenoh_cpp).
        type: str
        default: rmw_cyclonedds_cpp
      other_rmws:
        description: Other RMW implementations that some processes use. They must use the same protocol.
        type: list
        elements: str
        default: []
      discovery:
        description: How participants discover each other, V(host), V(bridge), V(peers), V(discovery_server) or
          V(zenoh).
        type: str
        default: host
      participants:
        description: Maximum number of participants on a host.
        type: int
        default: 45
      firewall_ports:
        description: UDP ports that a firewall allows, such as V(7400-7500); empty without a firewall.
        type: str
        default: ""
      path_mtu:
        description: The largest packet of the path in bytes; 0 for the default of the mode.
        type: int
        default: 0
      interface:
        description: Name of the network interface; empty for the library's own choice, with V(host) for C(lo).
        type: str
        default: ""
      multicast:
        description: Whether discovery uses multicast; left out, only with V(bridge).
        type: bool
      peers:
        description: IPv4 addresses of the hosts, the same list on each.
        type: list
        elements: str
        default: []
      external_address:
        description: The IPv4 address at which others reach this host behind a 1:1 NAT.
        type: str
        default: ""
      discovery_servers:
        description: Addresses of Fast DDS discovery servers, each with or without a port.
        type: list
        elements: str
        default: []
      zenoh_routers:
        description: Addresses of Zenoh routers, each with or without a port.
        type: list
        elements: str
        default: []
      receive_buffer:
        description: How many unread bytes a socket may hold.
        type: int
        default: 33554432
      send_buffer:
        description: How many unsent bytes a socket may hold.
        type: int
        default: 33554432
      cyclonedds_version:
        description: Version of Cyclone DDS that the environment selects, V(0.10) or V(11).
        type: str
        default: "0.10"
      fragment_seconds:
        description: How many seconds the kernel waits for the rest of a packet.
        type: int
        default: 3
      fragment_memory:
        description: How many bytes of incomplete packets the kernel keeps.
        type: int
        default: 134217728
      netdev_max_backlog:
        description: How many packets may wait for a processor; 0 keeps the kernel's value.
        type: int
        default: 0
      default_receive_buffer:
        description: The receive buffer of a socket that requests none, in bytes; 0 keeps the kernel's value.
        type: int
        default: 0
      directory:
        description: Folder of the rendered files.
        type: str
        default: /etc/ros2-networking
      own_addresses:
        description: IPv4 addresses of this host, which identify it in the list of routers; not a variable of the role.
        type: list
        elements: str
        default: []
      interface_address:
        description: IPv4 address of the network interface, where it is known; not a variable of the role.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: Show the ports that two hosts need between them
  ansible.builtin.debug:
    msg: "{{ ({'domain_id': 42, 'participants': 20} | digital_twin.robotics_lab.ros2_network_plan).ports.range }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    problems:
      description: Why the description cannot work, one line each. If there are any, the other values are empty.
      type: list
      elements: str
      sample: ["ros2_networking_participants: 0 is too small. Allowed: 1 to 120 on each host. Count the processes"]
    warnings:
      description: Warnings, one line each.
      type: list
      elements: str
      sample: []
    ports:
      description: >-
        UDP ports. C(first) and C(last) are the domain's, C(needed_first), C(needed_last) and C(range) those that its
        participants use, C(multicast_discovery) and C(multicast_data) those of multicast. C(participants_within) is
        how many participants a host may have behind the firewall, C(most_participants) in the domain.
      type: dict
      sample: {first: 7400, last: 7649, range: 7400-7499, participants_within: 45}
    message:
      description: In bytes, the C(mtu) of the path, the C(max_message_size), and the C(fragment_size) of samples.
      type: dict
      sample: {mtu: 1500, max_message_size: 1472, fragment_size: 1344}
    dds:
      description: >-
        Settings of the Cyclone DDS configuration and the Fast DDS profile, which templates of the role
        C(ros2_networking) render.
      type: dict
      sample: {interface: {name: lo, multicast: "false"}, multicast: false, participants: 45, peers: [127.0.0.1]}
    zenoh:
      description: Settings of a Zenoh C(session) and a C(router); empty with another RMW.
      type: dict
      sample: {}
    environment:
      description: The environment of every ROS 2 process.
      type: dict
      sample: {RMW_IMPLEMENTATION: rmw_cyclonedds_cpp, ROS_DOMAIN_ID: "0"}
    kernel:
      description: The kernel's settings, those that may be larger in C(at_least), the others in C(exactly).
      type: dict
      sample: {at_least: {net.core.rmem_max: 33554432}, exactly: {net.ipv4.ipfrag_time: 3}}
    compose_sysctls:
      description: C(sysctls) of containers on a bridge network, which inherit none from their host.
      type: dict
      sample: {net.ipv4.ipfrag_time: "3"}
    loopback_multicast:
      description: Whether the loopback interface needs the flag for multicast.
      type: bool
      sample: false
"""

from typing import Any

from ..module_utils._ros2.plan import plan


def ros2_network_plan(description: dict[str, Any]) -> dict[str, Any]:
    """Return the plan for a description."""
    return plan(description)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"ros2_network_plan": ros2_network_plan}
