# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m cognitive.probe``: check the way from a command to the channel, and that strangers are refused.

It runs beside the service, in its container, with the service's own settings: no password appears on a command line.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import secrets
import sys
import time

from redis.exceptions import AuthenticationError, RedisError

from .bus import connect, reason
from .config import ConfigError, Settings, load
from .health import ProbeError, http

ARRIVAL_SECONDS = 5.0


async def arrival(settings: Settings) -> None:
    """Post a command, which asks for a status and moves nothing, and see it arrive on the channel.

    :raises ProbeError: it was not taken or did not arrive.
    """
    text = f"status check {secrets.token_hex(4)}"
    redis = connect(settings)
    try:
        async with redis.pubsub() as channel:
            await channel.subscribe(settings.channel)
            status, answer = await asyncio.to_thread(
                http, settings.port, "POST", "/command", {"text": text}, settings.token
            )
            if status != 200:
                raise ProbeError(f"the command was answered with HTTP {status}: {answer.get('message', answer)}")
            deadline = time.monotonic() + ARRIVAL_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                received = await channel.get_message(ignore_subscribe_messages=True, timeout=left)
                if received and json.loads(received["data"]).get("raw_text") == text:
                    return
    finally:
        await redis.aclose()
    raise ProbeError(f"the command was taken but did not arrive on {settings.channel} within {ARRIVAL_SECONDS:g} s")


async def refusal(settings: Settings, password: str) -> None:
    """Make sure that Redis refuses a password; the empty one stands for none.

    :raises ProbeError: it lets this one in, or does not answer.
    """
    # Without a password a client gives no name either.
    redis = connect(
        dataclasses.replace(
            settings, redis_username=settings.redis_username if password else "", redis_password=password
        )
    )
    try:
        await redis.ping()
    except AuthenticationError:
        return
    finally:
        await redis.aclose()
    raise ProbeError(f"Redis lets clients in {'with a wrong password' if password else 'without a password'}")


async def intruder(settings: Settings, token: str) -> None:
    """Make sure that the service refuses a token; the empty one stands for none.

    :raises ProbeError: it takes a command with this one, or does not answer.
    """
    status, _answer = await asyncio.to_thread(http, settings.port, "POST", "/intent", {"text": "status"}, token)
    if status != 401:
        caller = "with a wrong token" if token else "without a token"
        raise ProbeError(f"a caller {caller} was answered with HTTP {status}, not 401")


async def probe(settings: Settings) -> None:
    """Make sure of everything.

    :raises ProbeError: something is not as it should be.
    """
    try:
        await arrival(settings)
        await refusal(settings, secrets.token_hex(16))
        await refusal(settings, "")
        await intruder(settings, secrets.token_hex(16))
        await intruder(settings, "")
    except (RedisError, OSError) as error:
        raise ProbeError(reason(error, settings.redis_timeout)) from None


def main() -> int:
    """Print the result; return 1 when something is not as it should be."""
    try:
        asyncio.run(probe(load(os.environ)))
    except (ProbeError, ConfigError) as error:
        print(error)
        return 1
    print("a command arrives; a wrong password, a wrong token and none are refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
