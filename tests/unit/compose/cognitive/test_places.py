# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading places: which files are accepted, and the errors for the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compose.cognitive.places import PlacesError, parse, point, read

INFINITE = '[{"name": "a", "coordinates": [1, Infinity]}]'
BAD = {
    "not JSON": ("{", "not JSON"),
    "no list": ('{"zone_a": [0, 0]}', "not a list"),
    "empty": ("[]", "the list is empty"),
    "no name": ('[{"coordinates": [0, 0]}]', "has no name"),
    "entry is a text": ('["zone_a"]', "has no name"),
    "no coordinates": ('[{"name": "a"}]', "'a' has coordinates None; needed: two finite numbers"),
    "null coordinates": ('[{"name": "a", "coordinates": null}]', "two finite numbers"),
    "one coordinate": ('[{"name": "a", "coordinates": [1]}]', "two finite numbers"),
    "three coordinates": ('[{"name": "a", "coordinates": [1, 2, 3]}]', "two finite numbers"),
    "texts": ('[{"name": "a", "coordinates": ["1", "2"]}]', "two finite numbers"),
    "booleans": ('[{"name": "a", "coordinates": [true, false]}]', "two finite numbers"),
    "infinite": (INFINITE, "two finite numbers"),
    "not a number": (INFINITE.replace("Infinity", "NaN"), "two finite numbers"),
    "bad aliases": ('[{"name": "a", "coordinates": [1, 2], "aliases": "b"}]', "needed: a list of texts"),
    "empty alias": ('[{"name": "a", "coordinates": [1, 2], "aliases": ["--"]}]', "empty name or alias"),
    "same name": ('[{"name": "a b", "coordinates": [1, 2]}, {"name": "A_B", "coordinates": [3, 4]}]', "names both"),
    "takes the word stop": ('[{"name": "Stop", "coordinates": [1, 2]}]', "the word stops the robot"),
}


@pytest.mark.parametrize(("document", "message"), BAD.values(), ids=BAD)
def test_invalid_places_are_refused(document: str, message: str) -> None:
    with pytest.raises(PlacesError, match=message):
        parse(document)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PlacesError, match="No such file"):
        read(tmp_path / "none.json")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(PlacesError, match=r"bad\.json"):
        read(tmp_path / "bad.json")


def test_places_are_found_by_name_and_alias_in_any_spelling() -> None:
    places = parse(json.dumps([{"name": "zone_b", "coordinates": {"x": 1, "y": 2}, "aliases": ["zone 2"]}]))
    for name in ("zone_b", "Zone B", "zone-b", "ZONE 2", "zone two"):
        found = places.find(name)
        assert found is not None
        assert found.coordinates == (1.0, 2.0)
    assert places.find("zone") is None


def test_longest_name_wins() -> None:
    places = parse(
        json.dumps([{"name": "dock", "coordinates": [0, 0]}, {"name": "south dock", "coordinates": [1, 1]}]),
    )
    assert [mention.place.name for mention in places.mentioned("go to the south dock")] == ["south dock"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2], (1.0, 2.0)),
        ({"x": 1, "y": 2.5}, (1.0, 2.5)),
        ({"x": 1, "y": 2, "z": 0}, (1.0, 2.0)),
        ({"x": 1}, None),
        ({"lat": 1, "lon": 2}, None),
        ({}, None),
        (None, None),
        ("1,2", None),
        ([None, None], None),
        ([float("nan"), 1], None),
        ([[1], [2]], None),
    ],
)
def test_point(value: object, expected: tuple[float, float] | None) -> None:
    assert point(value) == expected
