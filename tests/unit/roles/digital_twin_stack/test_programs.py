# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that role digital_twin_stack installs, with a fake Docker and a fake metadata service."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pytest

from tests.support.project import ROOT, expect_none, load_yaml

PUBLIC = "203.0.113.7"
TOKEN_HINT = "commands need a token: sudo digital-twin token. From this host: sudo digital-twin say go home"
FAKE_DOCKER = """#!/bin/sh
case "$1" in
  ps) echo 1 2 3 4 ;;
  inspect) cat "$(dirname "$0")/inspected.json" ;;
esac
"""


def load(name: str) -> ModuleType:
    """Return a program as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "roles/digital_twin_stack/files" / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


command = load("digital_twin")
logs = load("digital_twin_logs")


class Metadata(BaseHTTPRequestHandler):
    """The metadata service, version 2, of an instance that has a public address."""

    def do_PUT(self) -> None:
        self.answer(200, "a token" if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else "")

    def do_GET(self) -> None:
        known = self.path == "/latest/meta-data/public-ipv4" and self.headers["X-aws-ec2-metadata-token"] == "a token"
        self.answer(*(200, PUBLIC) if known else (404, "not found"))

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def on_ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


def container(service: str, environment: list[str], port: str = "", address: str = "", **state: Any) -> dict[str, Any]:
    """Return the output of ``docker inspect`` for a container."""
    bindings = {port: [{"HostIp": address, "HostPort": port.partition("/")[0]}]} if port else {}
    return {
        "Id": service,
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z", **state},
        "Config": {"Labels": {"com.docker.compose.service": service}, "Env": environment},
        "HostConfig": {"PortBindings": bindings},
    }


@pytest.fixture
def urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Return a function that returns the output of ``digital-twin url`` for some containers."""

    def told(*containers: dict[str, Any]) -> list[str]:
        (tmp_path / "docker").write_text(FAKE_DOCKER, encoding="utf-8")
        (tmp_path / "docker").chmod(0o755)
        (tmp_path / "inspected.json").write_text(json.dumps(containers), encoding="utf-8")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setenv("SUDO_USER", "ubuntu")
        command.show_urls(command.Project("digital-twin", tmp_path, 10))
        return capsys.readouterr().out.splitlines()

    return told


@pytest.mark.usefixtures("on_ec2")
def test_urls_of_open_services_have_the_public_address(urls: Callable[..., list[str]]) -> None:
    assert urls(
        container("redis", ["REDIS_PASSWORD=canary"]),
        container("cognitive", [], "8001/tcp", "0.0.0.0"),
        container("foxglove", [], "8080/tcp", "0.0.0.0"),
        container("ros2", ["FOXGLOVE_BRIDGE_ADDRESS=0.0.0.0"]),
        container("isaac_sim", []),
    ) == [
        f"viewer            http://{PUBLIC}:8080/?ds=foxglove-websocket&ds.url=ws://{PUBLIC}:8765",
        f"Foxglove bridge   ws://{PUBLIC}:8765",
        f"Isaac Sim stream  {PUBLIC}, in the Isaac Sim WebRTC Streaming Client (ports 49100/tcp and 47998/udp)",
        f"commands          http://{PUBLIC}:8001/command",
        TOKEN_HINT,
    ]


@pytest.mark.usefixtures("on_ec2")
def test_urls_explain_how_to_reach_services_that_are_not_open(urls: Callable[..., list[str]]) -> None:
    assert urls(
        container("foxglove", [], "8080/tcp", "127.0.0.1"),
        container("ros2", ["FOXGLOVE_BRIDGE_ADDRESS=127.0.0.1"], Status="exited"),
    ) == [
        "viewer           http://127.0.0.1:8080/?ds=foxglove-websocket&ds.url=ws://127.0.0.1:8765 (*)",
        "Foxglove bridge  ws://127.0.0.1:8765 (*)",
        "(*) listens on 127.0.0.1 only; from your computer, open it there after: "
        f"ssh -L 8080:127.0.0.1:8080 -L 8765:127.0.0.1:8765 ubuntu@{PUBLIC}",
    ]


@pytest.mark.usefixtures("on_ec2")
def test_urls_show_the_tunnel_to_the_speech_recogniser(urls: Callable[..., list[str]]) -> None:
    assert urls(container("riva", [], "50051/tcp", "127.0.0.1")) == [
        "speech recognition  127.0.0.1:50051, by gRPC (*)",
        "(*) listens on 127.0.0.1 only; from your computer, open it there after: "
        f"ssh -L 50051:127.0.0.1:50051 ubuntu@{PUBLIC}",
    ]


def test_urls_without_ec2_have_an_address_of_the_host(
    urls: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    bridge = container("ros2", ["FOXGLOVE_BRIDGE_ADDRESS=0.0.0.0"], Status="exited")
    assert urls(bridge) == [
        f"Foxglove bridge  ws://{command.primary_address()}:8765",
        "None of them runs now: sudo digital-twin start",
    ]
    assert urls(container("cognitive", [], "8001/tcp", "198.51.100.3")) == [
        "commands  http://198.51.100.3:8001/command",
        TOKEN_HINT,
    ]


def test_a_record_stores_each_line_once(tmp_path: Path) -> None:
    path = tmp_path / "redis.log"
    for _start in range(2):
        record = logs.Record(path)
        for second in range(3):
            record.write(b"2026-01-01T00:00:0%d.000000000Z" % second, b"line %d" % second)
    assert path.read_text(encoding="utf-8").splitlines() == [
        f"2026-01-01T00:00:0{second}.000000000Z line {second}" for second in range(3)
    ]


def test_a_truncated_record_continues(tmp_path: Path) -> None:
    path = tmp_path / "redis.log"
    path.write_bytes(b"2026-01-01T00:00:01.000000000Z whole\n2026-01-01T00:00:02.000000000Z cut sh")
    assert logs.last_stamp(path) == b"2026-01-01T00:00:01.000000000Z"
    assert logs.where_to_begin(tmp_path) == ["--since=2025-12-31T23:59:01+00:00"]
    logs.Record(path).write(b"2026-01-01T00:00:02.000000000Z", b"cut short no more")
    assert path.read_bytes().splitlines()[1:] == [
        b"2026-01-01T00:00:02.000000000Z cut sh",
        b"2026-01-01T00:00:02.000000000Z cut short no more",
    ]


def test_a_record_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LIMIT_BYTES", 100)
    record = logs.Record(tmp_path / "redis.log")
    for second in range(10):
        record.write(b"2026-01-01T00:00:0%d.000000000Z" % second, b"a line")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"redis.log", "redis.log.1"}
    assert max(sizes.values()) <= 100
    assert logs.last_stamp(tmp_path / "redis.log") == b"2026-01-01T00:00:09.000000000Z"


@pytest.mark.parametrize("name", ["digital-twin.j2", "digital-twin.service.j2", "digital-twin-logs.service.j2"])
def test_files_in_shared_folders_have_the_roles_mark(name: str) -> None:
    template = (ROOT / "roles/digital_twin_stack/templates" / name).read_text("utf-8")
    variables = load_yaml(PurePosixPath("roles/digital_twin_stack/vars/main/units.yml"))
    assert any(line.startswith(variables["__digital_twin_stack_mark"]) for line in template.splitlines()[:2])


@pytest.mark.parametrize("image", ["cognitive", "ros2"])
def test_all_sources_of_an_image_are_copied_to_the_host(image: str) -> None:
    folder = ROOT / "compose" / image
    patterns = load_yaml(PurePosixPath("roles/digital_twin_stack/vars/main/images.yml"))[
        "__digital_twin_stack_patterns"
    ][image]
    sent = {path for pattern in patterns for path in folder.glob(pattern)}
    copied = set()
    for line in (folder / "Dockerfile").read_text("utf-8").splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                for path in folder.glob(source):
                    copied |= {path} if path.is_file() else {file for file in path.rglob("*") if file.is_file()}
    assert copied
    assert {path for path in copied if "__pycache__" not in path.parts} <= sent


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "status", "logs", "url"])
def test_a_user_without_rights_gets_the_advice_to_use_sudo(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(command.os, "getegid", lambda: 1000)
    monkeypatch.setattr(command.os, "getgroups", lambda: [1000])
    assert command.main(["digital-twin", "60", verb]) == command.UNKNOWN
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith(f"sudo digital-twin {verb}\n")


def test_commands_in_documentation_and_messages_work_for_the_login_user() -> None:
    """No text shows one of the command's verbs without sudo."""
    role = ROOT / "roles/digital_twin_stack"
    found = []
    for path in (*role.rglob("*.md"), *role.rglob("*.yml"), role / "files/digital_twin.py"):
        text = path.read_text("utf-8")
        for match in re.finditer(r"(?<!sudo )(?<!/)\bdigital-twin (start|stop|restart|status|logs|url)\b", text):
            found.append(f"{path.name}: {text[match.start() : match.end()]}")
    expect_none(found)
