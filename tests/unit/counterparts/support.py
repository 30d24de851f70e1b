# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counterparts as processes, and somebody who looks at the robot as Foxglove does."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import quickjs
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sandbox.ros import TOPICS
from tests.unit.cognitive.support import PASSWORD, ROOT, RedisServer, running, settings_for

# Long, so that a busy machine fails no test.
SECONDS = 60.0
# DDS on the loopback address alone, which carries no multicast.
LOOPBACK = (
    '<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface name="lo"/></Interfaces>'
    "<AllowMulticast>false</AllowMulticast></General><Discovery><ParticipantIndex>auto</ParticipantIndex>"
    '<Peers><Peer address="127.0.0.1"/></Peers></Discovery></Domain></CycloneDDS>'
)
MESSAGE_DATA = 1
HEADER = 1 + 4 + 8


def free_domain() -> int:
    """Return a DDS domain whose first participant's port nobody has."""
    for number in range(100):
        domain = 1 + (os.getpid() + number) % 100
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    pytest.fail("no DDS domain of 1 to 100 is free")


@contextmanager
def process(folder: Path, module: str, environment: Mapping[str, str], *arguments: str) -> Iterator[Callable[[], str]]:
    """Run a counterpart; what is given tells what it has written, and that it has ended, if it has."""
    log = folder / f"{module}.log"
    inherited = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**inherited, **environment},
            stdout=output,
            stderr=output,
        )

    def told() -> str:
        ended = "" if child.poll() is None else f"\n{module} ended with {child.returncode}"
        return log.read_text(encoding="utf-8") + ended

    try:
        yield told
    finally:
        child.terminate()
        try:
            child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            pytest.fail(f"{module} did not end within {SECONDS:g} s of being told to")


def wait_for_port(port: int, told: Callable[[], str]) -> None:
    """Wait until somebody listens on a port of the loopback address."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline or " ended with " in told():
                pytest.fail(f"nobody listens on port {port}:\n{told()}")
            time.sleep(0.05)
        else:
            return


def _connect(port: int) -> ClientConnection:
    # By the time it is closed nobody reads what would still come before the answer.
    return connect(
        f"ws://127.0.0.1:{port}",
        subprotocols=[Subprotocol("foxglove.sdk.v1")],
        max_size=None,
        open_timeout=SECONDS,
        close_timeout=0,
    )


class Watcher:
    """A client of Foxglove's WebSocket server that looks at some topics."""

    def __init__(self, port: int, topics: Iterable[str]) -> None:
        """Connect, and subscribe to topics.

        What nobody reads piles up on the way, so that a client is to look at what it needs, when it does.
        """
        self._socket = _connect(port)
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
        """Return the next message of a topic of which something is true."""
        deadline = time.monotonic() + SECONDS
        last = None
        while time.monotonic() < deadline:
            message = self._receive(deadline, f"what is waited for on {topic}, where the last message was {last},")
            if not isinstance(message, bytes) or message[0] != MESSAGE_DATA:
                continue
            if self._topics[int.from_bytes(message[1:5], "little")] != topic:
                continue
            last = TOPICS[topic].deserialize(message[HEADER:])
            if true(last):
                return last
        pytest.fail(f"not within {SECONDS:g} s; the last message on {topic} was {last}")

    def close(self) -> None:
        """Look away."""
        self._socket.close()


class Page:
    """The script of the viewer's page, in a browser's stead on a connection to Foxglove's server."""

    def __init__(self, port: int) -> None:
        """Load the script and connect."""
        self._script = quickjs.Context()
        self._script.eval((ROOT / "sandbox" / "images" / "foxglove" / "site" / "viewer.js").read_text("utf-8"))
        self._script.eval(
            "const sent = [], robot = new Robot(), connection = new Connection(robot, (text) => sent.push(text));"
        )
        self._socket = _connect(port)

    @property
    def robot(self) -> Any:
        """What it knows of the robot."""
        return json.loads(self._script.eval("JSON.stringify(robot)"))

    def until(self, true: Callable[[Any], bool]) -> Any:
        """Hand it what arrives until something is true of the robot, which is returned."""
        deadline = time.monotonic() + SECONDS
        while not true(robot := self.robot):
            assert time.monotonic() < deadline, f"the page has not seen it within {SECONDS:g} s: {robot}"
            data = self._socket.recv(SECONDS)
            given = json.dumps(data) if isinstance(data, str) else f"new Uint8Array({list(data)}).buffer"
            self._script.eval(f"connection.receive({given})")
            for message in json.loads(self._script.eval("JSON.stringify(sent.splice(0))")):
                self._socket.send(message)
        return robot

    def close(self) -> None:
        """Go away."""
        self._socket.close()


def say(redis: RedisServer, text: str) -> None:
    """Tell the cognitive service something."""

    async def post() -> None:
        async with running(settings_for(redis)) as client:
            answer = await client.post("/command", json={"text": text})
            assert answer.status == 200, await answer.text()

    asyncio.run(post())


def secret(folder: Path) -> str:
    """Put Redis' password into a file, and return where."""
    file = folder / "password"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    return str(file)
