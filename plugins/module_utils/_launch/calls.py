# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make one call to AWS whose error decides what to do next."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

# AnsibleAWSModule reports a missing botocore before anything here is called.
with contextlib.suppress(ImportError):
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

from .._aws.errors import ReadError, describe_error, translate_error
from .errors import WAIT, Refusal
from .problem import Launch, describe_refusal

# Seconds: the longest pause between two tries of the same call.
LONGEST_PAUSE = 15


def call_once(
    function: Callable[..., dict[str, Any]], action: str, region: str, **given: Any
) -> dict[str, Any] | Refusal:
    """Make a call once, and return its answer or why there is none.

    Args:
        function: A method of a client that does not repeat a call.
        action: The action in IAM's notation.
        region: The region of the call.
        given: The arguments.

    Raises:
        ReadError: There are no valid credentials.
    """
    try:
        return function(**given)
    except ClientError as error:
        found = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        return Refusal(str(found.get("Code", "")), " ".join(str(found.get("Message", "")).split()), status)
    except (BotoCoreError, ResponseParserError) as error:
        failed = translate_error(error, action, region)
        if failed.kind == "credentials":
            raise failed from error
        return Refusal(failed.code, failed.detail)


def call_patiently(
    function: Callable[..., dict[str, Any]], action: str, region: str, patience: float, **given: Any
) -> dict[str, Any] | Refusal:
    """Make a call that may be carried out twice, again while AWS throttles or does not answer.

    Args:
        function: A method of a client that does not repeat a call.
        action: The action in IAM's notation.
        region: The region of the call.
        patience: For how many seconds it is repeated.
        given: The arguments.

    Raises:
        ReadError: There are no valid credentials.
    """
    pause, end = 1, time.monotonic() + patience
    while True:
        answer = call_once(function, action, region, **given)
        if not isinstance(answer, Refusal) or answer.meaning != WAIT or time.monotonic() + pause > end:
            return answer
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def explain(refusal: Refusal, about: Launch, operation: str, region: str) -> str:
    """Return the line for a refusal that nothing else can cure.

    Args:
        refusal: Why the call failed.
        about: The instance to start.
        operation: The call.
        region: The region of the call.
    """
    message = f"({refusal.code}) when calling the {operation} operation: {refusal.text}"
    known = describe_refusal(f"An error occurred {message}", about)
    if known:
        return f"{known}{_decoded(refusal)}"
    kind = "unreachable" if refusal.status == 0 else "other"
    failed = ReadError(kind, f"ec2:{operation}", region, refusal.code, refusal.text)
    return f"{about.host}: {describe_error(failed)}"


def _decoded(refusal: Refusal) -> str:
    """Return how to read the reason of a denied call."""
    if "Encoded authorization failure message" not in refusal.text:
        return ""
    return " aws sts decode-authorization-message shows which right is missing."
