#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that diagnoses a host's ROS 2 traffic."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ros2_network_info
version_added: 1.0.0
short_description: Diagnose the ROS 2 traffic of a host
description:
  - Checks the UDP sockets of all processes, also in containers, the variables of ROS 2 and its middleware with which
    they were started, the network interfaces that the configuration names, packets that the kernel drops, and the path
    to the peers, and compares them with the declared ROS 2 networking.
  - Takes four seconds, during which it watches the counters of the kernel and of sockets. Earlier counts of the kernel
    are returned in RV(counters), those of sockets in RV(notices), and are not findings.
  - Changes nothing, and sends one empty packet to each peer.
  - Of a process' environment only the variables of ROS 2 and its middleware are read, and inline configuration, which
    may hold passwords and keys, is not shown.
options:
  description:
    description:
      - How ROS 2 hosts should communicate, as the filter
        P(digital_twin.robotics_lab.ros2_network_plan#filter) accepts it.
    type: dict
    default: {}
  participants:
    description:
      - Participants that were discovered in the domain, each with an C(address) such as C(udp/10.0.1.10:7410@1), the
        form of Cyclone DDS.
      - Without it, no peer is reported as silent.
    type: list
    elements: dict
extends_documentation_fragment: digital_twin.robotics_lab._attributes.info
notes:
  - Needs root to see the sockets of other users' processes.
seealso:
  - plugin: digital_twin.robotics_lab.ros2_network_plan
    plugin_type: filter
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Diagnose a host of domain 42
  digital_twin.robotics_lab.ros2_network_info:
    description: {domain_id: 42, discovery: peers, peers: [10.0.1.10, 10.0.1.11]}
  register: ros2

- name: Report the findings
  ansible.builtin.debug:
    msg: "{{ item.symptom }}: {{ item.cause }}. {{ item.remedy }}"
  loop: "{{ ros2.findings }}"
"""

RETURN = r"""
findings:
  description: >-
    The problems, each with C(symptom), C(cause) and C(remedy), and its subject C(about) - a V(process), a V(peer)
    or an V(interface) with its name, V(packets), the V(kernel) or the V(files).
  returned: success
  type: list
  elements: dict
  sample:
    - symptom: listener (process 812) has lost 17 packets at UDP 7411 since it began to listen
      cause: "its receive buffer was full. It reads too slowly, or the buffer is too small for a burst"
      remedy: raise ros2_networking_receive_buffer, which is 33554432, or send less at once, and restart it
      about: packets
notices:
  description: >-
    What is correct but worth knowing, in the same format, such as a small buffer that a container cannot change.
  returned: success
  type: list
  elements: dict
  sample: []
processes:
  description: >-
    Processes of ROS 2 and those that listen in the ports of the domain, each with C(pid), C(name), its UDP C(ports),
    the C(indices) of its participants, and the ROS 2 variables of its C(environment).
  returned: success
  type: list
  elements: dict
  sample: [{pid: 812, name: listener, ports: [7410, 7411], indices: [0], environment: {ROS_DOMAIN_ID: "0"}}]
environment:
  description: ROS 2 variables of the environment file; empty without a file.
  returned: success
  type: dict
  sample: {ROS_DOMAIN_ID: "0", RMW_IMPLEMENTATION: rmw_cyclonedds_cpp}
counters:
  description: >-
    Packets since the host started - C(RcvbufErrors) that a full socket dropped, C(ReasmFails) and C(ReasmTimeout)
    that lost fragments, C(InErrors) that UDP dropped for any reason.
  returned: success
  type: dict
  sample: {InErrors: 9, RcvbufErrors: 9, ReasmTimeout: 0, ReasmFails: 0}
growth:
  description: The increase of RV(counters) while the module watched.
  returned: success
  type: dict
  sample: {InErrors: 2, RcvbufErrors: 2, ReasmTimeout: 0, ReasmFails: 0}
machine_id:
  description: The host's C(/etc/machine-id), by which Fast DDS distinguishes hosts.
  returned: success
  type: str
  sample: 9b2f0c1d4e5f4a6b8c7d9e0f1a2b3c4d
receive_limit:
  description: The largest receive buffer in bytes that a socket may have; null where it cannot be read.
  returned: success
  type: int
  sample: 33554432
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ros2 import ports
from ..module_utils._ros2.diagnosis import assess_traffic
from ..module_utils._ros2.host import HostTraffic, is_own, parse_interfaces, printable, read_host
from ..module_utils._ros2.request import Network, read


def present(network: Network, traffic: HostTraffic) -> dict[str, Any]:
    """Return the module's result."""
    assessment = assess_traffic(network, traffic)
    processes = []
    for process in traffic.processes:
        listening = sorted(entry.port for entry in process.sockets)
        indices = {index for port in listening if (index := ports.index_of(network.domain_id, port)) is not None}
        if process.is_ros or indices:
            processes.append(
                {
                    "pid": process.pid,
                    "name": process.name,
                    "ports": listening,
                    "indices": sorted(indices),
                    "environment": {name: printable(name, value) for name, value in process.environment.items()},
                }
            )
    return {
        "findings": [vars(finding) for finding in assessment.findings],
        "notices": [vars(notice) for notice in assessment.notices],
        "processes": processes,
        "environment": traffic.written or {},
        "counters": traffic.counters,
        "growth": traffic.growth,
        "machine_id": traffic.machine_id,
        "receive_limit": traffic.receive_limit,
    }


def find_silent(network: Network, peers: list[str], participants: list[dict[str, Any]]) -> list[str]:
    """Return the peers without a participant that answered."""
    answered = " ".join(str(participant.get("address", "")) for participant in participants)
    others = [peer for peer in peers if peer != network.external_address and not is_own(peer)]
    return [peer for peer in others if f"/{peer}:" not in answered]


def main() -> None:
    """Read and compare."""
    module = AnsibleModule(
        argument_spec={
            "description": {"type": "dict", "default": {}},
            "participants": {"type": "list", "elements": "dict"},
        },
        supports_check_mode=True,
    )
    network, problems = read(module.params["description"])
    if problems:
        module.fail_json(msg="; ".join(map(str, problems)))
    peers = network.peers if network.discovery == "peers" else []
    traffic = read_host(Path("/"), network.directory, peers, ports.of_participant(network.domain_id, 0).first)
    if module.params["participants"] is not None:
        traffic.silent = find_silent(network, peers, module.params["participants"])
    status, text, _error = module.run_command(["ip", "-json", "address", "show"])
    traffic.interfaces = parse_interfaces(text) if status == 0 else None
    module.exit_json(changed=False, **present(network, traffic))


if __name__ == "__main__":
    main()
