# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks a NIM language model, through its OpenAI-compatible API; prompt.py has the prompt and reads the answer."""

from __future__ import annotations

import asyncio
import math

import aiohttp

from .config import NimSettings
from .intent import Intent
from .places import Places
from .prompt import NimError, content, interpret, question

MAX_ANSWER = 64 * 1024
ATTEMPTS = 3
# Too many requests, a model that is being loaded, or a proxy that does not reach it.
RETRYABLE = (429, 500, 502, 503, 504)
# The pause before the second attempt, in seconds; twice as long before the third.
PAUSE = 0.1


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
