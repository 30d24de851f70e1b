# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts' endpoint of the AWS API: real TCP on one side, a real Unix socket on the other."""

from __future__ import annotations

import asyncio
import os
import socket
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ConnectionClosedError

from sandbox.cloud.process import listen
from sandbox.guest.endpoint import serve
from tests.support.cloudwatch import CloudWatch

DATUM = {"MetricName": "Heartbeat", "Value": 1.0}


class Echo(socketserver.BaseRequestHandler):
    """Echoes data, and counts the connections that ended."""

    ended = threading.Semaphore(0)

    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except OSError:
            pass
        finally:
            self.ended.release()


class EchoServer(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 256
    daemon_threads = True


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Run the endpoint; its socket is ``tmp_path / "aws.sock"``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    server = asyncio.run_coroutine_threadsafe(serve("127.0.0.1", 0, str(tmp_path / "aws.sock")), loop).result(10)
    yield int(server.sockets[0].getsockname()[1])

    async def close() -> set[asyncio.Task[None]]:
        """Stop, and return the connections that are still open after a while."""
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        open_still = (await asyncio.wait(tasks, timeout=10))[1] if tasks else set()
        for task in open_still:
            task.cancel()
        await asyncio.gather(*open_still, return_exceptions=True)
        return open_still

    open_still = asyncio.run_coroutine_threadsafe(close(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)
    loop.close()
    assert not open_still


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[EchoServer]:
    with EchoServer(str(tmp_path / "aws.sock"), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=10)


def exchange(port: int, data: bytes) -> bytes:
    """Send data, close the sending side, and return the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = connection.makefile("rb").read()
        sender.join(timeout=30)
    return received


def test_large_bodies_and_their_end_pass_in_both_directions(port: int, echo: EchoServer) -> None:
    data = bytes(range(256)) * 4096 * 8
    assert exchange(port, data) == data


def test_many_connections_at_once(port: int, echo: EchoServer) -> None:
    texts = [f"host {number}".encode() * 1000 for number in range(100)]
    with ThreadPoolExecutor(max_workers=20) as pool:
        assert list(pool.map(lambda text: exchange(port, text), texts)) == texts


@pytest.mark.parametrize("reset", [False, True])
def test_a_closed_caller_closes_the_other_side(port: int, echo: EchoServer, reset: bool) -> None:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(b"hello")
    assert connection.recv(5) == b"hello"
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    assert Echo.ended.acquire(timeout=10)


def test_connections_are_reset_without_a_cloud_and_pass_once_it_is_back(port: int, tmp_path: Path) -> None:
    # Only a pending read reports the reset reliably: a send at that moment would consume the error. It may also occur
    # during the connect.
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
        caller.recv(1)
    with EchoServer(str(tmp_path / "aws.sock"), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert exchange(port, b"here") == b"here"
        server.shutdown()
        thread.join(timeout=10)


@pytest.fixture
def inside(port: int, tmp_path: Path) -> Iterator[CloudWatch]:
    """A CloudWatch that serves on the socket like the cloud for hosts."""
    with CloudWatch() as server, server.for_hosts(tmp_path / "aws.sock", port):
        yield server


def test_boto3_reaches_the_cloud(inside: CloudWatch, port: int) -> None:
    inside.client().put_metric_data(Namespace="DigitalTwin", MetricData=[DATUM])
    host = inside.client(url=f"http://127.0.0.1:{port}")
    host.put_metric_data(Namespace="DigitalTwin", MetricData=[DATUM] * 1000)
    assert len(inside.datums()) == 1001
    assert [(call["host"], call["datums"]) for call in inside.calls()] == [(False, 1), (True, 1000)]


def test_a_lost_answer_does_not_reach_hosts(inside: CloudWatch, port: int) -> None:
    inside.fault("lost")
    with pytest.raises(ConnectionClosedError):
        inside.client(url=f"http://127.0.0.1:{port}").put_metric_data(Namespace="DigitalTwin", MetricData=[DATUM])
    assert len(inside.datums()) == 1


@pytest.mark.parametrize("path", ["_sandbox/faults", "_sandbox/health", "moto-api/reset"])
def test_hosts_do_not_control_the_sandbox(inside: CloudWatch, port: int, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", data=b"{}", timeout=10)
    with caught.value as refused:
        assert refused.code == 404


def test_the_path_of_the_socket_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    path = folder / "aws.sock"
    path.touch()
    with listen(path) as server, socket.socket(socket.AF_UNIX) as caller:
        descriptor = os.open(folder, os.O_PATH)
        caller.connect(f"/proc/self/fd/{descriptor}/aws.sock")
        os.close(descriptor)
        accepted = server.accept()[0]
        with accepted:
            caller.sendall(b"x")
            assert accepted.recv(1) == b"x"
