# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Diagnosis of a host's ROS 2 traffic: findings with symptom, cause and remedy. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._problem import listed
from . import ports
from .environment import Ros2Finding, find_overrides
from .host import HostTraffic, Process, Socket
from .plan import environment
from .request import FAST, PREFIX, ZENOH, Network, read_address

FIRST_DDS_PORT = ports.BASE
MEANWHILE = "while this host was watched"


@dataclass
class Ros2Assessment:
    """Findings, and notices about what is correct but worth knowing."""

    findings: list[Ros2Finding] = field(default_factory=list)
    notices: list[Ros2Finding] = field(default_factory=list)


def diagnose(network: Network, traffic: HostTraffic) -> list[Ros2Finding]:
    """Return the findings about the traffic of a host, the most certain first."""
    return assess_traffic(network, traffic).findings


def assess_traffic(network: Network, traffic: HostTraffic) -> Ros2Assessment:
    """Assess the traffic of a host."""
    assessment = Ros2Assessment(
        [
            *_find_interfaces(network, traffic),
            *_find_other_file(network, traffic),
            *_find_other_settings(network, traffic),
            *_find_ports(network, traffic),
            *_find_peers(network, traffic),
            *_find_silence(network, traffic),
        ]
    )
    # The administrator of this host cannot repair losses that only a larger kernel limit would prevent.
    is_short = traffic.receive_limit is not None and traffic.receive_limit < network.receive_buffer
    losses = assessment.notices if is_short and traffic.limit_is_fixed else assessment.findings
    losses += [*_find_losses(network, traffic), *(_find_limit(network, traffic) if is_short else [])]
    assessment.findings += _find_fragments(network, traffic)
    assessment.notices += _notice_losses(network, traffic)
    return assessment


def _domains(process: Process) -> set[int]:
    """Return the domains on whose ports a process listens."""
    found = set()
    for entry in process.sockets:
        domain = (entry.port - FIRST_DDS_PORT) // ports.PORTS_OF_A_DOMAIN
        if domain in range(ports.DOMAINS[1] + 1) and entry.port < ports.FIRST_EPHEMERAL:
            found.add(domain)
    return found


def _find_interfaces(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find interfaces and addresses of the configuration that are missing on the host, or down."""
    # Containers on a bridge have interfaces of their own, and Zenoh uses the kernel's routes.
    if traffic.interfaces is None or network.discovery in ("bridge", "zenoh"):
        return
    there = f"this host has {listed([str(entry) for entry in traffic.interfaces if entry.addresses])}"
    in_use = "fastdds" if network.rmw == FAST else "cyclonedds"
    named: dict[str, str] = {network.device: f"{PREFIX}interface"} if network.device else {}
    for file, name in traffic.configured:
        if file.startswith(in_use):
            named.setdefault(name, f"{network.directory}/{file}")
    missing = [
        name for name in named if not any(name in (entry.name, *entry.addresses) for entry in traffic.interfaces)
    ]
    for name in missing:
        remedy = f"apply the role, with {PREFIX}interface empty for that of the default route, or set to one of them"
        kind = "address" if read_address(name) else "network interface"
        if kind == "address":
            remedy += f"; correct {PREFIX}peers where the host's address is another one"
        yield Ros2Finding(
            "no participant starts on this host, or none reaches another",
            f"{named[name]} names the {kind} {name}, and {there}",
            remedy,
            f"interface {name}",
        )
    for entry in traffic.interfaces:
        if named.keys().isdisjoint((entry.name, *entry.addresses)):
            continue
        about = f"interface {entry.name}"
        if not entry.up:
            remedy = f"run `ip link set dev {entry.name} up`, and check its cable and its driver"
            yield Ros2Finding("no participant reaches another host", f"interface {entry} is down", remedy, about)
        elif not entry.addresses:
            remedy = f"give it an address, or set {PREFIX}interface to another one"
            yield Ros2Finding(
                "no participant starts on this host", f"interface {entry.name} has no IPv4 address", remedy, about
            )


def _find_other_file(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find an environment file that is missing or outdated."""
    file, declared = f"{network.directory}/ros2.env", environment(network)
    if traffic.written == {}:
        yield Ros2Finding(
            f"programs start without the settings of {PREFIX}*", f"{file} is missing", "apply the role", "files"
        )
        return
    for name, option in (("ROS_DOMAIN_ID", "domain_id"), ("RMW_IMPLEMENTATION", "rmw")):
        if traffic.written and traffic.written.get(name) != declared[name]:
            yield Ros2Finding(
                "programs that start now receive nothing from correctly configured hosts",
                f"{file} has {name}={traffic.written.get(name, '')}, and {PREFIX}{option} is {declared[name]}",
                "apply the role to this host",
                "files",
            )


def _find_other_settings(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find processes whose environment contradicts what is declared."""
    for process in traffic.processes:
        if process.is_ros:
            yield from find_overrides(network, process)


def _find_ports(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find processes that listen on ports outside their domain, or on ports that the firewall blocks."""
    allowed = ports.read_range(network.firewall_ports) if network.firewall_ports else None
    for process in traffic.processes:
        domains = _domains(process)
        elsewhere = bool(domains) and network.domain_id not in domains
        # The domain of its environment, unless the program has chosen another.
        if process.is_ros and elsewhere and (process.environment.get("ROS_DOMAIN_ID") or "0") == str(network.domain_id):
            yield Ros2Finding(
                f"{process} receives nothing in domain {network.domain_id}",
                f"it listens on the ports of domain {', '.join(map(str, sorted(domains)))}, which it chose by itself",
                f"let the program take its domain from ROS_DOMAIN_ID, or set {PREFIX}domain_id",
            )
        # A program that only inherits the environment has sockets of its own.
        is_participant = process.is_ros and process.middleware is not False and network.rmw != ZENOH
        if is_participant and process.sockets and not domains:
            listening = ", ".join(str(entry.port) for entry in process.sockets)
            yield Ros2Finding(
                f"{process} is not discovered by hosts that know only its host's address",
                f"it listens on {listening}, random ports, as it has no participant index",
                "set ParticipantIndex to auto, as the rendered configuration does",
            )
        indices = {
            index for entry in process.sockets if (index := ports.index_of(network.domain_id, entry.port)) is not None
        }
        for index in sorted(indices):
            own = ports.of_participant(network.domain_id, index)
            if allowed is not None and not allowed.first <= own.first <= own.last <= allowed.last:
                yield Ros2Finding(
                    f"{process} is discovered, and receives nothing from other hosts",
                    f"its participant index is {index} with UDP {own}, and {PREFIX}firewall_ports is {allowed}",
                    f"run {ports.participants_within(network.domain_id, allowed)} participants or less here, "
                    f"or allow {ports.of_participants(network.domain_id, index + 1)}",
                )
            elif index >= network.participants:
                yield Ros2Finding(
                    f"{process} is not discovered by its peers",
                    f"its participant index is {index}, and its peers contact {network.participants} from 0 on",
                    f"run fewer participants on this host, or raise {PREFIX}participants on every host",
                )


def _find_peers(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find peers that cannot be reached."""
    for peer, obstacle in traffic.peers.items():
        if obstacle:
            yield Ros2Finding(
                f"peer {peer} cannot be reached",
                f"the network reports: {obstacle}",
                f"check `ip route get {peer}`, that the host runs, and that {PREFIX}peers has its address",
                f"peer {peer}",
            )


def _find_silence(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find peers that do not answer although no obstacle is known."""
    needed = ports.of_participants(network.domain_id, network.participants)
    for peer in traffic.silent:
        if not traffic.peers.get(peer):
            yield Ros2Finding(
                f"no participant of peer {peer} answers",
                f"none runs there, or a firewall drops UDP {needed}",
                "run one there, and allow these ports in both directions",
                f"peer {peer}",
            )


def _find_losses(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find packets that a full socket dropped.

    Only those of while the host was watched, as earlier ones may precede a repair. The kernel's counter exists until
    the next boot, and a socket's as long as its process.
    """
    for process, entry in _losing_sockets(network, traffic):
        lost = entry.drops if entry.growth is None else entry.growth
        if lost:
            since = "since it began to listen" if entry.growth is None else MEANWHILE
            yield Ros2Finding(
                f"{process} has lost {lost} packets at UDP {entry.port} {since}",
                "its receive buffer was full. It reads too slowly, or the buffer is too small for a burst",
                f"raise {PREFIX}receive_buffer, which is {network.receive_buffer}, or send less at once, "
                "and restart it",
                "packets",
            )
    if traffic.growth.get("RcvbufErrors", 0) > 0:
        yield Ros2Finding(
            f"RcvbufErrors grew by {traffic.growth['RcvbufErrors']} {MEANWHILE}",
            "full UDP sockets of this host dropped that many packets",
            "find the socket by the column drops of /proc/net/udp. "
            f"Raise {PREFIX}receive_buffer if it belongs to ROS 2",
            "packets",
        )


def _losing_sockets(network: Network, traffic: HostTraffic) -> Iterator[tuple[Process, Socket]]:
    """Return the sockets of ROS 2 that have lost packets."""
    for process in traffic.processes:
        for entry in process.sockets:
            if entry.drops and (process.is_ros or ports.index_of(network.domain_id, entry.port) is not None):
                yield process, entry


def _notice_losses(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Note packets that were lost before the host was watched, such as while many programs started at once."""
    for process, entry in _losing_sockets(network, traffic):
        if entry.growth == 0:
            yield Ros2Finding(
                f"{process} has lost {entry.drops} packets at UDP {entry.port} since it began to listen, and none "
                f"{MEANWHILE}",
                "its receive buffer was full",
                "nothing, unless the number grows",
                "packets",
            )


def _find_limit(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find a kernel limit below the buffer that DDS requests."""
    yield Ros2Finding(
        f"a socket gets {traffic.receive_limit} bytes, and requests {network.receive_buffer}",
        f"net.core.rmem_max is {traffic.receive_limit}",
        "apply the role to the machine that runs this kernel. A container cannot change the setting",
        "kernel",
    )


def _find_fragments(network: Network, traffic: HostTraffic) -> Iterator[Ros2Finding]:
    """Find fragmented packets that did not arrive completely."""
    if traffic.growth.get("ReasmFails", 0) > 0:
        yield Ros2Finding(
            f"ReasmFails grew by {traffic.growth['ReasmFails']} {MEANWHILE}",
            "fragments of packets were lost, or there was no memory for them",
            f"set {PREFIX}path_mtu to the MTU of the path, {network.mtu} now, so that no packet is split",
            "packets",
        )


def compare_hosts(hosts: Mapping[str, Mapping[str, Any]]) -> list[Ros2Finding]:
    """Return differences of domain, RMW and discovery mode between hosts that should receive each other's samples.

    Args:
        hosts: By name, each host's `domain_id`, `rmw`, `discovery` and `machine_id`.
    """
    # Hosts whose traffic stays on the host cannot receive each other's samples.
    if all(host["discovery"] in ("host", "bridge") for host in hosts.values()):
        return []
    found = []
    for option in ("domain_id", "rmw", "discovery"):
        values: dict[str, list[str]] = {}
        for name, host in hosts.items():
            values.setdefault(str(host[option]), []).append(name)
        if len(values) > 1:
            text = "; ".join(f"{value} on {', '.join(names)}" for value, names in values.items())
            most = max(values, key=lambda value: len(values[value]))
            found.append(
                Ros2Finding(
                    "some hosts receive nothing from the others",
                    f"{PREFIX}{option} is {text}",
                    f"set {PREFIX}{option} to one value on all hosts, such as {most}, and apply the role",
                    "hosts",
                )
            )
    # Fast DDS 3 treats hosts with the same id as one host, and tries shared memory between them.
    owners: dict[str, list[str]] = {}
    for name, host in hosts.items():
        if host["rmw"] == FAST and host["machine_id"]:
            owners.setdefault(str(host["machine_id"]), []).append(name)
    found += [
        Ros2Finding(
            f"{', '.join(names)} do not receive each other's samples",
            "they have the same /etc/machine-id, by which Fast DDS distinguishes hosts: copies of one disk",
            "on all but one of them, run `rm /etc/machine-id` and `systemd-machine-id-setup`, and reboot",
            "hosts",
        )
        for names in owners.values()
        if len(names) > 1
    ]
    return found
