# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends robot commands through Redis, in an order that keeps ``stop`` final.

Redis drops a channel's message when there is no listener. So each command also goes into a stream, where a robot that
was away reads it; both carry the same id.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from .config import Settings
from .intent import Action, Intent

# The approximate length of the stream: more commands than any robot queues.
STREAM_LENGTH = 1000


@dataclass(frozen=True)
class Sent:
    """A command that was sent.

    :ivar id: its id in the message.
    :ivar receivers: the number of listeners on the channel.
    """

    id: str
    receivers: int


class BusError(Exception):
    """Redis did not accept the message; the text has the reason, without secrets.

    :ivar unsure: whether the message may still have been sent.
    """

    def __init__(self, message: str, *, unsure: bool = False) -> None:
        """Store whether the result is unknown."""
        super().__init__(message)
        self.unsure = unsure


class SupersededError(Exception):
    """A stop arrived after this command was given and before it could be sent."""


def connect(settings: Settings) -> Redis:
    """Return a client that connects on first use and gives up in time."""
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        username=settings.redis_username or None,
        password=settings.redis_password or None,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        # One retry repairs a connection that broke while idle, for instance when Redis was restarted.
        retry=Retry(NoBackoff(), 1),
        decode_responses=True,
    )


class CommandBus:
    """Sends commands to the robot."""

    def __init__(self, redis: Redis, channel: str, stream: str, timeout: float) -> None:
        """Use a client, which :meth:`close` closes.

        :param timeout: the longest one exchange may take, in seconds.
        """
        self._redis = redis
        self._timeout = timeout
        self._order = asyncio.Lock()
        self._stops = 0
        self.channel = channel
        self.stream = stream

    def ticket(self) -> int:
        """Return the ticket by which :meth:`publish` knows when the command was given."""
        return self._stops

    async def publish(self, intent: Intent, ticket: int) -> Sent:
        """Send a command.

        A stop is sent at once and supersedes every movement that was requested before it, even one that the language
        model is still interpreting.

        :raises SupersededError: a stop arrived in between.
        :raises BusError: Redis did not accept it.
        """
        if intent.action is Action.STOP:
            self._stops += 1
        async with self._order:
            if intent.moves and ticket != self._stops:
                raise SupersededError
            identifier = uuid.uuid4().hex
            message = json.dumps({**intent.message(), "id": identifier})
            try:
                async with asyncio.timeout(self._timeout):
                    return Sent(identifier, await self._send(message, stop=intent.action is Action.STOP))
            except (RedisError, OSError) as error:
                raise BusError(reason(error, self._timeout), unsure=_is_timeout(error)) from None

    async def _send(self, message: str, *, stop: bool) -> int:
        """Send to stream and channel, both or neither; but a stop uses the channel alone when the stream is full."""
        try:
            async with self._redis.pipeline(transaction=True) as exchange:
                exchange.xadd(self.stream, {"command": message}, maxlen=STREAM_LENGTH)
                exchange.publish(self.channel, message)
                _entry, receivers = await exchange.execute()
        except ResponseError:
            if not stop:
                raise
            receivers = await self._redis.publish(self.channel, message)
        return int(receivers)

    async def check(self) -> None:
        """Check that Redis answers.

        :raises BusError: Redis does not answer.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._redis.ping()
        except (RedisError, OSError) as error:
            raise BusError(reason(error, self._timeout)) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def reason(error: Exception, timeout: float) -> str:
    """Return why Redis did not answer; the client's own texts may quote the message, so they are not used."""
    if isinstance(error, AuthenticationError):
        return "Redis refused the password"
    if _is_timeout(error):
        return f"Redis did not answer within {timeout:g} s"
    return f"Redis cannot be reached or refused ({type(error).__name__})"


def _is_timeout(error: Exception) -> bool:
    return "Timeout" in type(error).__name__
