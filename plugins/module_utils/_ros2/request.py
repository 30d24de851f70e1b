# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The request: how ROS 2 hosts should communicate, and its problems and warnings. Pure functions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .._problem import Problem, listed, shown
from .._values import truth, unquoted, whole_number
from . import ports

PREFIX = "ros2_networking_"
CYCLONE, FAST, ZENOH = "rmw_cyclonedds_cpp", "rmw_fastrtps_cpp", "rmw_zenoh_cpp"
RMWS = (CYCLONE, FAST, ZENOH)
# The RMW implementations that support each mode.
MODES = {
    "host": (CYCLONE, FAST),
    "bridge": (CYCLONE, FAST),
    "peers": (CYCLONE, FAST),
    "discovery_server": (FAST,),
    "zenoh": (ZENOH,),
}
CYCLONE_VERSIONS = ("0.10", "11")

INT_MAX = 2147483647
# The minimum of IPv6, and the loopback interface's MTU.
MTUS = (1280, 65536)
LOOPBACK_MTU, ETHERNET_MTU = 65536, 1500
BUFFERS = (65536, INT_MAX)
# From this size a single unread socket may hold much of a host's memory.
LARGE_BUFFER = 268435456
FRAGMENT_SECONDS = (1, 300)
FRAGMENT_MEMORY = (4194304, INT_MAX)
BACKLOG = (1000, INT_MAX)

INTERFACE_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
DIRECTORY_FORM = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*){2,}")


@dataclass(frozen=True)
class Network:
    """How ROS 2 hosts should communicate. Values are unconverted until `check` accepts them.

    Attributes:
        domain_id: The ROS domain.
        rmw: The implementation of RMW.
        other_rmws: Other RMW implementations that some processes use, such as a vendor's simulator.
        discovery: How participants discover each other.
        participants: How many a host may have.
        firewall_ports: Ports that a firewall between the hosts allows; empty without a firewall.
        path_mtu: The largest packet of the path between participants; 0 for the default of the mode.
        interface: Name of the network interface; empty for the library's own choice.
        multicast: Whether discovery may use multicast; None for the default of the mode.
        peers: IPv4 addresses of the hosts.
        external_address: The address at which others reach this host behind a 1:1 NAT.
        discovery_servers: Addresses of Fast DDS discovery servers, each with or without a port.
        zenoh_routers: Addresses of Zenoh routers, each with or without a port.
        receive_buffer: How many unread bytes a socket may hold.
        send_buffer: How many unsent bytes a socket may hold.
        cyclonedds_version: Which version of Cyclone DDS the environment is for.
        fragment_seconds: How long the kernel waits for the rest of a packet.
        fragment_memory: How many bytes of incomplete packets it keeps.
        netdev_max_backlog: How many packets may wait for a processor; 0 keeps the kernel's value.
        default_receive_buffer: The receive buffer of a socket that requests none; 0 keeps the kernel's value.
        directory: Folder of the rendered files.
        own_addresses: IPv4 addresses of this host, as it sees itself or as others do.
        interface_address: IPv4 address of the network interface; empty where it is not known.
    """

    domain_id: Any = 0
    rmw: Any = CYCLONE
    other_rmws: Any = field(default_factory=list)
    discovery: Any = "host"
    participants: Any = 45
    firewall_ports: Any = ""
    path_mtu: Any = 0
    interface: Any = ""
    multicast: Any = None
    peers: Any = field(default_factory=list)
    external_address: Any = ""
    discovery_servers: Any = field(default_factory=list)
    zenoh_routers: Any = field(default_factory=list)
    receive_buffer: Any = 33554432
    send_buffer: Any = 33554432
    cyclonedds_version: Any = "0.10"
    fragment_seconds: Any = 3
    fragment_memory: Any = 134217728
    netdev_max_backlog: Any = 0
    default_receive_buffer: Any = 0
    directory: Any = "/etc/ros2-networking"
    own_addresses: Any = field(default_factory=list)
    interface_address: Any = ""

    @property
    def mtu(self) -> int:
        """The largest packet of the path."""
        return int(self.path_mtu) or (LOOPBACK_MTU if self.discovery == "host" else ETHERNET_MTU)

    @property
    def uses_multicast(self) -> bool:
        """Whether discovery uses multicast: only a Docker bridge carries it without being asked."""
        return self.discovery == "bridge" if self.multicast is None else bool(self.multicast)

    @property
    def device_address(self) -> str:
        """The address of the interface to use, which stays when its name changes; empty where it is not known."""
        # Containers on a bridge have interfaces of their own.
        return self.interface_address if self.device != "lo" and self.discovery != "bridge" else ""

    @property
    def device(self) -> str:
        """The interface to use; empty for the library's own choice."""
        return self.interface or ("lo" if self.discovery == "host" else "")


NUMBERS = {
    "domain_id": (ports.DOMAINS, "", "choose another domain; 0 is the ROS 2 default"),
    "participants": ((1, 120), "participants on each host", "count the processes that run nodes"),
    "receive_buffer": (BUFFERS, "bytes", "33554432 (32 MiB) holds a burst of images"),
    "send_buffer": (BUFFERS, "bytes", "33554432 (32 MiB) holds a burst of images"),
    "fragment_seconds": (FRAGMENT_SECONDS, "seconds", "3 is enough within a data centre"),
    "fragment_memory": (FRAGMENT_MEMORY, "bytes", "134217728 (128 MiB) is what ROS 2 recommends"),
}
# 0 has a special meaning.
OPTIONAL_NUMBERS = {
    "path_mtu": (
        MTUS,
        "bytes",
        "use 1500 for Ethernet and the internet, 9001 within a VPC, or 0 for the default of the mode",
    ),
    "netdev_max_backlog": (BACKLOG, "packets", "use 0 to keep the kernel's value"),
    "default_receive_buffer": (BUFFERS, "bytes", "use 0 to keep the kernel's value"),
}
WORDS = {"rmw": RMWS, "discovery": tuple(MODES), "cyclonedds_version": CYCLONE_VERSIONS}
LISTS = ("peers", "discovery_servers", "zenoh_routers")


def read(description: dict[str, Any]) -> tuple[Network, list[Problem]]:
    """Read a description, and return it with its problems."""
    known = {entry.name for entry in fields(Network)}
    problems = [
        problem(name, description[name], "is not an option", listed(sorted(known)), "correct its name")
        for name in description
        if name not in known
    ]
    given = Network(**{name: value for name, value in description.items() if name in known})
    problems += check(given)
    if problems:
        return given, problems
    values = {entry.name: getattr(given, entry.name) for entry in fields(Network)}
    values |= {name: whole_number(values[name]) for name in (*NUMBERS, *OPTIONAL_NUMBERS)}
    values["cyclonedds_version"] = str(values["cyclonedds_version"])
    values["multicast"] = None if values["multicast"] in (None, "") else truth(values["multicast"])
    network = Network(**values)
    return network, check_together(network)


def problem(option: str, value: object, reason: str, allowed: str, remedy: str) -> Problem:
    """Return a problem with a variable of the role."""
    return Problem(f"{PREFIX}{option}", shown(value), reason, allowed, remedy)


def check(network: Network) -> list[Problem]:
    """Return the problems of each value by itself."""
    return [*_check_words(network), *_check_numbers(network), *_check_texts(network), *_check_addresses(network)]


def _check_words(network: Network) -> Iterator[Problem]:
    """Check the options with a few allowed words."""
    for option, words in WORDS.items():
        value = getattr(network, option)
        unquoted_value = unquoted(f"{PREFIX}{option}", value, whole=True) if option == "cyclonedds_version" else None
        if unquoted_value:
            allowed = ", ".join(f'"{word}"' for word in words)
            yield replace(unquoted_value, allowed=allowed)
        elif str(value) not in words:
            yield problem(option, value, "is unknown", listed(list(words)), "choose one of them")
    if network.multicast not in (None, "") and truth(network.multicast) is None:
        allowed = "true, false, or null for the default of the mode"
        yield problem("multicast", network.multicast, "is neither true nor false", allowed, "use one of these")
    known = f"a list of {listed(list(RMWS))}"
    if not isinstance(network.other_rmws, list):
        yield problem("other_rmws", network.other_rmws, "is not a list", known, "write a list")
        return
    for value in network.other_rmws:
        if value not in RMWS:
            yield problem("other_rmws", value, "is unknown", known, "choose among them")


def _check_numbers(network: Network) -> Iterator[Problem]:
    """Check numbers against their limits."""
    for option, (limits, unit, remedy) in {**NUMBERS, **OPTIONAL_NUMBERS}.items():
        value = getattr(network, option)
        number = whole_number(value)
        allowed = f"{limits[0]} to {limits[1]} {unit}".rstrip()
        if option in OPTIONAL_NUMBERS:
            allowed = f"0, or {allowed}"
            if number == 0:
                continue
        if number is None:
            yield problem(option, value, "is not a whole number", allowed, remedy)
        elif number < limits[0]:
            yield problem(option, value, "is too small", allowed, remedy)
        elif number > limits[1]:
            yield problem(option, value, "is too large", allowed, remedy)


def _check_texts(network: Network) -> Iterator[Problem]:
    """Check names and the range of ports."""
    if not isinstance(network.directory, str) or not DIRECTORY_FORM.fullmatch(network.directory):
        allowed = "an absolute path of letters, digits, dots, dashes and underscores, at least two folders deep"
        yield problem("directory", network.directory, "is not a valid path", allowed, "use /etc/ros2-networking")
    if network.interface != "" and not INTERFACE_FORM.fullmatch(str(network.interface)):
        allowed = "the name of one interface, such as ens5, or empty"
        yield problem(
            "interface", network.interface, "is not a valid interface name", allowed, "take it from ip -brief link"
        )
    if network.firewall_ports != "" and ports.read_range(str(network.firewall_ports)) is None:
        allowed = "a range such as 7400-7500, or empty without a firewall"
        yield problem("firewall_ports", network.firewall_ports, "is not a range of ports", allowed, "correct it")


def _check_addresses(network: Network) -> Iterator[Problem]:
    """Check addresses and lists of them."""
    if network.external_address != "" and read_address(network.external_address) is None:
        allowed = "an IPv4 address such as 203.0.113.7, or empty"
        yield problem(
            "external_address", network.external_address, "is not the address of a host", allowed, "correct it"
        )
    for option in LISTS:
        values = getattr(network, option)
        example = "10.0.1.10" if option == "peers" else "10.0.1.10 or 10.0.1.10:7447"
        allowed = f"IPv4 addresses of hosts, such as {example}"
        if not isinstance(values, list):
            yield problem(option, values, "is not a list", f"a list of {allowed}", "write a list")
            continue
        for value in values:
            found = read_address(value) if option == "peers" else read_endpoint(value, 1)
            if found is None:
                remedy = "write the address that the other hosts reach. Names may be resolved differently"
                yield problem(option, value, "is not the address of a host", allowed, remedy)


def read_address(value: object) -> str | None:
    """Return the IPv4 address of one host, or None."""
    try:
        address = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        return None
    usable = not (address.is_multicast or address.is_unspecified or address.is_reserved)
    return str(address) if usable else None


def read_endpoint(value: object, port: int) -> tuple[str, int] | None:
    """Return address and port, with a default port; None for anything else."""
    host, colon, tail = str(value).partition(":")
    address, number = read_address(host), whole_number(tail) if colon else port
    if address is None or number is None or not 1 <= number <= 65535:
        return None
    return address, number


def check_together(network: Network) -> list[Problem]:
    """Return the problems of values that are valid one by one."""
    return [*_check_mode(network), *_check_ports(network)]


def _check_mode(network: Network) -> Iterator[Problem]:
    """Check that the discovery mode has the options that it needs."""
    mode, able = network.discovery, MODES[network.discovery]
    foreign = [rmw for rmw in network.other_rmws if (rmw == ZENOH) != (network.rmw == ZENOH)]
    if foreign:
        reason = f"does not understand {network.rmw}"
        allowed = f"{listed([rmw for rmw in RMWS if (rmw == ZENOH) == (network.rmw == ZENOH)])}"
        yield problem("other_rmws", foreign[0], reason, allowed, "remove it")
    if network.rmw not in able:
        remedy = f"set {PREFIX}rmw to {able[0]}, or choose another mode"
        yield problem("discovery", mode, f"is not supported by {network.rmw}", f"{listed(list(able))} with it", remedy)
    needs = {"peers": "peers", "discovery_server": "discovery_servers", "zenoh": "zenoh_routers"}.get(mode)
    if needs and not getattr(network, needs):
        remedy = f"list in {PREFIX}{needs} the addresses of " + (
            "all hosts, the same list on each" if needs == "peers" else "those that all hosts are to contact"
        )
        yield problem(needs, [], f"is empty, and discovery is {mode}", "one address or more", remedy)
    if mode == "peers" and network.multicast:
        remedy = "leave it null; for multicast on one bridge, choose discovery bridge"
        yield problem("multicast", True, "cannot be combined with discovery peers", "false or null", remedy)
    if mode == "host" and network.external_address:
        remedy = "choose peers, or leave it empty"
        reason = "has no effect on participants of one host"
        yield problem("external_address", network.external_address, reason, "empty with discovery host", remedy)
    elif network.external_address and network.rmw == FAST:
        # The profile requires a port with it, and each participant of a host has its own ports.
        reason = f"cannot be announced by {FAST} for all participants of a host"
        remedy = f"set {PREFIX}rmw to {CYCLONE}, or list addresses that need no translation"
        yield problem("external_address", network.external_address, reason, f"empty with {FAST}", remedy)


def _check_ports(network: Network) -> Iterator[Problem]:
    """Check that the ports of all participants exist, and that the firewall allows them."""
    domain, wanted = network.domain_id, network.participants
    most = ports.most_participants(domain)
    if wanted > most:
        reason = f"are more than domain {domain} has ports for below the next domain's and the kernel's own"
        yield problem("participants", wanted, reason, f"1 to {most} in this domain", "choose fewer, or another domain")
        return
    allowed = ports.read_range(str(network.firewall_ports)) if network.firewall_ports else None
    # Zenoh has one TCP port in any domain, and traffic within a host passes no firewall between hosts.
    if allowed is None or network.discovery in ("host", "zenoh"):
        return
    needed, room = ports.of_participants(domain, wanted), ports.participants_within(domain, allowed)
    # Of the first ten ports two are for multicast, and the others are unused.
    if room >= wanted:
        return
    value = str(network.firewall_ports)
    if room:
        reason = f"allows {room} participants of domain {domain} on each host, and {PREFIX}participants is {wanted}"
        remedy = f"set {PREFIX}participants to {room} or less, or allow {needed}"
        yield problem("firewall_ports", value, reason, f"a range that holds {needed}", remedy)
    else:
        reason = f"allows no participant of domain {domain}: its ports begin at {needed.first}"
        yield problem("firewall_ports", value, reason, f"a range that holds {needed}", f"allow {needed} (UDP)")


def warn(network: Network) -> list[str]:
    """Return warnings about a network that is accepted."""
    return [
        *_warn_of_memory(network),
        *_warn_of_fragments(network),
        *_warn_of_addresses(network),
        *_warn_of_strangers(network),
    ]


def _warn_of_memory(network: Network) -> Iterator[str]:
    """Warn of buffers that may exhaust a host's memory."""
    for option in ("receive_buffer", "send_buffer"):
        value = getattr(network, option)
        if value > LARGE_BUFFER:
            yield (
                f"{PREFIX}{option}: {value} allows every socket of every process to hold up to "
                f"{value // 1048576} MiB of the host's memory; 33554432 (32 MiB) lost no sample in our measurements"
            )
    if network.default_receive_buffer:
        yield (
            f"{PREFIX}default_receive_buffer: {network.default_receive_buffer} bytes become the buffer of every "
            "UDP socket on the host, also those of DNS and NTP; DDS does not need it, as it asks for its own"
        )


def _warn_of_fragments(network: Network) -> Iterator[str]:
    """Warn of packets that a path may split."""
    if network.mtu > ETHERNET_MTU and network.external_address:
        yield (
            f"{PREFIX}path_mtu: {network.mtu} is more than the internet carries, and {PREFIX}external_address is for "
            "hosts that are reached over it; 1500 or less fits"
        )


def _warn_of_addresses(network: Network) -> Iterator[str]:
    """Warn of addresses that mean something else on other hosts."""
    for value in network.peers:
        if ipaddress.IPv4Address(value).is_loopback and len(network.peers) > 1:
            yield f"{PREFIX}peers: {value} is every host's own; the others need this host's address"
    if network.discovery == "peers" and network.external_address and network.external_address not in network.peers:
        yield (
            f"{PREFIX}external_address: {network.external_address} is what this host announces, and {PREFIX}peers does "
            f"not contain it. Hosts that reach each other by the addresses of {PREFIX}peers lose this one unless they "
            "reach that address too. Leave it empty, or list every host by its external address"
        )


def _warn_of_strangers(network: Network) -> Iterator[str]:
    """Warn of participants without authentication."""
    if network.rmw == ZENOH:
        yield (
            f"{PREFIX}zenoh_routers: a router does not authenticate. Anyone who reaches its port sees and "
            "controls the robot. Allow only known addresses in a firewall"
        )
