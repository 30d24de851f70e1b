# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Redis, a language model with scripted answers, and the service between them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis

from compose.cognitive.app import make_app
from compose.cognitive.config import NimSettings, Settings
from compose.cognitive.places import read

ROOT = Path(__file__).parents[4]
PLACES = read(ROOT / "compose" / "places.json")
# Must not occur in logs and answers.
PASSWORD = "canary-redis-6f1d"
# The passwords of the two users of compose/redis_users.conf. The one above is the test's own user with all rights.
COGNITIVE_PASSWORD, ROBOT_PASSWORD, HEALTH_PASSWORD = (
    f"canary-redis-{name}" for name in ("cognitive", "robot", "health")
)
TOKEN = "canary-token-27be-0123456789abcdef"
API_KEY = "nvapi-canary-93ab"
START_SECONDS = 60.0

Client = TestClient[web.Request, web.Application]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def free_port() -> int:
    """Return a free TCP port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_users() -> str:
    """Return the users of Redis with these passwords, as the role writes them."""
    text = (ROOT / "compose" / "redis_users.conf").read_text("utf-8")
    passwords = {"COGNITIVE": COGNITIVE_PASSWORD, "ROBOT": ROBOT_PASSWORD, "HEALTH": HEALTH_PASSWORD}
    for name, password in passwords.items():
        text = text.replace(f"SHA256_OF_{name}", hashlib.sha256(password.encode()).hexdigest())
    return text


class RedisServer:
    """One redis-server process with a password and its own data folder; a kept one restores its data at a restart."""

    def __init__(self, folder: Path, password: str = PASSWORD, *, kept: bool = False) -> None:
        binary = shutil.which("redis-server")
        if not binary:
            pytest.fail("redis-server is not on PATH. Install it (Debian: apt-get install redis-server).")
        self._binary = binary
        self.port = free_port()
        self._config = folder / "redis.conf"
        self._log = folder / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        secret = f"requirepass {password}\n{redis_users()}" if password else redis_users()
        keep = "appendonly yes\nappendfsync always\n" if kept else ""
        self.socket = folder / "redis.sock"
        keep += f"unixsocket {self.socket}\n"
        self._config.write_text(f'bind 127.0.0.1\nport {self.port}\ndir {folder}\nsave ""\n{keep}{secret}')

    def start(self) -> None:
        """Start the server and wait until its port is open."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._binary, str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.stop()
        pytest.fail(f"redis-server did not start within {START_SECONDS:g} s:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Kill the server, if it runs."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Keep the connections open without answering."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)


@dataclass
class FakeNim:
    """An OpenAI-compatible server with scripted answers that records the questions."""

    answer: Answer
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one question."""
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        return await self.answer(request)


def says(content: object) -> Answer:
    """Return an answer whose text is the given JSON object, or the given text."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        text = content if isinstance(content, str) else json.dumps(content)
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": text}}]})

    return answer


def once(opened: asyncio.Event, answer: Answer) -> Answer:
    """Return an answer that waits for an event."""

    async def late(request: web.Request) -> web.StreamResponse:
        await opened.wait()
        return await answer(request)

    return late


def in_turn(*answers: Answer) -> Answer:
    """Return the given answers one after another, and then repeat the last one."""
    left = list(answers)

    async def next_one(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return next_one


def raw(body: str, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Return an answer with this status and body."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status, headers=headers)

    return answer


@asynccontextmanager
async def fake_nim(answer: Answer) -> AsyncIterator[FakeNim]:
    """Run a language model."""
    model = FakeNim(answer)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.handle)
    server = TestServer(app)
    await server.start_server()
    try:
        model.url = str(server.make_url("/v1"))
        yield model
    finally:
        await server.close()


def settings_for(
    redis: RedisServer,
    nim: FakeNim | None = None,
    nim_timeout: float = 30.0,
    nim_at_once: int = 4,
    nim_queue: int = 16,
    **changes: Any,
) -> Settings:
    """Return the settings of a service between a Redis and a language model; times are in seconds.

    They are long, so that no test fails on a busy machine; a test of a timeout sets its own.
    """
    model = (
        NimSettings(nim.url, "test/model", nim_timeout, concurrency=nim_at_once, queue=nim_queue, api_key=API_KEY)
        if nim
        else None
    )
    values: dict[str, Any] = {
        "places_file": ROOT / "compose" / "places.json",
        "redis_host": "127.0.0.1",
        "redis_port": redis.port,
        "redis_username": "cognitive",
        "redis_password": COGNITIVE_PASSWORD,
        "token": TOKEN,
        "redis_timeout": 10.0,
        "nim": model,
    }
    return Settings(**{**values, **changes})


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Client]:
    """Run the service in this process, with a caller that has the token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with TestClient(TestServer(make_app(settings, PLACES)), headers=headers) as client:
        yield client


class Listener:
    """A listener on the channel, like a robot."""

    def __init__(self, redis: Redis) -> None:
        self._channel = redis.pubsub()
        self.ids: list[str] = []

    async def subscribe(self) -> None:
        """Subscribe; messages that are sent from now on are received."""
        await self._channel.subscribe("robot_commands")
        await self._channel.get_message(timeout=30)

    async def next(self, seconds: float = 30.0) -> str | None:
        """Return the next message without its id, or None after a timeout."""
        message = await self._channel.get_message(ignore_subscribe_messages=True, timeout=seconds)
        if not message:
            return None
        fields = json.loads(message["data"])
        self.ids.append(fields.pop("id"))
        return json.dumps(fields)

    async def actions(self) -> list[str]:
        """Return the actions of all messages that have arrived."""
        found = []
        while (message := await self.next(0.2)) is not None:
            found.append(json.loads(message)["action"])
        return found


@asynccontextmanager
async def listening(redis: RedisServer, password: str = PASSWORD) -> AsyncIterator[Listener]:
    """Listen on the channel with a separate connection."""
    client = Redis(host="127.0.0.1", port=redis.port, password=password)
    listener = Listener(client)
    await listener.subscribe()
    try:
        yield listener
    finally:
        await client.aclose()
