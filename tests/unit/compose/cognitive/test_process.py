# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as a process, as in the container: start, answers, probe and stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compose.cognitive.health import ProbeError, http
from tests.unit.compose.cognitive.support import (
    API_KEY,
    COGNITIVE_PASSWORD,
    ROOT,
    TOKEN,
    RedisServer,
    fake_nim,
    free_port,
    listening,
    once,
    says,
)
from tests.unit.roles.digital_twin_stack.test_programs import command

START_SECONDS = 60.0


def environment(folder: Path, redis: RedisServer, port: int, nim_url: str = "") -> dict[str, str]:
    """Return the environment of a service; its secrets are in files."""
    (folder / "password").write_text(COGNITIVE_PASSWORD)
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "key").write_text(API_KEY)
    return {
        "PATH": os.environ["PATH"],
        "LISTEN_HOST": "127.0.0.1",
        "LISTEN_PORT": str(port),
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis.port),
        "REDIS_USERNAME": "cognitive",
        "REDIS_PASSWORD_FILE": str(folder / "password"),
        "TOKEN_FILE": str(folder / "token"),
        "PLACES_FILE": str(ROOT / "compose" / "places.json"),
        "NIM_URL": nim_url,
        "NIM_API_KEY_FILE": str(folder / "key"),
    }


def run(module: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one of the service's programs to its end."""
    command = [sys.executable, "-m", f"compose.cognitive{module}"]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def started(settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run the service, and end it with the test at the latest."""
    command = [sys.executable, "-m", "compose.cognitive"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            try:
                http(int(settings["LISTEN_PORT"]), "GET", "/")
            except ProbeError:
                time.sleep(0.05)
            else:
                break
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_service_starts_passes_its_checks_and_ends_on_sigterm(redis: RedisServer, tmp_path: Path) -> None:
    settings = environment(tmp_path, redis, free_port())
    with started(settings) as process:
        check = run(".health", settings)
        assert (check.returncode, check.stdout) == (0, "healthy\n")
        probe = run(".probe", settings)
        assert (probe.returncode, probe.stdout) == (
            0,
            "a command arrives; wrong and missing passwords and tokens are refused\n",
        )
        redis.stop()
        check = run(".health", settings)
        assert check.returncode == 1
        assert "Redis cannot be reached" in check.stdout
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    events = [json.loads(line) for line in output.splitlines()]
    assert events[0]["event"] == "starting"
    assert {"command", "request"} <= {event["event"] for event in events}
    assert COGNITIVE_PASSWORD not in output
    assert API_KEY not in output
    assert TOKEN not in output


def test_the_hosts_command_sends_a_text(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command reads the token from the role's path, and prints the service's answer."""
    settings = environment(tmp_path, redis, port := free_port())
    state = {"Status": "running", "ExitCode": 0, "StartedAt": ""}
    bindings = {"8001/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    labels = {"com.docker.compose.service": "cognitive"}
    raw = {"Id": "1", "State": state, "Config": {"Labels": labels, "Env": []}, "HostConfig": {"PortBindings": bindings}}
    monkeypatch.setattr(command, "read_containers", lambda _project: {"cognitive": command.container_from(raw)})
    arguments = ["digital-twin", "10"]
    monkeypatch.setattr(command, "__file__", str(tmp_path / "digital_twin.py"))
    (tmp_path / "secrets").mkdir()

    def typed(*words: str) -> tuple[int, str, str]:
        status = command.main([*arguments, *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    with started(settings):
        status, out, err = typed("say", "go", "home")
        assert (status, out) == (command.UNKNOWN, "")
        assert "The token cannot be read (No such file or directory" in err
        (tmp_path / "secrets" / "cognitive_token").write_text(f"{TOKEN}\n")
        status, out, err = typed("say", "go", "home")
        answer = json.loads(out)
        assert (status, err, answer["published"], answer["command"]["target"]) == (0, "", True, "home")
        status, out, err = typed("say", "go to the kitchen")
        assert (status, out) == (command.FAILED, "")
        assert "Known places: zone_a" in err
        (tmp_path / "secrets" / "cognitive_token").write_text("another one\n")
        status, out, err = typed("say", "stop")
        assert (status, out) == (command.FAILED, "")
        assert "Authorization: Bearer TOKEN" in err
        assert "another one" not in err
    assert typed("token") == (0, "another one\n", "")
    assert typed("say")[0] == command.USED_WRONGLY
    assert typed("token", "now")[0] == command.USED_WRONGLY
    status, _out, err = typed("say", "stop")
    assert status == command.UNKNOWN
    assert "does not answer on 127.0.0.1" in err
    (tmp_path / "secrets" / "cognitive_token").write_bytes(b"\xff")
    status, _out, err = typed("say", "stop")
    assert (status, err.partition(" (")[0]) == (command.UNKNOWN, "digital-twin: The token cannot be read")
    bindings.clear()
    status, _out, err = typed("say", "stop")
    assert (status, "has no port on this host" in err) == (command.UNKNOWN, True)


def test_a_command_in_progress_is_finished_before_the_end(redis: RedisServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        answer = says({"action": "navigate", "target": "zone_b", "confidence": 0.9})
        understood = asyncio.Event()
        async with fake_nim(once(understood, answer)) as nim:
            settings = environment(tmp_path, redis, port := free_port(), nim.url)
            with started(settings) as process:
                body = {"text": "off you go"}
                asking = asyncio.create_task(asyncio.to_thread(http, port, "POST", "/command", body, TOKEN))
                while not nim.asked:
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.5)
                understood.set()
                status, reply = await asking
                assert (status, reply["published"], reply["source"]) == (200, True, "nim")
                assert await asyncio.to_thread(process.wait, 60) == 0

    asyncio.run(scenario())


def test_keywords_finish_a_command_if_the_model_does_not_answer_before_the_end(
    redis: RedisServer, tmp_path: Path
) -> None:
    async def scenario() -> None:
        never = asyncio.Event()
        async with fake_nim(once(never, says({}))) as nim:
            settings = {**environment(tmp_path, redis, port := free_port(), nim.url), "NIM_TIMEOUT": "60"}
            with started(settings) as process:
                body = {"text": "could you move to zone b"}
                asking = asyncio.create_task(asyncio.to_thread(http, port, "POST", "/command", body, TOKEN))
                while not nim.asked:
                    assert not asking.done()
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                status, reply = await asking
                assert (status, reply["published"], reply["source"]) == (200, True, "keywords")
                assert reply["fallback"] == "NIM did not answer before the service ended"
                assert await asyncio.to_thread(process.wait, 60) == 0
            never.set()

    asyncio.run(scenario())


@pytest.mark.parametrize("ends", [True, False], ids=["broken off", "not ended"])
def test_stop_is_obeyed_when_its_body_is_incomplete(redis: RedisServer, tmp_path: Path, ends: bool) -> None:
    async def scenario() -> None:
        settings = environment(tmp_path, redis, port := free_port())
        with started(settings):
            async with listening(redis) as robot:
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                headers = [
                    "Host: localhost",
                    f"Authorization: Bearer {TOKEN}",
                    "Content-Type: application/json",
                    "Content-Length: 500",
                ]
                head = "\r\n".join(["POST /command HTTP/1.1", *headers])
                writer.write(f'{head}\r\n\r\n{{"text": "stop"}}'.encode())
                await writer.drain()
                if ends:
                    await asyncio.sleep(0.5)
                    writer.close()
                message = await robot.next()
                assert message is not None
                assert json.loads(message)["action"] == "stop"
                writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LISTEN_PORT", "99999", "LISTEN_PORT is '99999'. Allowed: 1 to 65535"),
        ("REDIS_PASSWORD_FILE", "/nowhere", "REDIS_PASSWORD_FILE is '/nowhere', which cannot be read"),
        ("PLACES_FILE", "/nowhere", "/nowhere: No such file or directory"),
    ],
)
def test_bad_settings_end_with_one_line(
    redis: RedisServer, tmp_path: Path, variable: str, value: str, message: str
) -> None:
    ended = run("", {**environment(tmp_path, redis, free_port()), variable: value})
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith(f"cognitive cannot start: {message}")


def test_health_check_without_a_service(redis: RedisServer, tmp_path: Path) -> None:
    check = run(".health", environment(tmp_path, redis, port := free_port()))
    assert check.returncode == 1
    assert check.stdout.startswith(f"the service does not answer on port {port}")


def test_the_probe_detects_a_redis_without_a_password(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, password="")
    server.start()
    try:
        settings = {**environment(tmp_path, server, free_port()), "REDIS_USERNAME": ""}
        (tmp_path / "password").write_text("")
        with started(settings):
            probe = run(".probe", settings)
    finally:
        server.stop()
    assert probe.returncode == 1
    assert probe.stdout == "Redis accepts clients with a wrong password\n"


def test_probe_without_a_redis(redis: RedisServer, tmp_path: Path) -> None:
    redis.stop()
    probe = run(".probe", environment(tmp_path, redis, free_port()))
    assert probe.returncode == 1
    assert "Redis cannot be reached" in probe.stdout


def test_malformed_requests_leave_no_token_in_the_log(redis: RedisServer, tmp_path: Path) -> None:
    settings = environment(tmp_path, redis, port := free_port())
    secret = f"Bearer {TOKEN}"
    broken = [
        f"Authorization: {secret}\x01",
        f"Authorization\x01: {secret}",
        f"{secret}",
        f"{secret}\x00: x",
        f" : {secret}",
    ]
    with started(settings) as process:
        for line in broken:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                client.sendall(f"POST /command HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n".encode("latin-1"))
                assert client.recv(100).startswith(b"HTTP/1.")
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    assert "starting" in output
    assert TOKEN not in output
