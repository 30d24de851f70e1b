# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of Docker Engine's API a pull needs, over the engine's socket and with Python's own library.

Requests name no version of the API, so that every engine answers in its own. Nothing of Ansible is imported here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

# For what the engine answers at once.
ANSWER_SECONDS = 60.0
PING_SECONDS = 5.0
BLOCK_BYTES = 65536


class EngineGoneError(Exception):
    """Nobody listens at the engine's socket, or the connection broke."""


class SilenceError(Exception):
    """Nothing came for as long as was to be waited."""


class AnsweredError(Exception):
    """The engine answers that it cannot.

    Attributes:
        status: the HTTP status, or 0 where it gives none.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("docker", timeout=seconds)
        self._path = path
        # http.client forgets its own where an answer is to be the last.
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connect(self) -> None:
        """Connect to the socket."""
        self.stream.settimeout(self.timeout)
        self.stream.connect(self._path)
        self.sock = self.stream

    def close(self) -> None:
        """Close it, also when it was never connected."""
        super().close()
        self.stream.close()


class Engine:
    """One engine.

    Args:
        path: its socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def answers(self) -> bool:
        """Say whether it does."""
        try:
            return self._get("/_ping", PING_SECONDS)[0] == 200
        except (EngineGoneError, SilenceError):
            return False

    def image_id(self, name: str) -> str:
        """Return the id of an image that is there; empty when it is not.

        Raises:
            AnsweredError: the engine does not say.
            EngineGoneError: it cannot be asked.
            SilenceError: it does not answer.
        """
        status, body = self._get(f"/images/{quote(name, safe='/:@')}/json", ANSWER_SECONDS)
        if status == 404:
            return ""
        if status != 200:
            raise AnsweredError(status, message_of(body, status))
        return str(parsed(body).get("Id", ""))

    def digest(self, name: str, authorization: str) -> str:
        """Return the digest that the registry of an image has for it; empty when the answer has none.

        Args:
            name: the image's name with its tag.
            authorization: the value of X-Registry-Auth; empty for none.

        Raises:
            AnsweredError: the engine or the registry refuses.
            EngineGoneError: the engine cannot be asked.
            SilenceError: it does not answer.
        """
        headers = {"X-Registry-Auth": authorization} if authorization else {}
        status, body = self._get(f"/distribution/{quote(name, safe='/:@')}/json", ANSWER_SECONDS, headers)
        if status != 200:
            raise AnsweredError(status, message_of(body, status))
        descriptor = parsed(body).get("Descriptor")
        return str(descriptor.get("digest", "")) if isinstance(descriptor, dict) else ""

    def pull(
        self, repository: str, version: str, authorization: str, patience: Callable[[], float]
    ) -> Iterator[dict[str, Any]]:
        """Pull an image and give the engine's messages as they come; the pull ends with who listens.

        Args:
            repository: the image's name without tag and digest.
            version: its tag or its digest.
            authorization: the value of X-Registry-Auth; empty for none.
            patience: returns how many seconds to wait for what comes next.

        Raises:
            AnsweredError: the engine cannot.
            EngineGoneError: it cannot be asked, or went away.
            SilenceError: nothing came any more.
        """
        query = urlencode({"fromImage": repository, "tag": version})
        headers = {"X-Registry-Auth": authorization} if authorization else {}
        connection = SocketConnection(self.path, patience())
        with contextlib.closing(connection):
            with failures_told(self.path):
                connection.request("POST", f"/images/create?{query}", headers=headers)
                answer = connection.getresponse()
            with contextlib.closing(answer):
                if answer.status != 200:
                    with failures_told(self.path):
                        body = answer.read()
                    raise AnsweredError(answer.status, message_of(body, answer.status))
                rest = b""
                while True:
                    connection.stream.settimeout(patience())
                    with failures_told(self.path):
                        block = answer.read1(BLOCK_BYTES)
                    *lines, rest = (rest + block).split(b"\n")
                    for line in lines if block else [*lines, rest]:
                        if line.strip():
                            yield judged(parsed(line))
                    if not block:
                        return

    def _get(self, path: str, seconds: float, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer.

        Raises:
            EngineGoneError: the engine cannot be asked.
            SilenceError: it does not answer.
        """
        with contextlib.closing(SocketConnection(self.path, seconds)) as connection, failures_told(self.path):
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextlib.contextmanager
def failures_told(path: str) -> Iterator[None]:
    """Tell an engine that is gone from one that is silent.

    Raises:
        EngineGoneError: the connection could not be made, or broke.
        SilenceError: nothing came in time.
    """
    try:
        yield
    except (ConnectionResetError, BrokenPipeError, http.client.HTTPException):
        raise EngineGoneError(f"the engine at {path} closed the connection") from None
    except OSError as error:
        # Silence has a class of its own in Python 3.9, and in none a number.
        if error.errno is None:
            raise SilenceError(f"the engine at {path} is silent") from None
        raise EngineGoneError(f"no engine answers at {path}: {error.strerror}") from None


def parsed(text: bytes) -> dict[str, Any]:
    """Return an object of JSON.

    Raises:
        AnsweredError: it is none.
    """
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise AnsweredError(0, "the engine's answer is no object of JSON")
    return message


def message_of(body: bytes, status: int) -> str:
    """Return what an answer says went wrong."""
    try:
        return str(parsed(body)["message"])
    except (AnsweredError, KeyError):
        return f"the engine answers with status {status}"


def judged(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message of a pull, unless it says that the pull failed.

    Raises:
        AnsweredError: it does.
    """
    detail = message.get("errorDetail")
    if not detail and "error" not in message:
        return message
    detail = detail if isinstance(detail, dict) else {}
    code = detail.get("code")
    raise AnsweredError(
        code if isinstance(code, int) else 0, str(detail.get("message") or message.get("error") or "no reason is given")
    )
