"""The hall of compose/world, and its robot with two driven wheels. The same commands lead to the same place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from compose.world.description import Pose, load
from compose.world.geometry import scan

HALL = load()
RATE = 30
RADIUS, LIDAR = HALL.robot.radius, HALL.robot.lidar
# Metres and radians a second.
FASTEST, FASTEST_TURN = HALL.robot.fastest.linear, HALL.robot.fastest.angular
# The robot stops after this time without a command, in seconds.
FORGETS = HALL.robot.command_timeout


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
    x: float = HALL.start.x
    y: float = HALL.start.y
    yaw: float = HALL.start.yaw
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
        if all(box.distance(ahead) > RADIUS for box in HALL.boxes):
            self.x, self.y = ahead
        else:
            self.linear = 0.0
        self.yaw = math.remainder(self.yaw + self.angular / RATE, math.tau)

    def scan(self) -> list[float]:
        """Return the distances to the walls in one rotation, counter-clockwise from behind the robot."""
        return scan(HALL.boxes, Pose(self.x, self.y, self.yaw), LIDAR)
