# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who this machine is to CloudWatch, by the metadata service that every EC2 instance has.

Nothing of Ansible is imported here. Only version 2 of the service is spoken, which wants a token first.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass

DEFAULT_ENDPOINT = "http://169.254.169.254"
TIMEOUT_SECONDS = 2.0
TOKEN_SECONDS = 60


class IdentityUnknownError(Exception):
    """The metadata service does not say who this is: it cannot be reached, or refuses."""


@dataclass(frozen=True)
class Identity:
    """An instance's id and its region."""

    instance_id: str
    region: str


def read_identity() -> Identity:
    """Ask the metadata service; ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` names another than the usual one.

    Raises:
        IdentityUnknownError: there is no answer within 2 seconds, or another than expected.
    """
    endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    try:
        token = ask(endpoint, "PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})
        proof = {"X-aws-ec2-metadata-token": token}
        return Identity(
            ask(endpoint, "GET", "meta-data/instance-id", proof),
            ask(endpoint, "GET", "meta-data/placement/region", proof),
        )
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise IdentityUnknownError(f"the metadata service at {endpoint} does not say who this is: {error}") from None


def ask(endpoint: str, method: str, path: str, headers: dict[str, str]) -> str:
    """Return one answer of the metadata service.

    Raises:
        OSError: it does not answer.
        ValueError: it refuses.
    """
    # No proxy: that one would ask its own.
    connection = http.client.HTTPConnection(endpoint.partition("://")[2], timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, f"/latest/{path}", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"{method} {path} is answered with {answer.status} {answer.reason}")
        return answer.read().decode()
    finally:
        connection.close()
