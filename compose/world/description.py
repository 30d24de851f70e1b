# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads and checks the description of the hall. Lengths are in metres, angles in radians, masses in kilograms."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("hall.json")
KINDS = ("wall", "shelf", "dock")
NAME = re.compile(r"[a-z][a-z0-9_]*")
# A coordinate further away is a mistake, and a map of more cells does not fit into Nav2's memory.
FARTHEST = 500.0
# The rate of the physics, in steps a second; the lidar measures at every nth step.
STEPS = 60
# The tolerance of sums of decimal fractions.
EXACT = 1e-9

Point = tuple[float, float]


class WorldError(ValueError):
    """The description cannot be used; the message names the value, what is allowed, and what to do."""


@dataclass(frozen=True)
class Box:
    """A wall or a shelf: a cuboid on the floor, parallel to the axes, from one corner to the opposite one."""

    name: str
    kind: str
    low: Point
    high: Point
    height: float

    def distance(self, point: Point) -> float:
        """Return how far a point of the floor is from the box; 0 inside."""
        gaps = (max(low - at, at - high, 0.0) for low, high, at in zip(self.low, self.high, point, strict=True))
        return math.hypot(*gaps)


@dataclass(frozen=True)
class Place:
    """A place to which the robot can be sent."""

    name: str
    coordinates: Point
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Pose:
    """A pose on the floor."""

    x: float
    y: float
    yaw: float


@dataclass(frozen=True)
class Body:
    """The robot's body, a cuboid around the vertical through the middle of the axle.

    Attributes:
        bottom: its height above the floor.
        balance: the centre of mass, forward and upward from the floor below the middle of the axle.
    """

    length: float
    width: float
    bottom: float
    top: float
    mass: float
    balance: Point


@dataclass(frozen=True)
class Wheels:
    """The two driven wheels.

    Attributes:
        track: the distance between the middles of the wheels.
        torque: the maximum of each motor, in newton metres.
    """

    radius: float
    width: float
    track: float
    mass: float
    torque: float


@dataclass(frozen=True)
class Caster:
    """The ball on which the robot's rear slides."""

    behind: float
    radius: float


@dataclass(frozen=True)
class Lidar:
    """The lidar above the middle of the axle. It measures all rays at once.

    Attributes:
        rate: measurements a second.
    """

    height: float
    rays: int
    nearest: float
    farthest: float
    rate: int

    @property
    def step(self) -> float:
        """The angle between two rays, in radians."""
        return math.tau / self.rays


@dataclass(frozen=True)
class Speed:
    """The maximum speeds, per second."""

    linear: float
    angular: float


@dataclass(frozen=True)
class Robot:
    """A robot with two driven wheels.

    Attributes:
        radius: of the circle around the middle of the axle that contains the robot.
        command_timeout: the robot stops after this time without a command, in seconds.
    """

    radius: float
    body: Body
    wheels: Wheels
    caster: Caster
    lidar: Lidar
    fastest: Speed
    command_timeout: float


@dataclass(frozen=True)
class Hall:
    """The whole description.

    Attributes:
        resolution: the size of a cell of the map.
        low: the corner of the map with the smallest coordinates.
    """

    resolution: float
    low: Point
    high: Point
    boxes: tuple[Box, ...]
    places: tuple[Place, ...]
    start: Pose
    robot: Robot

    @property
    def cells(self) -> tuple[int, int]:
        """The size of the map, in columns and rows."""
        columns, rows = (round((high - low) / self.resolution) for low, high in zip(self.low, self.high, strict=True))
        return columns, rows


def load(path: Path = FILE) -> Hall:
    """Read the description.

    :raises WorldError: the file cannot be read, or a value is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorldError(f"{path} cannot be read: {error}") from None
    try:
        return parse(text)
    except WorldError as error:
        raise WorldError(f"{path}: {error}") from None


def parse(text: str) -> Hall:
    """Return the description in a JSON document.

    :raises WorldError: the document is not valid.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise WorldError(f"the description is not JSON: {error}. Correct the file or restore the shipped one") from None
    top = _Fields(document, "", ("resolution", "floor", "boxes", "places", "start", "robot"))
    resolution = top.number("resolution", 0.01, 1.0)
    floor = top.fields("floor", "from", "to")
    hall = Hall(
        resolution=resolution,
        low=floor.point("from", FARTHEST),
        high=floor.point("to", FARTHEST),
        boxes=tuple(_box(fields) for fields in top.each("boxes", "name", "kind", "from", "to", "height")),
        places=tuple(_place(fields) for fields in top.each("places", "name", "coordinates", "aliases")),
        start=_start(top.fields("start", "x", "y", "yaw")),
        robot=_robot(top.fields("robot", "radius", "body", "wheels", "caster", "lidar", "fastest", "command_timeout")),
    )
    _check_map(hall)
    _check_robot(hall.robot)
    _check_lidar(hall)
    _check_free(hall)
    return hall


class _Fields:
    """An object of the document, whose values are checked when they are read."""

    def __init__(self, value: object, where: str, names: tuple[str, ...]) -> None:
        """Check the names of the fields.

        :param where: the path of the object in the document.
        :raises WorldError: it is not an object with exactly these fields.
        """
        self._where = where
        found = value.keys() if isinstance(value, dict) else {}
        if not isinstance(value, dict) or set(found) != set(names):
            raise WorldError(
                f"{where or 'the description'} has {', '.join(map(repr, found)) or repr(value)}. "
                f"Allowed: an object with exactly {', '.join(names)}"
            )
        self._values: dict[str, Any] = value

    def path(self, name: str) -> str:
        """Return the path of a field in the document."""
        return f"{self._where}.{name}" if self._where else name

    def number(self, name: str, least: float, most: float) -> float:
        """Return a number within its limits."""
        return _number(self._values[name], self.path(name), least, most)

    def count(self, name: str, least: int, most: int) -> int:
        """Return a whole number within its limits."""
        number = self.number(name, least, most)
        if number != int(number):
            raise WorldError(f"{self.path(name)} is {number!r}. Allowed: a whole number from {least} to {most}")
        return int(number)

    def point(self, name: str, most: float) -> Point:
        """Return a pair of numbers within their limits."""
        value = self._values[name]
        if not isinstance(value, list) or len(value) != 2:
            raise WorldError(f"{self.path(name)} is {value!r}. Allowed: a list of two numbers")
        x, y = (_number(number, self.path(name), -most, most) for number in value)
        return x, y

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """Return a text that matches a pattern."""
        value = self._values[name]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise WorldError(f"{self.path(name)} is {value!r}. Allowed: a text that matches {pattern.pattern}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self._values[name]
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise WorldError(f"{self.path(name)} is {value!r}. Allowed: a list of texts, which may be empty")
        return tuple(value)

    def fields(self, name: str, *names: str) -> _Fields:
        """Return an object."""
        return _Fields(self._values[name], self.path(name), names)

    def each(self, name: str, *names: str) -> list[_Fields]:
        """Return the objects of a list."""
        value = self._values[name]
        if not isinstance(value, list) or not value:
            raise WorldError(f"{self.path(name)} is {value!r:.80}. Allowed: a list with at least one object")
        return [_Fields(item, f"{self.path(name)}[{number}]", names) for number, item in enumerate(value)]


def _number(value: object, where: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise WorldError(f"{where} is {value!r}. Allowed: a number from {least:g} to {most:g}")
    return float(value)


def _box(fields: _Fields) -> Box:
    return Box(
        name=fields.text("name", NAME),
        kind=fields.text("kind", re.compile("|".join(KINDS))),
        low=fields.point("from", FARTHEST),
        high=fields.point("to", FARTHEST),
        height=fields.number("height", 0.01, 20.0),
    )


def _place(fields: _Fields) -> Place:
    return Place(fields.text("name", NAME), fields.point("coordinates", FARTHEST), fields.texts("aliases"))


def _start(fields: _Fields) -> Pose:
    x, y = (fields.number(name, -FARTHEST, FARTHEST) for name in ("x", "y"))
    return Pose(x, y, fields.number("yaw", -math.pi, math.pi))


def _robot(fields: _Fields) -> Robot:
    body = fields.fields("body", "length", "width", "bottom", "top", "mass", "balance")
    wheels = fields.fields("wheels", "radius", "width", "track", "mass", "torque")
    caster = fields.fields("caster", "behind", "radius")
    lidar = fields.fields("lidar", "height", "rays", "nearest", "farthest", "rate")
    fastest = fields.fields("fastest", "linear", "angular")
    return Robot(
        radius=fields.number("radius", 0.05, 2.0),
        body=Body(
            length=body.number("length", 0.01, 4.0),
            width=body.number("width", 0.01, 4.0),
            bottom=body.number("bottom", 0.01, 4.0),
            top=body.number("top", 0.01, 4.0),
            mass=body.number("mass", 0.1, 1000.0),
            balance=body.point("balance", 2.0),
        ),
        wheels=Wheels(
            radius=wheels.number("radius", 0.01, 2.0),
            width=wheels.number("width", 0.01, 2.0),
            track=wheels.number("track", 0.01, 4.0),
            mass=wheels.number("mass", 0.1, 100.0),
            torque=wheels.number("torque", 0.1, 1000.0),
        ),
        caster=Caster(caster.number("behind", 0.01, 2.0), caster.number("radius", 0.01, 2.0)),
        lidar=Lidar(
            height=lidar.number("height", 0.01, 4.0),
            rays=lidar.count("rays", 8, 3600),
            nearest=lidar.number("nearest", 0.01, 2.0),
            farthest=lidar.number("farthest", 1.0, 2 * FARTHEST),
            rate=lidar.count("rate", 1, STEPS),
        ),
        fastest=Speed(fastest.number("linear", 0.1, 5.0), fastest.number("angular", 0.1, 10.0)),
        # Nav2 sends a command twenty times a second. A robot that drives on for longer than two seconds is not safe.
        command_timeout=fields.number("command_timeout", 0.1, 2.0),
    )


def _check_map(hall: Hall) -> None:
    """Check that the map shows each box exactly."""
    names = [*(box.name for box in hall.boxes), *(place.name for place in hall.places)]
    for name in names:
        if names.count(name) > 1:
            raise WorldError(f"{name!r} is the name of two boxes or places. Give each its own name")
    corners = {"floor": (hall.low, hall.high), **{box.name: (box.low, box.high) for box in hall.boxes}}
    for name, (low, high) in corners.items():
        if not (low[0] < high[0] and low[1] < high[1]):
            raise WorldError(f"{name} reaches from {low} to {high}. Both coordinates of `to` must be greater")
        if not all(a <= b for a, b in zip((*hall.low, *high), (*low, *hall.high), strict=True)):
            raise WorldError(f"{name} reaches from {low} to {high}. Allowed: the floor, {hall.low} to {hall.high}")
        for number in (*low, *high):
            cells = number / hall.resolution
            if abs(cells - round(cells)) > 1e-6:
                raise WorldError(
                    f"{name} has the coordinate {number}. Allowed: multiples of the resolution, {hall.resolution}, "
                    "so that its edges are edges of cells"
                )


def _check_robot(robot: Robot) -> None:
    """Check that the parts of the robot fit together, and that it cannot tip over."""
    body, wheels, caster = robot.body, robot.wheels, robot.caster
    if body.bottom >= body.top:
        raise WorldError(f"robot.body reaches from {body.bottom} up to {body.top}. Increase `top`")
    if wheels.track - wheels.width < body.width:
        raise WorldError(
            f"robot.wheels.track is {wheels.track}. Allowed: at least {body.width + wheels.width:g}, "
            "the widths of the body and of a wheel"
        )
    outlines = {
        "robot.body": math.hypot(body.length, body.width) / 2,
        # A wheel touches the floor as a ball of its radius.
        "robot.wheels": wheels.track / 2 + wheels.radius,
        "robot.caster": caster.behind + caster.radius,
    }
    for name, reach in outlines.items():
        if reach > robot.radius + EXACT:
            raise WorldError(f"{name} reaches {reach:g} from the middle. Allowed: up to robot.radius, {robot.radius}")
    forward, upward = body.balance
    if not -caster.behind < forward < 0:
        raise WorldError(
            f"robot.body.balance[0] is {forward}. Allowed: between caster and axle, above {-caster.behind} and below 0"
        )
    if not 0 < upward <= body.top:
        raise WorldError(f"robot.body.balance[1] is {upward}. Allowed: above 0, up to robot.body.top, {body.top}")
    total = body.mass + 2 * wheels.mass
    braking = 2 * wheels.torque / wheels.radius / total
    # The wheels carry their own mass above the axle; the body's must not lift the caster, whose mass is part of it.
    held = 9.81 * -forward * body.mass / (upward * body.mass + wheels.radius * 2 * wheels.mass)
    if braking > held:
        raise WorldError(
            f"robot.wheels.torque is {wheels.torque}: braking with {braking:.1f} m/s² tips the robot over, whose "
            f"limit is {held:.1f}. Reduce the torque, or move robot.body.balance back or down"
        )


def _check_lidar(hall: Hall) -> None:
    """Check that the lidar sees every box, and nothing of the robot."""
    lidar, robot = hall.robot.lidar, hall.robot
    if lidar.height <= max(robot.body.top, 2 * robot.wheels.radius):
        raise WorldError(f"robot.lidar.height is {lidar.height}. It must be above robot.body.top, {robot.body.top}")
    for box in hall.boxes:
        if box.height <= lidar.height:
            raise WorldError(
                f"{box.name} has the height {box.height}. The lidar at {lidar.height} does not see it, and the map "
                "shows what the lidar sees: increase the height"
            )
    diagonal = math.dist(hall.low, hall.high)
    if not lidar.nearest < robot.radius < diagonal < lidar.farthest:
        raise WorldError(
            f"robot.lidar measures from {lidar.nearest} to {lidar.farthest}. Allowed: from less than robot.radius, "
            f"{robot.radius}, to more than the diagonal of the floor, {diagonal:.1f}, so that every ray hits a wall"
        )
    if STEPS % lidar.rate:
        raise WorldError(f"robot.lidar.rate is {lidar.rate}. Allowed: a divisor of {STEPS}, the steps a second")


def _check_free(hall: Hall) -> None:
    """Check that the robot can stand at the start and at each place."""
    spots = {"start": (hall.start.x, hall.start.y), **{place.name: place.coordinates for place in hall.places}}
    for name, (x, y) in spots.items():
        if not (hall.low[0] < x < hall.high[0] and hall.low[1] < y < hall.high[1]):
            raise WorldError(f"{name} is at ({x:g}, {y:g}). Allowed: the floor, {hall.low} to {hall.high}")
        for box in hall.boxes:
            gap = box.distance((x, y))
            if gap <= hall.robot.radius + hall.resolution:
                raise WorldError(
                    f"{name} is {gap:.2f} from {box.name}. The robot needs more than its radius and one cell, "
                    f"{hall.robot.radius + hall.resolution:g}: move one of the two"
                )
