"""The instance metadata service, version 2 (and 1 where an instance allows it).

Runs in a container with the address 169.254.169.254 on the hosts' network, with one argument: the folder with
one JSON document per instance, named after its private address::

    {"http_tokens": "required", "hop_limit": 1, "user_data": "...", "meta-data": {...}, "dynamic": {...}}

As on EC2, the answer to a token request is sent with the instance's hop limit as its IP time to live: a container
behind the host's own bridge is one hop further away and never sees it when the limit is 1.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
MAX_TOKEN_SECONDS = 21600
TOKENS: dict[str, tuple[str, float]] = {}


def look_up(document: dict[str, Any], path: str) -> str | None:
    """Return the text at a path such as ``latest/meta-data/placement/region``; None when there is none.

    A folder answers with its entries, one per line, folders with a trailing slash.
    """
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "latest"
    node: Any = {key: document[key] for key in ("meta-data", "dynamic") if key in document}
    if document.get("user_data"):
        node["user-data"] = document["user_data"]
    for part in parts[1:]:  # the first is the version of the interface; there is one
        # The listing of public-keys is "0=name", its folders are named "0".
        node = (
            next((node[key] for key in node if part in (key, key.split("=")[0])), None)
            if isinstance(node, dict)
            else None
        )
        if node is None:
            return None
    if isinstance(node, dict):
        return "\n".join(
            f"{key}/" if isinstance(value, dict) and "=" not in key else key for key, value in node.items()
        )
    return str(node)


class Handler(BaseHTTPRequestHandler):
    """One request of one instance, which is known by its address."""

    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"

    def document(self) -> dict[str, Any] | None:
        """Return the document of the calling instance."""
        peer = ipaddress.ip_address(self.client_address[0])
        path = ROOT / f"{peer}.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def answer(self, status: int, body: str = "", **headers: str) -> None:
        """Send one answer."""
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self) -> None:
        """Return a session token."""
        document = self.document()
        lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token" or document is None:
            return self.answer(404)
        if not lifetime.isdigit() or not 1 <= int(lifetime) <= MAX_TOKEN_SECONDS:
            return self.answer(400)
        if self.headers.get("X-Forwarded-For"):
            return self.answer(403)
        token = secrets.token_urlsafe(40)
        TOKENS[token] = (self.client_address[0], time.monotonic() + int(lifetime))
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(document["hop_limit"]))
        return self.answer(200, token, X_aws_ec2_metadata_token_ttl_seconds=lifetime)

    def do_GET(self) -> None:
        """Answer a metadata path."""
        document = self.document()
        if document is None:
            return self.answer(404)
        token = self.headers.get("X-aws-ec2-metadata-token")
        if token is None and document["http_tokens"] == "required":
            return self.answer(401)
        if token is not None:
            owner, expires = TOKENS.get(token, ("", 0.0))
            if owner != self.client_address[0] or expires < time.monotonic():
                return self.answer(401)
        text = look_up(document, self.path)
        return self.answer(404) if text is None else self.answer(200, text)

    def log_message(self, format: str, *args: Any) -> None:  # the base class's signature
        """Log the instance and its request."""
        print(self.client_address[0], format % args, file=sys.stderr, flush=True)


if __name__ == "__main__":
    ThreadingHTTPServer(("169.254.169.254", 80), Handler).serve_forever()
