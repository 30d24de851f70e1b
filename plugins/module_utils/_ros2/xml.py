# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of Cyclone DDS and the profile of Fast DDS, from one description. Pure functions.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from .request import LOOPBACK_MTU, Network

LOOPBACK = "127.0.0.1"
IP_AND_UDP_HEADERS = 28
# What UDP carries is less than what the loopback interface would.
LARGEST_MESSAGE = 65500
# What the headers of RTPS take before a fragment's data begin, and what may share a message with it.
RTPS_HEADERS = 128

FAST_PROFILES = "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"
FAST_PROFILE, FAST_TRANSPORT = "ros2_networking", "ros2_networking_udp"


def message_size(network: Network) -> int:
    """Return how large a message may be, in bytes, to travel in one packet."""
    return min(network.mtu - IP_AND_UDP_HEADERS, LARGEST_MESSAGE)


def fragment_size(network: Network) -> int:
    """Return how large the pieces are, in bytes, into which a larger sample is cut."""
    return message_size(network) - RTPS_HEADERS


def asked_peers(network: Network) -> list[str]:
    """Return the addresses that a participant asks for others, its own host's among them; none with multicast."""
    if network.uses_multicast or network.discovery == "bridge":
        return []
    # Without multicast the participants of one host only find one another when it is a peer, too.
    peers = [LOOPBACK, *(network.peers if network.discovery == "peers" else [])]
    return list(dict.fromkeys(peers))


def cyclonedds(network: Network, version: str) -> str:
    """Return the configuration for one version of Cyclone DDS.

    Raises:
        ValueError: nobody knows that version.
    """
    if version not in ("0.10", "11"):
        raise ValueError(f"Cyclone DDS {version} is unknown")
    root = ET.Element("CycloneDDS", {"xmlns": "https://cdds.io/config"})
    domain = ET.SubElement(root, "Domain", {"Id": "any"})
    general = ET.SubElement(domain, "General")
    if network.device:
        # By address where it is known: the name changes with the type of an instance, and then no participant starts.
        own = network.device_address
        interface = {"address": own} if own else {"name": network.device}
        if not network.uses_multicast:
            interface["multicast"] = "false"
        elif network.mtu == LOOPBACK_MTU:
            # The loopback interface does not say that it takes multicast, even where it does.
            interface["multicast"] = "true"
        ET.SubElement(ET.SubElement(general, "Interfaces"), "NetworkInterface", interface)
    # Data to one reader's address, even where others were found by multicast: radio links and bridges flood the rest.
    _text(general, "AllowMulticast", "spdp" if network.uses_multicast else "false")
    if network.external_address:
        _text(general, "ExternalNetworkAddress", network.external_address)
    _text(general, "MaxMessageSize", f"{message_size(network)}B")
    _text(general, "MaxRexmitMessageSize", f"{message_size(network)}B")
    _text(general, "FragmentSize", f"{fragment_size(network)}B")
    discovery = ET.SubElement(domain, "Discovery")
    # Else the ports are random, and no filter knows them.
    _text(discovery, "ParticipantIndex", "auto")
    _text(discovery, "MaxAutoParticipantIndex", str(network.participants))
    if asked_peers(network):
        _add_peers(discovery, asked_peers(network), version)
    internal = ET.SubElement(domain, "Internal")
    # Never the minimum: where the kernel grants less, no participant would start.
    ET.SubElement(internal, "SocketReceiveBufferSize", {"max": f"{network.receive_buffer}B"})
    ET.SubElement(internal, "SocketSendBufferSize", {"max": f"{network.send_buffer}B"})
    return _document(root)


def _add_peers(discovery: ET.Element, addresses: list[str], version: str) -> None:
    """Add the peers."""
    peers = ET.SubElement(discovery, "Peers")
    for address in addresses:
        attributes = {"Address": address}
        # Since 11 a peer that has not answered for half a minute is forgotten; before, the word is an error.
        if version != "0.10":
            attributes["PruneDelay"] = "inf"
        ET.SubElement(peers, "Peer", attributes)


def fastdds(network: Network) -> str:
    """Return the profile for Fast DDS."""
    root = ET.Element("dds", {"xmlns": FAST_PROFILES})
    profiles = ET.SubElement(root, "profiles")
    transport = ET.SubElement(ET.SubElement(profiles, "transport_descriptors"), "transport_descriptor")
    _text(transport, "transport_id", FAST_TRANSPORT)
    _text(transport, "type", "UDPv4")
    _text(transport, "sendBufferSize", str(network.send_buffer))
    _text(transport, "receiveBufferSize", str(network.receive_buffer))
    _text(transport, "maxMessageSize", str(message_size(network)))
    # How many participants of a peer are asked: four, unless it is told.
    _text(transport, "maxInitialPeersRange", str(network.participants))
    if network.device:
        allowed = ET.SubElement(transport, "interfaceWhiteList")
        # By address: Fast DDS before 2.13, which comes with ROS 2 Humble and Debian 12, knows no names.
        if network.device_address:
            _text(allowed, "address", network.device_address)
        elif network.device != "lo":
            _text(allowed, "interface", network.device)
        _text(allowed, "address", LOOPBACK)
    participant = ET.SubElement(profiles, "participant", {"profile_name": FAST_PROFILE, "is_default_profile": "true"})
    rtps = ET.SubElement(participant, "rtps")
    _text(ET.SubElement(rtps, "userTransports"), "transport_id", FAST_TRANSPORT)
    # Shared memory only reaches those who share /dev/shm and process ids: not from one container to another.
    _text(rtps, "useBuiltinTransports", "false")
    if network.discovery != "discovery_server" and not network.uses_multicast and asked_peers(network):
        _add_initial_peers(ET.SubElement(rtps, "builtin"), network)
    return _document(root)


def _add_initial_peers(builtin: ET.Element, network: Network) -> None:
    """Add whom to ask, and listen for answers where they are sent: at this host's own addresses."""
    peers = ET.SubElement(builtin, "initialPeersList")
    for address in asked_peers(network):
        locator = ET.SubElement(ET.SubElement(peers, "locator"), "udpv4")
        _text(locator, "address", address)


def _text(parent: ET.Element, name: str, text: str) -> None:
    """Add an element that holds text."""
    ET.SubElement(parent, name).text = text


def _document(root: ET.Element) -> str:
    """Return a document."""
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'
