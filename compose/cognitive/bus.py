# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishes robot commands on a Redis channel, in an order that keeps ``stop`` final."""

from __future__ import annotations

import asyncio
import json

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from .config import Settings
from .intent import Action, Intent


class BusError(Exception):
    """Redis did not take the message; the text says why, without secrets."""


class SupersededError(Exception):
    """A stop came after this command was given and before it could be sent."""


def connect(settings: Settings) -> Redis:
    """Return a client that connects on first use and gives up in time."""
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        password=settings.redis_password or None,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        # One more try mends a connection that broke while idle, for instance when Redis was restarted.
        retry=Retry(NoBackoff(), 1),
        decode_responses=True,
    )


class CommandBus:
    """The way to the robot."""

    def __init__(self, redis: Redis, channel: str, timeout: float) -> None:
        """Take a client, which :meth:`close` closes.

        :param timeout: the longest one exchange may take, in seconds.
        """
        self._redis = redis
        self._timeout = timeout
        self._order = asyncio.Lock()
        self._stops = 0
        self.channel = channel

    def ticket(self) -> int:
        """Return what :meth:`publish` needs to know when the command was given."""
        return self._stops

    async def publish(self, intent: Intent, ticket: int) -> int:
        """Send a command and return how many listeners received it.

        A stop is sent at once and makes every movement that was asked for before it worthless, even one whose meaning
        is still being worked out.

        :raises SupersededError: a stop came in between.
        :raises BusError: Redis did not take it.
        """
        if intent.action is Action.STOP:
            self._stops += 1
        async with self._order:
            if intent.moves and ticket != self._stops:
                raise SupersededError
            return await self._send(json.dumps(intent.message()))

    async def _send(self, message: str) -> int:
        try:
            async with asyncio.timeout(self._timeout):
                return int(await self._redis.publish(self.channel, message))
        except (RedisError, OSError) as error:
            raise BusError(reason(error, self._timeout)) from None

    async def check(self) -> None:
        """Make sure that Redis answers.

        :raises BusError: it does not.
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
    """Say in words why Redis did not answer; its client's own texts may quote what was sent, so they are not used."""
    if isinstance(error, AuthenticationError):
        return "Redis refused the password"
    if "Timeout" in type(error).__name__:
        return f"Redis did not answer within {timeout:g} s"
    return f"Redis cannot be reached or refused ({type(error).__name__})"
