# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of WebSocket (RFC 6455) of Python's own library alone, bounded in time and size.

Every deadline is one of `time.monotonic`. Nothing newer than Python 3.9 is used here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import struct
import time
from collections.abc import Sequence

from .._problem import Problem, listed, shown

LARGEST_MESSAGE = 16 * 1024 * 1024
LARGEST_HEAD = 16 * 1024
LARGEST_CONTROL = 125
CHUNK = 65536
ACCEPT_SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KNOWN = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
FINAL, MASKED = 0x80, 0x80
NORMAL = 1000
WRONG_PORT = "give the host and the port of such a server"
BROKEN = "look at the server's log, and at what stands in between"


class ServerError(Exception):
    """What a server did that ends the conversation; its text is one line."""


class LateError(Exception):
    """The deadline came first."""


def url_of(host: str, port: int) -> str:
    """Return the address of a server as a user would write it."""
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def refusal(url: str, reason: str, allowed: str, remedy: str) -> ServerError:
    """Return what to raise about a server."""
    return ServerError(str(Problem(url, "", reason, allowed, remedy)))


def open_connection(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address of a host that answers; each gets its share of the time.

    Raises:
        ServerError: none does.
    """
    failure: Exception | None = None
    try:
        # A text that can be no name is a ValueError.
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        addresses, failure = [], error
    for number, (family, kind, protocol, _name, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(max((deadline - time.monotonic()) / (len(addresses) - number), 0.001))
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    reason = f"cannot be reached ({getattr(failure, 'strerror', None) or failure})"
    remedy = "start the server, open its port, or give another host and port"
    raise refusal(url_of(host, port), reason, "a server that answers", remedy) from failure


class WebSocket:
    """One conversation with a server.

    Attributes:
        url: The server's address.
        subprotocol: What the server has chosen among those that it was offered.
    """

    def __init__(self, host: str, port: int, subprotocols: Sequence[str], deadline: float) -> None:
        """Connect and shake hands.

        Raises:
            ServerError: there is no such server.
            LateError: it has not answered.
        """
        self.url = url_of(host, port)
        self._buffer = bytearray()
        self._parted = False
        self._socket = open_connection(host, port, deadline)
        try:
            # The zone of a local address, such as %eth0, means nothing to others.
            own_name = url_of(host.partition("%")[0], port).partition("//")[2]
            self.subprotocol = self._shake_hands(own_name, subprotocols, deadline)
        except BaseException:
            self._socket.close()
            raise

    def _shake_hands(self, host: str, subprotocols: Sequence[str], deadline: float) -> str:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET / HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}",
        ]
        self._write("".join(f"{line}\r\n" for line in [*lines, ""]).encode(), deadline)
        status, headers = self._read_head(deadline)
        allowed = "a WebSocket server"
        if status.split(" ")[1:2] != ["101"]:
            reason = f"is no WebSocket server: it answers {shown(status)}"
            raise refusal(self.url, reason, allowed, WRONG_PORT)
        accepted = base64.b64encode(hashlib.sha1(f"{key}{ACCEPT_SALT}".encode(), usedforsecurity=False).digest())
        if headers.get("sec-websocket-accept") != accepted.decode():
            reason = "is no WebSocket server: its Sec-WebSocket-Accept is wrong"
            raise refusal(self.url, reason, allowed, WRONG_PORT)
        chosen = headers.get("sec-websocket-protocol", "")
        if chosen not in subprotocols:
            reason = f"has no subprotocol in common: it chooses {shown(chosen) if chosen else 'none'}"
            raise refusal(self.url, reason, listed(list(subprotocols)), WRONG_PORT)
        return chosen

    def _read_head(self, deadline: float) -> tuple[str, dict[str, str]]:
        """Return the status line of the server's answer, and its headers, names in lower case."""
        while b"\r\n\r\n" not in self._buffer:
            if not b"HTTP/".startswith(self._buffer[:5]) or len(self._buffer) > LARGEST_HEAD:
                answer = shown(self._buffer[:LARGEST_HEAD].decode("latin-1").strip())
                reason = f"is no WebSocket server: it answers {answer}"
                raise refusal(self.url, reason, "an answer of HTTP of at most 16 KiB", WRONG_PORT)
            self._fill(deadline)
        head, _end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        return status, {name.strip().lower(): value.strip() for name, _colon, value in fields}

    def receive(self, deadline: float) -> str | bytes:
        """Return the next message, text or bytes. After a LateError there is none any more.

        Raises:
            ServerError: the server has ended it, or does not keep to the protocol.
            LateError: no whole message has come.
        """
        kind, message = CONTINUATION, bytearray()
        while True:
            final, opcode, payload = self._read_frame(LARGEST_MESSAGE - len(message), deadline)
            if opcode in (CLOSE, PING, PONG):
                self._obey(opcode, payload, deadline)
                continue
            if (opcode == CONTINUATION) != (kind != CONTINUATION):
                raise self._garbage("fragments that do not fit one another")
            kind = kind or opcode
            message += payload
            if final:
                break
        if kind == BINARY:
            return bytes(message)
        try:
            return message.decode()
        except UnicodeDecodeError as error:
            raise self._garbage("a text that is not UTF-8") from error

    def _read_frame(self, room: int, deadline: float) -> tuple[bool, int, bytes]:
        """Return whether a frame is the last of its message, its opcode, and what it carries."""
        first, second = self._take(2, deadline)
        final, opcode, length = bool(first & FINAL), first & 0x0F, second & ~MASKED
        if first & 0x70 or opcode not in KNOWN or second & MASKED:
            raise self._garbage(f"a frame that begins with {first:02x} {second:02x}")
        if opcode >= CLOSE and (length > LARGEST_CONTROL or not final):
            raise self._garbage("a control frame in parts or of more than 125 bytes")
        if length > LARGEST_CONTROL:
            form = "!H" if length == LARGEST_CONTROL + 1 else "!Q"
            (length,) = struct.unpack(form, self._take(struct.calcsize(form), deadline))
        if length > room:
            reason = f"sends a message of more than {LARGEST_MESSAGE} bytes (its frame has {length})"
            raise refusal(self.url, reason, "16 MiB", "leave out the topic, or have less sent at once")
        return final, opcode, self._take(length, deadline)

    def _obey(self, opcode: int, payload: bytes, deadline: float) -> None:
        """Do what a control frame asks for."""
        if opcode == PING:
            self._send(PONG, payload, deadline)
        elif opcode == CLOSE:
            self._say_goodbye(payload[:2])
            code = str(int.from_bytes(payload[:2], "big")) if len(payload) > 1 else "no code"
            words = f", {shown(payload[2:].decode(errors='replace'))}" if len(payload) > 2 else ""
            raise self._ended(f"closes the connection ({code}{words})")

    def send(self, text: str, deadline: float) -> None:
        """Send a text.

        Raises:
            ServerError: the server has ended it.
            LateError: the server takes nothing.
        """
        self._send(TEXT, text.encode(), deadline)

    def close(self) -> None:
        """End it, however it stands."""
        self._say_goodbye(struct.pack("!H", NORMAL))
        self._socket.close()

    def _say_goodbye(self, code: bytes) -> None:
        if self._parted:
            return
        self._parted = True
        with contextlib.suppress(ServerError, LateError):
            self._send(CLOSE, code, time.monotonic() + 1)

    def _send(self, opcode: int, payload: bytes, deadline: float) -> None:
        """Send a frame, masked as those of clients have to be."""
        mask = os.urandom(4)
        if len(payload) <= LARGEST_CONTROL:
            size = struct.pack("!B", MASKED | len(payload))
        else:
            size = struct.pack("!BQ", MASKED | LARGEST_CONTROL + 2, len(payload))
        masked = bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload))
        self._write(bytes([FINAL | opcode]) + size + mask + masked, deadline)

    def _write(self, data: bytes, deadline: float) -> None:
        self._limit(deadline)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._failed(error, deadline) from error

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._fill(deadline)
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self, deadline: float) -> None:
        self._limit(deadline)
        try:
            data = self._socket.recv(CHUNK)
        except OSError as error:
            raise self._failed(error, deadline) from error
        if not data:
            raise self._ended("ends the connection without a word")
        self._buffer += data

    def _limit(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise LateError
        self._socket.settimeout(left)

    def _failed(self, error: OSError, deadline: float) -> Exception:
        # Python 3.9 has another exception for a timeout than those after it.
        if time.monotonic() >= deadline:
            return LateError()
        return self._ended(f"ends the connection ({error.strerror or error})")

    def _ended(self, reason: str) -> ServerError:
        return refusal(self.url, reason, "a connection that stays until it is closed from here", BROKEN)

    def _garbage(self, what: str) -> ServerError:
        return refusal(self.url, f"sends {what}", "frames of RFC 6455", BROKEN)
