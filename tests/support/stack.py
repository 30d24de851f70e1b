# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack with profile full, accessed like a user."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tests.support.foxglove import Watcher, watch
from tests.support.project import ROOT

PLACES: dict[str, list[float]] = {
    place["name"]: place["coordinates"] for place in json.loads((ROOT / "compose" / "places.json").read_text("utf-8"))
}
# Distance in metres within which the robot is at a place.
NEAR = 0.25


@dataclass(frozen=True)
class Stack:
    """Access to the stack.

    Attributes:
        address: the host's public address.
        say: posts a sentence to the cognitive service, which is not reachable from outside, and returns the answer.
    """

    address: str
    say: Callable[[str], dict[str, Any]]

    @property
    def page(self) -> str:
        """The viewer's URL."""
        return f"http://{self.address}:8080/"

    def watch(self, *topics: str) -> AbstractContextManager[Watcher]:
        """Subscribe to topics as Foxglove does."""
        return watch(f"{self.address}:8765", *topics)


def position(message: Any) -> tuple[float, float]:
    """Return the robot's position from a message with its pose."""
    point = message.pose.pose.position
    return point.x, point.y


def stands(odometry: Any) -> bool:
    """Return whether the robot stands still."""
    speed = odometry.twist.twist
    return bool(speed.linear.x == 0 and speed.angular.z == 0)
