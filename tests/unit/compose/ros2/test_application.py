# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of the reference application, github.com/JackAmichai/digital-twin-robot-NVD, read in November 2026."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_places import stack_places
from redis import Redis

from compose.cognitive.places import read as read_places_of_cognitive
from compose.cognitive.words import STOP_WORDS as STOP_WORDS_OF_COGNITIVE
from compose.ros2.bridge.bridge import Bridge
from compose.ros2.bridge.commands import STOP_WORDS, Command, MalformedError, parse
from compose.ros2.bridge.inbox import Inbox, connect
from compose.ros2.bridge.places import Pose, read_places
from compose.world.description import load as load_hall
from compose.world.geometry import rasterise, reachable
from tests.unit.compose.cognitive.support import COGNITIVE_PASSWORD, ROOT
from tests.unit.compose.ros2.support import PLACES, SECONDS, Lab, Robot, turns, until

START = Pose(1.0, 2.0, 0.5)
APPLICATION = read_places(ROOT / "compose" / "places.application.json")


def intent(action: str, target: str | None = None, coordinates: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a RobotIntent of cognitive_service/src/schemas.py, with all of its fields."""
    return {
        "action": action,
        "target": target,
        "coordinates": coordinates,
        "confidence": 0.95,
        "raw_transcript": "go to the loading dock",
        "timestamp": "2026-11-30T10:00:00.123456",
        "metadata": {},
        **fields,
    }


def sent(
    action: str, target: str | None = None, coordinates: Any = None, text: str = "", **fields: Any
) -> dict[str, Any]:
    """Return a RobotIntent of cognitive_service/src/intent_parser.py, which its command_bridge.py publishes."""
    return {
        "action": action,
        "target": target,
        "coordinates": coordinates,
        "speed": "normal",
        "confidence": 0.7,
        "raw_text": text,
        **fields,
    }


def xyz(x: float, y: float, theta: float = 0.0) -> dict[str, float]:
    """Return coordinates of schemas.py."""
    return {"x": x, "y": y, "z": 0.0, "theta": theta}


STOP = Command("", "stop")
FOLLOWED: dict[str, tuple[dict[str, Any], Command]] = {
    # schemas.py: the examples at its end, and each of its zones.
    "schemas: the example": (
        intent("move_to_zone", "loading_dock", xyz(5, 2)),
        Command("", "move_to_zone", "loading_dock", Pose(5.0, 2.0, 0.0)),
    ),
    "schemas: storage": (
        intent("move_to_zone", "storage", xyz(-5, 2, 3.14)),
        Command("", "move_to_zone", "storage", Pose(-5.0, 2.0, 3.14)),
    ),
    "schemas: charging": (
        intent("navigate", "charging", xyz(0, -5, -1.57)),
        Command("", "navigate", "charging", Pose(0.0, -5.0, -1.57)),
    ),
    "schemas: a zone without coordinates is that of the lab": (
        intent("move_to_zone", "loading_dock"),
        Command("", "move_to_zone", "loading_dock", Pose(15.0, 5.0)),
    ),
    "schemas: a zone as its get_zone_coordinates accepts it": (
        intent("move_to_zone", "Loading Dock"),
        Command("", "move_to_zone", "loading_dock", Pose(15.0, 5.0)),
    ),
    "schemas: inspect": (
        intent("inspect", "inspection", xyz(3, 0)),
        Command("", "inspect", "inspection", Pose(3.0, 0.0, 0.0)),
    ),
    "schemas: return_home": (intent("return_home"), Command("", "return_home", "home", Pose(0.0, 0.0))),
    "schemas: return_home with its target": (
        intent("return_home", "home"),
        Command("", "return_home", "home", Pose(0.0, 0.0)),
    ),
    "schemas: return_home with its coordinates": (
        intent("return_home", "home", xyz(0, 0)),
        Command("", "return_home", "home", Pose(0.0, 0.0, 0.0)),
    ),
    "schemas: stop": (intent("stop", raw_transcript="stop"), STOP),
    "schemas: status": (intent("status", raw_transcript="what is your status"), Command("", "status")),
    "schemas: unknown, but the words stop": (intent("unknown", raw_transcript="Stop it right now"), STOP),
    # intent_parser.py: the phrases at its end, by its rules.
    "intent_parser: Move to zone B": (
        sent("navigate", "zone_b", [10.0, 0.0], "Move to zone B"),
        Command("", "navigate", "zone_b", Pose(10.0, 0.0)),
    ),
    "intent_parser: Inspect the north shelf": (
        sent("inspect", "north_shelf", [5.0, 15.0], "Inspect the north shelf"),
        Command("", "inspect", "north_shelf", Pose(5.0, 15.0)),
    ),
    "intent_parser: Stop immediately": (sent("stop", text="Stop immediately", confidence=0.9), STOP),
    "intent_parser: What's your status?": (
        sent("status", text="What's your status?", confidence=0.9),
        Command("", "status"),
    ),
    "intent_parser: its model names a place without coordinates": (
        sent("navigate", "zone b", None, "Move to zone B"),
        Command("", "navigate", "zone_b", Pose(10.0, 0.0)),
    ),
    "intent_parser: its model sends an object": (
        sent("navigate", "zone_b", {"x": 10, "y": 0}, "Move to zone B", speed="slow"),
        Command("", "navigate", "zone_b", Pose(10.0, 0.0), "slow"),
    ),
    # scripts/orchestrator.py, send_command.
    "orchestrator": (
        {"action": "navigate", "target": "zone_c", "coordinates": [10.0, 10.0], "source": "orchestrator"},
        Command("", "navigate", "zone_c", Pose(10.0, 10.0)),
    ),
    # scripts/demo.py prints this form; nothing publishes it.
    "demo.py": (
        {"action": "move_to_zone", "target": "assembly", "parameters": {"x": 0.0, "y": 5.0, "theta": 1.57}},
        Command("", "move_to_zone", "assembly", Pose(0.0, 5.0, 1.57)),
    ),
    "demo.py: stop": ({"action": "stop", "target": None, "parameters": {}}, STOP),
    # The demo of its Makefile sends every line that is typed as navigate.
    "schemas: words that forbid it": (intent("navigate", "loading_dock", raw_transcript="Don't go there"), STOP),
    "schemas: an acute accent": (intent("navigate", "loading_dock", raw_transcript="don\u00b4t go there"), STOP),
    "schemas: wide letters": (intent("navigate", "loading_dock", raw_transcript="\uff33\uff34\uff2f\uff30"), STOP),
    "schemas: words that only look alike": (
        intent("navigate", "loading_dock", raw_transcript="I want to go to the northern dock"),
        Command("", "navigate", "loading_dock", Pose(15.0, 5.0)),
    ),
    "a stop among the stops": ({"action": "navigate", "stops": [{"target": "zone_a", "action": "halt"}]}, STOP),
    "typed stop": ({"action": "navigate", "raw_text": "stop"}, STOP),
    # api/openapi/schemas/robot.yaml: no robot command of ours, but a stop is one.
    "openapi: emergency_stop": ({"command_type": "emergency_stop", "priority": "critical"}, STOP),
    # Combinations of both forms.
    "several stops with directions": (
        {"action": "navigate", "stops": [{"target": "zone_c", "theta": 1.0}, {"coordinates": xyz(5, 2, -1.0)}]},
        Command("", "navigate", "", Pose(5.0, 2.0, -1.0), stops=(Pose(10.0, 10.0, 1.0),)),
    ),
    "x and y beside the action": (
        {"action": "move_to_zone", "x": 1, "y": 2, "theta": -1.0},
        Command("", "move_to_zone", "", Pose(1.0, 2.0, -1.0)),
    ),
    "theta beside a list": (
        sent("navigate", "zone_b", [10.0, 0.0], theta=1.5),
        Command("", "navigate", "zone_b", Pose(10.0, 0.0, 1.5)),
    ),
    "theta for a known place": (
        {"action": "navigate", "target": "zone_b", "theta": 1.5},
        Command("", "navigate", "zone_b", Pose(10.0, 0.0, 1.5)),
    ),
    "more than half a turn": (
        {"action": "navigate", "coordinates": {"x": 1, "y": 2, "theta": 4.712388980384690}},
        Command("", "navigate", "", Pose(1.0, 2.0, -1.5707963267948966)),
    ),
    "theta is null": (
        intent("navigate", "a", {"x": 1, "y": 2, "theta": None}),
        Command("", "navigate", "a", Pose(1, 2)),
    ),
    "the same coordinates twice": (
        {"action": "navigate", "coordinates": [1, 2], "x": 1, "y": 2},
        Command("", "navigate", "", Pose(1.0, 2.0)),
    ),
    # A text of the command service, whose messages have an id, was searched there, without the names of places.
    "a place named bus_stop": (
        sent("navigate", "bus_stop", [1, 2], "go to the bus stop", id="a"),
        Command("a", "navigate", "bus_stop", Pose(1.0, 2.0)),
    ),
    "the same without an id": (sent("navigate", "bus_stop", [1, 2], "go to the bus stop"), STOP),
    "a stop with an id": (intent("stop", id="b"), Command("b", "stop")),
    "halt as an action": ({"action": "HALT!"}, STOP),
    "a stop in a list": ({"action": ["navigate", "stop"], "target": "zone_b"}, STOP),
}


@pytest.mark.parametrize(("message", "command"), FOLLOWED.values(), ids=FOLLOWED)
def test_messages_that_are_followed(message: dict[str, Any], command: Command) -> None:
    assert parse(json.dumps(message), PLACES, START) == command


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "schemas: unknown": (intent("unknown", "zone_b"), "action is 'unknown'. Allowed: navigate, move_to_zone"),
    "schemas: a zone that is not a place of the lab": (
        intent("move_to_zone", "assembly"),
        "'assembly' has no coordinates and is not a known place. Known places: zone_a,",
    ),
    "schemas: a NavigationGoal": ({"goal_id": "1", "target_pose": xyz(5, 2), "frame_id": "map"}, "action is None"),
    "intent_parser: Pick up the package": (sent("pick", text="Pick up the package"), "'' has no coordinates"),
    "intent_parser: a place that its rules do not know": (
        sent("navigate", text="go to the loading dock"),
        "'' has no coordinates",
    ),
    "typed text": ({"action": "navigate", "raw_text": "Move to Zone B"}, "'' has no coordinates"),
    "openapi: a RobotCommand": ({"command_type": "navigate", "parameters": {"x": 1, "y": 2}}, "action is None"),
    "return_home to another place": (
        intent("return_home", "zone_b"),
        "return_home has the target 'zone_b'. Allowed: none, home, charging",
    ),
    "degrees": (intent("navigate", "a", xyz(1, 2, 90)), r"coordinates are .*'theta': 90.*radians, from -6.28 to 6.28"),
    "degrees beside the coordinates": (
        sent("navigate", "a", [1, 2], theta=90),
        "theta is 90. Allowed: radians, from -6",
    ),
    "theta is a text": (sent("navigate", "a", [1, 2], theta="north"), "theta is 'north'. Allowed: radians"),
    "theta is true": (sent("navigate", "a", [1, 2], theta=True), "theta is True. Allowed: radians"),
    "theta is NaN": (sent("navigate", "a", [1, 2], theta=float("nan")), "theta is nan. Allowed: radians"),
    "an invalid theta of a known place": (sent("navigate", "zone_b", theta=[1]), r"theta is \[1\]. Allowed: radians"),
    "x alone": ({"action": "navigate", "target": "zone_b", "x": 1}, "x and y are .*Allowed: two numbers"),
    "parameters with half a place": (
        {"action": "move_to_zone", "target": "zone_b", "parameters": {"y": 1}},
        "parameters are .*Allowed: two numbers",
    ),
    "two places": ({"action": "navigate", "coordinates": [1, 2], "x": 3, "y": 4}, "two different coordinates or theta"),
    "two directions": (intent("navigate", "a", xyz(1, 2, 1.0), theta=2.0), "two different coordinates or theta"),
    "stops beside x": (
        {"action": "navigate", "x": 1, "y": 2, "stops": [{"target": "zone_a"}]},
        "stops is set. Allowed",
    ),
    "empty coordinates": (intent("navigate", "zone_b", {}), "coordinates are {}. Allowed: two numbers"),
    "four numbers": (intent("navigate", "zone_b", [1, 2, 0, 1.57]), "coordinates are .*Allowed: two numbers"),
    "a wrong id": (sent("navigate", "zone_b", id=7), "id is 7"),
}


@pytest.mark.parametrize(("message", "reason"), REFUSED.values(), ids=REFUSED)
def test_messages_that_are_refused(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedError, match=reason) as refusal:
        parse(json.dumps(message), PLACES, START)
    assert len(str(refusal.value)) < 300


HOME, CHARGING = Pose(3.0, 4.0, 1.0), Pose(5.0, 6.0)


@pytest.mark.parametrize(
    ("places", "start", "target", "goal"),
    [
        ({"home": HOME, "charging": CHARGING}, START, "home", HOME),
        ({"charging": CHARGING}, START, "charging", CHARGING),
        ({"zone_a": CHARGING}, START, "", START),
        ({}, START, "", START),
    ],
)
def test_where_return_home_drives(places: dict[str, Pose], start: Pose | None, target: str, goal: Pose) -> None:
    assert parse('{"action": "return_home"}', places, start) == Command("", "return_home", target, goal)


def test_return_home_never_guesses() -> None:
    with pytest.raises(MalformedError, match=r"Add a place named home or charging to the places, or set INITIAL_POSE"):
        parse('{"action": "return_home"}', {"zone_a": HOME}, None)
    with pytest.raises(MalformedError, match=r"'charging' has no coordinates and is not a known place"):
        parse('{"action": "return_home", "target": "charging"}', {"home": HOME}, START)


NOT_JSON = [
    '{"action": "stop"',
    "stop",
    "STOP!",
    '["stop"]',
    '"stop"',
    '[{"action": "stop"}]',
    "{'action': 'stop'}",
    '{"action": "navigate", "target": "zone_b", "action": "stop"}',
    '{"action": "stop", "target": "zone_b", "action": "navigate"}',
    '{"action": "stop", "padding": "' + "x" * 20000 + '"}',
]


@pytest.mark.parametrize("message", NOT_JSON)
def test_a_stop_that_cannot_be_read_stops(message: str) -> None:
    assert parse(message, PLACES) == STOP
    assert parse(b"\xff" + message.encode(), PLACES) == STOP


def test_the_words_that_stop_are_those_of_the_cognitive_service() -> None:
    assert STOP_WORDS == STOP_WORDS_OF_COGNITIVE


def test_a_place_may_have_a_yaw(tmp_path: Path) -> None:
    file = tmp_path / "places.json"
    file.write_text('[{"name": "rack", "coordinates": [1, 2], "theta": 1.5}, {"name": "door", "coordinates": [3, 4]}]')
    places = read_places(file)
    assert places == {"rack": Pose(1.0, 2.0, 1.5), "door": Pose(3.0, 4.0)}
    # The cognitive service sends the coordinates of a place without its yaw.
    assert parse('{"action": "navigate", "target": "rack", "coordinates": [1.0, 2.0]}', places).pose.yaw == 1.5
    assert parse('{"action": "navigate", "target": "rack", "coordinates": [1.0, 3.0]}', places).pose.yaw is None
    assert parse('{"action": "navigate", "target": "rack", "theta": -1}', places).pose.yaw == -1.0


def test_the_application_reaches_the_robot_through_redis(lab: Lab) -> None:
    """As documented: by the URL that it reads from REDIS_URL, as a user that may send commands."""
    robot = Robot()
    bridge = lab.bridge(robot)
    turns(bridge)
    urls = (
        f"redis://cognitive:{COGNITIVE_PASSWORD}@127.0.0.1:{lab.server.port}",
        f"unix://cognitive:{COGNITIVE_PASSWORD}@{lab.server.socket}",
    )
    goals = (Pose(5.0, 2.0, 0.0), Pose(0.0, 5.0, 1.57))
    for url, goal in zip(urls, goals, strict=True):
        with Redis.from_url(url, socket_timeout=SECONDS) as application:
            for garbage in ("{", "[" * 9000, json.dumps(intent("navigate", "x", {"a": 1})), b"\xff\xfe"):
                application.publish("robot_commands", garbage)
            message = intent("move_to_zone", "somewhere", xyz(goal.x, goal.y, goal.yaw or 0.0))
            assert application.publish("robot_commands", json.dumps(message)) == 1
        until(bridge, lambda: robot.ticket)
        assert robot.goals[-1] == (goal, 70.0)
        robot.end()
        turns(bridge)
    assert lab.outcomes() == [*[("", "malformed")] * 4, ("", "done")] * 2
    with Redis.from_url(urls[0], socket_timeout=SECONDS) as application:
        application.publish("robot_commands", json.dumps(intent("return_home")))
        until(bridge, lambda: robot.ticket)
        assert robot.goals[-1] == (PLACES["home"], 70.0)
        application.publish("robot_commands", json.dumps({"action": "navigate", "raw_text": "stop"}))
    until(bridge, lambda: robot.cancels)
    assert len(robot.goals) == 3


def test_return_home_drives_to_the_initial_pose_without_a_place_for_it(lab: Lab) -> None:
    robot = Robot()
    settings = lab.settings(initial_pose=(1.0, 2.0, 0.5))
    robot.bridge = Bridge(Inbox(connect(settings), settings), robot, {"zone_a": Pose(8.0, 9.0)}, settings)
    turns(robot.bridge)
    lab.redis.publish("robot_commands", json.dumps(intent("return_home")))
    until(robot.bridge, lambda: robot.ticket)
    assert robot.goals == [(START, 70.0)]


def test_a_message_by_redis_cli(lab: Lab) -> None:
    """The documented command, without Docker."""
    robot = Robot()
    bridge = lab.bridge(robot)
    turns(bridge)
    done = subprocess.run(
        [
            *("redis-cli", "-s", str(lab.server.socket), "--user", "cognitive", "publish", "robot_commands"),
            '{"action": "move_to_zone", "target": "loading_dock"}',
        ],
        env={**os.environ, "REDISCLI_AUTH": COGNITIVE_PASSWORD},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout == "1\n"
    until(bridge, lambda: robot.ticket)
    assert robot.goals == [(PLACES["loading_dock"], 70.0)]


def test_which_of_them_can_be_reached_in_the_hall() -> None:
    """As documented: these are places of the application's own scene."""
    hall = load_hall()
    free = reachable(rasterise(hall), hall.robot.radius, (hall.start.x, hall.start.y))
    columns, rows = hall.cells
    found = []
    for name, pose in APPLICATION.items():
        column, row = free.cell((pose.x, pose.y))
        if 0 <= column < columns and 0 <= row < rows and free.rows[row][column]:
            found.append(name)
    assert found == ["loading_dock", "assembly", "inspection", "home"]


def test_the_places_of_the_application_are_a_list_for_the_lab() -> None:
    """cognitive_service/src/schemas.py, ZONE_COORDINATES."""
    assert {
        "loading_dock": Pose(5.0, 2.0, 0.0),
        "storage": Pose(-5.0, 2.0, 3.14),
        "assembly": Pose(0.0, 5.0, 1.57),
        "charging": Pose(0.0, -5.0, -1.57),
        "inspection": Pose(3.0, 0.0, 0.0),
        "home": Pose(0.0, 0.0, 0.0),
    } == APPLICATION
    # The cognitive service and the role accept them as well.
    file = ROOT / "compose" / "places.application.json"
    assert read_places_of_cognitive(file).names == list(APPLICATION)
    places = json.loads(file.read_text("utf-8"))
    checked = stack_places(places, list(STOP_WORDS))
    assert (checked["places"], checked["malformed"], checked["ambiguous"]) == (places, [], [])
