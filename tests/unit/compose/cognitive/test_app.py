# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service in this process, between a real Redis and an HTTP client."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.unit.compose.cognitive.support import (
    PASSWORD,
    Client,
    RedisServer,
    fake_nim,
    listening,
    once,
    running,
    says,
    settings_for,
)

ZONE_B = (
    '{"action": "navigate", "target": "zone_b", "coordinates": [10.0, 0.0], "speed": "normal", '
    '"confidence": 0.7, "raw_text": "move to zone b"}'
)


async def post(client: Client, text: object, path: str = "/command") -> tuple[int, dict[str, Any]]:
    """Post a text and return status and body."""
    async with client.post(path, json={"text": text}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("path", ["/command", "/command/"])
def test_command_arrives_exactly_as_listeners_expect_it(redis: RedisServer, path: str) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, listening(redis) as robot:
            status, answer = await post(client, "  move to zone b ", path)
            assert await robot.next() == ZONE_B
            assert await robot.next(0.2) is None
            assert status == 200
            assert answer == {
                "published": True,
                "id": robot.ids[0],
                "channel": "robot_commands",
                "receivers": 1,
                "command": json.loads(ZONE_B),
                "source": "keywords",
            }

    asyncio.run(scenario())


def test_listeners_are_counted_and_a_missing_listener_is_a_warning(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            status, answer = await post(client, "stop")
            assert (status, answer["receivers"]) == (200, 0)
            warning = "There is no listener on robot_commands: only a robot that returns soon will follow this command."
            assert answer["warning"] == warning
            async with listening(redis), listening(redis):
                status, answer = await post(client, "stop")
                assert (status, answer["receivers"]) == (200, 2)
                assert "warning" not in answer

    asyncio.run(scenario())


def test_every_command_is_also_in_the_stream_with_a_unique_id(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, listening(redis) as robot:
            for text in ("move to zone b", "move to zone b", "stop"):
                assert (await post(client, text))[0] == 200
            said = [await robot.next() for _command in range(3)]
            kept = [json.loads(fields["command"]) for _entry, fields in await entries(redis)]
            assert [message.pop("id") for message in kept] == robot.ids
            assert [json.dumps(message) for message in kept] == said
            assert len(set(robot.ids)) == 3

    asyncio.run(scenario())


async def entries(redis: RedisServer) -> list[tuple[str, dict[str, str]]]:
    """Return the entries of the stream."""
    client: Any = Redis(host="127.0.0.1", port=redis.port, password=PASSWORD, decode_responses=True)
    try:
        return list(await client.xrange("robot_commands:stream"))
    finally:
        await client.aclose()


def test_stop_is_sent_when_redis_is_full(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, listening(redis) as robot:
            administrator: Any = Redis(host="127.0.0.1", port=redis.port, password=PASSWORD)
            await administrator.config_set("maxmemory", 1)
            await administrator.aclose()
            status, answer = await post(client, "move to zone b")
            assert (status, answer["error"]) == (503, "redis_unavailable")
            status, answer = await post(client, "stop")
            assert (status, answer["receivers"]) == (200, 1)
            assert await robot.actions() == ["stop"]

    asyncio.run(scenario())


def test_intent_sends_nothing(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, listening(redis) as robot:
            status, answer = await post(client, "move to zone b", "/intent")
            assert (status, answer["published"], answer["command"]) == (200, False, json.loads(ZONE_B))
            assert await robot.next(0.3) is None

    asyncio.run(scenario())


JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BAD: dict[str, tuple[str | bytes, dict[str, str], int, str]] = {
    "empty text": ('{"text": ""}', JSON, 400, "empty_text"),
    "blank text": ('{"text": " \\n "}', JSON, 400, "empty_text"),
    "no text": ('{"command": "go to zone b"}', JSON, 400, "no_text"),
    "text is a number": ('{"text": 1}', JSON, 400, "no_text"),
    "text is null": ('{"text": null}', JSON, 400, "no_text"),
    "a list": ('["go to zone b"]', JSON, 400, "no_text"),
    "a bare text": ('"go to zone b"', JSON, 400, "no_text"),
    "not JSON": ("text=go+to+zone+b", JSON, 400, "not_json"),
    "no body": ("", JSON, 400, "not_json"),
    "not UTF-8": (b'{"text": "\xff"}', JSON, 400, "not_json"),
    "unknown character set": (
        '{"text": "go to zone b"}',
        {"Content-Type": "application/json; charset=klingon"},
        400,
        "not_json",
    ),
    "deeply nested": ("[" * 5000, JSON, 400, "not_json"),
    "a form, as a page in a browser can post it": ('{"text": "go to zone b"}', FORM, 415, "not_json"),
    "plain text": ("go to zone b", {"Content-Type": "text/plain"}, 415, "not_json"),
    "longest and one more": (json.dumps({"text": "x" * 501}), JSON, 413, "text_too_long"),
    "a large body": (json.dumps({"text": "x" * 20000}), JSON, 413, "body_too_large"),
    "control characters": ('{"text": "go to\\u0000 zone b"}', JSON, 400, "not_printable"),
    "half a surrogate pair": ('{"text": "go to \\ud800 zone b"}', JSON, 400, "not_printable"),
    "several lines": ('{"text": "go to zone a\\nzone b"}', JSON, 400, "not_printable"),
    "a text that hides another": ('{"text": "go to zone a", "text": "go to zone b"}', JSON, 400, "not_json"),
    "unknown place": ('{"text": "go to zone z"}', JSON, 422, "unknown_place"),
    "no command": ('{"text": "hello"}', JSON, 422, "unknown_action"),
    "two places": ('{"text": "go to zone a and zone b"}', JSON, 422, "ambiguous"),
}


def test_bad_requests_are_refused_and_nothing_is_sent(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, listening(redis) as robot:
            for name, (body, headers, status, code) in BAD.items():
                for path in ("/command", "/intent"):
                    async with client.post(path, data=body, headers=headers) as response:
                        answer = await response.json()
                        assert (response.status, answer["error"]) == (status, code), (name, answer)
                        assert answer["published"] is False
                        assert answer["message"]
            assert await robot.next(0.3) is None

    asyncio.run(scenario())


STOPPING: dict[str, tuple[str | bytes, dict[str, str]]] = {
    "two lines": ('{"text": "STOP!\\nSTOP!"}', JSON),
    "control characters": ('{"text": "go to zone a\\u0000stop"}', JSON),
    "a control character inside": ('{"text": "st\\u0008op"}', JSON),
    "a zero-width space": (json.dumps({"text": "stop\u200b"}), JSON),
    "a zero-width space inside": (json.dumps({"text": "st\u200bop"}), JSON),
    "a no-break space": (json.dumps({"text": "now\u00a0stop"}), JSON),
    "half a surrogate pair": ('{"text": "\\ud83dstop"}', JSON),
    "forbidden on two lines": ('{"text": "don\u2019t go\\nto zone b"}', JSON),
    "a long text that begins so": (json.dumps({"text": "stop " + "x" * 600}), JSON),
    "a long text that ends so": (json.dumps({"text": "x" * 600 + " stop"}), JSON),
    "a large body": (json.dumps({"text": "stop " + "x" * 20000}), JSON),
    "a large body that ends so": (json.dumps({"text": "x" * 50000 + " stop"}), JSON),
    "a body that is too large to be searched": (json.dumps({"text": "x" * 200000 + " stop"}), JSON),
    "not UTF-8": (b'{"text": "stop \xff"}', JSON),
    "not UTF-8 inside": (b'{"text": "st\xffop"}', JSON),
    "UTF-16": (json.dumps({"text": "stop"}).encode("utf-16-le"), JSON),
    "unknown character set": ('{"text": "stop"}', {"Content-Type": "application/json; charset=klingon"}),
    "wrong character set": ('{"text": "stop"}', {"Content-Type": "application/json; charset=utf-16"}),
    "a form": ("text=please+stop", FORM),
    "an escaped form": ("text=please%20stop", FORM),
    "plain text": ("stop", {"Content-Type": "text/plain"}),
    "JSON under another name": ('{"text": "stop"}', {"Content-Type": "text/plain"}),
    "broken JSON": ('{"text": "stop"', JSON),
    "broken JSON with an escape": ('{"text": "go\\nstop', JSON),
    "another field": ('{"command": "stop"}', JSON),
    "the field in capitals": ('{"TEXT": "Stop"}', JSON),
    "a list": ('["stop"]', JSON),
    "a bare text": ('"stop"', JSON),
    "an object as text": ('{"text": {"value": "stop"}}', JSON),
    "a text that hides it": ('{"text": "stop", "text": "go to zone b"}', JSON),
    "deeply nested": ("[" * 5000 + '"stop"', JSON),
}


@pytest.mark.parametrize(("body", "headers"), STOPPING.values(), ids=STOPPING)
def test_stop_is_obeyed_in_invalid_requests(redis: RedisServer, body: str | bytes, headers: dict[str, str]) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, listening(redis) as robot:
            async with client.post("/intent", data=body, headers=headers) as response:
                answer = await response.json()
                assert (response.status, answer["command"]["action"]) == (200, "stop"), answer
            async with client.post("/command", data=body, headers=headers) as response:
                answer = await response.json()
                assert (response.status, answer["published"], answer["receivers"]) == (200, True, 1), answer
                assert answer["problem"]
                assert len(answer["command"]["raw_text"]) <= 500
                assert answer["command"]["raw_text"].isprintable()
            assert await robot.actions() == ["stop"]

    asyncio.run(scenario())


def test_extra_fields_are_ignored(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            body = {"text": "go to zone b", "client": "stop button"}
            async with client.post("/command", json=body) as response:
                assert (await response.json())["command"]["action"] == "navigate"
            async with client.post("/command", json={"text": "stop", "speed": 1}) as response:
                assert (await response.json())["command"]["action"] == "stop"

    asyncio.run(scenario())


def test_unknown_place_names_the_known_ones(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            status, answer = await post(client, "go to the kitchen")
            assert status == 422
            assert "zone_b" in answer["places"]
            assert "Known places: zone_a, zone_b" in answer["message"]

    asyncio.run(scenario())


def test_the_longest_text_is_accepted(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            status, answer = await post(client, "go to zone b " + "x" * 487)
            assert (status, answer["command"]["target"]) == (200, "zone_b")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/command", 405, "method_not_allowed"), ("POST", "/nowhere", 404, "not_found")],
)
def test_wrong_routes_are_answered_with_the_right_ones(
    redis: RedisServer, method: str, path: str, status: int, code: str
) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, client.request(method, path) as response:
            answer = await response.json()
            assert (response.status, answer["error"]) == (status, code)
            assert "POST /command" in answer["routes"]

    asyncio.run(scenario())


def test_index_and_places(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            async with client.get("/") as response:
                assert "POST /command" in (await response.json())["routes"]
            async with client.get("/places") as response:
                places = (await response.json())["places"]
                assert places[1] == {"name": "zone_b", "coordinates": [10.0, 0.0], "aliases": ["zone 2", "loading"]}

    asyncio.run(scenario())


async def health(client: Client) -> tuple[int, dict[str, Any]]:
    """Return status and body of the health answer."""
    async with client.get("/health") as response:
        return response.status, await response.json()


def test_redis_failure_and_recovery_are_reported(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            assert (await health(client))[0] == 200
            redis.stop()
            status, body = await health(client)
            assert status == 503
            assert body["dependencies"]["redis"]["state"] == "unavailable"
            assert "cannot be reached" in body["reason"]
            status, answer = await post(client, "stop")
            assert (status, answer["error"], answer["published"]) == (503, "redis_unavailable", False)
            assert answer["message"].startswith("The command was NOT sent")
            redis.start()
            assert (await health(client))[0] == 200
            assert (await post(client, "stop"))[0] == 200

    asyncio.run(scenario())


def test_a_redis_restart_between_two_commands_loses_none(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            assert (await post(client, "stop"))[0] == 200
            redis.stop()
            redis.start()
            assert (await post(client, "stop"))[0] == 200

    asyncio.run(scenario())


def test_a_hanging_redis_times_out(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis, redis_timeout=1.0)) as client:
            assert (await health(client))[0] == 200
            redis.hang()
            for ask in (health(client), post(client, "stop")):
                started = time.monotonic()
                status, body = await ask
                assert status == 503
                assert "did not answer within 1 s" in json.dumps(body)
                assert "NOT sent" not in json.dumps(body)
                assert time.monotonic() - started < 10

    asyncio.run(scenario())


def test_a_wrong_password_is_reported_without_its_text(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis, redis_password="canary-wrong-11")) as client:
            status, body = await health(client)
            assert (status, body["reason"]) == (503, "Redis refused the password")
            status, answer = await post(client, "stop")
            assert status == 503
            assert "canary" not in json.dumps([body, answer])

    asyncio.run(scenario())
    assert "canary" not in caplog.text


def test_stop_overtakes_a_command_that_is_still_being_interpreted(redis: RedisServer) -> None:
    """The robot must not start after the stop because the language model was slow."""

    async def scenario() -> None:
        navigate = {"action": "navigate", "target": "zone_b", "confidence": 0.9}
        understood = asyncio.Event()
        async with (
            fake_nim(once(understood, says(navigate))) as nim,
            running(settings_for(redis, nim)) as client,
            listening(redis) as robot,
        ):
            slow = asyncio.create_task(post(client, "could you drive over to zone b"))
            while not nim.asked:
                await asyncio.sleep(0.01)
            status, answer = await post(client, "stop")
            assert (status, answer["source"]) == (200, "keywords")
            understood.set()
            status, answer = await slow
            assert (status, answer["error"], answer["published"]) == (409, "superseded", False)
            assert await robot.actions() == ["stop"]
            # A command after the stop moves the robot again.
            assert (await post(client, "could you drive over to zone b"))[0] == 200
            assert await robot.actions() == ["navigate"]
            assert len(nim.asked) == 2

    asyncio.run(scenario())


def test_many_requests_at_once(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with running(settings_for(redis)) as client, listening(redis) as robot:
            answers = await asyncio.gather(*(post(client, f"go to zone {zone}") for zone in "abc" * 30))
            assert {status for status, _answer in answers} == {200}
            assert len(await robot.actions()) == 90

    asyncio.run(scenario())


def test_log_has_commands_and_refusals_but_no_secret(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def scenario() -> None:
        async with running(settings_for(redis)) as client:
            await post(client, "move to zone b")
            await post(client, "go to the kitchen")
            await health(client)

    asyncio.run(scenario())
    lines = [(record.getMessage(), getattr(record, "fields", {})) for record in caplog.records]
    [sent] = [fields for event, fields in lines if event == "command"]
    assert len(sent.pop("id")) == 32
    assert sent == {"command": json.loads(ZONE_B), "source": "keywords", "receivers": 0}
    assert any(event == "request" and fields.get("error") == "unknown_place" for event, fields in lines)
    assert PASSWORD not in str(lines)
