# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m cognitive.probe``: check that a command arrives on the channel, and that wrong credentials are refused.

It runs in the service's container with the service's settings: no password appears on a command line.
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


async def check_arrival(settings: Settings) -> None:
    """Post a status command, which moves nothing, and check that it arrives on the channel.

    :raises ProbeError: it was not accepted or did not arrive.
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
    raise ProbeError(f"the command was accepted but did not arrive on {settings.channel} within {ARRIVAL_SECONDS:g} s")


async def check_password_refused(settings: Settings, password: str) -> None:
    """Check that Redis refuses a password; an empty one means a login without credentials.

    :raises ProbeError: Redis accepts it, or does not answer.
    """
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
    raise ProbeError(f"Redis accepts clients {'with a wrong password' if password else 'without a password'}")


async def check_token_refused(settings: Settings, token: str) -> None:
    """Check that the service refuses a token; an empty one means a request without a token.

    :raises ProbeError: the service accepts it, or does not answer.
    """
    status, _answer = await asyncio.to_thread(http, settings.port, "POST", "/intent", {"text": "status"}, token)
    if status != 401:
        caller = "with a wrong token" if token else "without a token"
        raise ProbeError(f"a caller {caller} was answered with HTTP {status}, not 401")


async def probe(settings: Settings) -> None:
    """Run all checks.

    :raises ProbeError: a check failed.
    """
    try:
        await check_arrival(settings)
        await check_password_refused(settings, secrets.token_hex(16))
        await check_password_refused(settings, "")
        await check_token_refused(settings, secrets.token_hex(16))
        await check_token_refused(settings, "")
    except (RedisError, OSError) as error:
        raise ProbeError(reason(error, settings.redis_timeout)) from None


def main() -> int:
    """Print the result; return 1 when a check failed."""
    try:
        asyncio.run(probe(load(os.environ)))
    except (ProbeError, ConfigError) as error:
        print(error)
        return 1
    print("a command arrives; wrong and missing passwords and tokens are refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
