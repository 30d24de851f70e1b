# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulators as processes, and the script of the viewer's page."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import quickjs

from tests.support.foxglove import SECONDS, connect
from tests.unit.compose.cognitive.support import ROBOT_PASSWORD, ROOT, RedisServer, running, settings_for

# DDS on the loopback address only, which has no multicast.
LOOPBACK = (
    '<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface name="lo"/></Interfaces>'
    "<AllowMulticast>false</AllowMulticast></General><Discovery><ParticipantIndex>auto</ParticipantIndex>"
    '<Peers><Peer address="127.0.0.1"/></Peers></Discovery></Domain></CycloneDDS>'
)


def free_domain() -> int:
    """Return a DDS domain whose first participant's port is free."""
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
def process(
    folder: Path,
    module: str,
    environment: Mapping[str, str],
    *arguments: str,
    python: str = sys.executable,
    cwd: Path = ROOT,
) -> Iterator[Callable[[], str]]:
    """Run a simulator; yield a function that returns its output, and its exit status if it has ended."""
    log = folder / f"{module}.log"
    inherited = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        child = subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=cwd,
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
            pytest.fail(f"{module} did not end within {SECONDS:g} s of SIGTERM")


def wait_for_port(port: int, told: Callable[[], str]) -> None:
    """Wait until a process listens on a port of the loopback address."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline or " ended with " in told():
                pytest.fail(f"no process listens on port {port}:\n{told()}")
            time.sleep(0.05)
        else:
            return


class Page:
    """The script of the viewer's page without a browser, on a connection to Foxglove's server."""

    def __init__(self, port: int) -> None:
        """Load the script and connect."""
        self._script = quickjs.Context()
        self._script.eval((ROOT / "sandbox" / "images" / "foxglove" / "site" / "viewer.js").read_text("utf-8"))
        self._script.eval(
            "const sent = [], robot = new Robot(), connection = new Connection(robot, (text) => sent.push(text));"
        )
        self._socket = connect(f"127.0.0.1:{port}")

    @property
    def robot(self) -> Any:
        """The robot's state in the script."""
        return json.loads(self._script.eval("JSON.stringify(robot)"))

    def until(self, true: Callable[[Any], bool]) -> Any:
        """Pass messages to it until the robot's state meets a condition, and return the state."""
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
    """Send a text to the cognitive service."""

    async def post() -> None:
        async with running(settings_for(redis)) as client:
            answer = await client.post("/command", json={"text": text})
            assert answer.status == 200, await answer.text()

    asyncio.run(post())


def secret(folder: Path) -> str:
    """Write Redis' password to a file, and return its path."""
    file = folder / "password"
    file.write_text(f"{ROBOT_PASSWORD}\n", encoding="utf-8")
    return str(file)
