# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Redis with the stack's own configuration: its users have exactly the rights that they need."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from tests.support.project import ROOT, load_yaml
from tests.unit.compose.cognitive.support import (
    COGNITIVE_PASSWORD,
    HEALTH_PASSWORD,
    ROBOT_PASSWORD,
    RedisServer,
    redis_users,
)

PASSWORDS = {"cognitive": COGNITIVE_PASSWORD, "robot": ROBOT_PASSWORD, "health": HEALTH_PASSWORD}
STREAM, FINISHED, CHANNEL, EVENTS = "robot_commands:stream", "robot_commands:finished", "robot_commands", "robot_events"
# The rights of each user; the tests of the programs show that they suffice.
ALLOWED: dict[str, list[list[object]]] = {
    "cognitive": [["PING"], ["XADD", STREAM, "*", "command", "x"], ["PUBLISH", CHANNEL, "x"]],
    "robot": [
        ["TIME"],
        ["XGROUP", "CREATE", STREAM, "robots", "0", "MKSTREAM"],
        ["XREADGROUP", "GROUP", "robots", "robot", "COUNT", 1, "STREAMS", STREAM, ">"],
        ["XACK", STREAM, "robots", "1-1"],
        ["ZADD", FINISHED, 1, "x"],
        ["ZSCORE", FINISHED, "x"],
        ["ZREMRANGEBYRANK", FINISHED, 0, -1001],
        ["PUBLISH", EVENTS, "x"],
    ],
    "health": [["PING"]],
}
EVERYBODY: list[list[object]] = [
    ["FLUSHALL"],
    ["FLUSHDB"],
    ["SWAPDB", 0, 1],
    ["SELECT", 1],
    ["CONFIG", "GET", "*"],
    ["CONFIG", "SET", "maxmemory", 1],
    ["CONFIG", "REWRITE"],
    ["EVAL", "return 1", 0],
    ["EVALSHA", "0" * 40, 0],
    ["SCRIPT", "LOAD", "return 1"],
    ["FUNCTION", "LOAD", "#!lua name=x\nredis.register_function('x', function() end)"],
    ["FCALL", "x", 0],
    ["SHUTDOWN", "NOSAVE"],
    ["DEBUG", "SLEEP", 0],
    ["MODULE", "LIST"],
    ["MODULE", "LOAD", "/data/x.so"],
    ["KEYS", "*"],
    ["SCAN", 0],
    ["DBSIZE"],
    ["RANDOMKEY"],
    ["TYPE", STREAM],
    ["DEL", STREAM],
    ["UNLINK", FINISHED],
    ["EXPIRE", STREAM, 1],
    ["RENAME", STREAM, "x"],
    ["COPY", STREAM, "x"],
    ["DUMP", STREAM],
    ["RESTORE", "x", 0, "x"],
    ["MIGRATE", "127.0.0.1", 9, STREAM, 0, 1],
    ["SORT", STREAM],
    ["GET", "x"],
    ["SET", "x", "x"],
    ["XTRIM", STREAM, "MAXLEN", 0],
    ["XDEL", STREAM, "1-1"],
    ["XSETID", STREAM, "1-1"],
    ["XRANGE", STREAM, "-", "+"],
    ["XREAD", "STREAMS", STREAM, "0"],
    ["XINFO", "STREAM", STREAM],
    ["XGROUP", "DESTROY", STREAM, "robots"],
    ["XGROUP", "SETID", STREAM, "robots", "0"],
    ["XGROUP", "DELCONSUMER", STREAM, "robots", "robot"],
    ["XCLAIM", STREAM, "robots", "x", 0, "1-1"],
    ["XAUTOCLAIM", STREAM, "robots", "x", 0, "0"],
    ["CLIENT", "LIST"],
    ["CLIENT", "KILL", "TYPE", "normal"],
    ["CLIENT", "PAUSE", 1000],
    ["CLIENT", "NO-EVICT", "on"],
    ["CLIENT", "SETNAME", "x"],
    ["ACL", "LIST"],
    ["ACL", "WHOAMI"],
    ["ACL", "SETUSER", "x", "on", "nopass", "+@all"],
    ["ACL", "LOAD"],
    ["ACL", "SAVE"],
    ["ACL", "LOG"],
    ["MONITOR"],
    ["INFO"],
    ["SLOWLOG", "GET"],
    ["LATENCY", "RESET"],
    ["MEMORY", "PURGE"],
    ["COMMAND"],
    ["SAVE"],
    ["BGSAVE"],
    ["BGREWRITEAOF"],
    ["LASTSAVE"],
    ["REPLICAOF", "127.0.0.1", 9],
    ["PSYNC", "?", -1],
    ["SYNC"],
    ["FAILOVER"],
    ["CLUSTER", "INFO"],
    ["WAIT", 0, 0],
    ["PUBSUB", "CHANNELS"],
    ["PSUBSCRIBE", "*"],
    ["PSUBSCRIBE", "robot_commands*"],
    ["SSUBSCRIBE", CHANNEL],
    ["SPUBLISH", CHANNEL, "x"],
    ["SUBSCRIBE", "__keyspace@0__:x"],
    ["SUBSCRIBE", EVENTS],
    ["PUBLISH", "elsewhere", "x"],
    ["WATCH", "x"],
    ["GEORADIUS", STREAM, 0, 0, 1, "m", "STORE", "x"],
    ["LMOVE", STREAM, "x", "LEFT", "LEFT"],
]
# Rights of another user, or of the same user on other keys and channels.
REFUSED: dict[str, list[list[object]]] = {
    "cognitive": [
        *ALLOWED["robot"],
        ["XADD", FINISHED, "*", "command", "x"],
        ["XADD", "x", "*", "command", "x"],
        ["PUBLISH", EVENTS, "x"],
        ["SUBSCRIBE", "elsewhere"],
    ],
    "robot": [
        *ALLOWED["cognitive"],
        ["XADD", STREAM, "*", "command", "x"],
        ["PUBLISH", CHANNEL, "x"],
        ["SUBSCRIBE", CHANNEL, EVENTS],
        ["ZADD", STREAM, 1, "x"],
        ["ZADD", "x", 1, "x"],
        ["ZSCORE", "x", "x"],
        ["XACK", FINISHED, "robots", "1-1"],
        ["XGROUP", "CREATE", "x", "robots", "0", "MKSTREAM"],
        ["XREADGROUP", "GROUP", "robots", "robot", "STREAMS", STREAM, "x", ">", ">"],
    ],
    "health": [*ALLOWED["robot"], *ALLOWED["cognitive"][1:], ["MULTI"], ["SUBSCRIBE", CHANNEL]],
}


@contextmanager
def stack_redis(folder: Path, users: str | None) -> Iterator[RedisServer]:
    """Run Redis with compose/redis.conf, with other paths and another port, and a file of users."""
    server = RedisServer(folder)
    text = (ROOT / "compose" / "redis.conf").read_text("utf-8")
    others = {
        "bind * -::*": "bind 127.0.0.1",
        "port 6379": f"port {server.port}",
        "/run/redis/redis.sock": str(server.socket),
        "dir /data": f"dir {folder}",
        "/run/secrets/redis_acl": str(folder / "redis_acl"),
    }
    for ours, other in others.items():
        assert text.count(ours) == 1, ours
        text = text.replace(ours, other)
    (folder / "redis.conf").write_text(text)
    if users is not None:
        (folder / "redis_acl").write_text(users)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run the stack's Redis for all tests of this file."""
    with stack_redis(tmp_path_factory.mktemp("redis"), redis_users()) as server:
        yield server


def client_of(server: RedisServer, user: str | None, password: str | None) -> Any:
    """Return a client with this user name."""
    # An authentication error counts as a connection error, which the client would retry.
    retry = Retry(NoBackoff(), 0)
    return Redis(host="127.0.0.1", port=server.port, username=user, password=password, protocol=2, retry=retry)


def run(server: RedisServer, user: str, command: list[object]) -> None:
    """Send one command as a user, over a separate connection."""
    client = client_of(server, user, PASSWORDS[user])
    try:
        client.execute_command(*command)
    finally:
        client.close()


@pytest.mark.parametrize("user", PASSWORDS)
def test_a_user_may_use_its_own_commands(stacked: RedisServer, user: str) -> None:
    run(stacked, "cognitive", ["XADD", STREAM, "*", "command", "x"])
    for command in ALLOWED[user]:
        try:
            run(stacked, user, command)
        except RedisError as error:
            assert "BUSYGROUP" in str(error), (command, error)


@pytest.mark.parametrize("user", PASSWORDS)
def test_a_user_may_use_no_other_command(stacked: RedisServer, user: str) -> None:
    for command in [*EVERYBODY, *REFUSED[user]]:
        with pytest.raises(RedisError) as refused:
            run(stacked, user, command)
        # Redis' default configuration refuses DEBUG and MODULE to all users.
        assert isinstance(refused.value, NoPermissionError) or "command not allowed" in str(refused.value), command


@pytest.mark.parametrize("user", ["cognitive", "robot"])
@pytest.mark.parametrize("command", [["FLUSHALL"], ["CONFIG", "SET", "maxmemory", 1], ["PUBLISH", "elsewhere", "x"]])
def test_a_transaction_does_not_bypass_rights(stacked: RedisServer, user: str, command: list[object]) -> None:
    client = client_of(stacked, user, PASSWORDS[user])
    with client.pipeline(transaction=True) as exchange:
        exchange.execute_command(*command)
        with pytest.raises(NoPermissionError):
            exchange.execute()
    client.close()


STRANGERS: list[tuple[str | None, str | None]] = [
    (None, None),
    (None, ""),
    (None, COGNITIVE_PASSWORD),
    ("default", ""),
    ("default", COGNITIVE_PASSWORD),
    ("default", "default"),
    ("cognitive", ""),
    ("cognitive", ROBOT_PASSWORD),
    ("robot", COGNITIVE_PASSWORD),
    ("robot", HEALTH_PASSWORD),
    ("health", COGNITIVE_PASSWORD),
    ("health", ""),
    ("Cognitive", COGNITIVE_PASSWORD),
    ("admin", COGNITIVE_PASSWORD),
]


@pytest.mark.parametrize(("user", "password"), STRANGERS)
def test_other_names_and_passwords_are_refused(stacked: RedisServer, user: str | None, password: str | None) -> None:
    client = client_of(stacked, user, password)
    with pytest.raises(AuthenticationError):
        client.ping()
    client.close()


def test_a_hash_is_not_accepted_as_a_password(stacked: RedisServer) -> None:
    """The file of users contains nothing that Redis accepts as a password."""
    users = redis_users()
    assert not [password for password in PASSWORDS.values() if password in users]
    [hashed] = [word[1:] for line in users.splitlines() if line.startswith("user robot ") for word in line.split()[3:4]]
    for password in (hashed, f"#{hashed}"):
        with pytest.raises(AuthenticationError):
            client_of(stacked, "robot", password).ping()


def test_without_users_every_login_is_refused(tmp_path: Path) -> None:
    with stack_redis(tmp_path, "") as server:
        for user, password in [*STRANGERS, *PASSWORDS.items()]:
            with pytest.raises(AuthenticationError):
                client_of(server, user, password).ping()


def test_without_the_file_of_users_redis_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="did not start"), stack_redis(tmp_path, None):
        pass


def test_the_health_check_of_redis_uses_its_own_user(stacked: RedisServer, tmp_path: Path) -> None:
    _shell, text = load_yaml(PurePosixPath("compose/compose.yaml"))["services"]["redis"]["healthcheck"]["test"]
    text = text.replace("$$", "$").replace("redis-cli", f"redis-cli -p {stacked.port}")
    text = text.replace("/run/secrets", str(tmp_path))

    def check(password: str) -> int:
        (tmp_path / "redis_health_password").write_text(f"{password}\n")
        command = ["sh", "-c", text]
        return subprocess.run(
            command, env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=60, check=False
        ).returncode

    assert check(HEALTH_PASSWORD) == 0
    assert check("wrong") != 0
    assert check("") != 0


def test_refused_clients_do_not_disturb_others(stacked: RedisServer) -> None:
    """None of the attacks above has stopped or emptied Redis."""
    run(stacked, "health", ["PING"])
    moment = time.time()
    client = client_of(stacked, "robot", ROBOT_PASSWORD)
    client.zadd(FINISHED, {"kept": moment})
    assert client.zscore(FINISHED, "kept") == pytest.approx(moment)
    client.close()
