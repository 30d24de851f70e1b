# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Foxglove WebSocket server tells of itself, of its topics, and on some of them.

The protocol is described at https://github.com/foxglove/ws-protocol; the one of Foxglove's SDK has another name and the
same messages. Nothing newer than Python 3.9 is used here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._problem import Problem, listed, shown
from .cdr import MessageError, read_message
from .websocket import BROKEN, WRONG_PORT, LateError, ServerError, WebSocket, refusal, url_of

# Those of Foxglove's SDK, on which newer bridges are built, and of the bridges before.
SUBPROTOCOLS = ("foxglove.sdk.v1", "foxglove.websocket.v1")
MESSAGE_DATA = 1
# Opcode, subscription, and when the server got it.
MESSAGE_HEADER = struct.Struct("<BIQ")
CDR = "cdr"
MOST_SECONDS = 60
MOST_TIMEOUT = 600
MOST_LISTED = 30


class RequestError(Exception):
    """A question that makes no sense; its text is one line for each reason."""


@dataclass(frozen=True)
class Request:
    """What to ask a server.

    Attributes:
        topics: Those to listen to.
        seconds: How long to listen at most.
        messages: How many of each topic are enough.
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
    """What a server has advertised."""

    number: int
    topic: str
    schema: str
    encoding: str


@dataclass
class Heard:
    """What was heard on one topic.

    Attributes:
        channel: What carries it; None while nothing does.
        schema: The schema of what carries it, or has.
        first: The channel and the payload of the first message.
        last: Those of the last one.
    """

    channel: Channel | None = None
    schema: str = ""
    count: int = 0
    first: tuple[Channel, bytes] | None = None
    last: tuple[Channel, bytes] | None = None


def check_request(request: Request) -> None:
    """Refuse what makes no sense.

    Raises:
        RequestError: with one line for each reason.
    """
    rules = [
        ("host", request.host, bool(request.host), "a name or an address", "write 127.0.0.1"),
        ("port", request.port, 1 <= request.port <= 65535, "1 to 65535", "write 8765"),
        ("topics", request.topics, all(request.topics), "names such as /odom", "leave out what is empty"),
        ("seconds", request.seconds, 0 <= request.seconds <= MOST_SECONDS, f"0 to {MOST_SECONDS}", "write 1"),
        ("messages", request.messages, request.messages >= 1, "1 or more", "write 2"),
        (
            "timeout",
            request.timeout,
            0 < request.timeout <= MOST_TIMEOUT,
            f"more than 0 and at most {MOST_TIMEOUT}",
            "write 5",
        ),
    ]
    problems = [
        Problem(name, shown(value), "cannot be used", allowed, remedy)
        for name, value, good, allowed, remedy in rules
        if not good
    ]
    if problems:
        raise RequestError("; ".join(map(str, problems)))


@dataclass
class Session:
    """A conversation with a server.

    Attributes:
        client: The connection.
        heard: What was heard, by the topics to listen to.
        server: What the server has told of itself; empty until then.
        channels: What is advertised, by number.
        advertised: Whether anything was yet.
    """

    client: WebSocket
    heard: dict[str, Heard]
    server: dict[str, Any] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    advertised: bool = False
    _subscriptions: list[Channel] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """The topics to listen to that nothing carries."""
        return [topic for topic, heard in self.heard.items() if heard.channel is None]

    def attend(self, true: Callable[[], bool], deadline: float) -> bool:
        """Take in what the server says until something is true, or the time is over; return whether it is.

        Raises:
            ServerError: the server has ended it, or does not keep to the protocol.
        """
        try:
            while not true():
                message = self.client.receive(deadline)
                if isinstance(message, bytes):
                    self._take_data(message)
                else:
                    self._take_text(message, deadline)
        except LateError:
            return False
        return True

    def _take_data(self, message: bytes) -> None:
        if message[:1] != bytes([MESSAGE_DATA]):
            return
        if len(message) < MESSAGE_HEADER.size:
            raise self._garbage(f"a message of {len(message)} bytes, which is too short")
        _opcode, number, _received = MESSAGE_HEADER.unpack_from(message)
        if number >= len(self._subscriptions):
            raise self._garbage(f"a message of subscription {number}, which it was not asked for")
        channel = self._subscriptions[number]
        heard = self.heard[channel.topic]
        heard.count += 1
        heard.last = (channel, message[MESSAGE_HEADER.size :])
        heard.first = heard.first or heard.last

    def _take_text(self, text: str, deadline: float) -> None:
        try:
            message = json.loads(text)
            operation = message["op"]
            if operation == "serverInfo":
                self.server = {"name": str(message["name"]), "capabilities": list(map(str, message["capabilities"]))}
            elif operation == "advertise":
                found = [
                    Channel(int(told["id"]), str(told["topic"]), str(told["schemaName"]), str(told["encoding"]))
                    for told in message["channels"]
                ]
                self.channels.update({channel.number: channel for channel in found})
                self.advertised = True
            elif operation == "unadvertise":
                for number in message["channelIds"]:
                    self.channels.pop(int(number), None)
        # What nests too deeply is a RecursionError.
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise self._garbage(f"{shown(text)}, which cannot be understood") from error
        self._follow(deadline)

    def _follow(self, deadline: float) -> None:
        """Subscribe to what carries the topics: another channel where the one before is gone."""
        found = []
        for topic, heard in self.heard.items():
            if heard.channel and self.channels.get(heard.channel.number) != heard.channel:
                heard.channel = None
            if heard.channel is None:
                found += [channel for channel in self.channels.values() if channel.topic == topic][:1]
        if not found:
            return
        wanted = [
            {"id": number, "channelId": channel.number}
            for number, channel in enumerate(found, len(self._subscriptions))
        ]
        self.client.send(json.dumps({"op": "subscribe", "subscriptions": wanted}), deadline)
        self._subscriptions += found
        for channel in found:
            self.heard[channel.topic].channel = channel
            self.heard[channel.topic].schema = channel.schema

    def read(self, message: tuple[Channel, bytes] | None) -> dict[str, Any] | None:
        """Return what a message says, or None where that cannot be told.

        Raises:
            ServerError: it is not what its channel says.
        """
        if message is None or message[0].encoding != CDR:
            return None
        channel, payload = message
        try:
            return read_message(channel.schema, payload)
        except MessageError as error:
            reason = f"sends on {channel.topic} what is no {channel.schema}: {error}"
            remedy = "look at who publishes it, and with which definition"
            raise refusal(self.client.url, reason, "ROS 2's own message as CDR", remedy) from error

    def _garbage(self, what: str) -> ServerError:
        return refusal(self.client.url, f"sends {what}", "messages of Foxglove's protocol", BROKEN)


def look(request: Request) -> dict[str, Any]:
    """Return what a server tells, as the module's result.

    Raises:
        RequestError: the question makes no sense.
        ServerError: the server does not tell it.
    """
    check_request(request)
    deadline = time.monotonic() + request.timeout
    within = f"within {request.timeout:g} s"
    try:
        client = WebSocket(request.host, request.port, SUBPROTOCOLS, deadline)
    except LateError as error:
        reason = f"does not answer a WebSocket's handshake {within}"
        raise refusal(url_of(request.host, request.port), reason, "a WebSocket server", WRONG_PORT) from error
    try:
        session = Session(client, {topic: Heard() for topic in request.topics})
        session.attend(lambda: bool(session.server) and session.advertised and not session.missing, deadline)
        if not session.server:
            reason = f"does not say who it is {within}: there is no serverInfo"
            raise refusal(client.url, reason, "a Foxglove WebSocket server", WRONG_PORT)
        if session.missing:
            raise missing_topics(session, within)
        enough = time.monotonic() + request.seconds
        session.attend(lambda: all(heard.count >= request.messages for heard in session.heard.values()), enough)
        return present(session)
    finally:
        client.close()


def missing_topics(session: Session, within: str) -> ServerError:
    """Return what to raise about topics that are not there."""
    known = sorted({channel.topic for channel in session.channels.values()})
    names = [shown(topic) for topic in known[:MOST_LISTED]]
    names += [f"{len(known) - MOST_LISTED} more"] if len(known) > MOST_LISTED else []
    reason = f"does not advertise {listed([shown(topic) for topic in session.missing])} {within}"
    remedy = "start what publishes it, or name one of these"
    return refusal(session.client.url, reason, f"what it advertises, {listed(names)}", remedy)


def present(session: Session) -> dict[str, Any]:
    """Return what was seen as the module's result."""
    channels = sorted(session.channels.values(), key=lambda channel: (channel.topic, channel.number))
    return {
        "server": {**session.server, "subprotocol": session.client.subprotocol},
        "topics": [
            {"topic": channel.topic, "schema": channel.schema, "encoding": channel.encoding} for channel in channels
        ],
        "seen": [
            {
                "topic": topic,
                "schema": heard.schema,
                "count": heard.count,
                "first": session.read(heard.first),
                "last": session.read(heard.last),
            }
            for topic, heard in session.heard.items()
        ],
    }
