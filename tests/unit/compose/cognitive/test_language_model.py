# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A language model that is correct, slow, failing, wrong or nonsensical."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from compose.cognitive.intent import Action
from compose.cognitive.prompt import interpret
from tests.unit.compose.cognitive.support import (
    API_KEY,
    PLACES,
    Answer,
    RedisServer,
    fake_nim,
    in_turn,
    listening,
    once,
    raw,
    running,
    says,
    settings_for,
)

GOOD = {"action": "navigate", "target": "zone_b", "speed": "slow", "confidence": 0.93}


def ask(redis: RedisServer, answer: Answer, text: str) -> tuple[int, dict[str, Any], list[dict[str, Any]], list[Any]]:
    """Post a text; return status, body, the messages on the channel, and the questions to the language model."""

    async def scenario() -> tuple[int, dict[str, Any], list[dict[str, Any]], list[Any]]:
        async with (
            fake_nim(answer) as nim,
            running(settings_for(redis, nim)) as client,
            listening(redis) as robot,
            client.post("/command", json={"text": text}) as response,
        ):
            body = await response.json()
            messages = []
            while (message := await robot.next(0.1)) is not None:
                messages.append(json.loads(message))
            async with client.get("/health") as health:
                assert health.status == 200
                body["health"] = (await health.json())["dependencies"]["nim"]
            return response.status, body, messages, [*zip(nim.asked, nim.keys, strict=True)]

    return asyncio.run(scenario())


def test_the_model_understands_texts_that_keywords_do_not(redis: RedisServer) -> None:
    text = "would you kindly bring yourself to the second zone, no hurry"
    status, body, messages, asked = ask(redis, says(GOOD), text)
    assert (status, body["source"], body["health"]) == (200, "nim", {"state": "ok"})
    assert messages == [
        {
            "action": "navigate",
            "target": "zone_b",
            "coordinates": [10.0, 0.0],
            "speed": "slow",
            "confidence": 0.93,
            "raw_text": text,
        }
    ]
    [(question, key)] = asked
    assert question["model"] == "test/model"
    assert question["response_format"] == {"type": "json_object"}
    assert question["messages"][1] == {"role": "user", "content": text}
    assert "loading_dock" in question["messages"][0]["content"]
    assert key == f"Bearer {API_KEY}"


@pytest.mark.parametrize("text", ["stop", "what is your status?"])
def test_model_is_not_asked_for_stop_and_status(redis: RedisServer, text: str) -> None:
    status, body, messages, asked = ask(redis, says(GOOD), text)
    assert (status, body["source"], len(messages), asked) == (200, "keywords", 1, [])
    assert body["health"] == {"state": "not used yet"}


@pytest.mark.parametrize(
    "text", ["goto zone_b fast", "move to zone b", "zone b, please", "inspect the north shelf slowly"]
)
def test_no_model_is_needed_for_what_keywords_know_for_certain(redis: RedisServer, text: str) -> None:
    status, body, messages, asked = ask(redis, says({"action": "unknown", "target": None, "confidence": 0.9}), text)
    assert (status, body["source"], len(messages), asked) == (200, "keywords", 1, [])


HALVES: dict[str, tuple[dict[str, Any], str]] = {
    "go to zone c, then to zone a": ({"target": "zone_a"}, "ambiguous"),
    "Pick up the box from zone a and bring it to the loading dock": (
        {"action": "pick", "target": "loading_dock"},
        "ambiguous",
    ),
    "pick up the box and bring it over to the dock": ({"action": "place", "target": "loading_dock"}, "ambiguous"),
    "would you go to dock twelve": ({"target": "loading_dock"}, "unknown_place"),
    "would you go to the other dock": ({"target": "loading_dock"}, "unknown_place"),
    "deliver the box from zone a to zone b": ({"action": "navigate", "target": "zone_b"}, "ambiguous"),
    "take the box from zone a to zone b": ({"action": "navigate", "target": "zone_b"}, "ambiguous"),
    # Nor another place than the text names, or one that the robot leaves.
    "could you drive over to zone b": ({"target": "zone_c"}, "ambiguous"),
    "get out of zone a, please": ({"target": "zone_a"}, "ambiguous"),
}


@pytest.mark.parametrize("text", ["come back from zone a", "fetch me the box from zone b", "go where the boxes are"])
def test_the_model_knows_places_by_other_words(redis: RedisServer, text: str) -> None:
    action = "pick" if "fetch" in text else "navigate"
    status, body, _messages, _asked = ask(redis, says({**GOOD, "action": action, "target": "zone_b"}), text)
    assert (status, body["command"]["target"]) == (200, "zone_b")


@pytest.mark.parametrize(("text", "case"), HALVES.items(), ids=HALVES)
def test_the_model_cannot_follow_half_of_a_command(
    redis: RedisServer, text: str, case: tuple[dict[str, Any], str]
) -> None:
    fields, code = case
    status, body, messages, _asked = ask(redis, says({**GOOD, **fields}), text)
    assert (status, body["error"], messages) == (422, code, [])


FORBIDDEN = [
    "Don\u00b4t go to zone b",
    "whatever you do, you cannot drive over to zone b",
    "anywhere but the second zone would suit me",
    "kindly halt over there",
]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_the_model_cannot_override_a_prohibition(redis: RedisServer, text: str) -> None:
    status, _body, messages, asked = ask(redis, says(GOOD), text)
    assert (status, [message["action"] for message in messages], asked) == (200, ["stop"], [])
    assert interpret(json.dumps(GOOD), text, PLACES).action is Action.STOP


STOPPED: dict[str, dict[str, Any]] = {
    "not sure": {"action": "stop", "confidence": 0.1},
    "no confidence": {"action": "stop"},
    "in capitals": {"action": "STOP", "confidence": 0.9},
    "bad speed": {"action": "stop", "speed": "ludicrous", "confidence": 0.9},
    "and a place": {"action": "stop", "target": "zone_b", "confidence": 0.9},
}


@pytest.mark.parametrize("answer", STOPPED.values(), ids=STOPPED)
def test_a_stop_from_the_model_needs_no_confidence(redis: RedisServer, answer: dict[str, Any]) -> None:
    status, body, messages, _asked = ask(redis, says(answer), "go to zone b or so")
    assert (status, body["source"], [message["action"] for message in messages]) == (200, "nim", ["stop"])


FALLBACKS: dict[str, tuple[Answer, str]] = {
    "HTTP 500": (raw("sorry", 500), "answered HTTP 500"),
    "HTTP 401": (raw("bad key", 401), "answered HTTP 401"),
    "redirection": (raw("", 302, {"Location": "http://192.0.2.1/"}), "answered HTTP 302"),
    "HTML": (raw("<html>"), "not a chat completion"),
    "no choices": (raw('{"choices": []}'), "not a chat completion"),
    "other form": (raw('{"answer": 42}'), "not a chat completion"),
    "text is missing": (raw('{"choices": [{"message": {"content": null}}]}'), "has no text"),
    "prose": (says("The robot should go to zone b."), "not JSON"),
    "a list": (says("[1, 2]"), "not a JSON object"),
    "deeply nested": (says("[" * 5000), "not JSON"),
    "unknown action": (says({**GOOD, "action": "fly"}), "action is 'fly'"),
    "no action": (says({"target": "zone_b"}), "action is None"),
    "action is a list": (says({**GOOD, "action": ["navigate"]}), "action is"),
    "bad speed": (says({**GOOD, "speed": "ludicrous"}), "speed is 'ludicrous'"),
    "no confidence": (says({"action": "navigate", "target": "zone_b"}), "confidence is None"),
    "confidence is a text": (says({**GOOD, "confidence": "high"}), "confidence is 'high'"),
    "confidence out of range": (says({**GOOD, "confidence": 7}), "confidence is 7"),
    "not sure": (says({**GOOD, "confidence": 0.2}), "was not sure"),
    "confidence is too large for a float": (says({**GOOD, "confidence": 10**400}), "confidence is 1000"),
    "endless": (raw("x" * 200_000), "more than 65536 bytes"),
}


@pytest.mark.parametrize(("answer", "why"), FALLBACKS.values(), ids=FALLBACKS)
def test_keywords_replace_a_failing_model(
    redis: RedisServer, answer: Answer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, body, messages, _asked = ask(redis, answer, "could you move to zone b")
    assert (status, body["source"]) == (200, "keywords")
    assert why in body["fallback"]
    assert body["health"]["state"] == "failing"
    assert [(message["target"], message["confidence"]) for message in messages] == [("zone_b", 0.7)]
    logged = [getattr(record, "fields", {}) for record in caplog.records if record.getMessage() == "nim_fallback"]
    assert [why in fields["reason"] for fields in logged] == [True]
    assert API_KEY not in caplog.text + str(logged) + json.dumps(body)


PASSING: dict[str, tuple[Answer, int]] = {
    "once": (in_turn(raw("loading", 503), says(GOOD)), 2),
    "twice": (in_turn(raw("sorry", 500), raw("", 429, {"Retry-After": "0"}), says(GOOD)), 3),
    "a proxy": (in_turn(raw("", 502), says(GOOD)), 2),
}


@pytest.mark.parametrize(("answer", "times"), PASSING.values(), ids=PASSING)
def test_retryable_errors_are_retried(redis: RedisServer, answer: Answer, times: int) -> None:
    status, body, messages, asked = ask(redis, answer, "off you go")
    assert (status, body["source"], len(messages), len(asked)) == (200, "nim", 1, times)
    assert body["health"] == {"state": "ok"}


LASTING: dict[str, tuple[Answer, int]] = {
    "never any better": (raw("loading", 503), 3),
    "not for a time-out": (raw("", 429, {"Retry-After": "60"}), 1),
    "not for a date": (raw("", 503, {"Retry-After": "Wed, 25 Nov 2026 12:00:00 GMT"}), 1),
    "a wrong key": (raw("", 401), 1),
    "an unknown model": (raw("", 404), 1),
    "nonsense": (says("zone b, I think"), 1),
}


@pytest.mark.parametrize(("answer", "times"), LASTING.values(), ids=LASTING)
def test_final_errors_are_not_retried(redis: RedisServer, answer: Answer, times: int) -> None:
    status, body, messages, asked = ask(redis, answer, "could you move to zone b")
    assert (status, body["source"], len(messages), len(asked)) == (200, "keywords", 1, times)


def test_excess_commands_are_refused_and_stop_is_not(redis: RedisServer) -> None:
    async def scenario() -> None:
        understood = asyncio.Event()
        async with (
            fake_nim(once(understood, says(GOOD))) as nim,
            running(settings_for(redis, nim, nim_at_once=2, nim_queue=1)) as client,
        ):

            async def post(text: str) -> tuple[int, dict[str, Any], str | None]:
                async with client.post("/command", json={"text": text}) as response:
                    return response.status, await response.json(), response.headers.get("Retry-After")

            posts = [asyncio.create_task(post("off you go")) for _number in range(5)]
            # Two questions are sent and one is queued until the event is set: the others are answered first.
            while len(refused := [task.result() for task in posts if task.done()]) < 2 or len(nim.asked) < 2:
                await asyncio.sleep(0.01)
            for status, body, later in refused:
                assert (status, body["error"], body["published"], later) == (503, "busy", False, "1")
                assert body["message"].startswith("The command was NOT sent: 3 commands are being processed already")
            assert (await post("where are you"))[0] == 200
            assert len(nim.asked) == 2
            understood.set()
            statuses = [status for status, _body, _later in await asyncio.gather(*posts)]
            assert sorted(statuses) == [200, 200, 200, 503, 503]
            assert (await post("off you go"))[0] == 200
            assert len(nim.asked) == 4

    asyncio.run(scenario())


def test_the_time_limit_includes_the_queue(redis: RedisServer) -> None:
    async def scenario() -> None:
        never = asyncio.Event()
        async with (
            fake_nim(once(never, says(GOOD))) as nim,
            running(settings_for(redis, nim, 0.5, nim_at_once=1)) as client,
        ):

            async def post() -> str:
                async with client.post("/command", json={"text": "could you move to zone b"}) as response:
                    return str((await response.json())["fallback"])

            assert await asyncio.gather(*(post() for _number in range(4))) == ["NIM did not answer within 0.5 s"] * 4
            assert len(nim.asked) == 1
            never.set()

    asyncio.run(scenario())


def test_keywords_replace_a_slow_model(redis: RedisServer) -> None:
    async def scenario() -> None:
        never = asyncio.Event()
        async with fake_nim(once(never, says(GOOD))) as nim, running(settings_for(redis, nim, 0.5)) as client:
            async with client.post("/command", json={"text": "could you move to zone b"}) as response:
                body = await response.json()
            never.set()
            assert (response.status, body["source"]) == (200, "keywords")
            assert body["fallback"] == "NIM did not answer within 0.5 s"

    asyncio.run(scenario())


PLACED: dict[str, tuple[dict[str, Any], str]] = {
    "by alias": ({"target": "Zone 2"}, "zone_b"),
    "by list": ({"target": None, "coordinates": [10, 0]}, "zone_b"),
    "by object": ({"target": None, "coordinates": {"x": 10, "y": 0}}, "zone_b"),
    "coordinates of its own are not believed": ({"target": "zone_b", "coordinates": [99, 99]}, "zone_b"),
    "nor is an object": ({"target": "zone_c", "coordinates": {"x": 1, "y": 2}}, "zone_c"),
}


@pytest.mark.parametrize(("fields", "target"), PLACED.values(), ids=PLACED)
def test_coordinates_come_from_our_own_data(redis: RedisServer, fields: dict[str, Any], target: str) -> None:
    status, body, messages, _asked = ask(redis, says({**GOOD, **fields}), "off you go")
    assert (status, body["source"]) == (200, "nim")
    [message] = messages
    assert (message["target"], message["coordinates"]) == (target, [10.0, 0.0] if target == "zone_b" else [10.0, 10.0])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "invented place": ({"target": "kitchen", "coordinates": [3, 4]}, "unknown_place"),
    "invented coordinates": ({"target": None, "coordinates": [3, 4]}, "unknown_place"),
    "coordinates of another shape": ({"target": None, "coordinates": {"lat": 10, "lon": 0}}, "unknown_place"),
    "coordinates that are too large for a float": ({"target": None, "coordinates": [10**400, 0]}, "unknown_place"),
    "coordinates that are no numbers": ({"target": None, "coordinates": ["10", None]}, "unknown_place"),
    "nowhere": ({"target": None, "coordinates": None}, "unknown_place"),
    "target is an object": ({"target": {"name": "zone_b"}}, "unknown_place"),
    "no command": ({"action": "unknown", "target": None}, "unknown_action"),
}


@pytest.mark.parametrize(("fields", "code"), REFUSED.values(), ids=REFUSED)
def test_nothing_is_sent_without_a_known_place(redis: RedisServer, fields: dict[str, Any], code: str) -> None:
    status, body, messages, _asked = ask(redis, says({**GOOD, **fields}), "off you go")
    assert (status, body["error"], messages) == (422, code, [])
    assert body["health"] == {"state": "ok"}


def test_fenced_json_is_read(redis: RedisServer) -> None:
    status, body, messages, _asked = ask(redis, says(f"```json\n{json.dumps(GOOD)}\n```"), "off you go")
    assert (status, body["source"], messages[0]["target"]) == (200, "nim", "zone_b")


def test_the_model_can_answer_stop(redis: RedisServer) -> None:
    status, _body, messages, _asked = ask(redis, says({"action": "stop", "confidence": 0.9}), "whoa there")
    assert status == 200
    assert [(message["action"], message["target"], message["coordinates"]) for message in messages] == [
        ("stop", None, None)
    ]


def test_an_unreachable_model(redis: RedisServer) -> None:
    async def scenario() -> None:
        async with fake_nim(says(GOOD)) as nim:
            pass
        async with (
            running(settings_for(redis, nim)) as client,
            client.post("/command", json={"text": "could you go to zone b"}) as response,
        ):
            body = await response.json()
            assert (response.status, body["source"]) == (200, "keywords")
            assert "cannot be reached" in body["fallback"]

    asyncio.run(scenario())
