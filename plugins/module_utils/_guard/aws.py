# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell AWS what the guard does: the tags of its instance, and messages to SNS topics.

botocore signs the requests with the credentials of the instance's role. Each call is tried once, within seconds: AWS
may be out of reach, and a stop does not wait for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from .._gpu_publisher.imds import IdentityUnknownError, read_identity

CONNECT_SECONDS, READ_SECONDS = 3, 5
# The limit of SNS for a subject.
LONGEST_SUBJECT = 100


class AwsUnavailableError(Exception):
    """AWS was not told."""


def client(service: str, region: str) -> Any:
    """Return a client that tries each request once.

    Raises:
        AwsUnavailableError: botocore is not installed.
    """
    try:
        # It takes most of the memory, and is needed for minutes before a stop only.
        session: Any = importlib.import_module("botocore.session").Session()
        config: Any = importlib.import_module("botocore.config").Config
    except ImportError as error:
        raise AwsUnavailableError(f"botocore is not installed: {error}") from None
    limits = config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1})
    return session.create_client(service, region_name=region, config=limits)


def set_tags(tags: Mapping[str, str]) -> None:
    """Set tags of this instance.

    Raises:
        AwsUnavailableError: they are not set.
    """
    try:
        identity = read_identity()
    except IdentityUnknownError as error:
        raise AwsUnavailableError(str(error)) from None
    wanted = [{"Key": key, "Value": value} for key, value in tags.items()]
    _call("ec2", identity.region, "create_tags", Resources=[identity.instance_id], Tags=wanted)


def publish(topic: str, subject: str, message: str) -> None:
    """Send a message to an SNS topic.

    Raises:
        AwsUnavailableError: it is not sent.
    """
    region = topic.split(":")[3] if topic.count(":") >= 5 else ""
    _call("sns", region, "publish", TopicArn=topic, Subject=subject[:LONGEST_SUBJECT], Message=message)


def _call(service: str, region: str, operation: str, **parameters: Any) -> None:
    """Call AWS once.

    Raises:
        AwsUnavailableError: the call failed.
    """
    try:
        getattr(client(service, region), operation)(**parameters)
    except AwsUnavailableError:
        raise
    # botocore raises its own classes, and others for answers that are not AWS's: none may keep the host running.
    except Exception as error:
        raise AwsUnavailableError(f"{service}:{operation} failed: {error}") from None
