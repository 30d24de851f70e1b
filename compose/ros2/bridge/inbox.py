# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Receives commands from Redis: from a stream, in which none is lost or followed twice, and from a channel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from .config import Settings

FIELD = b"command"
# How many ids of finished commands are stored.
FINISHED_IDS = 1000
BATCH = 100


@dataclass(frozen=True)
class Delivery:
    """One message.

    Attributes:
        entry: its entry in the stream; empty for a message of the channel.
        age: how long ago it was written, in seconds.
    """

    message: bytes
    entry: str
    age: float


@dataclass(frozen=True)
class Receipt:
    """The record of a command that has ended.

    Attributes:
        entry: its entry in the stream; empty when it has none.
        id: its id; empty when it has none.
        event: the message for the channel of events.
    """

    entry: str
    id: str
    event: Mapping[str, object]


def connect(settings: Settings) -> Redis:
    """Return a client that connects on first use and gives up in time."""
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        unix_socket_path=settings.redis_socket or None,
        username=settings.redis_username or None,
        password=settings.redis_password or None,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        # The bridge retries itself, and handles the robot meanwhile.
        retry=Retry(NoBackoff(), 0),
    )


class Inbox:
    """One reader, whose name in Redis survives a restart.

    An entry stays pending until its receipt is stored. It is read again after a crash of this process, and after a
    failure of the connection, in which it may have been lost.
    """

    def __init__(self, redis: Any, settings: Settings) -> None:
        """Use a client; nothing is sent before :meth:`read`.

        :param redis: a :class:`redis.Redis`; untyped, because its annotations of answers differ between versions.
        """
        self._redis = redis
        self._settings = settings
        self._channel = redis.pubsub(ignore_subscribe_messages=True)
        self._open = False
        self._pending = "0"

    def lost(self) -> None:
        """Handle a failed exchange: the next one starts from the beginning."""
        self._open = False
        self._channel.close()

    def read(self) -> list[Delivery]:
        """Return the messages that have arrived; waits a moment when there are none.

        :raises redis.exceptions.RedisError: Redis does not answer.
        """
        if not self._open:
            self._begin()
        found = self._stream()
        return [*found, *self._channel_messages()]

    def _begin(self) -> None:
        settings = self._settings
        try:
            # From the beginning: commands from before the first start of this robot count as well.
            self._redis.xgroup_create(settings.stream, settings.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._channel.close()
        self._channel = self._redis.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe(settings.channel)
        self._pending = "0"
        self._open = True

    def _stream(self) -> list[Delivery]:
        settings = self._settings
        found: list[Delivery] = []
        # All available entries before any is handled: the last one may be a stop.
        while True:
            start = self._pending or ">"
            wait = None if self._pending or found else settings.wait
            answer = self._redis.xreadgroup(settings.group, settings.robot, {settings.stream: start}, BATCH, wait)
            entries = [entry for _stream, entries in answer or [] for entry in entries]
            if entries:
                seconds, micros = self._redis.time()
                found += [self._delivery(entry, fields, seconds + micros / 1e6) for entry, fields in entries]
            if self._pending:
                self._pending = entries[-1][0].decode() if entries else ""
            elif len(entries) < BATCH:
                return found

    @staticmethod
    def _delivery(entry: bytes, fields: Mapping[bytes, bytes] | None, now: float) -> Delivery:
        written = int(entry.split(b"-")[0]) / 1000
        # An entry that was trimmed from the stream meanwhile has no fields.
        return Delivery((fields or {}).get(FIELD, b""), entry.decode(), max(0.0, now - written))

    def _channel_messages(self) -> list[Delivery]:
        found = []
        while (message := self._channel.get_message(timeout=0)) is not None:
            found.append(Delivery(message["data"], "", 0.0))
        return found

    def finished(self, identifier: str) -> bool:
        """Return whether a command with this id has ended before.

        :raises redis.exceptions.RedisError: Redis does not answer.
        """
        return self._redis.zscore(self._settings.finished, identifier) is not None

    def settle(self, receipts: Iterable[Receipt]) -> None:
        """Store that commands have ended, all or none, and publish the events.

        :raises redis.exceptions.RedisError: Redis does not answer.
        """
        settings = self._settings
        with self._redis.pipeline(transaction=True) as exchange:
            for receipt in receipts:
                if receipt.entry:
                    exchange.xack(settings.stream, settings.group, receipt.entry)
                if receipt.entry and receipt.id:
                    exchange.zadd(settings.finished, {receipt.id: int(receipt.entry.split("-")[0])})
                exchange.publish(settings.events, json.dumps(receipt.event))
            exchange.zremrangebyrank(settings.finished, 0, -FINISHED_IDS - 1)
            exchange.execute()
