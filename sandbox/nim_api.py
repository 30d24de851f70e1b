"""The common part of the simulators of NVIDIA's NIM containers, including Riva."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

IDLE_SECONDS = 30
HEALTH = ("/v1/health/ready", "/v1/health/live")


class Api(BaseHTTPRequestHandler):
    """Answers in JSON, including the health routes."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        """Answer a health request."""
        if self.path in HEALTH:
            self.answer(HTTPStatus.OK, {"object": "health.response", "message": f"Service is {self.path[11:]}."})
        else:
            self.refuse(HTTPStatus.NOT_FOUND, f"There is no {self.path:.80}.")

    def refuse(self, code: HTTPStatus, why: str) -> None:
        """Send an error in the form of OpenAI's interface."""
        self.answer(code, {"object": "error", "message": why, "type": code.phrase, "code": code.value})

    def answer(self, code: HTTPStatus, fields: Mapping[str, object]) -> None:
        """Send an answer."""
        body = json.dumps(fields).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: texts to the robot are private."""


def serve(port: int, api: type[Api]) -> None:
    """Serve until SIGTERM."""
    with ThreadingHTTPServer(("", port), api) as server:
        # shutdown() waits for the loop of this thread.
        signal.signal(signal.SIGTERM, lambda *_signal: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGINT, lambda *_signal: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
