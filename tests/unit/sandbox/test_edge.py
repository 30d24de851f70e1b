# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The internet gateway on real sockets of the loopback range."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.guest.edge import Route
from sandbox.waiting import wait_until
from tests.support.project import ROOT

OUTSIDE, INSIDE = "127.98.7.6", "127.98.7.7"


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    request_queue_size = 256


@pytest.fixture
def echo_port() -> Iterator[int]:
    with EchoServer((INSIDE, 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join(timeout=10)


@pytest.fixture
def routes(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "edge.json"
    edge = subprocess.Popen([sys.executable, "-m", "sandbox.guest.edge", path], cwd=ROOT)
    yield path
    edge.kill()
    edge.wait(timeout=10)


def write(path: Path, port: int, sources: list[str]) -> None:
    row = {"address": OUTSIDE, "port": port, "target": INSIDE, "sources": sources}
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps([row]))
    scratch.replace(path)


def exchange(port: int, data: bytes = b"hello") -> bytes:
    with socket.create_connection((OUTSIDE, port), timeout=5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def listens(port: int) -> bool:
    try:
        socket.create_connection((OUTSIDE, port), timeout=1).close()
    except OSError:
        return False
    return True


def test_the_edge_forwards_and_follows_its_file(routes: Path, echo_port: int) -> None:
    assert not listens(echo_port)
    write(routes, echo_port, ["127.0.0.0/8"])
    wait_until(lambda: listens(echo_port), what="the edge to listen", seconds=10)
    megabyte = bytes(range(256)) * 4096
    assert exchange(echo_port, megabyte) == megabyte
    routes.write_text("[]")
    wait_until(lambda: not listens(echo_port), what="the edge to close", seconds=10)


def test_many_connections_at_once_succeed(routes: Path, echo_port: int) -> None:
    write(routes, echo_port, ["127.0.0.0/8"])
    wait_until(lambda: listens(echo_port), what="the edge to listen", seconds=10)
    texts = [f"caller {number}".encode() * 1000 for number in range(200)]
    with ThreadPoolExecutor(max_workers=20) as pool:
        assert list(pool.map(lambda text: exchange(echo_port, text), texts)) == texts


def test_a_source_outside_the_rule_gets_nothing(routes: Path, echo_port: int) -> None:
    write(routes, echo_port, ["192.0.2.0/24"])
    wait_until(lambda: listens(echo_port), what="the edge to listen", seconds=10)
    with socket.create_connection((OUTSIDE, echo_port), timeout=5) as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("sources", "admitted"),
    [(("127.0.0.1/32",), True), (("10.0.0.0/8", "127.0.0.0/8"), True), (("198.51.100.4/32",), False), ((), False)],
)
def test_route_admits(sources: tuple[str, ...], admitted: bool) -> None:
    assert Route(OUTSIDE, 22, INSIDE, sources).admits("127.0.0.1") is admitted
