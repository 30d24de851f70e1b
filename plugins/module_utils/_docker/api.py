# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of Docker Engine's API that a pull needs, over the engine's Unix socket.

Docker's SDK is not used: its pull has no limit for the time between two messages, hosts do not have it, and the copy in
community.docker is private to that collection. Requests name no API version: every engine answers in its own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

# For requests that the engine answers at once.
ANSWER_SECONDS = 60.0
PING_SECONDS = 5.0
BLOCK_BYTES = 65536


class EngineGoneError(Exception):
    """The engine does not listen on its socket, or the connection broke."""


class SilenceError(Exception):
    """The engine sent nothing before the timeout."""


class AnsweredError(Exception):
    """The engine answers with an error.

    Attributes:
        status: the HTTP status, or 0 without one.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("docker", timeout=seconds)
        self._path = path
        # http.client drops its own reference when the server announces that it will close the connection.
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connect(self) -> None:
        """Connect to the socket."""
        self.stream.settimeout(self.timeout)
        self.stream.connect(self._path)
        self.sock = self.stream

    def close(self) -> None:
        """Close the socket, also when it was never connected."""
        super().close()
        self.stream.close()


class Engine:
    """One engine.

    Args:
        path: its socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether there is such a socket."""
        try:
            return stat.S_ISSOCK(Path(self.path).stat().st_mode)
        except FileNotFoundError:
            return False

    def answers(self) -> bool:
        """Return whether the engine answers."""
        try:
            return self._get("/_ping", PING_SECONDS)[0] == 200
        except (EngineGoneError, SilenceError):
            return False

    def image_id(self, name: str) -> str:
        """Return the id of an image; empty when the engine does not have it.

        Raises:
            AnsweredError: the engine answers with an error.
            EngineGoneError: the engine cannot be reached.
            SilenceError: the engine does not answer.
        """
        status, body = self._get(f"/images/{quote(name, safe='/:@')}/json", ANSWER_SECONDS)
        if status == 404:
            return ""
        if status != 200:
            raise AnsweredError(status, message_of(body, status))
        return str(parsed(body).get("Id", ""))

    def digest(self, name: str, authorization: str) -> str:
        """Return the digest that the registry has for an image; empty when the answer has none.

        Args:
            name: the image's name with its tag.
            authorization: the value of X-Registry-Auth; empty for none.

        Raises:
            AnsweredError: the engine or the registry answers with an error.
            EngineGoneError: the engine cannot be reached.
            SilenceError: the engine does not answer.
        """
        headers = {"X-Registry-Auth": authorization} if authorization else {}
        status, body = self._get(f"/distribution/{quote(name, safe='/:@')}/json", ANSWER_SECONDS, headers)
        if status != 200:
            raise AnsweredError(status, message_of(body, status))
        descriptor = parsed(body).get("Descriptor")
        return str(descriptor.get("digest", "")) if isinstance(descriptor, dict) else ""

    def pull(
        self, repository: str, version: str, authorization: str, next_timeout: Callable[[], float]
    ) -> Iterator[dict[str, Any]]:
        """Pull an image and yield the engine's messages as they arrive; closing the generator ends the pull.

        Args:
            repository: the image's name without tag and digest.
            version: its tag or its digest.
            authorization: the value of X-Registry-Auth; empty for none.
            next_timeout: returns how many seconds to wait for the next message.

        Raises:
            AnsweredError: the pull failed.
            EngineGoneError: the engine cannot be reached, or closed the connection.
            SilenceError: the next message did not arrive in time.
        """
        query = urlencode({"fromImage": repository, "tag": version})
        headers = {"X-Registry-Auth": authorization} if authorization else {}
        connection = SocketConnection(self.path, next_timeout())
        with contextlib.closing(connection):
            with translated_errors(self.path):
                connection.request("POST", f"/images/create?{query}", headers=headers)
                answer = connection.getresponse()
            with contextlib.closing(answer):
                if answer.status != 200:
                    with translated_errors(self.path):
                        body = answer.read()
                    raise AnsweredError(answer.status, message_of(body, answer.status))
                rest = b""
                while True:
                    connection.stream.settimeout(next_timeout())
                    with translated_errors(self.path):
                        block = answer.read1(BLOCK_BYTES)
                    *lines, rest = (rest + block).split(b"\n")
                    for line in lines if block else [*lines, rest]:
                        if line.strip():
                            yield checked(parsed(line))
                    if not block:
                        return

    def _get(self, path: str, seconds: float, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Return the status and the body of an answer.

        Raises:
            EngineGoneError: the engine cannot be reached.
            SilenceError: the engine does not answer.
        """
        with contextlib.closing(SocketConnection(self.path, seconds)) as connection, translated_errors(self.path):
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextlib.contextmanager
def translated_errors(path: str) -> Iterator[None]:
    """Translate the errors of a connection.

    Raises:
        EngineGoneError: the connection could not be made, or broke.
        SilenceError: the engine did not answer in time.
    """
    try:
        yield
    except (ConnectionResetError, BrokenPipeError, http.client.HTTPException):
        raise EngineGoneError(f"the engine at {path} closed the connection") from None
    except TimeoutError:
        raise SilenceError(f"the engine at {path} does not answer") from None
    except OSError as error:
        raise EngineGoneError(f"no engine answers at {path}: {error.strerror}") from None


def parsed(text: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        AnsweredError: the text is not a JSON object.
    """
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise AnsweredError(0, "the engine's answer is not a JSON object")
    return message


def message_of(body: bytes, status: int) -> str:
    """Return the error message of an answer."""
    try:
        return str(parsed(body)["message"])
    except (AnsweredError, KeyError):
        return f"the engine answers with status {status}"


def checked(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message of a pull that is not an error.

    Raises:
        AnsweredError: the message says that the pull failed.
    """
    detail = message.get("errorDetail")
    if not detail and "error" not in message:
        return message
    detail = detail if isinstance(detail, dict) else {}
    code = detail.get("code")
    raise AnsweredError(
        code if isinstance(code, int) else 0, str(detail.get("message") or message.get("error") or "without a reason")
    )
