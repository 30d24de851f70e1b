# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of calls to AWS, and a one-line message for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .._problem import Problem, shown

# AnsibleAWSModule reports a missing botocore before anything here is called.
with contextlib.suppress(ImportError):
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

DENIED = "denied"
CREDENTIALS = "credentials"
UNREACHABLE = "unreachable"
THROTTLED = "throttled"
OTHER = "other"

DENIAL_CODES = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
EXPIRY_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
CREDENTIAL_CODES = {
    *EXPIRY_CODES,
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
THROTTLING_CODES = {
    "LimitExceeded",
    "LimitExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
# By name: not every version of botocore that is supported has all of these exceptions.
CREDENTIAL_ERRORS = {
    "CredentialRetrievalError",
    "LoginError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "SSOError",
    "TokenRetrievalError",
}
CONNECTION_ERRORS = {"ConnectionError", "HTTPClientError"}
# Prefixes of actions that change nothing.
READING = ("Describe", "Get", "List")


class ReadError(Exception):
    """A failed call to AWS, usually a read.

    Attributes:
        kind: One of the five kinds above, which decides the message.
        action: The action in IAM's notation ("ec2:DescribeVpcs").
        where: Region or endpoint of the call.
        code: The error code of AWS, or the name of botocore's exception.
        detail: The error's own text.
    """

    def __init__(self, kind: str, action: str, where: str, code: str, detail: str) -> None:
        super().__init__(f"{action} in {where}: {code}: {detail}")
        self.kind = kind
        self.action = action
        self.where = where
        self.code = code
        self.detail = " ".join(detail.split())


def translate_error(error: Exception, action: str, region: str) -> ReadError:
    """Turn an exception of botocore into a ReadError.

    Args:
        error: A ClientError when AWS answered, else any other exception of boto3.
        action: The action in IAM's notation.
        region: The region of the call.
    """
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        code = answer.get("Code", "Unknown")
        return ReadError(_kind_of_code(code), action, region, code, answer.get("Message", ""))
    ancestry = {ancestor.__name__ for ancestor in type(error).__mro__}
    kind, where = OTHER, region
    if ancestry & CONNECTION_ERRORS:
        kind, where = UNREACHABLE, str(getattr(error, "kwargs", {}).get("endpoint_url") or region)
    elif ancestry & CREDENTIAL_ERRORS:
        kind = CREDENTIALS
    return ReadError(kind, action, where, type(error).__name__, str(error))


@contextlib.contextmanager
def translated(action: str, region: str) -> Iterator[None]:
    """Turn exceptions of boto3 into a ReadError.

    Args:
        action: The action in IAM's notation.
        region: The region of the call.
    """
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
        raise translate_error(error, action, region) from error


def _kind_of_code(code: str) -> str:
    """Return the kind of failure of an AWS error code."""
    if code in DENIAL_CODES:
        return DENIED
    if code in CREDENTIAL_CODES:
        return CREDENTIALS
    return THROTTLED if code in THROTTLING_CODES else OTHER


def describe_error(error: ReadError, caller: str = "") -> Problem:
    """Return the one-line message for a failed call.

    Args:
        error: The failed call.
        caller: ARN of the caller, if known.
    """
    if error.kind == DENIED:
        reads = error.action.partition(":")[2].startswith(READING)
        return Problem(
            "AWS permission",
            shown(error.action),
            f"is denied to {caller or 'the caller'} in {error.where}",
            f"a caller that may {'read these resources' if reads else 'make this change'}",
            f"allow {error.action} in the policies of this caller",
        )
    if error.kind == CREDENTIALS:
        return _describe_credentials_error(error)
    if error.kind == UNREACHABLE:
        return Problem(
            "AWS endpoint",
            shown(error.where),
            f"did not answer {error.action} ({error.code})",
            "an endpoint that this machine can reach",
            "check the network, the proxy (HTTPS_PROXY), the region's name and AWS_ENDPOINT_URL, then run this again",
        )
    if error.kind == THROTTLED:
        return Problem(
            "AWS request rate",
            shown(error.action),
            f"was throttled in {error.where} despite retries ({error.code})",
            "fewer requests than the account's rate",
            "wait a minute and run this again",
        )
    return Problem(
        "AWS answer",
        shown(error.action),
        f"failed in {error.where} with {error.code} ({error.detail[:200]})",
        "an answer without an error",
        "run this again; if the error persists, check https://health.aws.amazon.com",
    )


def _describe_credentials_error(error: ReadError) -> Problem:
    """Return the message for credentials that are missing, incomplete, expired or unknown."""
    allowed = "valid credentials that have not expired"
    fresh = "log in again (aws sso login), or export fresh AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
    messages = {
        "NoCredentialsError": ("none were found", "set AWS_PROFILE, or run aws configure"),
        "PartialCredentialsError": (
            "are incomplete",
            "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        ),
        "SignatureDoesNotMatch": (
            "the secret key does not belong to the access key, or this machine's clock is wrong",
            "set AWS_SECRET_ACCESS_KEY again, and check the clock (timedatectl)",
        ),
        "ProfileNotFound": (
            f"the profile does not exist ({error.detail})",
            "correct AWS_PROFILE, or create that profile with aws configure --profile",
        ),
        **dict.fromkeys(EXPIRY_CODES, ("have expired", fresh)),
    }
    default = (f"AWS does not accept them ({error.code}: {error.detail[:200]})", fresh)
    reason, remedy = messages.get(error.code, default)
    return Problem("AWS credentials", "", reason, allowed, remedy)
