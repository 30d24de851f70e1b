# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that follows from how ROS 2 hosts are to speak with one another. Pure functions.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import json
from typing import Any

from . import ports
from .request import (
    CYCLONE,
    CYCLONE_VERSIONS,
    DISCOVERY_SERVER_PORT,
    FAST,
    ZENOH,
    ZENOH_PORT,
    Network,
    read,
    read_endpoint,
    warn,
)
from .xml import cyclonedds, fastdds, fragment_size, message_size


def plan(description: dict[str, Any]) -> dict[str, Any]:
    """Return everything that follows from a description, or why nothing does."""
    network, problems = read(description)
    if problems:
        return {
            "problems": [str(problem) for problem in problems],
            "warnings": [],
            **{
                name: {}
                for name in ("ports", "message", "cyclonedds", "environment", "kernel", "compose_sysctls", "zenoh")
            },
            "fastdds": "",
            "loopback_multicast": False,
        }
    return {
        "problems": [],
        "warnings": warn(network),
        "ports": used_ports(network),
        "message": {
            "mtu": network.mtu,
            "max_message_size": message_size(network),
            "fragment_size": fragment_size(network),
        },
        "cyclonedds": {version: cyclonedds(network, version) for version in CYCLONE_VERSIONS},
        "fastdds": fastdds(network),
        "zenoh": ({"session": zenoh_session(network), "router": zenoh_router(network)} if network.rmw == ZENOH else {}),
        "environment": environment(network),
        "kernel": kernel(network),
        "compose_sysctls": compose_sysctls(network),
        # What the loopback interface carries anyhow, but says that it does not.
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


def environment(network: Network) -> dict[str, str]:
    """Return the environment of every process of ROS 2."""
    found = {
        "RMW_IMPLEMENTATION": network.rmw,
        "ROS_DOMAIN_ID": str(network.domain_id),
        # Else ROS 2 adds what it takes for right, such as multicast, to what the configuration says.
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
        # The profile's own, where a shell or an image sets others.
        found["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
    if network.discovery == "discovery_server":
        servers = [read_endpoint(server, DISCOVERY_SERVER_PORT) for server in network.discovery_servers]
        found["ROS_DISCOVERY_SERVER"] = ";".join(f"{server[0]}:{server[1]}" for server in servers if server)
    if network.rmw == ZENOH:
        found["ZENOH_SESSION_CONFIG_URI"] = f"{network.directory}/zenoh-session.json5"
        found["ZENOH_ROUTER_CONFIG_URI"] = f"{network.directory}/zenoh-router.json5"
        found["ZENOH_CONFIG_OVERRIDE"] = ""
    return found


def kernel(network: Network) -> dict[str, dict[str, int]]:
    """Return the kernel's settings, by whether a larger value is as good."""
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
    """Return what containers with a network of their own need, as they take nothing of it over from their host.

    The buffers' limits are the host's alone, and Docker refuses them here.
    """
    if network.discovery != "bridge":
        return {}
    return {
        "net.ipv4.ipfrag_high_thresh": str(network.fragment_memory),
        "net.ipv4.ipfrag_time": str(network.fragment_seconds),
    }


def zenoh_session(network: Network) -> str:
    """Return the configuration of a session of Zenoh, that of every process of ROS 2."""
    return _zenoh("client", {"connect": {"endpoints": _tcp(_zenoh_routers(network))}})


def zenoh_router(network: Network) -> str:
    """Return the configuration of a router of Zenoh: this host's where it is one of them, else the first one's."""
    routers = _zenoh_routers(network)
    own = next((router for router in routers if router[0] in network.own_addresses), routers[0])
    others = [router for router in routers if router[0] not in {own[0], *network.own_addresses}]
    return _zenoh(
        "router", {"listen": {"endpoints": [f"tcp/0.0.0.0:{own[1]}"]}, "connect": {"endpoints": _tcp(others)}}
    )


def _zenoh(mode: str, endpoints: dict[str, Any]) -> str:
    """Return a configuration of Zenoh."""
    # It takes the place of the file of rmw_zenoh_cpp: without time stamps no publisher with a memory starts.
    timestamping = {"enabled": True}
    scouting = {"multicast": {"enabled": False}}
    return _json({"mode": mode, **endpoints, "scouting": scouting, "timestamping": timestamping})


def _tcp(endpoints: list[tuple[str, int]]) -> list[str]:
    """Return endpoints as Zenoh writes them."""
    return [f"tcp/{host}:{port}" for host, port in endpoints]


def _zenoh_routers(network: Network) -> list[tuple[str, int]]:
    """Return address and port of each router."""
    return [found for router in network.zenoh_routers if (found := read_endpoint(router, ZENOH_PORT))]


def _json(value: dict[str, Any]) -> str:
    """Return a document."""
    return json.dumps(value, indent=2) + "\n"
