"""The servers on Isaac Sim's ports. There is no picture, and each server reports that."""

from __future__ import annotations

import ipaddress
import json
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_PICTURE = (
    "This is the sandbox's simulator of Isaac Sim. It moves a robot over DDS and renders nothing: "
    "see the robot in the viewer on port 8080.\n"
)
# STUN, RFC 8489: the first request of WebRTC to a media port.
COOKIE = 0x2112A442
BINDING_REQUEST, BINDING_ANSWER, MAPPED = 0x0001, 0x0101, 0x0020
STUN_HEADER = 20
IDLE_SECONDS = 10

Status = Callable[[], Mapping[str, object]]


def stun_answer(request: bytes, address: tuple[str, int]) -> bytes:
    """Return the answer to a STUN binding request, with the sender's address; empty for any other packet."""
    kind, cookie = int.from_bytes(request[:2], "big"), int.from_bytes(request[4:8], "big")
    if len(request) < STUN_HEADER or kind != BINDING_REQUEST or cookie != COOKIE:
        return b""
    host = int(ipaddress.IPv4Address(address[0])) ^ COOKIE
    value = b"\0\1" + (address[1] ^ COOKIE >> 16).to_bytes(2, "big") + host.to_bytes(4, "big")
    attribute = MAPPED.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
    return BINDING_ANSWER.to_bytes(2, "big") + len(attribute).to_bytes(2, "big") + request[4:STUN_HEADER] + attribute


class Media(socketserver.BaseRequestHandler):
    """The media port."""

    def handle(self) -> None:
        """Answer STUN and nothing else."""
        request, port = self.request
        answer = stun_answer(request, self.client_address)
        if answer:
            port.sendto(answer, self.client_address)


class Signalling(BaseHTTPRequestHandler):
    """The signalling port of WebRTC, and the status as JSON."""

    timeout = IDLE_SECONDS
    status: Status

    def do_GET(self) -> None:
        """Answer the status, and refuse a stream."""
        if self.path == "/status":
            self.answer(HTTPStatus.OK, "application/json", json.dumps(self.status()))
        else:
            self.answer(HTTPStatus.NOT_IMPLEMENTED, "text/plain; charset=utf-8", NO_PICTURE)

    def answer(self, code: HTTPStatus, kind: str, text: str) -> None:
        """Send it."""
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def serve(status: Status, signalling: int, media: int) -> None:
    """Answer on both ports, each in a thread that ends with the process.

    :raises OSError: a port is taken.
    """
    named = type("NamedSignalling", (Signalling,), {"status": staticmethod(status)})
    servers: list[socketserver.BaseServer] = [
        ThreadingHTTPServer(("", signalling), named),
        socketserver.UDPServer(("", media), Media),
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
