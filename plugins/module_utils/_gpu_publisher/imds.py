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


@dataclass(frozen=True)
class Identity:
    """An instance's id and its region."""

    instance_id: str
    region: str


def read_identity() -> Identity:
    """Read the metadata service; ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` overrides its address.

    Raises:
        IdentityUnknownError: it does not answer within 2 seconds, or rejects the request.
    """
    endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    try:
        token = fetch(endpoint, "PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})
        proof = {"X-aws-ec2-metadata-token": token}
        return Identity(
            fetch(endpoint, "GET", "meta-data/instance-id", proof),
            fetch(endpoint, "GET", "meta-data/placement/region", proof),
        )
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise IdentityUnknownError(f"the metadata service at {endpoint} does not identify this host: {error}") from None


def fetch(endpoint: str, method: str, path: str, headers: dict[str, str]) -> str:
    """Return one answer of the metadata service.

    Raises:
        OSError: it does not answer.
        ValueError: it rejects the request.
    """
    # Without a proxy, which would read its own metadata service.
    connection = http.client.HTTPConnection(endpoint.partition("://")[2], timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, f"/latest/{path}", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"{method} {path} returned {answer.status} {answer.reason}")
        return answer.read().decode()
    finally:
        connection.close()
