# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Poses on the map, and the file of places. Pure functions, apart from reading that file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

# Beyond a thousand kilometres a map's coordinates are a mistake.
FARTHEST = 1e6
# Beyond a full turn an angle is in degrees.
TURN = math.tau
ANGLES = f"radians, from {-TURN:.2f} to {TURN:.2f}"


class Pose(NamedTuple):
    """Where a robot is to stand in the map frame: metres, and radians from the x axis.

    Attributes:
        yaw: None if the command names a place only; the robot then faces along the x axis.
    """

    x: float
    y: float
    yaw: float | None = None

    @property
    def rotation(self) -> tuple[float, float]:
        """The yaw as z and w of a quaternion, whose x and y are 0."""
        half = (self.yaw or 0.0) / 2
        return math.sin(half), math.cos(half)


ORIGIN = Pose(0.0, 0.0)


class PlacesError(ValueError):
    """The places cannot be used; the text has the reason."""


def point(value: object) -> Pose | None:
    """Return the pose of ``[x, y]`` or ``{"x": x, "y": y}``; None for anything else.

    Either may have a height, which is ignored, and an object may have the yaw ``theta``.
    """
    yaw: float | None = None
    if isinstance(value, dict):
        if not value.keys() <= {"x", "y", "z", "theta"}:
            return None
        if value.get("theta") is not None:
            yaw = angle(value["theta"])
            if yaw is None:
                return None
        value = [value.get("x"), value.get("y")]
    if not isinstance(value, list) or len(value) not in (2, 3):
        return None
    x, y = (_number(part) for part in value[:2])
    return None if x is None or y is None else Pose(x, y, yaw)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -FARTHEST <= value <= FARTHEST:
        return None
    return float(value)


def angle(value: object) -> float | None:
    """Return an angle between -pi and pi."""
    angle = _number(value)
    return None if angle is None or not -TURN <= angle <= TURN else math.remainder(angle, math.tau)


def read_places(path: Path) -> dict[str, Pose]:
    """Return the pose of each place by name, from the file that the cognitive service also reads.

    A place may have the yaw ``theta`` next to its coordinates.

    :raises PlacesError: the file cannot be read, or a place has no name or no coordinates.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlacesError(f"{path} cannot be read: {error}") from None
    if not isinstance(entries, list):
        raise PlacesError(f"{path} is not a list of places")
    places: dict[str, Pose] = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        where = point(entry.get("coordinates")) if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or where is None:
            raise PlacesError(f"{path} has {entry!r:.120}. Each place needs a name and two numbers as coordinates")
        theta = entry.get("theta")
        yaw = angle(theta)
        if theta is not None and yaw is None:
            raise PlacesError(f"{path} has the place {name!r:.80}, whose theta is {theta!r:.80}. Allowed: {ANGLES}")
        places[name] = where if yaw is None else where._replace(yaw=yaw)
    return places


def pose(text: str) -> tuple[float, float, float]:
    """Return x, y (metres) and yaw (radians) of ``x,y,yaw``.

    :raises ValueError: the text does not have three finite numbers.
    """
    x, y, yaw = (float(part) for part in text.split(","))
    if not all(math.isfinite(number) for number in (x, y, yaw)):
        raise ValueError(text)
    return x, y, yaw
