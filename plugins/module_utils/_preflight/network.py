# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check a lab's networks and sources without AWS."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import string
from typing import Any

from .._problem import Problem, listed, shown
from .._ros2 import ports as dds
from .._values import whole_number
from .description import INSTANCE_COUNTS, Inputs, Port

NETWORK_FORM = re.compile(r"[0-9]+(?:\.[0-9]+){3}/[0-9]{1,2}")
VPC_PREFIX_LENGTHS = (16, 28)
# The network, the router, DNS, one for the future and the broadcast address.
ADDRESSES_AWS_KEEPS = 5
PRIVATE_NETWORKS = tuple(
    ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
# Ranges that are not routed on the internet. Documentation ranges are deliberately not listed.
UNROUTED_NETWORKS = (
    *PRIVATE_NETWORKS,
    *(ipaddress.IPv4Network(text) for text in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")),
)
DOCKER_BRIDGE = ipaddress.IPv4Network("172.17.0.0/16")
EVERYWHERE = ("0.0.0.0/0", "::/0")
WIDEST_PREFIX_LENGTH = 8

PORTS = (1, 65535)
PROTOCOLS = ("tcp", "udp")
# What EC2 accepts as the description of a rule.
LONGEST_RULE_DESCRIPTION = 255
RULE_PUNCTUATION = "._-:/()#,@[]+=&;{}!$*"
RULE_CHARACTERS = frozenset(string.ascii_letters + string.digits + " " + RULE_PUNCTUATION)
# The audiences of ports, and the options with their networks.
AUDIENCES = {"admin": "admin_cidrs", "viewer": "viewer_cidrs"}
PORT_FORM = "from_port and to_port from 1 to 65535, protocol tcp or udp"


def read_network(value: object) -> tuple[ipaddress.IPv4Network | None, str, str]:
    """Read an IPv4 network in CIDR notation.

    Returns:
        The network, or None with the reason and the remedy.
    """
    if isinstance(value, str) and NETWORK_FORM.fullmatch(value):
        with contextlib.suppress(ValueError):
            network = ipaddress.IPv4Network(value, strict=False)
            if str(network) == value:
                return network, "", ""
            return None, "has bits set beyond its prefix length", f'write "{network}"'
    return (None, *_wrong_with_network(value))


def _wrong_with_network(value: object) -> tuple[str, str]:
    """Return why a value is not an IPv4 network in CIDR notation, and the remedy."""
    example = 'write it like "10.0.0.0/16"'
    if not isinstance(value, str):
        return "is not text", example
    try:
        address = ipaddress.ip_interface(value)
    except ValueError:
        return "is not an IPv4 network", example
    if address.version == 6:
        return "is IPv6, and the lab's network is IPv4 only", "name an IPv4 network"
    if "/" not in value:
        return "is an address without a prefix length", f'write "{value}/32" for this one address'
    return "is not in CIDR notation", f'write "{address.network}"'


def check_network(inputs: Inputs) -> list[Problem]:
    """Check the networks of the VPC and its subnet, one by one and against each other."""
    shortest, longest = VPC_PREFIX_LENGTHS
    allowed = f"an IPv4 network from /{shortest} to /{longest} inside {listed([str(net) for net in PRIVATE_NETWORKS])}"
    networks: dict[str, ipaddress.IPv4Network] = {}
    problems: list[Problem] = []
    for option in ("vpc_cidr", "subnet_cidr"):
        network, reason, remedy = read_network(getattr(inputs, option))
        if network is None:
            problems.append(inputs.problem(option, reason, allowed, remedy))
        elif network.prefixlen < shortest:
            remedy = f"choose a prefix length of {shortest} or more"
            problems.append(inputs.problem(option, "is too large for a network in AWS", allowed, remedy))
        elif network.prefixlen > longest:
            remedy = f"choose a prefix length of {longest} or less"
            problems.append(inputs.problem(option, "is too small for a network in AWS", allowed, remedy))
        elif not any(network.subnet_of(private) for private in PRIVATE_NETWORKS):
            reason = "is not private: the hosts could not reach its owner on the internet"
            example = "10.0.0.0/16" if option == "vpc_cidr" else "10.0.1.0/24"
            problems.append(inputs.problem(option, reason, allowed, f'use a private network such as "{example}"'))
        else:
            networks[option] = network
    if problems:
        return problems
    return _check_subnet(inputs, networks["vpc_cidr"], networks["subnet_cidr"])


def _check_subnet(inputs: Inputs, vpc: ipaddress.IPv4Network, subnet: ipaddress.IPv4Network) -> list[Problem]:
    """Check that a valid subnet is in a valid VPC network and has room for the instances."""
    allowed = f"a network inside {inputs.variable('vpc_cidr')} ({vpc})"
    if not subnet.subnet_of(vpc):
        first = next(vpc.subnets(new_prefix=max(subnet.prefixlen, vpc.prefixlen)))
        return [inputs.problem("subnet_cidr", "is outside the VPC", allowed, f'use one inside it, such as "{first}"')]
    room = subnet.num_addresses - ADDRESSES_AWS_KEEPS
    wanted = whole_number(inputs.instance_count)
    if wanted is not None and INSTANCE_COUNTS[0] <= wanted <= INSTANCE_COUNTS[1] and wanted > room:
        reason = f"has room for {room} instances, and {inputs.variable('instance_count')} is {wanted}"
        return [inputs.problem("subnet_cidr", reason, allowed, "choose a larger subnet or fewer instances")]
    return []


def check_sources(inputs: Inputs) -> list[Problem]:
    """Check the networks that may reach the lab: administrators by SSH, viewers by the streams."""
    return [
        *_check_cidrs(inputs, "admin_cidrs", widest=WIDEST_PREFIX_LENGTH, opens="SSH"),
        *_check_cidrs(inputs, "viewer_cidrs", widest=0, opens="Foxglove and Isaac Sim"),
    ]


def _check_cidrs(inputs: Inputs, option: str, widest: int, opens: str) -> list[Problem]:
    """Check one list of sources. No prefix length may be below `widest`."""
    allowed = 'a list of IPv4 networks such as ["203.0.113.7/32"]' + (f", none wider than /{widest}" if widest else "")
    values = getattr(inputs, option)
    if not isinstance(values, list):
        remedy = f"write {shown([values])}" if isinstance(values, str) and values else "write a list"
        return [inputs.problem(option, "is not a list", allowed, remedy)]
    if not values:
        remedy = f"set {inputs.variable(option)} to the addresses that need {opens}"
        return [inputs.problem(option, "admits no addresses", allowed, remedy)]
    problems = []
    for value in values:
        network, reason, remedy = read_network(value)
        if widest and value in EVERYWHERE:
            reason, remedy = f"would open {opens} to the whole internet", "list the addresses that administer the lab"
        elif network is not None and network.prefixlen < widest:
            reason = f"would open {opens} to {network.num_addresses} addresses"
            remedy = "list the addresses that administer the lab"
        if reason:
            problems.append(inputs.problem_with(option, value, reason, allowed, remedy))
    return problems


def check_callers(inputs: Inputs) -> list[Problem]:
    """Check which audiences use the address of the caller, and which addresses of earlier callers to remove."""
    problems = []
    allowed = f"a list of {listed(sorted(AUDIENCES))}"
    known = [value for value in entries(inputs.caller_audiences) if value in AUDIENCES]
    if known != inputs.caller_audiences:
        problems.append(inputs.problem("caller_audiences", "is not a list of audiences", allowed, "correct it"))
    allowed = 'a list of IPv4 addresses or networks such as ["203.0.113.7/32"]'
    if not isinstance(inputs.remove_sources, list):
        return [*problems, inputs.problem("remove_sources", "is not a list", allowed, "Write a list.")]
    current = {str(value) for audience in known for value in entries(getattr(inputs, AUDIENCES[audience]))}
    for value in inputs.remove_sources:
        source = as_network(value)
        _network, reason, remedy = read_network(source)
        if not reason and source in current:
            reason = "is the address of the machine that runs Ansible"
            remedy = "Run this from another address, or leave it out."
        if reason:
            problems.append(inputs.problem_with("remove_sources", value, reason, allowed, remedy))
    return problems


def as_network(value: object) -> object:
    """Return a plain IPv4 address as a /32 network, and any other value unchanged."""
    with contextlib.suppress(ValueError):
        return f"{ipaddress.IPv4Address(value)}/32" if isinstance(value, str) else value
    return value


def read_ports(inputs: Inputs) -> list[Port]:
    """Return the ports of a valid description."""
    return [
        Port(port["audience"], port["protocol"], int(port["from_port"]), int(port["to_port"]))
        for port in entries(inputs.ports)
    ]


def check_ports(inputs: Inputs) -> list[Problem]:
    """Check the table of ports, each of which becomes rules of the security group."""
    allowed = f"{PORT_FORM}, audience admin or viewer"
    problems = _check_port_list(inputs, "ports", allowed)
    for port in entries(inputs.ports):
        if not _wrong_with_port(port) and port.get("audience") not in AUDIENCES:
            problems.append(inputs.problem_with("ports", port, "has no audience", allowed, "correct this entry"))
    return problems


def check_internal_ports(inputs: Inputs) -> list[Problem]:
    """Check the ports other than DDS that are open between the hosts of the lab."""
    problems = _check_port_list(inputs, "internal_ports", PORT_FORM)
    good = [port for port in entries(inputs.internal_ports) if not _wrong_with_port(port)]
    rules = [(port["protocol"], whole_number(port["from_port"]), whole_number(port["to_port"])) for port in good]
    for number, port in enumerate(good):
        if rules[number] in rules[:number]:
            reason, allowed = "is listed twice", "each range of ports once"
            problems.append(inputs.problem_with("internal_ports", port, reason, allowed, "leave one of them out"))
    return problems


def _check_port_list(inputs: Inputs, option: str, allowed: str) -> list[Problem]:
    """Check what every list of ports has in common."""
    ports = getattr(inputs, option)
    if not isinstance(ports, list):
        return [inputs.problem(option, "is not a list", f"a list of ports, each with {allowed}", "write a list")]
    problems = []
    for port in ports:
        reason = _wrong_with_port(port)
        if reason:
            problems.append(inputs.problem_with(option, port, reason, allowed, "correct this entry"))
        if isinstance(port, dict) and "description" in port:
            problems += _check_rule_description(inputs, option, port["description"])
    return problems


def _wrong_with_port(port: object) -> str:
    """Return why an entry is not a port that can be opened, or nothing."""
    if not isinstance(port, dict):
        return "is not a mapping"
    first, last = whole_number(port.get("from_port")), whole_number(port.get("to_port"))
    if first is None or last is None or not PORTS[0] <= first <= last <= PORTS[1]:
        return "has no range of ports"
    return "" if port.get("protocol") in PROTOCOLS else "has no protocol that can be opened"


def _check_rule_description(inputs: Inputs, option: str, value: object) -> list[Problem]:
    """Check a port's description, which AWS shows with its rules."""
    allowed = f"up to {LONGEST_RULE_DESCRIPTION} letters without accents, digits, spaces and {RULE_PUNCTUATION}"
    which = "(the description of a port)"
    if not isinstance(value, str):
        return [inputs.problem_with(option, value, f"{which} is not text", allowed, "write text, in quotes")]
    if len(value) > LONGEST_RULE_DESCRIPTION:
        reason = f"{which} has {len(value)} characters"
        return [inputs.problem_with(option, value, reason, allowed, "shorten it")]
    forbidden = "".join(dict.fromkeys(char for char in value if char not in RULE_CHARACTERS))
    if forbidden:
        reason = f"{which} has {shown(forbidden)} in it"
        return [inputs.problem_with(option, value, reason, allowed, "leave these characters out")]
    return []


def count_rules(inputs: Inputs) -> int:
    """Return the number of rules of a valid description: those between hosts, and one for each port and source."""
    among_hosts = 1 + len(entries(inputs.internal_ports))
    sources = (entries(getattr(inputs, AUDIENCES[port["audience"]])) for port in entries(inputs.ports))
    return among_hosts + sum(map(len, sources))


def find_network_warnings(inputs: Inputs) -> list[str]:
    """Return what a user should know about networks and sources that are otherwise accepted."""
    warnings = []
    for value in entries(inputs.viewer_cidrs):
        network = read_network(value)[0]
        if network is not None and network.prefixlen < WIDEST_PREFIX_LENGTH:
            size = f"{network.num_addresses} addresses" if network.prefixlen else "the whole internet"
            warnings.append(
                f"{inputs.variable('viewer_cidrs')}: {shown(value)} opens Foxglove and Isaac Sim to {size}, and these "
                "streams have no authentication: everyone who finds the address can watch and steer the robot. "
                "List the viewers' addresses instead."
            )
    for option in ("admin_cidrs", "viewer_cidrs"):
        for value in entries(getattr(inputs, option)):
            network = read_network(value)[0]
            if network is not None and any(network.subnet_of(unrouted) for unrouted in UNROUTED_NETWORKS):
                warnings.append(
                    f"{inputs.variable(option)}: {shown(value)} is not routed on the internet. "
                    "Set the public address of these machines instead."
                )
    warnings += _find_open_dds(inputs)
    vpc = read_network(inputs.vpc_cidr)[0]
    if vpc is not None and vpc.overlaps(DOCKER_BRIDGE):
        warnings.append(
            f"{inputs.variable('vpc_cidr')}: {shown(inputs.vpc_cidr)} overlaps {DOCKER_BRIDGE}, which Docker uses for "
            "its bridge on every host. Choose another network, or configure another bridge for Docker."
        )
    return warnings


def _find_open_dds(inputs: Inputs) -> list[str]:
    """Return a warning for each entry that opens ports of the lab's ROS domain to the outside."""
    domain = whole_number(inputs.ros_domain_id)
    if domain is None:
        return []
    domain_ports = dds.of_domain(domain)
    warnings = []
    for port in entries(inputs.ports):
        if _wrong_with_port(port) or port.get("audience") not in AUDIENCES or port["protocol"] != "udp":
            continue
        opened = (int(port["from_port"]), int(port["to_port"]))
        if opened[0] <= domain_ports.last and opened[1] >= domain_ports.first:
            sources = ", ".join(map(str, entries(getattr(inputs, AUDIENCES[port["audience"]]))))
            warnings.append(
                f"{opened[0]}-{opened[1]}/udp (ROS 2 DDS) is open to {sources}: DDS has no authentication, the source "
                "of a UDP packet can be forged, and everyone behind these addresses can read all topics and move the "
                "robot. Open it only for a robot with a public address."
            )
    return warnings


def entries(values: object) -> list[Any]:
    """Return a list's entries, or an empty list for any other value."""
    return values if isinstance(values, list) else []
