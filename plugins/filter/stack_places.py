# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter stack_places."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_places
short_description: Check the places to which a robot can be sent
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns places in the format of the cognitive service, and those that it would not accept.
positional: reserved, start
options:
  _input:
    description: >-
      The places, each with C(name), C(coordinates) in metres, and optionally C(theta) in radians and C(aliases).
    type: list
    elements: dict
    required: true
  reserved:
    description: Words that stop the robot, so that a place must not have them as its name or alias.
    type: list
    elements: str
    default: []
  start:
    description: The position of the robot, in metres.
    type: list
    elements: float
    default: []
"""

EXAMPLES = r"""
- name: Check the names of the places
  ansible.builtin.assert:
    that: (places | digital_twin.robotics_lab.stack_places(['stop'])).ambiguous | length == 0
  vars:
    places: [{name: dock, coordinates: [1, 2.5], aliases: [loading dock]}]
"""

RETURN = r"""
_value:
  description:
    - C(places), the places with coordinates as numbers; C(malformed), those whose name is not valid, that do not have
      two finite coordinates, or whose C(theta) is more than a full turn; C(ambiguous), names and aliases that are used
      twice, are empty or are O(reserved).
    - C(distant), with O(start), the names of the places that are more than 3 m from it.
  type: dict
  sample: {places: [{name: dock, coordinates: [1.0, 2.5], aliases: []}], malformed: ["Dock [1.0]"], ambiguous: [stop]}
"""

import json
import math
import re
from collections import Counter
from typing import Any

NAME = re.compile("[a-z][a-z0-9_]{0,62}$")
# Metres. NaN and infinity are not in this range either.
LIMIT = 1e6
DISTANT = 3.0


def number(value: Any) -> float:
    """Return a coordinate; 0 where it is not a number, which the role's argument specification reports."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def heard(name: Any) -> str:
    """Return a name as the cognitive service compares it: words of lower-case letters and digits."""
    return re.sub("[^a-z0-9]+", " ", str(name).lower()).strip()


def distance(one: list[float], other: list[float]) -> float:
    """Return the distance of two positions, in metres."""
    return float(((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2) ** 0.5)


def aliases_of(place: dict[str, Any]) -> list[Any]:
    """Return the aliases of a place, which Ansible also accepts as one text with commas."""
    aliases = place.get("aliases") or []
    return [alias.strip() for alias in aliases.split(",")] if isinstance(aliases, str) else aliases


def stack_places(
    places: list[dict[str, Any]], reserved: list[str] | None = None, start: list[float] | None = None
) -> dict[str, Any]:
    """Return the places, and those that the cognitive service would not accept."""
    normal = [
        {
            "name": place["name"],
            "coordinates": [number(value) for value in place["coordinates"]],
            "aliases": aliases_of(place),
            **({"theta": number(place["theta"])} if place.get("theta") is not None else {}),
        }
        for place in places
    ]
    malformed = [
        f"{place['name']} {json.dumps(place['coordinates'])}" + (f" {place['theta']:g}" if "theta" in place else "")
        for place in normal
        if not NAME.match(str(place["name"]))
        or len(place["coordinates"]) != 2
        or not all(-LIMIT <= value <= LIMIT for value in place["coordinates"])
        or not -math.tau <= place.get("theta", 0.0) <= math.tau
    ]
    names = [place["name"] for place in normal] + [alias for place in normal for alias in place["aliases"]]
    counts = Counter(map(heard, names))
    ambiguous = [name for name, count in counts.items() if count > 1 or name in ["", *(reserved or [])]]
    distant = [place["name"] for place in normal if start and distance(place["coordinates"], start) > DISTANT]
    return {"places": normal, "malformed": malformed, "ambiguous": ambiguous, "distant": distant}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"stack_places": stack_places}
