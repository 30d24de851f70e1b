"""Admits requests to the cloud's own address that were not sent by a web page and are signed with a known key."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.keys import Key, Keys

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[\w-]+)/(?P<day>\d{8})/(?P<region>[\w-]+)/(?P<service>[\w-]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
DIGEST = re.compile("[0-9a-f]{64}")
LONGEST_BODY = 64 * 1024**2
REMEDY = "Run `. .sandbox/env` in the sandbox's checkout."

Environ = dict[str, Any]


class RefusedError(Exception):
    """The request is refused.

    :ivar status: of the HTTP answer.
    :ivar code: AWS's name of the error; empty when the caller is not an AWS client.
    """

    def __init__(self, status: int, text: str, code: str = "") -> None:
        """Describe it."""
        super().__init__(text)
        self.status = status
        self.code = code


def check_address(environ: Environ) -> None:
    """Check that a request has the cloud's own address as its Host, and was not sent by a web page.

    A page that uses DNS rebinding sends its own name as Host, and browsers add Origin.

    :raises RefusedError: the Host is not allowed, or a web page sent the request.
    """
    name, port = environ["SERVER_NAME"], environ["SERVER_PORT"]
    names = LOOPBACK if name in LOOPBACK else (name,)
    allowed = [f"{known}:{port}" for known in names] + (list(names) if port == "80" else [])
    asked = environ.get("HTTP_HOST", "")
    if asked.lower() not in allowed:
        raise RefusedError(403, f"The Host of this request is {asked!r}. Allowed: {', '.join(allowed)}.")
    if not environ.get("REQUEST_URI", "").startswith("/"):
        raise RefusedError(403, "The target of this request is not a path.")
    if "HTTP_ORIGIN" in environ:
        raise RefusedError(403, f"This request was sent by a web page, {environ['HTTP_ORIGIN']!r}. None is allowed to.")


def body_length(environ: Environ) -> int:
    """Return the length of a request's body.

    :raises RefusedError: it has no length, or is too long.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise RefusedError(411, "A request needs a Content-Length.")
    text = environ.get("CONTENT_LENGTH") or "0"
    if not re.fullmatch("[0-9]{1,12}", text):
        raise RefusedError(400, f"Content-Length: {text!r}. Allowed: a number.")
    if int(text) > LONGEST_BODY:
        raise RefusedError(413, f"The request is longer than {LONGEST_BODY} bytes.")
    return int(text)


class Signature:
    """The signature in the Authorization header of a request."""

    def __init__(self, environ: Environ, keys: Keys) -> None:
        """Parse it. Signatures in the query string, of presigned URLs, are not accepted.

        :raises RefusedError: the signature is missing, or its key is not known.
        """
        found = AUTHORIZATION.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
        if found is None:
            text = f"The request has no signature of version 4 in its Authorization header. {REMEDY}"
            raise RefusedError(403, text, "MissingAuthenticationToken")
        key = keys.find(found["id"])
        if key is None:
            raise RefusedError(403, f"The access key is not one of this sandbox. {REMEDY}", "InvalidClientTokenId")
        self.key: Key = key
        self._scope = found

    def check(self, environ: Environ, body: bytes) -> None:
        """Check that the key's owner has signed this request.

        The time is not compared: tests set clocks, and only root could read a request on loopback to send it again.

        :raises RefusedError: the signature is wrong.
        """
        signed = set(self._scope["headers"].split(";"))
        headers = {name: header(environ, name) for name in signed}
        digest = headers.get("x-amz-content-sha256", "")
        genuine = (
            "host" in signed
            and hmac.compare_digest(environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "").encode(), self.key.token.encode())
            and headers.get("x-amz-date", "").startswith(self._scope["day"])
            and not (DIGEST.fullmatch(digest) and digest != hashlib.sha256(body).hexdigest())
            and hmac.compare_digest(self._expected(environ, headers, body), self._scope["signature"])
        )
        if not genuine:
            raise RefusedError(403, "The signature of the request is wrong.", "SignatureDoesNotMatch")

    def _expected(self, environ: Environ, headers: dict[str, str], body: bytes) -> str:
        """Return the signature that a request would have."""
        request: Any = AWSRequest(
            method=environ["REQUEST_METHOD"],
            url=f"http://{environ['HTTP_HOST']}{environ['REQUEST_URI']}",
            data=body,
            headers=headers,
        )
        request.context["timestamp"] = headers["x-amz-date"]
        sign: Any = S3SigV4Auth if self._scope["service"] == "s3" else SigV4Auth
        signer = sign(Credentials(self.key.id, self.key.secret), self._scope["service"], self._scope["region"])
        return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))


def header(environ: Environ, name: str) -> str:
    """Return the value of a request's header, empty when it has none."""
    variable = name.upper().replace("-", "_")
    return str(environ.get(variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}", ""))
