# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator of NIM with the cognitive service's own client."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from compose.cognitive.config import NimSettings
from compose.cognitive.intent import Intent, Refused
from compose.cognitive.language_model import NimClient
from sandbox.images.nim.__main__ import MODEL
from tests.support.foxglove import SECONDS
from tests.unit.compose.cognitive.support import PLACES, free_port
from tests.unit.sandbox.images.support import process, wait_for_port


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run the model."""
    port = free_port()
    environment = {"NIM_SERVER_PORT": str(port)}
    with process(tmp_path_factory.mktemp("nim"), "sandbox.images.nim", environment) as told:
        wait_for_port(port, told)
        yield port


def ask(port: int, text: str) -> Intent:
    """Send a question as the cognitive service does."""

    async def asked() -> Intent:
        async with aiohttp.ClientSession() as session:
            settings = NimSettings(f"http://127.0.0.1:{port}/v1", MODEL, SECONDS)
            return await NimClient(session, settings).ask(text, PLACES)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("text", "action", "place", "speed"),
    [
        ("please head over to the loading dock, quickly", "navigate", "loading_dock", "fast"),
        ("go to loading", "navigate", "zone_b", "normal"),
        ("have a careful look at the north shelf", "inspect", "north_shelf", "slow"),
        ("grab something at storage", "pick", "zone_c", "normal"),
        ("freeze", "stop", None, "normal"),
    ],
)
def test_the_cognitive_service_understands_it(port: int, text: str, action: str, place: str | None, speed: str) -> None:
    intent = ask(port, text)
    assert (intent.action, intent.place.name if intent.place else None, intent.speed) == (action, place, speed)


def test_a_text_that_is_not_a_command_is_unknown(port: int) -> None:
    with pytest.raises(Refused) as refusal:
        ask(port, "the weather is nice")
    assert refusal.value.code == "unknown_action"


def request(port: int, path: str, body: Any = None) -> tuple[int, Any]:
    """Return the status and the content of an answer."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_its_health_and_its_model(port: int) -> None:
    assert request(port, "/v1/health/ready") == (200, {"object": "health.response", "message": "Service is ready."})
    assert request(port, "/v1/health/live") == (200, {"object": "health.response", "message": "Service is live."})
    assert [model["id"] for model in request(port, "/v1/models")[1]["data"]] == [MODEL]


def test_the_same_question_has_the_same_answer(port: int) -> None:
    question = {"model": MODEL, "messages": [{"role": "user", "content": "stop"}]}
    first = request(port, "/v1/chat/completions", question)
    assert first[0] == 200
    assert request(port, "/v1/chat/completions", question) == first


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "another", "messages": []}, 404),
        ("/v1/chat/completions", {"model": MODEL, "messages": "stop"}, 400),
        ("/v1/chat/completions", [], 400),
        ("/v1/embeddings", {}, 404),
    ],
)
def test_invalid_questions_are_refused(port: int, path: str, body: Any, status: int) -> None:
    answered, error = request(port, path, body)
    assert (answered, error["object"]) == (status, "error")
