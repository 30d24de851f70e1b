# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A WebSocket connection that is bounded in time and size, on top of websocket-client.

websocket-client 1.2.3, which Debian 12 and Ubuntu 22.04 package, and all later versions work. Every deadline is one of
`time.monotonic`.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from .._problem import Problem, listed, shown

# The module reports it where it is missing.
with contextlib.suppress(ImportError):
    import websocket

LARGEST_MESSAGE = 16 * 1024 * 1024
# The headers of the frames that a message is split into.
LARGEST_OVERHEAD = 64 * 1024
LARGEST_HANDSHAKE = 16 * 1024
# Maximum length of the quoted answer of a peer that is not a WebSocket server.
LARGEST_START = 256
SWITCHING_PROTOCOLS = 101
WRONG_PORT = "set the host and the port of such a server"
BROKEN = "check the server's log and the proxies on the way"


class ServerError(Exception):
    """An error of a server that ends the connection; its text is one line."""


class LateError(Exception):
    """The deadline has passed."""


class TooLongError(Exception):
    """The peer sent more than is allowed."""


def url_of(host: str, port: int) -> str:
    """Return the address of a server as a user would write it."""
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def server_error(url: str, reason: str, allowed: str, remedy: str) -> ServerError:
    """Return the exception to raise about a server."""
    return ServerError(str(Problem(url, "", reason, allowed, remedy)))


class BoundedSocket(socket.socket):
    """A socket that stops at a deadline and after a number of bytes, whatever the peer sends.

    Attributes:
        deadline: When reads and writes stop.
        room: How many more bytes may be read.
        start: The first bytes that were read, for messages about a peer that is not a WebSocket server.
    """

    deadline = 0.0
    room = 0
    start = b""

    def limit(self, deadline: float, room: int = 0) -> None:
        """Set the limits of what follows.

        Raises:
            LateError: the deadline has passed.
        """
        self.deadline, self.room = deadline, room
        self._set_timeout()

    def _set_timeout(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise LateError
        self.settimeout(left)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            LateError: the deadline has passed.
            TooLongError: too many bytes were read.
        """
        self._set_timeout()
        if self.room <= 0:
            raise TooLongError
        try:
            data = super().recv(min(size, self.room), flags)
        except TimeoutError:
            raise LateError from None
        self.room -= len(data)
        self.start += data[: LARGEST_START - len(self.start)]
        return data


def open_connection(host: str, port: int, deadline: float) -> BoundedSocket:
    """Connect to the first address of a host that answers; each gets its share of the time.

    Raises:
        ServerError: none does.
    """
    failure: Exception | None = None
    try:
        # getaddrinfo raises ValueError for text that cannot be a name.
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        addresses, failure = [], error
    for number, (family, kind, protocol, _name, address) in enumerate(addresses):
        connection = BoundedSocket(family, kind, protocol)
        connection.settimeout(max((deadline - time.monotonic()) / (len(addresses) - number), 0.001))
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    reason = f"cannot be reached ({getattr(failure, 'strerror', None) or failure})"
    remedy = "start the server, open its port, or set another host and port"
    raise server_error(url_of(host, port), reason, "a server that answers", remedy) from failure


class Connection:
    """A WebSocket connection to a server.

    Attributes:
        url: The server's address.
        subprotocol: The one of the offered subprotocols that the server has chosen.
    """

    def __init__(self, host: str, port: int, subprotocols: Sequence[str], deadline: float) -> None:
        """Connect and do the handshake.

        Raises:
            ServerError: there is no such server.
            LateError: it has not answered in time.
        """
        self.url = url_of(host, port)
        self._closed = False
        self._socket = open_connection(host, port, deadline)
        # UTF-8 is decoded here: the library's own check takes seconds for a large text.
        self._client: Any = websocket.WebSocket(skip_utf8_validation=True)
        try:
            # The zone of a local address, such as %eth0, has a meaning on this machine only.
            self._shake_hands(url_of(host.partition("%")[0], port), deadline, subprotocols)
            self.subprotocol = self._chosen(subprotocols)
        except BaseException:
            self._socket.close()
            raise

    def _shake_hands(self, address: str, deadline: float, subprotocols: Sequence[str]) -> None:
        self._socket.limit(deadline, LARGEST_HANDSHAKE)
        try:
            with self._translated_errors():
                # As a header and not as an option: the library rejects a wrong choice without reporting it.
                self._client.connect(
                    f"{address}/",
                    socket=self._socket,
                    host=address.partition("//")[2],
                    header=[f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}"],
                    suppress_origin=True,
                    redirect_limit=0,
                )
        # The library parses the status line with int() and [1].
        except (websocket.WebSocketException, ValueError, LookupError, TooLongError) as error:
            raise self._not_websocket() from error
        if self._client.getstatus() != SWITCHING_PROTOCOLS:
            raise self._not_websocket()

    def _chosen(self, subprotocols: Sequence[str]) -> str:
        chosen = str((self._client.getheaders() or {}).get("sec-websocket-protocol", ""))
        if chosen not in subprotocols:
            reason = f"supports none of the offered subprotocols: it chose {shown(chosen) if chosen else 'none'}"
            raise server_error(self.url, reason, listed(list(subprotocols)), WRONG_PORT)
        return chosen

    def receive(self, deadline: float) -> str | bytes:
        """Return the next message. After a LateError the connection can only be closed.

        Raises:
            ServerError: the server has closed the connection, or violates the protocol.
            LateError: no whole message has arrived.
        """
        self._socket.limit(deadline, LARGEST_MESSAGE + LARGEST_OVERHEAD)
        try:
            with self._translated_errors():
                opcode, frame = self._client.recv_data_frame()
        except websocket.WebSocketException as error:
            raise self._invalid(f"an invalid frame ({shown(str(error))})") from error
        except TooLongError as error:
            reason = f"sends a message of more than {LARGEST_MESSAGE} bytes"
            raise server_error(self.url, reason, "16 MiB", "leave out the topic, or reduce its messages") from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self._closed = True
            code = str(int.from_bytes(frame.data[:2], "big")) if len(frame.data) > 1 else "no code"
            words = f", {shown(frame.data[2:].decode(errors='replace'))}" if len(frame.data) > 2 else ""
            raise self._ended(f"closes the connection ({code}{words})")
        if opcode == websocket.ABNF.OPCODE_BINARY:
            return bytes(frame.data)
        try:
            return bytes(frame.data).decode()
        except UnicodeDecodeError as error:
            raise self._invalid("a text that is not UTF-8") from error

    def send(self, text: str, deadline: float) -> None:
        """Send a text.

        Raises:
            ServerError: the server has closed the connection.
            LateError: the server does not read.
        """
        self._socket.limit(deadline)
        with self._translated_errors():
            self._client.send(text)

    def close(self) -> None:
        """Close the connection in whatever state it is."""
        if not self._closed:
            with contextlib.suppress(OSError, websocket.WebSocketException):
                self._socket.limit(time.monotonic() + 1)
                self._client.send_close()
        self._socket.close()

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate the errors of a broken connection.

        Raises:
            ServerError: the server has closed the connection.
            LateError: the server does not read.
        """
        try:
            yield
        except websocket.WebSocketTimeoutException as error:
            raise LateError from error
        except websocket.WebSocketConnectionClosedException as error:
            raise self._ended("closed the connection without a reason") from error
        except OSError as error:
            raise self._ended(f"closed the connection ({error.strerror or error})") from error

    def _not_websocket(self) -> ServerError:
        answer = shown(self._socket.start.partition(b"\r\n")[0].decode("latin-1").strip())
        reason = f"is not a WebSocket server: it answers {answer}"
        return server_error(self.url, reason, "a WebSocket server", WRONG_PORT)

    def _ended(self, reason: str) -> ServerError:
        return server_error(self.url, reason, "a connection that the server keeps open", BROKEN)

    def _invalid(self, what: str) -> ServerError:
        return server_error(self.url, f"sends {what}", "frames of RFC 6455", BROKEN)
