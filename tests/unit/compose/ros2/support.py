# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Redis, a robot that the test controls, and the bridge between them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from compose.ros2.bridge.bridge import Bridge
from compose.ros2.bridge.config import Settings
from compose.ros2.bridge.follower import Limits
from compose.ros2.bridge.inbox import Inbox, connect
from compose.ros2.bridge.places import Pose, read_places
from tests.unit.compose.cognitive.support import PASSWORD, ROBOT_PASSWORD, ROOT, RedisServer

PLACES = read_places(ROOT / "compose" / "places.json")
# Long, so that no test fails on a busy machine.
SECONDS = 60.0


@dataclass
class Robot:
    """A navigator that the test controls.

    Attributes:
        there: whether it accepts goals.
        obedient: whether it confirms cancellations.
        goals: the goals and their speeds.
        stops: the points to visit before each goal.
    """

    there: bool = True
    obedient: bool = True
    bridge: Bridge | None = None
    ticket: int = 0
    goals: list[tuple[Pose, float]] = field(default_factory=list)
    stops: list[list[Pose]] = field(default_factory=list)
    cancels: int = 0
    given_up: int = 0

    def ready(self) -> bool:
        """Return whether goals are accepted."""
        return self.there

    def go(self, ticket: int, poses: Sequence[Pose], speed: float) -> None:
        """Accept a goal."""
        self.ticket = ticket
        self.goals.append((poses[-1], speed))
        self.stops.append(list(poses[:-1]))
        self.answer.accepted(ticket)

    def cancel(self, ticket: int) -> None:
        """Cancel the goal."""
        self.cancels += 1
        if not self.obedient:
            return
        if self.ticket:
            self.end("cancelled")
        self.answer.halted(ticket)

    def give_up(self) -> None:
        """Count it."""
        self.given_up += 1

    def was_sent(self, times: int) -> bool:
        """Return whether it has got this number of goals."""
        return len(self.goals) == times

    def end(self, outcome: str = "done") -> None:
        """End the goal."""
        self.answer.ended(self.ticket, outcome)
        self.ticket = 0

    @property
    def answer(self) -> Bridge:
        """The bridge that set the goals."""
        assert self.bridge
        return self.bridge

    @property
    def places(self) -> list[str]:
        """The targets of its goals."""
        return [next(name for name, where in PLACES.items() if where == pose) for pose, _speed in self.goals]


@dataclass
class Lab:
    """One Redis, the bridges that use it, and their logs."""

    server: RedisServer
    folder: Path

    def __post_init__(self) -> None:
        """Connect as a client that sends commands."""
        # The declared types differ from the real answers.
        client: Any = Redis(host="127.0.0.1", port=self.server.port, password=PASSWORD, decode_responses=True)
        self.redis = client
        self._channel = self.redis.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe("robot_events")
        self._channel.get_message(timeout=SECONDS)
        self.events: list[dict[str, Any]] = []

    def settings(self, **changes: Any) -> Settings:
        """Return a bridge's settings."""
        values: dict[str, Any] = {
            "places_file": ROOT / "compose" / "places.json",
            "redis_host": "127.0.0.1",
            "redis_port": self.server.port,
            "redis_username": "robot",
            "redis_password": ROBOT_PASSWORD,
            "redis_timeout": 10.0,
            "wait": 10,
            "health_file": self.folder / "healthy",
            **changes,
        }
        return Settings(**values)

    def bridge(self, robot: Robot, **changes: Any) -> Bridge:
        """Return a bridge in the state of a new process."""
        limits = Limits(**{name: changes.pop(name) for name in ("age", "goal", "patience", "again") if name in changes})
        settings = self.settings(limits=limits, **changes)
        robot.bridge = Bridge(Inbox(connect(settings), settings), robot, PLACES, settings)
        return robot.bridge

    def give(self, target: str = "", identifier: str = "", **fields: Any) -> None:
        """Send a command through the stream: to a place, or a stop without one."""
        message = {"action": "navigate" if target else "stop", "target": target or None, "speed": "normal", **fields}
        self.write(json.dumps({**message, **({"id": identifier} if identifier else {})}))

    def write(self, message: str | bytes, entry: str = "*") -> None:
        """Write a message into the stream."""
        self.redis.xadd("robot_commands:stream", {"command": message}, id=entry)

    def outcomes(self) -> list[tuple[str, str]]:
        """Return id and outcome of all events so far."""
        while (message := self._channel.get_message(timeout=0)) is not None:
            self.events.append(json.loads(message["data"]))
        return [(event["id"], event["outcome"]) for event in self.events]

    def pending(self) -> int:
        """Return how many commands were read and have not ended."""
        return int(self.redis.xpending("robot_commands:stream", "robots")["pending"])


def until(bridge: Bridge, holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """Run a bridge until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition never held"
        bridge.turn()


def turns(bridge: Bridge, number: int = 5) -> None:
    """Run a bridge for longer than any of its operations takes."""
    for _turn in range(number):
        bridge.turn()


def fields_of(records: list[logging.LogRecord]) -> list[dict[str, Any]]:
    """Return the log."""
    return [{"event": record.getMessage(), **getattr(record, "fields", {})} for record in records]
