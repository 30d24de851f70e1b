"""The VPC's interface endpoint of the AWS API: TCP port 80 is forwarded to the cloud's Unix socket.

Runs in the container of the metadata service, with two arguments: the hosts' name for the endpoint, which Docker's DNS
resolves to this container's address on their network, and the socket. Each connection is independent, so the cloud may
be restarted.
"""

from __future__ import annotations

import asyncio
import sys

from sandbox.guest.relay import relay

PORT = 80


async def serve(host: str, port: int, path: str) -> asyncio.Server:
    """Listen, and pass each connection on to a Unix socket."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay((reader, writer), asyncio.open_unix_connection(path))

    return await asyncio.start_server(connected, host, port, backlog=1024)


async def main(host: str, path: str) -> None:
    """Serve until the container ends."""
    async with await serve(host, PORT, path) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
