# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan: ports, sizes, environment and kernel settings that follow from a request. Pure functions."""

from __future__ import annotations

from typing import Any

from . import ports
from .request import CYCLONE, FAST, LOOPBACK_MTU, ZENOH, Network, read, read_endpoint, warn

LOOPBACK = "127.0.0.1"
IP_AND_UDP_HEADERS = 28
# UDP carries less than the loopback interface would.
LARGEST_MESSAGE = 65500
# Bytes of RTPS headers before the data of a fragment, and of submessages that may share a message with it.
RTPS_HEADERS = 128
PARTS = ("ports", "message", "dds", "zenoh", "environment", "kernel", "compose_sysctls")


def plan(description: dict[str, Any]) -> dict[str, Any]:
    """Return everything that follows from a description, or the problems that prevent it."""
    network, problems = read(description)
    if problems:
        nothing: dict[str, Any] = {part: {} for part in PARTS}
        texts = [str(problem) for problem in problems]
        return {"problems": texts, "warnings": [], **nothing, "loopback_multicast": False}
    return {
        "problems": [],
        "warnings": warn(network),
        "ports": used_ports(network),
        "message": message(network),
        "dds": dds(network),
        "zenoh": {"session": zenoh_session(network), "router": zenoh_router(network)} if network.rmw == ZENOH else {},
        "environment": environment(network),
        "kernel": kernel(network),
        "compose_sysctls": compose_sysctls(network),
        # The loopback interface carries multicast without the flag, but programs look for the flag.
        "loopback_multicast": network.uses_multicast and network.discovery == "host",
    }


def used_ports(network: Network) -> dict[str, Any]:
    """Return the UDP ports of the domain, and which of them its participants use."""
    whole = ports.of_domain(network.domain_id)
    needed = ports.of_participants(network.domain_id, network.participants)
    allowed = ports.read_range(network.firewall_ports) if network.firewall_ports else whole
    return {
        "first": whole.first,
        "last": whole.last,
        "needed_first": needed.first,
        "needed_last": needed.last,
        "range": str(needed),
        "multicast_discovery": whole.first + ports.MULTICAST_DISCOVERY,
        "multicast_data": whole.first + ports.MULTICAST_DATA,
        "participants_within": ports.participants_within(network.domain_id, allowed or whole),
        "most_participants": ports.most_participants(network.domain_id),
    }


def message(network: Network) -> dict[str, int]:
    """Return sizes in bytes, such that a message travels in one packet and a larger sample is cut to fit."""
    size = min(network.mtu - IP_AND_UDP_HEADERS, LARGEST_MESSAGE)
    return {"mtu": network.mtu, "max_message_size": size, "fragment_size": size - RTPS_HEADERS}


def dds(network: Network) -> dict[str, Any]:
    """Return the settings of the Cyclone DDS configuration and the Fast DDS profile."""
    interface: dict[str, Any] = {}
    if network.device:
        # By address where it is known: the name changes with the type of an instance, and then no participant starts.
        own = network.device_address
        interface = {"address": own} if own else {"name": network.device}
        if not network.uses_multicast:
            interface["multicast"] = "false"
        elif network.mtu == LOOPBACK_MTU:
            # The loopback interface carries multicast, and does not have the flag.
            interface["multicast"] = "true"
    return {
        "interface": interface,
        "allowed_interfaces": allowed_interfaces(network),
        "multicast": network.uses_multicast,
        "external_address": network.external_address,
        "participants": network.participants,
        "peers": contacted_peers(network),
        "initial_peers": [] if network.discovery == "discovery_server" else contacted_peers(network),
        "receive_buffer": network.receive_buffer,
        "send_buffer": network.send_buffer,
    }


def allowed_interfaces(network: Network) -> list[dict[str, str]]:
    """Return the interfaces that Fast DDS may use; empty for all of them."""
    if not network.device:
        return []
    allowed = []
    # By address: Fast DDS before 2.13, which comes with ROS 2 Humble and Debian 12, does not support names.
    if network.device_address:
        allowed.append({"kind": "address", "value": network.device_address})
    elif network.device != "lo":
        allowed.append({"kind": "interface", "value": network.device})
    return [*allowed, {"kind": "address", "value": LOOPBACK}]


def contacted_peers(network: Network) -> list[str]:
    """Return the addresses at which a participant looks for others, its own host's included; empty with multicast."""
    if network.uses_multicast or network.discovery == "bridge":
        return []
    # Without multicast the participants of one host only discover each other when it is a peer, too.
    peers = [LOOPBACK, *(network.peers if network.discovery == "peers" else [])]
    return list(dict.fromkeys(peers))


def environment(network: Network) -> dict[str, str]:
    """Return the environment of every ROS 2 process."""
    found = {
        "RMW_IMPLEMENTATION": network.rmw,
        "ROS_DOMAIN_ID": str(network.domain_id),
        # Otherwise ROS 2 adds its own choices, such as multicast, to the configuration.
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
        # These override the configuration, so they are cleared where a shell or an image sets them. Jazzy warns about
        # any value of the first, even 0.
        "ROS_LOCALHOST_ONLY": "",
        "ROS_STATIC_PEERS": "",
    }
    if network.rmw == CYCLONE:
        found["CYCLONEDDS_URI"] = f"file://{network.directory}/cyclonedds-{network.cyclonedds_version}.xml"
    if network.rmw == FAST:
        # One name since ROS 2 Iron, the other before.
        found |= dict.fromkeys(
            ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"), f"{network.directory}/fastdds.xml"
        )
        # As in the profile, where a shell or an image sets others.
        found["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
    if network.discovery == "discovery_server":
        servers = [read_endpoint(server, ports.DISCOVERY_SERVER) for server in network.discovery_servers]
        found["ROS_DISCOVERY_SERVER"] = ";".join(f"{server[0]}:{server[1]}" for server in servers if server)
    if network.rmw == ZENOH:
        found["ZENOH_SESSION_CONFIG_URI"] = f"{network.directory}/zenoh-session.json5"
        found["ZENOH_ROUTER_CONFIG_URI"] = f"{network.directory}/zenoh-router.json5"
        found["ZENOH_CONFIG_OVERRIDE"] = ""
    return found


def kernel(network: Network) -> dict[str, dict[str, int]]:
    """Return the kernel settings, those that may be larger apart from the exact ones."""
    at_least = {
        "net.core.rmem_max": network.receive_buffer,
        "net.core.wmem_max": network.send_buffer,
        "net.ipv4.ipfrag_high_thresh": network.fragment_memory,
        "net.core.netdev_max_backlog": network.netdev_max_backlog,
        "net.core.rmem_default": network.default_receive_buffer,
    }
    return {
        "at_least": {key: value for key, value in at_least.items() if value},
        "exactly": {"net.ipv4.ipfrag_time": network.fragment_seconds},
    }


def compose_sysctls(network: Network) -> dict[str, str]:
    """Return the sysctls that containers on a bridge network need, as they inherit none from their host.

    Docker refuses the limits of the buffers here: only the host can set them.
    """
    if network.discovery != "bridge":
        return {}
    return {
        "net.ipv4.ipfrag_high_thresh": str(network.fragment_memory),
        "net.ipv4.ipfrag_time": str(network.fragment_seconds),
    }


def zenoh_session(network: Network) -> dict[str, Any]:
    """Return the settings of a Zenoh session, which every ROS 2 process has."""
    return {"mode": "client", "listen": [], "connect": _tcp(_zenoh_routers(network))}


def zenoh_router(network: Network) -> dict[str, Any]:
    """Return the settings of a Zenoh router: this host's where it is one of them, else the first one's."""
    routers = _zenoh_routers(network)
    own = next((router for router in routers if router[0] in network.own_addresses), routers[0])
    others = [router for router in routers if router[0] not in {own[0], *network.own_addresses}]
    return {"mode": "router", "listen": [f"tcp/0.0.0.0:{own[1]}"], "connect": _tcp(others)}


def _tcp(endpoints: list[tuple[str, int]]) -> list[str]:
    """Return endpoints in the form of Zenoh."""
    return [f"tcp/{host}:{port}" for host, port in endpoints]


def _zenoh_routers(network: Network) -> list[tuple[str, int]]:
    """Return address and port of each router."""
    return [found for router in network.zenoh_routers if (found := read_endpoint(router, ports.ZENOH_ROUTER))]
