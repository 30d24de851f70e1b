# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake Docker engine on a Unix socket, and a fake registry that requires a password."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import select
import socketserver
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# A limit for steps that are normally immediate, in seconds.
WAIT_SECONDS = 20


class PullEnded(Exception):
    """The pull ends without the image."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection to the engine."""

    protocol_version = "HTTP/1.1"
    server: EngineServer

    def do_GET(self) -> None:
        engine, path = self.server.engine, unquote(self.path)
        if path == "/_ping":
            if engine.away:
                engine.away -= 1
                self.close_connection = True
                return
            self.answer(200, "OK")
        elif path.startswith("/distribution/"):
            name = path.removeprefix("/distribution/").removesuffix("/json")
            with engine.lock:
                engine.pulls.append((name, self.headers.get("X-Registry-Auth", "")))
            digest = engine.digests.get(name)
            if digest is None:
                self.answer(404, {"message": f"manifest unknown: {name}"})
            else:
                self.answer(200, {"Descriptor": {"mediaType": "x", "digest": digest, "size": 1}, "Platforms": []})
        else:
            name = path.removeprefix("/images/").removesuffix("/json")
            there = name in engine.images
            self.answer(200 if there else 404, {"Id": engine.images[name]} if there else {"message": "No such image"})

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        (repository,), (version,) = query["fromImage"], query["tag"]
        name = f"{repository}{'@' if ':' in version else ':'}{version}"
        engine = self.server.engine
        with engine.lock:
            engine.pulls.append((name, self.headers.get("X-Registry-Auth", "")))
            engine.now.add(name)
            engine.most = max(engine.most, len(engine.now))
            planned = engine.plans.get(name)
            steps = planned.pop(0) if planned else []
        self.started = False
        try:
            for step in steps:
                step(self)
            self.send_messages({"status": f"Status: Downloaded newer image for {name}"})
            engine.images[name] = engine.id_of(name)
            self.wfile.write(b"0\r\n\r\n")
        except (PullEnded, ConnectionError):
            self.close_connection = True
        finally:
            with engine.lock:
                engine.now.discard(name)

    def send_messages(self, *messages: dict[str, Any]) -> None:
        """Send messages of a pull, each split into two chunks."""
        if not self.started:
            self.started = True
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
        for message in messages:
            line = json.dumps(message).encode() + b"\r\n"
            for part in (line[:7], line[7:]):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")

    def answer(self, status: int, body: object) -> None:
        """Send a complete answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def closed(self, seconds: float) -> bool:
        """Return whether the client closes the connection within a time."""
        return bool(select.select([self.connection], [], [], seconds)[0])

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


Step = Callable[[Handler], None]


class EngineServer(socketserver.ThreadingUnixStreamServer):
    """The engine's socket."""

    daemon_threads = True
    engine: FakeEngine


class FakeEngine:
    """An engine whose pulls succeed at once, unless other steps are planned.

    Attributes:
        images: ids of the present images, by requested name.
        digests: the digests in registries, by name and tag.
        plans: for each image the steps of each attempt.
        pulls: the requested names, each with its X-Registry-Auth.
        most: the largest number of simultaneous pulls.
        away: how many more pings get no answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.plans: dict[str, list[list[Step]]] = {}
        self.pulls: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.now: set[str] = set()
        self.most = self.away = 0
        self._server = EngineServer(str(path), Handler)
        self._server.engine = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Stop the engine."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(WAIT_SECONDS)
            self._server.server_close()
            self.path.unlink()

    @staticmethod
    def id_of(name: str) -> str:
        """Return the id that an image gets."""
        return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"

    def attempts(self, name: str) -> int:
        """Return how often an image was requested."""
        return [pulled for pulled, _authorization in self.pulls].count(name)


def layer(name: str, status: str, current: int = 0, total: int = 0, **more: object) -> dict[str, Any]:
    """Return an engine's message about a layer."""
    detail = {"current": current, "total": total, **more} if current or total else {}
    return {"id": name, "status": status, "progressDetail": detail}


def sends(*messages: dict[str, Any]) -> Step:
    """Return the step that sends messages."""
    return lambda handler: handler.send_messages(*messages)


def responds(status: int, message: str) -> Step:
    """Return the step that answers with an error instead of a pull."""

    def step(handler: Handler) -> None:
        handler.answer(status, {"message": message})
        raise PullEnded

    return step


def fails(message: str, **detail: object) -> Step:
    """Return the step that ends a pull with an error."""

    def step(handler: Handler) -> None:
        handler.send_messages({"errorDetail": {"message": message, **detail}, "error": message})
        handler.wfile.write(b"0\r\n\r\n")
        raise PullEnded

    return step


def goes_away(times: int) -> Step:
    """Return the step that closes the connection and leaves the next pings without an answer."""

    def step(handler: Handler) -> None:
        handler.server.engine.away = times
        raise PullEnded

    return step


def closes(handler: Handler) -> None:
    """Close the connection, and stop the engine."""
    handler.server.engine.close()
    raise PullEnded


def ends_without_image(handler: Handler) -> None:
    """Report success without the image."""
    handler.send_messages({"status": "Status: Image is up to date"})
    handler.wfile.write(b"0\r\n\r\n")
    raise PullEnded


def hangs(*messages: dict[str, Any]) -> Step:
    """Return the step that repeats messages, or sends nothing, until the client closes the connection."""

    def step(handler: Handler) -> None:
        for _round in range(WAIT_SECONDS * 50):
            handler.send_messages(*messages)
            if handler.closed(0.02):
                raise PullEnded

    return step


def loads_forever(handler: Handler) -> None:
    """Report one more byte at a time until the client closes the connection."""
    for count in range(1, WAIT_SECONDS * 50):
        handler.send_messages(layer("aaa", "Downloading", count, 10**9))
        if handler.closed(0.02):
            raise PullEnded


def waits_for(event: threading.Event | threading.Barrier) -> Step:
    """Return the step that waits for an event."""

    def step(_handler: Handler) -> None:
        event.wait(WAIT_SECONDS)

    return step


class RegistryHandler(http.server.BaseHTTPRequestHandler):
    """One request to the registry."""

    protocol_version = "HTTP/1.1"
    server: RegistryServer

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != self.server.authorization:
            self.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="registry"'})
            return
        unknown = ("", b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}')
        kind, content = self.server.contents.get(self.path.rpartition("/")[2] or "v2", unknown)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.answer(
            200 if kind else 404, content, {"Content-Type": kind or "application/json", "Docker-Content-Digest": digest}
        )

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send a complete answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class RegistryServer(http.server.ThreadingHTTPServer):
    """A registry with one image of one layer, under any name with the tag 1.

    Attributes:
        contents: media type and bytes, by digest or tag.
        authorization: the required header.
    """

    def __init__(self, user: str, password: str, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), RegistryHandler)
        self.authorization = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        self.contents = {"v2": ("application/json", b"{}")}
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("data")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(archive.getvalue()).hexdigest()}"]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self._add("application/vnd.docker.container.image.v1+json", json.dumps(config).encode()),
            "layers": [
                self._add("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip.compress(archive.getvalue(), 1))
            ],
        }
        content = json.dumps(manifest).encode()
        self._add(kind, content)
        self.contents["1"] = (kind, content)

    def _add(self, kind: str, content: bytes) -> dict[str, Any]:
        """Store content, and return its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.contents[digest] = (kind, content)
        return {"mediaType": kind, "size": len(content), "digest": digest}


@contextlib.contextmanager
def registry(user: str, password: str, data: bytes) -> Iterator[str]:
    """Serve one image on a loopback port; yield the registry's address."""
    with RegistryServer(user, password, data) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(WAIT_SECONDS)
