# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages: which are commands, and the errors for the others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from compose.cognitive.places import point as point_of_cognitive
from compose.ros2.bridge.commands import Command, MalformedError, parse
from compose.ros2.bridge.places import PlacesError, Pose, point, pose, read_places
from tests.unit.compose.ros2.support import PLACES

ZONE_B: dict[str, Any] = {
    "action": "navigate",
    "target": "zone_b",
    "coordinates": [10.0, 0.0],
    "speed": "normal",
    "confidence": 0.7,
    "raw_text": "move to zone b",
}
THERE = Command("", "navigate", "zone_b", Pose(10.0, 0.0))

GOOD: dict[str, tuple[dict[str, Any], Command]] = {
    "as the cognitive service sends it": ({"id": "3f-a_1"}, Command("3f-a_1", "navigate", "zone_b", Pose(10.0, 0.0))),
    "as others send it": ({}, THERE),
    "slow": ({"speed": "slow"}, Command("", "navigate", "zone_b", Pose(10.0, 0.0), "slow")),
    "no speed": ({"speed": None}, THERE),
    "coordinates as an object": ({"coordinates": {"x": 10, "y": 0}}, THERE),
    "as an object with a height": ({"coordinates": {"x": 10, "y": 0, "z": 1}}, THERE),
    "as a list with a height": ({"coordinates": [10, 0, 1]}, THERE),
    "a place without coordinates": ({"coordinates": None}, THERE),
    "its own coordinates": ({"coordinates": [1, 2]}, Command("", "navigate", "zone_b", Pose(1.0, 2.0))),
    "coordinates without a place": ({"target": None}, Command("", "navigate", "", Pose(10.0, 0.0))),
    "a place that is not known here": ({"target": "attic"}, Command("", "navigate", "attic", Pose(10.0, 0.0))),
    "inspect": ({"action": "inspect"}, Command("", "inspect", "zone_b", Pose(10.0, 0.0))),
    "what is not known yet": ({"urgency": 3}, THERE),
    "several stops": (
        {
            "target": None,
            "coordinates": None,
            "stops": [{"target": "zone_c"}, {"coordinates": [1, 2]}, {"target": "zone_b"}],
        },
        Command("", "navigate", "zone_b", Pose(10.0, 0.0), stops=(PLACES["zone_c"], Pose(1.0, 2.0))),
    ),
    "one stop": ({"target": None, "coordinates": None, "stops": [{"target": "zone_b"}]}, THERE),
    "stop with stops": ({"action": "stop", "stops": 7}, Command("", "stop")),
    "status": ({"action": "status", "coordinates": None}, Command("", "status")),
    "stop": ({"action": "stop", "id": "x"}, Command("x", "stop")),
    "stop, shouted": ({"action": " STOP "}, Command("", "stop")),
    "stop, whatever else is wrong": ({"action": "stop", "id": 7, "coordinates": "?", "speed": []}, Command("", "stop")),
}


@pytest.mark.parametrize(("changes", "command"), GOOD.values(), ids=GOOD)
def test_commands(changes: dict[str, Any], command: Command) -> None:
    assert parse(json.dumps({**ZONE_B, **changes}), PLACES) == command


BAD: dict[str, tuple[dict[str, Any] | str | bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "not JSON": ("go!", "not JSON"),
    "not UTF-8": (b'{"action": "\xff"}', "not JSON"),
    "deeply nested": ("[" * 9000, "not JSON"),
    "a huge number": ('{"action": 1' + "0" * 5000 + "}", "not JSON"),
    "a list": ('["go"]', "not a JSON object"),
    "a text": ('"go"', "not a JSON object"),
    "two actions": ('{"action": "navigate", "target": "zone_a", "action": "navigate"}', "a name occurs twice"),
    "stops beside a target": ({"stops": [{"target": "zone_a"}]}, "only with action navigate, without target and"),
    "stops of another action": (
        {"action": "pick", "target": None, "coordinates": None, "stops": [{"target": "zone_a"}]},
        "only with action navigate",
    ),
    "no stops": ({"target": None, "coordinates": None, "stops": []}, "Allowed: a list of 1 to 16 places"),
    "too many stops": (
        {"target": None, "coordinates": None, "stops": [{"target": "zone_a"}] * 17},
        "a list of 1 to 16 places",
    ),
    "a stop that is a text": (
        {"target": None, "coordinates": None, "stops": ["zone_a"]},
        "an object with target, coordinates or",
    ),
    "a stop with an action": (
        {"target": None, "coordinates": None, "stops": [{"action": "return_home"}]},
        "stops has the action 'return_home'. Set action once",
    ),
    "a stop that is unknown": (
        {"target": None, "coordinates": None, "stops": [{"target": "zone_a"}, {"target": "attic"}]},
        "'attic' has no coordinates",
    ),
    "too long": ("x" * 20000, "the message has 20000 bytes. Allowed: 16384"),
    "no action": (
        {"action": None},
        "action is None. Allowed: navigate, move_to_zone, inspect, pick, place, return_home, stop, status",
    ),
    "unknown": ({"action": "unknown"}, "action is 'unknown'. Allowed: navigate,"),
    "an action that is a list": ({"action": ["navigate"]}, r"action is \['navigate'\]. Allowed: navigate,"),
    "id is a number": ({"id": 7}, "id is 7. Allowed: up to 64 letters"),
    "id is long": ({"id": "x" * 65}, "id is 'x.*. Allowed: up to 64 letters"),
    "speed": ({"speed": "ludicrous"}, "speed is 'ludicrous'. Allowed: slow, normal, fast"),
    "speed is a number": ({"speed": 3}, "speed is 3. Allowed"),
    "speed is a list": ({"speed": ["slow"]}, "speed is .*. Allowed"),
    "target is an object": ({"target": {"name": "zone_b"}}, "target is .*. Allowed: a text"),
    "unknown place": (
        {"target": "attic", "coordinates": None},
        "'attic' has no coordinates and is not a known place. Known",
    ),
    "nowhere": ({"target": None, "coordinates": None}, "'' has no coordinates and is not a known place"),
    "one number": ({"coordinates": [1]}, r"coordinates are \[1\]. Allowed: two numbers"),
    "texts": ({"coordinates": ["1", "2"]}, "coordinates are .*. Allowed: two numbers"),
    "coordinates as a text": ({"coordinates": "1,2"}, "coordinates are '1,2'. Allowed: two numbers"),
    "other names": ({"coordinates": {"lat": 1, "lon": 2}}, "coordinates are .*. Allowed: two numbers"),
    "half an object": ({"coordinates": {"x": 1}}, "coordinates are .*. Allowed: two numbers"),
    "no number": ('{"action": "navigate", "coordinates": [NaN, 1]}', "coordinates are .nan, 1.. Allowed: two numbers"),
    "infinite": (
        '{"action": "navigate", "coordinates": [1, Infinity]}',
        "coordinates are .1, inf.. Allowed: two numbers",
    ),
    "too large for a float": ({"coordinates": [10**400, 0]}, "coordinates are .1000000.*. Allowed: two numbers"),
    "true": ({"coordinates": [True, False]}, "coordinates are .True, False.. Allowed: two numbers"),
}


@pytest.mark.parametrize(("message", "reason"), BAD.values(), ids=BAD)
def test_malformed(message: dict[str, Any] | str | bytes, reason: str) -> None:
    text = json.dumps({**ZONE_B, **message}) if isinstance(message, dict) else message
    with pytest.raises(MalformedError, match=reason) as refusal:
        parse(text, PLACES)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "value", [[1, 2], {"x": 1, "y": 2.5}, {"x": 1, "y": 2, "z": 0}, {"x": 1}, {}, None, "1,2", [None, 1]]
)
def test_both_services_read_coordinates_alike(value: object) -> None:
    found = point(value)
    assert (found and found[:2]) == point_of_cognitive(value)


def test_places_are_those_of_the_cognitive_service() -> None:
    assert PLACES["loading_dock"] == Pose(15.0, 5.0)
    assert len(PLACES) == 8


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "cannot be read"),
        ("{}", "is not a list of places"),
        ('[{"coordinates": [0, 0]}]', "Each place needs a name and two numbers"),
        ('[{"name": "a", "coordinates": [0]}]', "Each place needs a name and two numbers"),
        ('["a"]', "Each place needs a name and two numbers"),
    ],
)
def test_bad_places(tmp_path: Path, document: str, reason: str) -> None:
    (tmp_path / "places.json").write_text(document)
    with pytest.raises(PlacesError, match=reason):
        read_places(tmp_path / "places.json")


def test_no_places(tmp_path: Path) -> None:
    with pytest.raises(PlacesError, match=r"places.json cannot be read: .*No such file"):
        read_places(tmp_path / "places.json")


def test_pose() -> None:
    assert pose("1, -2.5, 3.14") == (1.0, -2.5, 3.14)
    for text in ("1,2", "1,2,3,4", "a,b,c", "nan,0,0", ""):
        with pytest.raises(ValueError, match=r".*"):
            pose(text)


@pytest.mark.parametrize("yaw", [None, 0.0, 1.57, -1.57, 3.14, -3.0])
def test_the_rotation_of_a_pose_is_its_yaw(yaw: float | None) -> None:
    z, w = Pose(1.0, 2.0, yaw).rotation
    # As a reader of the goal computes it.
    assert math.atan2(2 * w * z, 1 - 2 * z * z) == pytest.approx(yaw or 0.0)
