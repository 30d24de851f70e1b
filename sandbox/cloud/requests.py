"""Requests to EC2 that AWS itself makes, for a schedule: as a client would send them, and what they answer."""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import unescape

from botocore.exceptions import ParamValidationError
from botocore.model import OperationNotFoundError
from botocore.serialize import create_serializer
from botocore.session import get_session
from werkzeug.test import create_environ

from sandbox.cloud.runner import Failure

FORM = "application/x-www-form-urlencoded; charset=utf-8"
THROTTLED = ("RequestLimitExceeded", "Throttling")


class ParameterError(Exception):
    """EC2 has no such call, or it has no such parameters."""


class NoSocket:
    """Replaces the connection that a fault closes."""

    def shutdown(self, how: int) -> None:
        """Do nothing."""


@cache
def model() -> Any:
    """Return botocore's description of EC2."""
    return get_session().get_service_model("ec2")


def ec2_body(action: str, parameters: dict[str, Any]) -> bytes:
    """Return the body of a call.

    :raises ParameterError: it is not one of EC2's.
    """
    try:
        operation = model().operation_model(action)
        serializer = create_serializer(model().metadata["protocol"])
        return urlencode(serializer.serialize_to_request(parameters, operation)["body"]).encode()
    except (OperationNotFoundError, ParamValidationError) as error:
        raise ParameterError(str(error)) from error


def environ_of(region: str, service: str, body: bytes) -> dict[str, Any]:
    """Return the WSGI environment of a call, which is not signed: the proxy makes it itself."""
    scope = f"AWS4-HMAC-SHA256 Credential=AWS/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    environ = create_environ(method="POST", data=body, content_type=FORM, headers={"Authorization": scope})
    return {**environ, "REQUEST_URI": "/", "werkzeug.socket": NoSocket()}


def failure_of(status: int, answer: bytes) -> Failure | None:
    """Return why a call failed, None when it did not."""
    if status < 300:
        return None
    text = answer.decode("utf-8", "replace")
    code, message = (re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL) for name in ("Code", "Message"))
    found = code[1] if code else str(status)
    again = status >= 500 or found in THROTTLED
    return Failure(found, unescape(message[1]) if message else text[:200], again=again)
