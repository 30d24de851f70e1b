"""Relays between two connections, transparently for both sides."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Awaitable

CONNECT_SECONDS = 10
# How long a caller's side may stay open after the other side has ended, in seconds.
LEAVE_SECONDS = 10
# The event loop holds weak references only: tasks could be collected in the middle of a connection.
OPEN: set[asyncio.Task[None] | None] = set()

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection, so that the peer gets an error at once."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction until its end; a broken connection is reset on the other side as well."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        reset(writer)


async def relay(caller: Streams, opening: Awaitable[Streams]) -> None:
    """Join a caller to the connection that ``opening`` opens, until both have ended."""
    task = asyncio.current_task()
    OPEN.add(task)
    reader, writer = caller
    try:
        inner_reader, inner_writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
        sending = asyncio.create_task(pump(reader, inner_writer))
        with contextlib.closing(inner_writer):
            await pump(inner_reader, writer)
            await asyncio.wait_for(sending, LEAVE_SECONDS)
    except (TimeoutError, OSError) as error:
        print(error or "timed out", file=sys.stderr, flush=True)
        reset(writer)
    finally:
        writer.close()
        OPEN.discard(task)
