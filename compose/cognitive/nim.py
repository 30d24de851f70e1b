# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interprets a text with a NIM language model, through its OpenAI-compatible API."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from typing import TypeVar

import aiohttp

from .config import NimSettings
from .intent import Action, Intent, Refused, Speed, forbids, stop, unknown_place
from .places import Place, Places, point

Choice = TypeVar("Choice", Action, Speed)

MAX_ANSWER = 64 * 1024
MIN_CONFIDENCE = 0.5
FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
ATTEMPTS = 3
# Too many requests, a model that is being loaded, or a proxy that does not reach it.
RETRYABLE = (429, 500, 502, 503, 504)
# The pause before the second attempt, in seconds; twice as long before the third.
PAUSE = 0.1


class NimError(Exception):
    """The model returned no usable answer; the message has the reason, without secrets."""


class BusyError(Exception):
    """Too many questions are pending."""


class RetryableError(NimError):
    """Another attempt may succeed.

    :ivar pause: the pause that the server requests, in seconds.
    """

    def __init__(self, message: str, pause: float = 0.0) -> None:
        """Store the pause."""
        super().__init__(message)
        self.pause = pause


class NimClient:
    """One model behind one URL, with a limited number of simultaneous questions."""

    def __init__(self, session: aiohttp.ClientSession, settings: NimSettings) -> None:
        """Use a session, which the caller closes."""
        self._session = session
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._pending: set[asyncio.Timeout] = set()
        self._ending = False

    async def ask(self, text: str, places: Places) -> Intent:
        """Return the command that the model finds in a text.

        The time limit includes the queue and the pauses between attempts.

        :raises BusyError: too many questions are pending.
        :raises NimError: no usable answer in time.
        :raises Refused: the model answered that this is not a command that may be sent.
        """
        settings = self._settings
        if len(self._pending) >= settings.concurrency + settings.queue:
            raise BusyError(f"{len(self._pending)} commands are being processed already; send it again in a moment")
        try:
            async with asyncio.timeout(settings.timeout) as limit:
                self._pending.add(limit)
                try:
                    async with self._slots:
                        body = await self._request(question(text, settings.model, places), limit)
                finally:
                    self._pending.discard(limit)
        except TimeoutError:
            when = "before the service ended" if self._ending else f"within {settings.timeout:g} s"
            raise NimError(f"NIM did not answer {when}") from None
        return interpret(content(body), text, places)

    def limit_questions(self, seconds: float) -> None:
        """Limit the remaining time of all pending questions, because the service ends."""
        self._ending = True
        latest = asyncio.get_running_loop().time() + seconds
        for limit in self._pending:
            if limit.expired():
                continue
            limit.reschedule(min(limit.when() or latest, latest))

    async def _request(self, asked: dict[str, object], limit: asyncio.Timeout) -> bytes:
        """Try until there is an answer, a final error, or no time for another attempt."""
        pause = PAUSE
        for _attempt in range(ATTEMPTS - 1):
            try:
                return await self._attempt(asked)
            except RetryableError as error:
                pause = max(error.pause, pause)
                if pause >= (limit.when() or 0.0) - asyncio.get_running_loop().time():
                    raise
            await asyncio.sleep(pause)
            pause *= 2
        return await self._attempt(asked)

    async def _attempt(self, asked: dict[str, object]) -> bytes:
        settings = self._settings
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        try:
            async with self._session.post(
                f"{settings.url}/chat/completions",
                json=asked,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None),
                # The key must not be sent to another host after a redirect.
                allow_redirects=False,
            ) as response:
                if response.status in RETRYABLE:
                    raise RetryableError(f"NIM answered HTTP {response.status}", _pause(response))
                if response.status != 200:
                    raise NimError(f"NIM answered HTTP {response.status}")
                return await _limited(response)
        except aiohttp.ClientError as error:
            raise RetryableError(f"NIM cannot be reached: {type(error).__name__}") from None


def _pause(response: aiohttp.ClientResponse) -> float:
    """Return the pause that an answer requests; a date instead of seconds counts as too long to wait."""
    value = response.headers.get("Retry-After", "0")
    return float(value) if value.isascii() and value.isdigit() else math.inf


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(8192):
        body += chunk
        if len(body) > MAX_ANSWER:
            raise NimError(f"NIM answered more than {MAX_ANSWER} bytes")
    return bytes(body)


def question(text: str, model: str, places: Places) -> dict[str, object]:
    """Return the body of the request for one text."""
    known = "\n".join(f"- {place.name}: {', '.join((place.name, *place.aliases))}" for place in places)
    system = (
        "You turn what a person says to a mobile robot into one JSON object and nothing else:\n"
        '{"action": "navigate|inspect|pick|place|stop|status|unknown", "target": "a place name or null", '
        '"speed": "slow|normal|fast", "confidence": 0.0 to 1.0}\n'
        "The target is one of these place names, each with the words people use for it:\n"
        f"{known}\n"
        "Use the action unknown when the text is not a command. Never invent a place."
    )
    return {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 200,
        "response_format": {"type": "json_object"},
    }


def content(body: bytes) -> str:
    """Return the model's text from the body of a chat completion.

    :raises NimError: the body is not a chat completion.
    """
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise NimError("NIM's answer is not a chat completion") from None
    if not isinstance(text, str):
        raise NimError("NIM's answer has no text")
    return text


def interpret(answer: str, text: str, places: Places) -> Intent:
    """Return the command that the model's JSON describes.

    Coordinates come from our own data only, so invented ones have no effect. A stop needs no confidence, and a text
    that stops the robot or forbids a movement stops it, whatever the model answers.

    :raises NimError: the answer is not valid JSON of the requested form, or the model was not confident.
    :raises Refused: it is not a command, or does not name a known place.
    """
    if forbids(text, places):
        return stop(text)
    fields = _json(answer)
    if str(fields.get("action")).strip().lower() == Action.STOP:
        return stop(text)
    action = _one_of(Action, fields.get("action"), "action")
    speed = _one_of(Speed, fields.get("speed") or Speed.NORMAL, "speed")
    confidence = _confidence(fields.get("confidence"))
    if action is Action.UNKNOWN:
        raise Refused("unknown_action", "The language model found no command in this text.")
    if confidence < MIN_CONFIDENCE:
        raise NimError(f"NIM was not sure (confidence {confidence:g})")
    if action is Action.STATUS:
        return Intent(action, None, Speed.NORMAL, confidence, text)
    place = _place(fields, places)
    if place is None:
        raise unknown_place(action, places)
    return Intent(action, place, speed, confidence, text)


def _json(answer: str) -> Mapping[str, object]:
    fenced = FENCE.match(answer.strip())
    try:
        fields = json.loads(fenced.group(1) if fenced else answer)
    except (ValueError, RecursionError):
        raise NimError("NIM's answer is not JSON") from None
    if not isinstance(fields, dict):
        raise NimError("NIM's answer is not a JSON object")
    return fields


def _one_of(kind: type[Choice], value: object, name: str) -> Choice:
    try:
        return kind(str(value))
    except ValueError:
        raise NimError(f"NIM's {name} is {value!r:.60}") from None


def _confidence(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise NimError(f"NIM's confidence is {value!r:.60}")
    return float(value)


def _place(fields: Mapping[str, object], places: Places) -> Place | None:
    """Return the place that the answer names, or whose coordinates it has, as a list or an object."""
    target = fields.get("target")
    if isinstance(target, str) and target.strip():
        return places.find(target)
    coordinates = point(fields.get("coordinates"))
    return places.at(coordinates) if coordinates else None
