# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of every node: read one order per line, run it, answer with one line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

PAUSE_SECONDS = 0.005
# A node stops waiting after this time without a new sample, in seconds.
QUIET_SECONDS = 3.0


class Node(Protocol):
    """A participant that sends and receives numbered samples."""

    def peers(self) -> int:
        """Return the number of discovered participants."""

    def write(self, number: int, size: int) -> None:
        """Send one sample."""

    def take(self) -> set[int]:
        """Return the numbers of the samples received since the last call."""


def until(ready: Callable[[], bool], seconds: float, pause: float = PAUSE_SECONDS) -> bool:
    """Wait until a condition holds, and return whether it does."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


class Orders:
    """The orders that a node accepts.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._sent = 0

    def find(self, seconds: float, count: int = 1) -> dict[str, Any]:
        """Wait until it has discovered this number of participants."""
        until(lambda: self._node.peers() >= count, seconds)
        return {"peers": self._node.peers()}

    def send(self, seconds: float, count: int, size: int = 64, rate: float = 0) -> dict[str, Any]:
        """Send samples at a rate per second, or as fast as possible."""
        begin = time.monotonic()
        for number in range(count):
            if time.monotonic() > begin + seconds:
                return {"error": f"sent {number} of {count} samples in {seconds} s"}
            self._node.write(self._sent, size)
            self._sent += 1
            if rate:
                time.sleep(max(0, begin + (number + 1) / rate - time.monotonic()))
        return {"sent": count}

    def collect(self, seconds: float, count: int, quiet: float = QUIET_SECONDS) -> dict[str, Any]:
        """Collect samples until there are enough, or until none has arrived for a while."""
        found: set[int] = set()
        last = time.monotonic() + quiet

        def over() -> bool:
            nonlocal last
            fresh = self._node.take() - found
            if fresh:
                found.update(fresh)
                last = time.monotonic() + quiet
            return len(found) >= count or time.monotonic() > last

        until(over, seconds)
        return {"numbers": sorted(found)}


def serve(make: Callable[[], Node]) -> None:
    """Create a node and run orders until the input ends."""
    try:
        orders = Orders(make())
    except Exception as error:  # Any error of the library is the answer.
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say({"started": True})
    for line in sys.stdin:
        order = json.loads(line)
        say(getattr(orders, order.pop("do"))(**order))


def say(answer: dict[str, Any]) -> None:
    """Write one answer."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
