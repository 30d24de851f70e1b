# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes whose environment overrides the declared network: the variable, and its effect. Pure functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import ports
from .host import Process, printable
from .plan import environment
from .request import CYCLONE, FAST, PREFIX, ZENOH, Network, read_endpoint

DDS, ALL = (CYCLONE, FAST), (CYCLONE, FAST, ZENOH)
# The values that leave discovery to the configuration. ROS 2 treats any other word as LOCALHOST.
OPEN_RANGES = ("", "SUBNET", "SYSTEM_DEFAULT")


@dataclass(frozen=True)
class Ros2Finding:
    """A difference from the declared networking, or a problem.

    Attributes:
        about: What it is about: a `process`, a `peer` with its address, an `interface` with its name, lost `packets`,
            the `kernel`, the `files`, the `units`, the `exchange` of samples, or `hosts` that differ.
    """

    symptom: str
    cause: str
    remedy: str
    about: str = "process"


@dataclass(frozen=True)
class Override:
    """A variable that overrides the declared network.

    Attributes:
        rmws: The RMW implementations that read it.
        deviates: Whether a value, empty where the variable is not set, contradicts the network.
        symptom: The effect on the process, continuing a sentence.
        remedy: The remedy besides a start with the environment file.
        needed: Whether only this variable leads to the declared configuration.
    """

    name: str
    rmws: tuple[str, ...]
    deviates: Callable[[Network, str], bool]
    symptom: str
    remedy: str = ""
    needed: bool = False


def _is_localhost_only(_network: Network, value: str) -> bool:
    """Return whether ROS 2 limits a process to its host, which only the value 1 does."""
    return value == "1"


def _limits_range(network: Network, value: str) -> bool:
    """Return whether a discovery range excludes declared hosts."""
    return value not in OPEN_RANGES and not (network.discovery == "host" and value == "LOCALHOST")


def _asks_others(network: Network, value: str) -> bool:
    """Return whether static peers contain hosts that are not declared."""
    declared = {*network.own_addresses, *(network.peers if network.discovery == "peers" else [])}
    return any(name not in declared and not _is_loopback(name) for name in _listed(value))


def _is_loopback(name: str) -> bool:
    """Return whether a name or address means the host itself."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _listed(value: str) -> list[str]:
    """Return the parts of a value that semicolons separate."""
    return [part.strip() for part in value.split(";") if part.strip()]


def _asks_other_servers(network: Network, value: str) -> bool:
    """Return whether a process uses other discovery servers than the declared ones, or another order."""
    declared = environment(network).get("ROS_DISCOVERY_SERVER", "")
    return _servers(value) != _servers(declared)


def _servers(value: str) -> list[object]:
    """Return discovery servers: the place of each in the list is its identity."""
    parts = [part.strip() for part in value.rstrip("; ").split(";")]
    return [read_endpoint(part, ports.DISCOVERY_SERVER) or part for part in parts]


def _leads_elsewhere(network: Network, value: str) -> bool:
    """Return whether a configuration is not the rendered one. Inline text may follow the file's name."""
    return network.directory not in value


def _is_set(_network: Network, value: str) -> bool:
    """Return whether a variable that the role never sets has a value."""
    return bool(value)


def _leads_elsewhere_if_set(network: Network, value: str) -> bool:
    """Return whether an optional configuration is not the rendered one."""
    return bool(value) and _leads_elsewhere(network, value)


def _chooses_transports(_network: Network, value: str) -> bool:
    """Return whether a process selects other transports than UDP over IPv4. The default only adds shared memory."""
    return value.partition("?")[0].upper() not in ("", "UDPV4", "DEFAULT")


def _is_super_client(network: Network, value: str) -> bool:
    """Return whether a process is a super client although no discovery server is declared."""
    return value.upper() in ("TRUE", "1") and network.discovery != "discovery_server"


# Measured: RMW inserts ROS_LOCALHOST_ONLY before the configuration, and Cyclone DDS starts no participant when both
# name the same interface, or when RMW writes the old form of an address. Otherwise both apply, as with Fast DDS.
ALONE = "may start no participant, or receive nothing from other hosts"
STOPPED = "may start no participant, or not find the others on this host"
LOSES = "loses large messages, or is not found by others"
OVERRIDES = (
    Override("ROS_LOCALHOST_ONLY", DDS, _is_localhost_only, ALONE, "unset it"),
    Override("ROS_AUTOMATIC_DISCOVERY_RANGE", DDS, _limits_range, ALONE, "set it to SYSTEM_DEFAULT"),
    Override(
        "ROS_STATIC_PEERS",
        DDS,
        _asks_others,
        "contacts hosts that are not declared",
        f"unset it and list all hosts in {PREFIX}peers",
    ),
    Override("CYCLONEDDS_URI", (CYCLONE,), _leads_elsewhere, LOSES, needed=True),
    # Measured: without effect where the profile is read. Not every program reads it.
    Override(
        "FASTDDS_BUILTIN_TRANSPORTS",
        (FAST,),
        _chooses_transports,
        "may use transports that do not reach the others",
        "set it to UDPv4 or unset it",
    ),
    Override(
        "ROS_DISCOVERY_SERVER",
        (FAST,),
        _asks_other_servers,
        "is found only by processes with the same discovery servers",
        f"unset it or list them in {PREFIX}discovery_servers",
    ),
    Override("ROS_SUPER_CLIENT", (FAST,), _is_super_client, "may wait for a discovery server", "unset it"),
    Override("ROS2_EASY_MODE", (FAST,), _is_set, "is found only by processes with the same value", "unset it"),
    Override("FASTDDS_ENVIRONMENT_FILE", (FAST,), _is_set, "may take its discovery servers from that file", "unset it"),
    Override(
        "ZENOH_SESSION_CONFIG_URI",
        (ZENOH,),
        _leads_elsewhere,
        "may not reach the declared routers",
        needed=True,
    ),
    Override(
        "ZENOH_ROUTER_CONFIG_URI",
        (ZENOH,),
        _leads_elsewhere_if_set,
        "may not reach the other routers, where it is a router",
    ),
    Override("ZENOH_CONFIG_OVERRIDE", (ZENOH,), _is_set, "may not reach the declared routers", "unset it"),
)
# The first since ROS 2 Iron, the second before. One of them must name the profile, and neither another file.
FAST_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def find_overrides(network: Network, process: Process) -> Iterator[Ros2Finding]:
    """Find variables of a process that contradict the declared network."""
    yield from _find_domain(network, process)
    rmw = process.environment.get("RMW_IMPLEMENTATION", "")
    if rmw and rmw not in (network.rmw, *network.other_rmws):
        yield Ros2Finding(
            f"{process} may receive samples that it cannot read",
            f"its RMW_IMPLEMENTATION is {printable('RMW_IMPLEMENTATION', rmw)}, and {PREFIX}rmw is {network.rmw}",
            f"start it with {network.directory}/ros2.env, or set {PREFIX}rmw to "
            f"{printable('RMW_IMPLEMENTATION', rmw)} on every host",
        )
    effective = rmw or network.rmw
    for override in OVERRIDES:
        value = process.environment.get(override.name, "")
        if effective not in override.rmws or (override.needed and effective != network.rmw):
            continue
        if override.deviates(network, value):
            symptom = STOPPED if override.symptom is ALONE and network.discovery == "host" else override.symptom
            yield _contradiction(network, process, override.name, symptom, override.remedy)
    if effective == FAST:
        yield from _find_profile(network, process)


def _find_domain(network: Network, process: Process) -> Iterator[Ros2Finding]:
    """Find another domain than the declared one."""
    domain = process.environment.get("ROS_DOMAIN_ID") or "0"
    if domain != str(network.domain_id):
        yield Ros2Finding(
            f"{process} receives nothing in domain {network.domain_id}",
            f"its ROS_DOMAIN_ID is {printable('ROS_DOMAIN_ID', domain)}, and {PREFIX}domain_id is {network.domain_id}",
            f"start it with {network.directory}/ros2.env, or set {PREFIX}domain_id to "
            f"{printable('ROS_DOMAIN_ID', domain)}",
        )


def _find_profile(network: Network, process: Process) -> Iterator[Ros2Finding]:
    """Find a missing Fast DDS profile, or one that is not the rendered one."""
    given = {name: process.environment.get(name, "") for name in FAST_PROFILES}
    elsewhere = [name for name, value in given.items() if value and _leads_elsewhere(network, value)]
    if not any(given.values()) and network.rmw == FAST:
        elsewhere = [FAST_PROFILES[0]]
    for name in elsewhere:
        yield _contradiction(network, process, name, LOSES)


def _contradiction(network: Network, process: Process, name: str, symptom: str, remedy: str = "") -> Ros2Finding:
    """Return the finding that a variable contradicts the network."""
    value = process.environment.get(name, "")
    shown_value = printable(name, value) if value else "not set"
    if name in ("CYCLONEDDS_URI", *FAST_PROFILES):
        why = "so that buffers, ports and peers are the library's defaults or those of another file"
    else:
        why = f"and {PREFIX}discovery is {network.discovery}"
    # An environment file overrides what a shell's start-up file or an image sets, where it names the variable.
    overridden = f"start it with {network.directory}/ros2.env" if name in environment(network) else ""
    remedy = ", or ".join(filter(None, (overridden, remedy)))
    return Ros2Finding(f"{process} {symptom}", f"its {name} is {shown_value}, {why}", remedy)
