"""Drives to a goal in place of Nav2: turns towards it and drives straight, without avoiding obstacles."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

# Metres and radians a second; the first is that of compose/ros2/nav2.yaml.
FASTEST, FASTEST_TURN = 1.0, 1.5
# A goal is reached within this distance, in metres.
NEAR = 0.2
# Beyond this angle, in radians, the robot turns before it drives.
ASIDE = 0.3
SLOWEST = 0.1
TURN_GAIN = 2.0


@dataclass(frozen=True)
class Goal:
    """A goal.

    Attributes:
        x: in metres, as is y.
        fastest: metres a second.
        ticket: the caller's name for the goal; None for another client, which gets no report.
    """

    x: float
    y: float
    fastest: float = FASTEST
    ticket: int | None = None


def steer(goal: Goal, x: float, y: float, yaw: float) -> tuple[float, float]:
    """Return the linear and the angular speed; 0 at the goal."""
    distance = math.hypot(goal.x - x, goal.y - y)
    if distance <= NEAR:
        return 0.0, 0.0
    aside = math.remainder(math.atan2(goal.y - y, goal.x - x) - yaw, math.tau)
    turn = min(FASTEST_TURN, max(-FASTEST_TURN, TURN_GAIN * aside))
    return (0.0 if abs(aside) > ASIDE else min(goal.fastest, max(SLOWEST, distance))), turn


class Driver:
    """Has at most one goal; a new one replaces it."""

    def __init__(self, send: Callable[[float, float], None], ended: Callable[[int, str], None]) -> None:
        """Store the callbacks.

        :param send: sends the speeds to the robot.
        :param ended: is called with the ticket of a goal that is over, and ``done``, ``cancelled`` or ``aborted``.
        """
        self._send = send
        self._ended = ended
        self._goal: Goal | None = None
        # No speed may be sent after a stop.
        self._alone = threading.Lock()

    def go(self, goal: Goal) -> None:
        """Set the goal."""
        with self._alone:
            self._end("cancelled")
            self._goal = goal

    @property
    def busy(self) -> bool:
        """Whether it has a goal."""
        return self._goal is not None

    def stop(self, outcome: str = "cancelled") -> None:
        """Stop and clear the goal."""
        with self._alone:
            self._end(outcome)
            self._send(0.0, 0.0)

    def at(self, x: float, y: float, yaw: float) -> None:
        """Update the pose, and send a speed."""
        with self._alone:
            if self._goal is None:
                return
            linear, angular = steer(self._goal, x, y, yaw)
            self._send(linear, angular)
            if not linear and not angular:
                self._end("done")

    def _end(self, outcome: str) -> None:
        goal, self._goal = self._goal, None
        if goal is not None and goal.ticket is not None:
            self._ended(goal.ticket, outcome)
