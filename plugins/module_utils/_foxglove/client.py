# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of a Foxglove WebSocket server: its description, its topics, and the messages on some of them.

The protocol is described at https://github.com/foxglove/ws-protocol; that of Foxglove's SDK has another name and the
same messages.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._problem import Problem, listed, shown
from .cdr import CdrError, read_message
from .connection import BROKEN, WRONG_PORT, Connection, LateError, ServerError, server_error, url_of

# The subprotocol of Foxglove's SDK, on which newer bridges are built, and that of older bridges.
SUBPROTOCOLS = ("foxglove.sdk.v1", "foxglove.websocket.v1")
MESSAGE_DATA = 1
# Opcode, subscription, and the time when the server received it.
MESSAGE_HEADER = struct.Struct("<BIQ")
CDR = "cdr"
MOST_SECONDS = 60
MOST_TIMEOUT = 600
MOST_LISTED = 30


class FoxgloveRequestError(Exception):
    """The request is not valid; the text names each reason."""


@dataclass(frozen=True)
class FoxgloveRequest:
    """The data to get from a server.

    Attributes:
        topics: The topics to subscribe to.
        seconds: How long to receive messages at most.
        messages: How many messages of each topic are enough.
        timeout: Seconds within which all topics have to be advertised.
    """

    host: str
    port: int
    topics: Sequence[str]
    seconds: float
    messages: int
    timeout: float


@dataclass(frozen=True)
class Channel:
    """A channel that a server advertises."""

    number: int
    topic: str
    schema: str
    encoding: str


@dataclass
class Received:
    """What was received on one topic.

    Attributes:
        channel: The channel that carries the topic; None while there is none.
        schema: The schema of the present or the last channel.
        first: The channel and the payload of the first message.
        last: The channel and the payload of the last message.
    """

    channel: Channel | None = None
    schema: str = ""
    count: int = 0
    first: tuple[Channel, bytes] | None = None
    last: tuple[Channel, bytes] | None = None


def check_request(request: FoxgloveRequest) -> None:
    """Check a request.

    Raises:
        FoxgloveRequestError: it is not valid.
    """
    rules = [
        ("host", request.host, bool(request.host), "a name or an address", "use 127.0.0.1"),
        ("port", request.port, 1 <= request.port <= 65535, "1 to 65535", "use 8765"),
        ("topics", request.topics, all(request.topics), "names such as /odom", "remove empty names"),
        ("seconds", request.seconds, 0 <= request.seconds <= MOST_SECONDS, f"0 to {MOST_SECONDS}", "use 1"),
        ("messages", request.messages, request.messages >= 1, "1 or more", "use 2"),
        (
            "timeout",
            request.timeout,
            0 < request.timeout <= MOST_TIMEOUT,
            f"more than 0 and at most {MOST_TIMEOUT}",
            "use 5",
        ),
    ]
    problems = [
        Problem(name, shown(value), "is not valid", allowed, remedy)
        for name, value, good, allowed, remedy in rules
        if not good
    ]
    if problems:
        raise FoxgloveRequestError(" ".join(map(str, problems)))


@dataclass
class FoxgloveSession:
    """The state of a connection to a Foxglove server.

    Attributes:
        connection: The WebSocket connection.
        received: What was received, by requested topic.
        server: The server's description; empty until it has arrived.
        channels: The advertised channels, by number.
        advertised: Whether the server has advertised channels.
    """

    connection: Connection
    received: dict[str, Received]
    server: dict[str, Any] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    advertised: bool = False
    _subscriptions: list[Channel] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """The requested topics that are not advertised."""
        return [topic for topic, received in self.received.items() if received.channel is None]

    def receive_until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Handle messages until a condition is true or the deadline has passed; return whether the condition is true.

        Raises:
            ServerError: the server has closed the connection, or violates the protocol.
        """
        try:
            while not condition():
                message = self.connection.receive(deadline)
                if isinstance(message, bytes):
                    self._handle_data(message)
                else:
                    self._handle_text(message, deadline)
        except LateError:
            return False
        return True

    def _handle_data(self, message: bytes) -> None:
        if message[:1] != bytes([MESSAGE_DATA]):
            return
        if len(message) < MESSAGE_HEADER.size:
            raise self._invalid(f"a message of {len(message)} bytes, which is too short")
        _opcode, number, _received = MESSAGE_HEADER.unpack_from(message)
        if number >= len(self._subscriptions):
            raise self._invalid(f"a message of subscription {number}, which was not requested")
        channel = self._subscriptions[number]
        received = self.received[channel.topic]
        received.count += 1
        received.last = (channel, message[MESSAGE_HEADER.size :])
        received.first = received.first or received.last

    def _handle_text(self, text: str, deadline: float) -> None:
        try:
            message = json.loads(text)
            operation = message["op"]
            if operation == "serverInfo":
                self.server = {"name": str(message["name"]), "capabilities": list(map(str, message["capabilities"]))}
            elif operation == "advertise":
                found = [
                    Channel(int(entry["id"]), str(entry["topic"]), str(entry["schemaName"]), str(entry["encoding"]))
                    for entry in message["channels"]
                ]
                self.channels.update({channel.number: channel for channel in found})
                self.advertised = True
            elif operation == "unadvertise":
                for number in message["channelIds"]:
                    self.channels.pop(int(number), None)
        # Deeply nested JSON raises RecursionError.
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise self._invalid(f"{shown(text)}, which is not a valid message") from error
        self._subscribe(deadline)

    def _subscribe(self, deadline: float) -> None:
        """Subscribe to a channel of each requested topic that has none, or whose channel is gone."""
        found = []
        for topic, received in self.received.items():
            if received.channel and self.channels.get(received.channel.number) != received.channel:
                received.channel = None
            if received.channel is None:
                found += [channel for channel in self.channels.values() if channel.topic == topic][:1]
        if not found:
            return
        wanted = [
            {"id": number, "channelId": channel.number}
            for number, channel in enumerate(found, len(self._subscriptions))
        ]
        self.connection.send(json.dumps({"op": "subscribe", "subscriptions": wanted}), deadline)
        self._subscriptions += found
        for channel in found:
            self.received[channel.topic].channel = channel
            self.received[channel.topic].schema = channel.schema

    def read(self, message: tuple[Channel, bytes] | None) -> dict[str, Any] | None:
        """Return the content of a message, or None where it cannot be decoded.

        Raises:
            ServerError: it does not have the schema of its channel.
        """
        if message is None or message[0].encoding != CDR:
            return None
        channel, payload = message
        try:
            return read_message(channel.schema, payload)
        except CdrError as error:
            reason = f"the message on {channel.topic} is not a valid {channel.schema}: {error}"
            remedy = "check which node publishes it, and with which definition"
            raise server_error(self.connection.url, reason, "the message of ROS 2, encoded as CDR", remedy) from error

    def _invalid(self, what: str) -> ServerError:
        return server_error(self.connection.url, f"sends {what}", "messages of Foxglove's protocol", BROKEN)


def read_server(request: FoxgloveRequest) -> dict[str, Any]:
    """Return what a server shows, as the module's result.

    Raises:
        FoxgloveRequestError: the request is not valid.
        ServerError: the server does not answer as a Foxglove server does.
    """
    check_request(request)
    deadline = time.monotonic() + request.timeout
    within = f"within {request.timeout:g} s"
    try:
        connection = Connection(request.host, request.port, SUBPROTOCOLS, deadline)
    except LateError as error:
        reason = f"does not answer the WebSocket handshake {within}"
        raise server_error(url_of(request.host, request.port), reason, "a WebSocket server", WRONG_PORT) from error
    try:
        session = FoxgloveSession(connection, {topic: Received() for topic in request.topics})
        session.receive_until(lambda: bool(session.server) and session.advertised and not session.missing, deadline)
        if not session.server:
            reason = f"sends no serverInfo {within}"
            raise server_error(connection.url, reason, "a Foxglove WebSocket server", WRONG_PORT)
        if session.missing:
            raise missing_topics(session, within)
        enough = time.monotonic() + request.seconds
        session.receive_until(
            lambda: all(received.count >= request.messages for received in session.received.values()), enough
        )
        return present(session)
    finally:
        connection.close()


def missing_topics(session: FoxgloveSession, within: str) -> ServerError:
    """Return the exception to raise about topics that are not advertised."""
    known = sorted({channel.topic for channel in session.channels.values()})
    names = [shown(topic) for topic in known[:MOST_LISTED]]
    names += [f"{len(known) - MOST_LISTED} more"] if len(known) > MOST_LISTED else []
    reason = f"does not advertise {listed([shown(topic) for topic in session.missing])} {within}"
    remedy = "start the node that publishes it, or use one of these"
    return server_error(session.connection.url, reason, f"an advertised topic ({listed(names)})", remedy)


def present(session: FoxgloveSession) -> dict[str, Any]:
    """Return the module's result."""
    channels = sorted(session.channels.values(), key=lambda channel: (channel.topic, channel.number))
    return {
        "server": {**session.server, "subprotocol": session.connection.subprotocol},
        "topics": [
            {"topic": channel.topic, "schema": channel.schema, "encoding": channel.encoding} for channel in channels
        ],
        "seen": [
            {
                "topic": topic,
                "schema": received.schema,
                "count": received.count,
                "first": session.read(received.first),
                "last": session.read(received.last),
            }
            for topic, received in session.received.items()
        ],
    }
