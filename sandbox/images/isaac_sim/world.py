"""A hall, a few walls in it, and a robot with two driven wheels. The same commands lead to the same place."""

from __future__ import annotations

import math
from dataclasses import dataclass

RATE = 30
# The rays of the lidar in one rotation, and its range in metres.
RAYS = 180
NEAREST, FARTHEST = 0.1, 12.0
RADIUS = 0.25
# Metres and radians a second.
FASTEST, FASTEST_TURN = 1.5, 2.5
# The robot stops after this time without a command, in seconds.
FORGETS = 0.5

Point = tuple[float, float]
Wall = tuple[Point, Point]

# The hall of compose/ros2/map, and three walls that do not cross the straight line between any two places.
WALLS: tuple[Wall, ...] = (
    ((-4.5, -7.5), (19.5, -7.5)),
    ((19.5, -7.5), (19.5, 17.5)),
    ((19.5, 17.5), (-4.5, 17.5)),
    ((-4.5, 17.5), (-4.5, -7.5)),
    ((0.0, 10.0), (0.0, 14.0)),
    ((17.0, 12.0), (17.0, 16.0)),
    ((14.0, -5.0), (18.0, -5.0)),
)


def distance_to(wall: Wall, point: Point) -> float:
    """Return how far a point is from a wall, in metres."""
    (ax, ay), (bx, by) = wall
    dx, dy = bx - ax, by - ay
    along = ((point[0] - ax) * dx + (point[1] - ay) * dy) / (dx * dx + dy * dy)
    along = min(1.0, max(0.0, along))
    return math.hypot(point[0] - ax - along * dx, point[1] - ay - along * dy)


def ray(wall: Wall, origin: Point, direction: Point) -> float:
    """Return how far a wall is in a direction, which has length 1; infinity if there is none."""
    (ax, ay), (bx, by) = wall
    dx, dy = bx - ax, by - ay
    across = direction[0] * dy - direction[1] * dx
    if abs(across) < 1e-12:
        return math.inf
    ox, oy = ax - origin[0], ay - origin[1]
    away = (ox * dy - oy * dx) / across
    along = (ox * direction[1] - oy * direction[0]) / across
    return away if away >= 0 and 0 <= along <= 1 else math.inf


def clipped(value: float, most: float) -> float:
    """Return a speed within its limit; 0 for a value that is not a number."""
    return min(most, max(-most, value)) if math.isfinite(value) else 0.0


@dataclass
class World:
    """The state of the world.

    Attributes:
        ticks: how many steps have passed.
        x: in metres, as is y.
        yaw: in radians, from the x axis to the left.
        linear: the robot's speed, in metres a second.
        angular: how fast it turns, in radians a second.
    """

    ticks: int = 0
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    linear: float = 0.0
    angular: float = 0.0
    commanded_at: int = 0

    @property
    def nanoseconds(self) -> int:
        """The time, which counts from 0."""
        return self.ticks * 1_000_000_000 // RATE

    def command(self, linear: float, angular: float) -> None:
        """Set the speeds."""
        self.linear, self.angular = clipped(linear, FASTEST), clipped(angular, FASTEST_TURN)
        self.commanded_at = self.ticks

    def step(self) -> None:
        """Advance a thirtieth of a second. A robot at a wall can turn, but not drive further."""
        self.ticks += 1
        if self.ticks - self.commanded_at > FORGETS * RATE:
            self.linear = self.angular = 0.0
        middle = self.yaw + self.angular / RATE / 2
        ahead = (
            self.x + self.linear / RATE * math.cos(middle),
            self.y + self.linear / RATE * math.sin(middle),
        )
        if all(distance_to(wall, ahead) > RADIUS for wall in WALLS):
            self.x, self.y = ahead
        else:
            self.linear = 0.0
        self.yaw = math.remainder(self.yaw + self.angular / RATE, math.tau)

    def scan(self) -> list[float]:
        """Return the distances to the walls in one rotation, counter-clockwise from behind the robot."""
        found = []
        for number in range(RAYS):
            angle = self.yaw - math.pi + number * math.tau / RAYS
            direction = (math.cos(angle), math.sin(angle))
            nearest = min(ray(wall, (self.x, self.y), direction) for wall in WALLS)
            found.append(nearest if NEAREST <= nearest <= FARTHEST else math.inf)
        return found
