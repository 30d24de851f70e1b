# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that subscribes to the robot's topics like Foxglove."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync import client
from websockets.typing import Subprotocol

from sandbox.ros_topics import TOPICS

# Long, so that no test fails on a busy machine.
SECONDS = 60.0
MESSAGE_DATA = 1
HEADER = 1 + 4 + 8


def connect(address: str) -> client.ClientConnection:
    """Connect to Foxglove's server, at an address with a port."""
    # On close, messages before the answer are no longer read.
    return client.connect(
        f"ws://{address}",
        subprotocols=[Subprotocol("foxglove.sdk.v1")],
        max_size=None,
        open_timeout=SECONDS,
        close_timeout=0,
    )


class Watcher:
    """A client of Foxglove's WebSocket server that subscribes to topics."""

    def __init__(self, address: str, topics: Iterable[str]) -> None:
        """Connect, and subscribe to topics.

        Unread messages pile up, so a client should subscribe only while it reads.
        """
        self._socket = connect(address)
        self.subprotocol = self._socket.subprotocol
        self.channels: dict[str, dict[str, Any]] = {}
        self._topics: dict[int, str] = {}
        deadline = time.monotonic() + SECONDS
        while len(self.channels) < len(TOPICS):
            message = self._receive(deadline, "the list of channels")
            if isinstance(message, str):
                fields = json.loads(message)
                found = fields["channels"] if fields["op"] == "advertise" else []
                self.channels.update({channel["topic"].lstrip("/"): channel for channel in found})
        wanted = []
        for number, topic in enumerate(topics, 1):
            self._topics[number] = topic
            wanted.append({"id": number, "channelId": self.channels[topic]["id"]})
        self._socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))

    def _receive(self, deadline: float, what: str) -> str | bytes:
        try:
            return self._socket.recv(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            pytest.fail(f"{what} was not seen within {SECONDS:g} s")

    def until(self, topic: str, true: Callable[[Any], bool] = lambda _: True) -> Any:
        """Return the next message of a topic that meets a condition."""
        deadline = time.monotonic() + SECONDS
        last = None
        while time.monotonic() < deadline:
            message = self._receive(deadline, f"the expected message on {topic}, where the last message was {last},")
            if not isinstance(message, bytes) or message[0] != MESSAGE_DATA:
                continue
            if self._topics[int.from_bytes(message[1:5], "little")] != topic:
                continue
            last = TOPICS[topic].deserialize(message[HEADER:])
            if true(last):
                return last
        pytest.fail(f"not within {SECONDS:g} s; the last message on {topic} was {last}")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextmanager
def watch(address: str, *topics: str) -> Iterator[Watcher]:
    """Watch topics within a block."""
    watcher = Watcher(address, topics)
    try:
        yield watcher
    finally:
        watcher.close()
