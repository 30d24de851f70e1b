# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on the cognitive service's socket: without the token, with other host names, and from web pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from compose.cognitive.config import Settings, load
from tests.unit.compose.cognitive.support import TOKEN, RedisServer, listening, running, settings_for

RIGHT = f"Authorization: Bearer {TOKEN}"
HERE = "Host: 127.0.0.1:8001"
# Each attack: the headers, without those of the body. The target is /command.
WITHOUT_TOKEN: dict[str, list[str]] = {
    "none": [],
    "empty": ["Authorization:"],
    "the scheme alone": ["Authorization: Bearer"],
    "the scheme and a blank": ["Authorization: Bearer "],
    "a wrong one": [f"Authorization: Bearer {TOKEN[:-1]}x"],
    "a shorter one": [f"Authorization: Bearer {TOKEN[:-1]}"],
    "its first letter": [f"Authorization: Bearer {TOKEN[0]}"],
    "a longer one": [f"{RIGHT}x"],
    "it twice": [f"{RIGHT}{TOKEN}"],
    "a very long one": ["Authorization: Bearer " + "x" * 5000],
    "in capitals": [f"Authorization: Bearer {TOKEN.upper()}"],
    "in quotes": [f'Authorization: Bearer "{TOKEN}"'],
    "without the scheme": [f"Authorization: {TOKEN}"],
    "by another scheme": [f"Authorization: Basic {TOKEN}"],
    "by a scheme that begins so": [f"Authorization: Bearers {TOKEN}"],
    "after a comma": [f"Authorization: Bearer x, Bearer {TOKEN}"],
    "not ASCII": ["Authorization: Bearer \xff\xfe"],
    "two headers, the right one last": ["Authorization: Bearer x", RIGHT],
    "two headers, the right one first": [RIGHT, "Authorization: Bearer x"],
    "for a proxy": [f"Proxy-Authorization: Bearer {TOKEN}"],
    "in a header of its own": [
        f"X-Token: {TOKEN}",
        f"X-Api-Key: {TOKEN}",
        f"X-Forwarded-Authorization: Bearer {TOKEN}",
    ],
    "in a cookie": [f"Cookie: token={TOKEN}; Authorization=Bearer {TOKEN}"],
}
FOREIGN_HOST: dict[str, list[str]] = {
    "another name": ["Host: evil.example"],
    "rebinding, with the port": ["Host: evil.example:8001"],
    "a name that begins so": ["Host: 127.0.0.1.evil.example:8001"],
    "a name that ends so": ["Host: evil.localhost:8001"],
    "a name that contains it": ["Host: localhost.evil.example"],
    "with a user": ["Host: localhost@evil.example"],
    "with a user before it": ["Host: evil.example@localhost"],
    "with a path": ["Host: localhost/evil.example"],
    "with a comma": ["Host: localhost, evil.example"],
    "with a blank": ["Host: localhost evil.example"],
    "with a final dot": ["Host: localhost.:8001"],
    "with two ports": ["Host: localhost:8001:evil"],
    "with a word for a port": ["Host: localhost:evil"],
    "all addresses": ["Host: 0.0.0.0:8001"],
    "another loopback address": ["Host: 127.0.0.2:8001"],
    "a short loopback address": ["Host: 127.1:8001"],
    "a number": ["Host: 2130706433:8001"],
    "IPv4 in IPv6": ["Host: [::ffff:127.0.0.1]:8001"],
    "brackets that do not close": ["Host: [::1"],
    "another service": ["Host: redis"],
    "the metadata service": ["Host: 169.254.169.254"],
    "empty": ["Host:"],
    "none": [],
    "twice, the right one first": [HERE, "Host: evil.example"],
    "twice, the right one last": ["Host: evil.example", HERE],
    "twice the right one": [HERE, HERE],
    "the right one forwarded": ["Host: evil.example", f"X-Forwarded-{HERE}", "Forwarded: host=127.0.0.1"],
    "the right one as origin": ["Host: evil.example", "Origin: http://127.0.0.1:8001"],
}
FOREIGN_ORIGIN: dict[str, list[str]] = {
    "another site": ["Origin: http://evil.example"],
    "another site by the same port": ["Origin: http://evil.example:8001"],
    "none, as of a sandboxed frame": ["Origin: null"],
    "empty": ["Origin:"],
    "the viewer's page by a tunnel": ["Origin: http://127.0.0.1:8080"],
    "another name of this machine": ["Origin: http://localhost:8001"],
    "an extension": ["Origin: chrome-extension://127.0.0.1:8001"],
    "a file": ["Origin: file://"],
    "with a path": ["Origin: http://127.0.0.1:8001/"],
    "a name that begins so": ["Origin: http://127.0.0.1:8001.evil.example"],
    "with a user": ["Origin: http://127.0.0.1:8001@evil.example"],
    "two in one": ["Origin: http://127.0.0.1:8001 http://evil.example"],
    "two headers": ["Origin: http://127.0.0.1:8001", "Origin: http://evil.example"],
    "rebinding": ["Origin: http://evil.example", "Referer: http://127.0.0.1:8001/"],
}
TARGETS = {
    "absolute": "http://evil.example/command",
    "absolute, of this service": "http://127.0.0.1:8001/command",
    "absolute, with a user": "http://127.0.0.1@evil.example/command",
    "an asterisk": "*",
}

Send = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]


def sender(port: int) -> Send:
    """Return a function that sends one request unchanged, and returns the status and body of the answer."""

    async def send(
        headers: list[str],
        target: str = "/command",
        text: str = "move to zone b",
        method: str = "POST",
        version: str = "1.1",
    ) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"text": text})
        lines = [f"{method} {target} HTTP/{version}", *headers, "Connection: close"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"))
        await writer.drain()
        answer = (await reader.read()).decode("latin-1")
        writer.close()
        head, _blank, content = answer.partition("\r\n\r\n")
        # The parser answers a few requests itself, in plain text.
        is_json = "application/json" in head
        return int(head.split()[1]), dict(json.loads(content)) if is_json and content else {"head": head}

    return send


def attack(redis: RedisServer, settings: Settings, scenario: Callable[[Send], Awaitable[None]]) -> None:
    """Run a scenario against the service, and check that nothing was sent to the robot."""

    async def whole() -> None:
        async with running(settings) as client, listening(redis) as robot:
            await scenario(sender(client.port or 0))
            assert await robot.actions() == []

    asyncio.run(whole())


def test_the_right_caller_is_answered(redis: RedisServer) -> None:
    """Otherwise the tables below would pass against a service that refuses everything."""

    async def whole() -> None:
        hosts = [
            "127.0.0.1",
            "localhost",
            "LOCALHOST:8001",
            "[::1]:8001",
            "cognitive:8001",
            "lab.example",
            "10.0.0.7:1",
        ]
        settings = settings_for(redis, allowed_hosts=("lab.example", "10.0.0.7"))
        async with running(settings) as client, listening(redis) as robot:
            send = sender(client.port or 0)
            for host in hosts:
                assert (await send([f"Host: {host}", RIGHT]))[0] == 200, host
                assert (await send([f"Host: {host}", RIGHT, f"Origin: http://{host}"]))[0] == 200, host
            assert (await send([HERE, f"authorization: bearer  {TOKEN}"], version="1.0"))[0] == 200
            assert await robot.actions() == ["navigate"] * (2 * len(hosts) + 1)

    asyncio.run(whole())


def test_no_command_is_accepted_without_the_token(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def scenario(send: Send) -> None:
        for name, headers in WITHOUT_TOKEN.items():
            # Such a caller can neither interpret a text nor stop the robot.
            for target in ("/command", "/command/", "/intent", f"/command?token={TOKEN}", "/nowhere"):
                for text in ("move to zone b", "stop"):
                    status, answer = await send([HERE, *headers], target, text)
                    assert (status, answer["error"], answer["published"]) == (401, "unauthorized", False), (
                        name,
                        target,
                    )
                    assert "command" not in answer
                    assert "sudo digital-twin token" in answer["message"]

    attack(redis, settings_for(redis), scenario)
    # The tests' server logs a line for each request; the service does not.
    assert TOKEN not in str([vars(record) for record in caplog.records if record.name != "aiohttp.access"])


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post"])
def test_no_method_bypasses_the_token(redis: RedisServer, method: str) -> None:
    async def scenario(send: Send) -> None:
        status, answer = await send([HERE, "X-HTTP-Method-Override: POST"], method=method)
        assert status in (400, 401, 405), answer
        for read in ("GET", "HEAD"):
            assert (await send([HERE, "X-HTTP-Method-Override: POST"], method=read))[0] == 405

    attack(redis, settings_for(redis), scenario)


def test_requests_for_another_host_name_are_refused(redis: RedisServer) -> None:
    async def scenario(send: Send) -> None:
        for name, headers in FOREIGN_HOST.items():
            for target, method in (("/command", "POST"), ("/places", "GET"), ("/health", "GET"), ("/", "GET")):
                for version in ("1.1", "1.0"):
                    status, answer = await send([*headers, RIGHT], target, method=method, version=version)
                    # 400: the parser refuses it itself.
                    assert status in (400, 403), (name, target, answer)
                    assert "places" not in answer
        assert (await send(["Host: evil.example:8001", RIGHT]))[1]["error"] == "foreign_host"

    attack(redis, settings_for(redis), scenario)


def test_requests_from_other_pages_are_refused(redis: RedisServer) -> None:
    async def scenario(send: Send) -> None:
        for name, headers in FOREIGN_ORIGIN.items():
            for target, method in (("/command", "POST"), ("/command", "OPTIONS"), ("/places", "GET")):
                status, answer = await send([HERE, RIGHT, *headers], target, method=method)
                assert (status, answer["error"]) == (403, "foreign_origin"), (name, target)

    attack(redis, settings_for(redis), scenario)


def test_a_target_with_a_host_is_refused(redis: RedisServer) -> None:
    async def scenario(send: Send) -> None:
        for name, target in TARGETS.items():
            for host in (HERE, "Host: evil.example"):
                assert (await send([host, RIGHT], target))[0] in (400, 403), (name, host)

    attack(redis, settings_for(redis), scenario)


def test_no_page_is_allowed_to_read_answers(redis: RedisServer) -> None:
    async def whole() -> None:
        async with running(settings_for(redis)) as client:
            for path in ("/", "/places", "/health"):
                async with client.get(path) as response:
                    assert response.status == 200
                    assert not [name for name in response.headers if name.lower().startswith("access-control-")]

    asyncio.run(whole())


@pytest.mark.parametrize(
    "text", [None, "", "\n", " \n\t", "short", "x" * 31, "x" * 129, "x" * 16 + " " + "x" * 16, "ü" * 40]
)
def test_a_service_without_a_token_accepts_no_command(redis: RedisServer, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    loaded = load({"TOKEN_FILE": str(file)})

    async def scenario(send: Send) -> None:
        for headers in ([], [RIGHT], ["Authorization: Bearer "], [f"Authorization: Bearer {(text or '').strip()}"]):
            try:
                status, answer = await send([HERE, *headers])
            except UnicodeEncodeError:
                continue
            assert status in (400, 503), answer
            assert answer.get("error", "no_token") == "no_token"
        status, answer = await send([HERE], "/health", method="GET")
        assert (status, answer["status"], answer["dependencies"]["token"]["state"]) == (
            503,
            "unavailable",
            "unavailable",
        )
        assert answer["reason"].startswith("commands are not accepted: TOKEN_FILE is ")

    attack(redis, settings_for(redis, token=loaded.token, closed_because=loaded.closed_because), scenario)
