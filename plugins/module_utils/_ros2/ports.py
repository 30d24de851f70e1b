# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports of DDS, by the formula of the RTPS specification, and of its servers. Pure functions.

Everything in this collection that needs a DDS port takes it from here; roles and inventories by the filter ros2_ports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BASE = 7400
PORTS_OF_A_DOMAIN = 250
PORTS_OF_A_PARTICIPANT = 2
# Offsets within a domain's ports.
MULTICAST_DISCOVERY, MULTICAST_DATA, FIRST_PARTICIPANT = 0, 1, 10

# Above it are Linux' ephemeral ports, one of which may be taken when a participant starts.
DOMAINS = (0, 101)
FIRST_EPHEMERAL = 32768
# Of a Fast DDS discovery server (UDP), and of a Zenoh router (TCP), where the address has no port.
DISCOVERY_SERVER, ZENOH_ROUTER = 11811, 7447
RANGE_FORM = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")


@dataclass(frozen=True)
class Range:
    """Ports from the first to the last, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        """Return the range in the form of firewalls."""
        return f"{self.first}-{self.last}"


def read_range(text: str) -> Range | None:
    """Read a range such as 7400-7500, or return None."""
    match = RANGE_FORM.fullmatch(text)
    if not match:
        return None
    first, last = int(match[1]), int(match[2])
    return Range(first, last) if 1 <= first <= last <= 65535 else None


def of_domain(domain: int) -> Range:
    """Return all ports of a domain."""
    first = BASE + PORTS_OF_A_DOMAIN * domain
    return Range(first, first + PORTS_OF_A_DOMAIN - 1)


def of_participant(domain: int, index: int) -> Range:
    """Return the ports of one participant: for discovery, and for data."""
    first = of_domain(domain).first + FIRST_PARTICIPANT + PORTS_OF_A_PARTICIPANT * index
    return Range(first, first + PORTS_OF_A_PARTICIPANT - 1)


def of_participants(domain: int, count: int) -> Range:
    """Return the ports that a number of participants on each host needs."""
    return Range(of_domain(domain).first, of_participant(domain, count - 1).last)


def participants_within(domain: int, allowed: Range) -> int:
    """Return how many participants on each host can be reached when a firewall allows only some ports."""
    if of_participant(domain, 0).first < allowed.first:
        return 0
    room = allowed.last + 1 - of_participant(domain, 0).first
    return max(0, min(room // PORTS_OF_A_PARTICIPANT, most_participants(domain)))


def most_participants(domain: int) -> int:
    """Return how many participants a host may have before they use the next domain's ports or the ephemeral ones."""
    end = min(of_domain(domain).last + 1, FIRST_EPHEMERAL)
    return (end - of_participant(domain, 0).first) // PORTS_OF_A_PARTICIPANT


def index_of(domain: int, port: int) -> int | None:
    """Return the index of the participant that owns a port of a domain, or None."""
    index = (port - of_participant(domain, 0).first) // PORTS_OF_A_PARTICIPANT
    return index if 0 <= index < most_participants(domain) else None
