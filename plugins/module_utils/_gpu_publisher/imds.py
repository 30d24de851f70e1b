# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Get the instance id and the region from the EC2 metadata service.

Only version 2 of the service is used, which requires a token.
"""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass

DEFAULT_ENDPOINT = "http://169.254.169.254"
TIMEOUT_SECONDS = 2.0
TOKEN_SECONDS = 60


class IdentityUnknownError(Exception):
    """The metadata service cannot be reached, or rejects the request."""


class RefusedError(ValueError):
    """The metadata service rejects one request.

    Attributes:
        status: Its HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Identity:
    """An instance's id and its region."""

    instance_id: str
    region: str


def read_identity() -> Identity:
    """Read the metadata service.

    Raises:
        IdentityUnknownError: it does not answer within 2 seconds, or rejects the request.
    """
    endpoint = endpoint_url()
    try:
        proof = fetch_token(endpoint, TOKEN_SECONDS)
        return Identity(
            fetch(endpoint, "GET", "meta-data/instance-id", proof),
            fetch(endpoint, "GET", "meta-data/placement/region", proof),
        )
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise IdentityUnknownError(f"the metadata service at {endpoint} does not identify this host: {error}") from None


def endpoint_url() -> str:
    """Return the address of the metadata service, which ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` overrides."""
    return os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")


def fetch_token(endpoint: str, seconds: int) -> dict[str, str]:
    """Return the header with a token that is valid for so many seconds.

    Raises:
        OSError: the service does not answer.
        RefusedError: it rejects the request.
    """
    token = fetch(endpoint, "PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(seconds)})
    return {"X-aws-ec2-metadata-token": token}


def fetch(endpoint: str, method: str, path: str, headers: dict[str, str]) -> str:
    """Return one answer of the metadata service.

    Raises:
        OSError: it does not answer.
        RefusedError: it rejects the request.
    """
    # Without a proxy, which would read its own metadata service.
    connection = http.client.HTTPConnection(endpoint.partition("://")[2], timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, f"/latest/{path}", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RefusedError(f"{method} {path} returned {answer.status} {answer.reason}", answer.status)
        return answer.read().decode()
    finally:
        connection.close()
