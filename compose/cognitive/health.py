# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m cognitive.health``: the container's health check, without a shell and with few imports."""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPConnection, HTTPException

HTTP_SECONDS = 4.0


class ProbeError(Exception):
    """A check failed; the message has the finding."""


def http(port: int, method: str, path: str, body: object = None, token: str = "") -> tuple[int, dict[str, object]]:
    """Return the status and the JSON body of one request to the service on this machine.

    :param token: sent when it is not empty.

    :raises ProbeError: the service does not answer in JSON within four seconds.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=HTTP_SECONDS)
    try:
        sent = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        connection.request(method, path, sent, headers)
        response = connection.getresponse()
        return response.status, dict(json.load(response))
    except (OSError, HTTPException, ValueError) as error:
        raise ProbeError(f"the service does not answer on port {port}: {error}") from None
    finally:
        connection.close()


def check(port: int) -> str:
    """Check that the service can send commands.

    :raises ProbeError: it cannot.
    """
    status, body = http(port, "GET", "/health")
    if status != 200:
        raise ProbeError(str(body.get("reason", body)))
    return "healthy"


def main() -> int:
    """Print the state; return 1 when the service is not healthy."""
    try:
        print(check(int(os.environ.get("LISTEN_PORT") or 8001)))
    except ProbeError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
