# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parses and validates robot commands. Pure functions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Point = tuple[float, float]

MOVES = ("navigate", "inspect", "pick", "place")
ACTIONS = (*MOVES, "stop", "status")
# Percent of the maximum speed that Nav2 is configured for.
SPEEDS = {"slow": 40.0, "normal": 70.0, "fast": 100.0}
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST = 16 * 1024
# Beyond a thousand kilometres a map's coordinates are a mistake.
FARTHEST = 1e6
# How many places one command may visit.
MOST_STOPS = 16


class MalformedError(ValueError):
    """The message is not a valid command; the text has the reason."""


class PlacesError(ValueError):
    """The places cannot be used; the text has the reason."""


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        id: its id; empty when it has none.
        action: one of ACTIONS.
        target: name of the place; empty without one.
        point: x and y in the map frame, in metres; unused unless the robot drives.
        stops: points to visit before it, in this order.
        speed: one of SPEEDS.
    """

    id: str
    action: str
    target: str = ""
    point: Point = (0.0, 0.0)
    speed: str = "normal"
    stops: tuple[Point, ...] = ()

    @property
    def points(self) -> tuple[Point, ...]:
        """All points to visit, in this order."""
        return (*self.stops, self.point)

    @property
    def moves(self) -> bool:
        """Whether the robot drives."""
        return self.action in MOVES


def parse(message: bytes | str, places: Mapping[str, Point]) -> Command:
    """Return the command of a message.

    A message with the action stop is a stop, whatever else is wrong with it. A place without coordinates is looked up.

    :param places: coordinates by place name.
    :raises MalformedError: the message is not a valid command.
    """
    fields = _fields(message)
    action = fields.get("action")
    identifier = fields.get("id")
    named = isinstance(identifier, str) and IDENTIFIER.fullmatch(identifier)
    name = str(identifier) if named else ""
    if isinstance(action, str) and action.strip().lower() == "stop":
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
    stops = _stops(fields, places)
    target, where = stops.pop()
    return Command(name, str(action), target, where, speed, tuple(point for _name, point in stops))


def _stops(fields: Mapping[str, object], places: Mapping[str, Point]) -> list[tuple[str, Point]]:
    """Return the name and the point of each place to visit: of the message itself, or of each of its ``stops``."""
    stops = fields.get("stops")
    if stops is None:
        stops = [fields]
    elif fields.get("action") != "navigate" or any(fields.get(name) is not None for name in ("target", "coordinates")):
        raise MalformedError("stops is set. Allowed: only with action navigate, without target and coordinates")
    elif not isinstance(stops, list) or not 1 <= len(stops) <= MOST_STOPS:
        raise MalformedError(f"stops is {stops!r:.80}. Allowed: a list of 1 to {MOST_STOPS} places")
    found = []
    for stop in stops:
        if not isinstance(stop, dict):
            raise MalformedError(f"stops has {stop!r:.80}. Allowed: an object with target, coordinates or both")
        target = stop.get("target")
        if target is not None and not isinstance(target, str):
            raise MalformedError(f"target is {target!r:.80}. Allowed: a text")
        found.append((target or "", _where(stop.get("coordinates"), target or "", places)))
    return found


def _fields(message: bytes | str) -> dict[str, object]:
    if len(message) > LONGEST:
        raise MalformedError(f"the message has {len(message)} bytes. Allowed: {LONGEST}")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        raise MalformedError("the message is not JSON") from None
    if not isinstance(fields, dict):
        raise MalformedError("the message is not a JSON object")
    return fields


def _where(coordinates: object, target: str, places: Mapping[str, Point]) -> Point:
    if coordinates is None:
        known = places.get(target)
        if known is None:
            raise MalformedError(
                f"{target!r:.80} has no coordinates and is not a known place. Known places: {', '.join(places)}"
            )
        return known
    found = point(coordinates)
    if found is None:
        raise MalformedError(
            f"coordinates are {coordinates!r:.80}. Allowed: two numbers, as [x, y] or an object of x and y"
        )
    return found


def point(value: object) -> Point | None:
    """Return x and y from ``[x, y]`` or ``{"x": x, "y": y}``, either with or without a z; None for anything else."""
    if isinstance(value, dict):
        if not value.keys() <= {"x", "y", "z"}:
            return None
        value = [value.get("x"), value.get("y")]
    if not isinstance(value, list) or len(value) not in (2, 3):
        return None
    x, y = (_number(part) for part in value[:2])
    return None if x is None or y is None else (x, y)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -FARTHEST <= value <= FARTHEST:
        return None
    return float(value)


def read_places(path: Path) -> dict[str, Point]:
    """Return the coordinates of each place by name, from the file that the cognitive service also reads.

    :raises PlacesError: the file cannot be read, or a place has no name or no coordinates.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlacesError(f"{path} cannot be read: {error}") from None
    if not isinstance(entries, list):
        raise PlacesError(f"{path} is not a list of places")
    places: dict[str, Point] = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        where = point(entry.get("coordinates")) if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or where is None:
            raise PlacesError(f"{path} has {entry!r:.120}. Each place needs a name and two numbers as coordinates")
        places[name] = where
    return places


def pose(text: str) -> tuple[float, float, float]:
    """Return x, y (metres) and yaw (radians) of ``x,y,yaw``.

    :raises ValueError: the text does not have three finite numbers.
    """
    x, y, yaw = (float(part) for part in text.split(","))
    if not all(math.isfinite(number) for number in (x, y, yaw)):
        raise ValueError(text)
    return x, y, yaw
