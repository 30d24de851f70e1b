"""The internet gateway: listens on each Elastic IP and forwards the connections that the security groups allow.

Runs in a container in the machine's network namespace (a port below 1024 needs root, the sandbox does not), with one
argument: the file with the routes, a JSON list of
``{"address": "127.66.1.4", "port": 22, "target": "172.29.4.3", "sources": ["127.0.0.1/32"]}``.
The cloud replaces the file whenever an address, an instance or a security group changes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sys
from pathlib import Path
from typing import NamedTuple

from sandbox.guest.relay import relay

LOOK_SECONDS = 0.1


class Route(NamedTuple):
    """One TCP port of one Elastic IP."""

    address: str
    port: int
    target: str
    sources: tuple[str, ...]

    def admits(self, peer: str) -> bool:
        """Return whether the security group allows this source address."""
        return any(ipaddress.ip_address(peer) in ipaddress.ip_network(source, strict=False) for source in self.sources)


def read_routes(path: Path) -> set[Route]:
    """Return the routes in the file; none while it is missing."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    return {Route(row["address"], row["port"], row["target"], tuple(row["sources"])) for row in rows}


async def serve(route: Route) -> asyncio.Server:
    """Listen for one route."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if route.admits(writer.get_extra_info("peername")[0]):
            await relay((reader, writer), asyncio.open_connection(route.target, route.port))
        else:
            writer.close()

    return await asyncio.start_server(connected, route.address, route.port)


async def main(path: Path) -> None:
    """Open and close listeners to match the file."""
    servers: dict[Route, asyncio.Server] = {}
    while True:
        wanted = read_routes(path)
        for route in servers.keys() - wanted:
            servers.pop(route).close()
        for route in wanted - servers.keys():
            try:
                servers[route] = await serve(route)
            except OSError as error:
                print(f"{route.address}:{route.port}: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
