# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses and validates robot commands. Pure functions.

Two forms are understood: that of the channel robot_commands, and that of the reference application's schemas, with the
actions move_to_zone and return_home, the field theta, and coordinates as an object. The forms may be mixed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from .places import ANGLES, ORIGIN, Pose, angle, point

RETURN_HOME = "return_home"
MOVES = ("navigate", "move_to_zone", "inspect", "pick", "place", RETURN_HOME)
ACTIONS = (*MOVES, "stop", "status")
# The places to which return_home drives, the first one that there is.
HOMES = ("home", "charging")
# Fields that hold a user's own words.
TRANSCRIPTS = ("raw_text", "raw_transcript")
# Words that stop the robot wherever the cognitive service finds them in a text.
STOP_WORDS = ("stop", "halt", "freeze", "abort", "cancel", "pause", "wait", "emergency", "estop", "whoa", "woah")
STOP = re.compile(rf"(?<![a-z])(?:{'|'.join(STOP_WORDS)})(?![a-z])", re.IGNORECASE)
# Words that forbid a movement, in a text without punctuation.
FORBIDDEN = re.compile(r"\b(?:no|not|never|cannot|avoid|(?:ca|could|did|do|does|must|should|wo|would)n ?t)\b")
# Percent of the maximum speed that Nav2 is configured for.
SPEEDS = {"slow": 40.0, "normal": 70.0, "fast": 100.0}
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST = 16 * 1024
# The fields of each stop, when a command has several.
OF_A_STOP = ("target", "coordinates", "x", "y", "theta", "parameters")
# How many places one command may visit.
MOST_STOPS = 16


class MalformedError(ValueError):
    """The message is not a valid command; the text has the reason."""


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        id: its id; empty when it has none.
        action: one of ACTIONS.
        target: name of the place; empty without one.
        pose: where the robot drives; unused unless it moves.
        stops: poses to visit before it, in this order.
        speed: one of SPEEDS.
    """

    id: str
    action: str
    target: str = ""
    pose: Pose = ORIGIN
    speed: str = "normal"
    stops: tuple[Pose, ...] = ()

    @property
    def poses(self) -> tuple[Pose, ...]:
        """All poses to visit, in this order."""
        return (*self.stops, self.pose)

    @property
    def moves(self) -> bool:
        """Whether the robot drives."""
        return self.action in MOVES


def parse(message: bytes | str, places: Mapping[str, Pose], start: Pose | None = None) -> Command:
    """Return the command of a message.

    In doubt it is a stop: a message whose action is a stop, whatever else is wrong with it; one without a valid action
    that has a word that stops the robot; and one without an id in whose transcript there is such a word, or one that
    forbids a movement. The cognitive service, whose messages have an id, has searched the text itself, without the
    names of places.

    :param places: poses by place name.
    :param start: where return_home drives without a place for it; None without one.
    :raises MalformedError: the message is not a valid command.
    """
    text = message if isinstance(message, str) else message.decode(errors="replace")
    try:
        fields = _fields(message)
    except MalformedError:
        if STOP.search(text):
            return Command("", "stop")
        raise
    action = fields.get("action")
    identifier = fields.get("id")
    named = isinstance(identifier, str) and IDENTIFIER.fullmatch(identifier)
    name = str(identifier) if named else ""
    searched = [*_actions(fields), *(() if action in ACTIONS else (text,))]
    said = [] if named else [fields.get(field) for field in TRANSCRIPTS]
    if any(isinstance(part, str) and STOP.search(part) for part in searched) or any(map(_forbids, said)):
        return Command(name, "stop")
    if identifier is not None and not named:
        raise MalformedError(f"id is {identifier!r:.80}. Allowed: up to 64 letters, digits, _ and -")
    if action not in ACTIONS:
        raise MalformedError(f"action is {action!r:.80}. Allowed: {', '.join(ACTIONS)}")
    if action not in MOVES:
        return Command(name, str(action))
    speed = fields.get("speed")
    if speed is None:
        speed = "normal"
    if not isinstance(speed, str) or speed not in SPEEDS:
        raise MalformedError(f"speed is {speed!r:.80}. Allowed: {', '.join(SPEEDS)}")
    stops = _stops(fields, places, start)
    target, goal = stops.pop()
    return Command(name, str(action), target, goal, speed, tuple(pose for _name, pose in stops))


def _actions(fields: Mapping[str, object]) -> list[object]:
    """Return the action of a message, and those that its stops should not have."""
    stops = fields.get("stops")
    found = [stop.get("action") for stop in stops if isinstance(stop, dict)] if isinstance(stops, list) else []
    return [fields.get("action"), *found]


def _forbids(text: object) -> bool:
    """Return whether a user's text stops the robot or forbids a movement."""
    if not isinstance(text, str):
        return False
    plain = re.sub(r"[^\w\s]", "", unicodedata.normalize("NFKC", text)).casefold()
    return bool(STOP.search(text) or STOP.search(plain) or FORBIDDEN.search(plain))


def _stops(fields: Mapping[str, object], places: Mapping[str, Pose], start: Pose | None) -> list[tuple[str, Pose]]:
    """Return the name and the pose of each place to visit: of the message itself, or of each of its ``stops``."""
    stops = fields.get("stops")
    if stops is None:
        return [_goal(fields, places, start)]
    if fields.get("action") != "navigate" or any(fields.get(name) is not None for name in OF_A_STOP):
        raise MalformedError("stops is set. Allowed: only with action navigate, without target and coordinates")
    if not isinstance(stops, list) or not 1 <= len(stops) <= MOST_STOPS:
        raise MalformedError(f"stops is {stops!r:.80}. Allowed: a list of 1 to {MOST_STOPS} places")
    found = []
    for stop in stops:
        if not isinstance(stop, dict):
            raise MalformedError(f"stops has {stop!r:.80}. Allowed: an object with target, coordinates or both")
        if stop.get("action") is not None:
            raise MalformedError(f"stops has the action {stop['action']!r:.80}. Set action once, in the message itself")
        found.append(_goal(stop, places, start))
    return found


def _fields(message: bytes | str) -> dict[str, object]:
    if len(message) > LONGEST:
        raise MalformedError(f"the message has {len(message)} bytes. Allowed: {LONGEST}")
    try:
        fields = json.loads(message, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise MalformedError("the message is not JSON, or a name occurs twice") from None
    if not isinstance(fields, dict):
        raise MalformedError("the message is not a JSON object")
    return fields


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object whose names are unique: otherwise one action would hide the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _goal(fields: Mapping[str, object], places: Mapping[str, Pose], start: Pose | None) -> tuple[str, Pose]:
    """Return the target and the goal of a movement."""
    named = fields.get("target")
    if named is not None and not isinstance(named, str):
        raise MalformedError(f"target is {named!r:.80}. Allowed: a text")
    target = named or ""
    given = _given(fields)
    yaws = {*(pose.yaw for pose in given), _yaw(fields)} - {None}
    if len({pose[:2] for pose in given}) > 1 or len(yaws) > 1:
        raise MalformedError("the message has two different coordinates or theta. Send one of each")
    yaw = next(iter(yaws), None)
    if given:
        goal = given[0]
        known = places.get(target)
        # The cognitive service sends the coordinates of a place without its yaw.
        if known and known[:2] == goal[:2] and yaw is None:
            yaw = known.yaw
    elif fields.get("action") == RETURN_HOME:
        target, goal = _home(target, places, start)
    else:
        target, goal = _known(target, places)
    return target, Pose(goal.x, goal.y, goal.yaw if yaw is None else yaw)


def _given(fields: Mapping[str, object]) -> list[Pose]:
    """Return all coordinates in the message.

    They are in the field coordinates, in the fields x and y, or in those of the object parameters.
    """
    found = []
    parameters = fields.get("parameters")
    for place, value in (
        ("coordinates", fields.get("coordinates")),
        ("x and y", _axes(fields)),
        ("parameters", _axes(parameters) if isinstance(parameters, dict) else None),
    ):
        if value is None:
            continue
        where = point(value)
        if where is None:
            raise MalformedError(
                f"{place} are {value!r:.80}. Allowed: two numbers, as [x, y] or an object of x and y, and a theta in "
                f"{ANGLES}"
            )
        found.append(where)
    return found


def _axes(fields: Mapping[str, object]) -> dict[str, object] | None:
    """Return the coordinates among other fields; None if there are none."""
    if fields.get("x") is None and fields.get("y") is None:
        return None
    return {name: fields[name] for name in ("x", "y", "z", "theta") if name in fields}


def _yaw(fields: Mapping[str, object]) -> float | None:
    """Return the yaw in the message itself, rather than in its coordinates; None without one."""
    theta = fields.get("theta")
    if theta is None:
        return None
    yaw = angle(theta)
    if yaw is None:
        raise MalformedError(f"theta is {theta!r:.80}. Allowed: {ANGLES}")
    return yaw


def _known(target: str, places: Mapping[str, Pose]) -> tuple[str, Pose]:
    name = _name(target, places)
    if name is None:
        raise MalformedError(
            f"{target!r:.80} has no coordinates and is not a known place. Known places: {', '.join(places)}"
        )
    return name, places[name]


def _name(target: str, places: Mapping[str, Pose]) -> str | None:
    """Return the name of a known place, however its words are separated."""
    plain = re.sub(r"[\s_-]+", "_", target.strip().lower())
    return next((name for name in (target, plain) if name in places), None)


def _home(target: str, places: Mapping[str, Pose], start: Pose | None) -> tuple[str, Pose]:
    """Return where return_home drives."""
    asked = _name(target, dict.fromkeys(HOMES, ORIGIN)) if target else HOMES[0]
    if asked is None:
        raise MalformedError(f"return_home has the target {target!r:.80}. Allowed: none, {', '.join(HOMES)}")
    if asked != HOMES[0]:
        return _known(asked, places)
    found = next((name for name in HOMES if name in places), None)
    if found is not None:
        return found, places[found]
    if start is None:
        raise MalformedError(
            f"return_home has nowhere to go. Add a place named {' or '.join(HOMES)} to the places, or set INITIAL_POSE "
            "(digital_twin_stack_initial_pose)"
        )
    return "", start
