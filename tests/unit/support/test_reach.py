# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reachability probe distinguishes answers from silence, and the table in docs has its format."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import ROOT, run
from tests.support.reach import (
    ANSWERS,
    COLUMNS,
    FILTERED,
    NOT_TRIED,
    PROBE,
    Place,
    admits,
    admits_members,
    markdown,
    split,
    try_all,
)

Serve = Callable[[bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a server with one answer for all callers, and returns its address and port."""
    with ExitStack() as stack:

        def _serve(answer: bytes) -> str:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def accept() -> None:
                while True:
                    try:
                        connection, _peer = listening.accept()
                    except OSError:
                        return
                    with connection:
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(65536)

            threading.Thread(target=accept, daemon=True).start()
            return f"127.0.0.1:{listening.getsockname()[1]}"

        yield _serve


def ask(*tries: tuple[str, str, str]) -> dict[str, str]:
    """Return the probe's output on this machine."""
    return try_all(Place("here", list(tries), lambda words: run(["perl", str(PROBE), *words]), {}))


@pytest.mark.parametrize(
    ("kind", "answer", "said"),
    [
        ("ssh", b"SSH-2.0-OpenSSH_10.0\r\n", "key"),
        ("ssh", b"220 ftp\r\n", "no"),
        ("redis", b"+PONG\r\n", "yes"),
        ("redis", b"-NOAUTH Authentication required.\r\n", "password"),
        ("redis", b"", "no"),
        ("metadata", b"HTTP/1.1 200 OK\r\n\r\ntoken", "yes"),
        ("metadata", b"HTTP/1.1 403 Forbidden\r\n\r\n", "no"),
        ("intent", b"HTTP/1.1 200 OK\r\n\r\n{}", "yes"),
        ("intent", b"HTTP/1.1 401 Unauthorized\r\n\r\n", "token"),
        ("intent", b"HTTP/1.1 403 Forbidden\r\n\r\n", "token"),
        ("http", b"HTTP/1.1 501 Not Implemented\r\n\r\n", "yes"),
        ("http", b"", "no"),
        ("bridge", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "yes"),
        ("grpc", b"\0\0\0\4\0\0\0\0\0", "yes"),
        ("grpc", b"", "no"),
    ],
)
def test_an_answer_is_distinguished_from_none(serve: Serve, kind: str, answer: bytes, said: str) -> None:
    assert ask(("column", kind, serve(answer))) == {"column": said}


def test_the_answer_with_the_most_access_counts(serve: Serve) -> None:
    closed = "127.0.0.1:1"
    ways = [("Redis", "redis", place) for place in (closed, serve(b"-NOAUTH\r\n"), closed, serve(b"+PONG\r\n"))]
    assert ask(*ways[:3]) == {"Redis": "password"}
    assert ask(*ways) == {"Redis": "yes"}
    # More than the limit of parallel probes.
    assert ask(*[("SSH", "ssh", closed)] * 50, ("SSH", "ssh", serve(b"SSH-2.0-x\r\n"))) == {"SSH": "key"}


def test_files_and_sockets(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret", "utf-8")
    (tmp_path / "empty").touch()
    files = [("secrets", f"file:{name}", str(tmp_path / name)) for name in ("key", "empty", "missing")]
    assert ask(*files) == {"secrets": "key"}
    assert ask(*files[1:], ("Docker socket", "docker", str(tmp_path / "none"))) == {
        "secrets": "no",
        "Docker socket": "no",
    }


def rule(protocol: str, first: int, last: int, *cidrs: str, member: bool = False) -> dict[str, Any]:
    """Return a rule as EC2 describes it."""
    row: dict[str, Any] = {"IpProtocol": protocol, "IpRanges": [{"CidrIp": cidr} for cidr in cidrs]}
    return {**row, "FromPort": first, "ToPort": last, "UserIdGroupPairs": [{"GroupId": "sg-1"}] if member else []}


def test_a_security_groups_rules() -> None:
    (dds,) = COLUMNS["DDS"]
    everywhere = "0.0.0.0/0"
    assert admits([rule("udp", 7400, 7500, "203.0.113.0/24")], dds, everywhere)
    assert admits([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": everywhere}], "UserIdGroupPairs": []}], dds, everywhere)
    assert not admits([rule("tcp", 7400, 7500, everywhere)], dds, everywhere)
    assert not admits([rule("udp", 7411, 7500, everywhere)], dds, everywhere)
    assert not admits([rule("udp", 7400, 7500, member=True)], dds, everywhere)
    assert admits_members([rule("udp", 7400, 7500, member=True)], dds)
    assert not admits_members([rule("udp", 7400, 7500, everywhere)], dds)


def test_the_documented_table_has_the_columns_and_words_of_the_test() -> None:
    _before, table, _after = split((ROOT / "docs" / "reach.md").read_text("utf-8"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert markdown({}).splitlines() == table.splitlines()[:2]
    assert all(len(row) == len(COLUMNS) + 1 for row in rows)
    secrets = 1 + list(COLUMNS).index("secrets")
    for row in rows[2:]:
        answers = {cell.removesuffix(FILTERED) for index, cell in enumerate(row) if index not in (0, secrets)}
        assert answers <= {*ANSWERS, NOT_TRIED}, row[0]
