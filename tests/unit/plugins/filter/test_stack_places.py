# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What filter stack_places accepts as places."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_places import stack_places

NAN, INFINITE = float("nan"), float("inf")
# The places, and those that are malformed and ambiguous.
CASES: dict[str, tuple[list[dict[str, Any]], list[str], list[str]]] = {
    "valid": ([{"name": "a", "coordinates": [1, -2.5], "aliases": ["Dock 1"]}], [], []),
    "an upper-case name": ([{"name": "Zone A", "coordinates": [0, 0]}], ["Zone A [0.0, 0.0]"], []),
    "a name with a digit first": ([{"name": "1a", "coordinates": [0, 0]}], ["1a [0.0, 0.0]"], []),
    "a name of 63 characters": ([{"name": "a" * 63, "coordinates": [0, 0]}], [], []),
    "a name of 64 characters": ([{"name": "a" * 64, "coordinates": [0, 0]}], [f"{'a' * 64} [0.0, 0.0]"], []),
    "one coordinate": ([{"name": "a", "coordinates": [1]}], ["a [1.0]"], []),
    "three coordinates": ([{"name": "a", "coordinates": [1, 2, 3]}], ["a [1.0, 2.0, 3.0]"], []),
    "not a number": ([{"name": "a", "coordinates": [NAN, 1]}], ["a [NaN, 1.0]"], []),
    "infinity": ([{"name": "a", "coordinates": [1, INFINITE]}], ["a [1.0, Infinity]"], []),
    "a million metres": ([{"name": "a", "coordinates": [1e6, -1e6]}], [], []),
    "more than a million metres": ([{"name": "a", "coordinates": [1e6 + 1, 0]}], ["a [1000001.0, 0.0]"], []),
    "a direction": ([{"name": "a", "coordinates": [0, 0], "theta": -3.14}], [], []),
    "a direction in degrees": ([{"name": "a", "coordinates": [0, 0], "theta": 90}], ["a [0.0, 0.0] 90"], []),
    "a direction that is not a number": (
        [{"name": "a", "coordinates": [0, 0], "theta": NAN}],
        ["a [0.0, 0.0] nan"],
        [],
    ),
    "a word that stops": ([{"name": "stop", "coordinates": [1, 1]}], [], ["stop"]),
    "an alias that stops": ([{"name": "a", "coordinates": [1, 1], "aliases": ["E", "STOP!"]}], [], ["stop"]),
    "an alias without letters": ([{"name": "a", "coordinates": [1, 1], "aliases": ["--"]}], [], [""]),
    "an alias like a name": (
        [{"name": "zone_a", "coordinates": [0, 0]}, {"name": "b", "coordinates": [1, 1], "aliases": ["Zone-A"]}],
        [],
        ["zone a"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_places_are_checked(case: str) -> None:
    places, malformed, ambiguous = CASES[case]
    found = stack_places(places, ["stop"])
    assert (found["malformed"], found["ambiguous"]) == (malformed, ambiguous)


def test_places_get_numbers_and_aliases() -> None:
    places = [{"name": "a", "coordinates": ["1", 2]}, {"name": "b", "coordinates": [0.5, "east"], "aliases": ["c"]}]
    assert stack_places(places)["places"] == [
        {"name": "a", "coordinates": [1.0, 2.0], "aliases": []},
        {"name": "b", "coordinates": [0.5, 0.0], "aliases": ["c"]},
    ]


def test_a_place_keeps_its_direction() -> None:
    found = stack_places([{"name": "a", "coordinates": [1, 2], "theta": "1.5"}, {"name": "b", "coordinates": [3, 4]}])
    assert [place.get("theta") for place in found["places"]] == [1.5, None]


def test_aliases_may_be_one_text_with_commas() -> None:
    """Ansible accepts it as a list; its letters are no aliases."""
    found = stack_places([{"name": "a", "coordinates": [0, 0], "aliases": "loading dock, bay"}], ["a dock"])
    assert found["places"][0]["aliases"] == ["loading dock", "bay"]
    assert found["ambiguous"] == []


@pytest.mark.parametrize(("start", "distant"), [([0, 0], ["b"]), ([3, 8], ["a"]), ([6, 3], ["a", "b"]), (None, [])])
def test_distant_places_are_more_than_three_metres_away(start: list[float] | None, distant: list[str]) -> None:
    places = [{"name": "a", "coordinates": [0, 3]}, {"name": "b", "coordinates": [6, 8]}]
    assert stack_places(places, [], start)["distant"] == distant
