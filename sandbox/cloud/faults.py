"""Faults of AWS, injected in front of the emulator.

A rule has a target (service, action, zones, instance types), a frequency (count, probability) and an effect.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from xml.sax.saxutils import escape

from sandbox.cloud import cbor
from sandbox.errors import SandboxError

KINDS = ("throttling", "capacity", "error", "unavailable", "expired", "invalid", "denied", "timeout", "lost", "stalled")
# These close the connection: before the call was executed, after it, and some time after it.
CLOSING = ("timeout", "lost", "stalled")


@dataclass(frozen=True)
class Refusal:
    """An error of AWS.

    :param status: of the HTTP answer.
    :param code: what boto3 shows.
    :param text: the message, with ``{service}``, ``{action}``, ``{zone}`` and ``{type}`` of the call, and with
        ``{elsewhere}``, AWS's sentence about zones with capacity.
    :param shape: the exception's name in JSON and CBOR, where it differs from that in the query protocol.
    """

    status: int
    code: str
    text: str
    shape: str = ""


EC2_CODES = {
    "throttling": Refusal(503, "RequestLimitExceeded", "Request limit exceeded."),
    "capacity": Refusal(
        500,
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone})."
        "{elsewhere}",
    ),
    "error": Refusal(500, "InternalError", "An internal error has occurred"),
    "unavailable": Refusal(503, "Unavailable", "The service is temporarily unavailable."),
    "expired": Refusal(400, "RequestExpired", "Request has expired."),
    "invalid": Refusal(400, "InvalidParameterValue", "A value of the request is invalid."),
    "denied": Refusal(
        403, "UnauthorizedOperation", "You are not authorized to perform this operation: {service}:{action}"
    ),
}
OTHER_CODES = {
    "throttling": Refusal(400, "ThrottlingException", "Rate exceeded"),
    "error": Refusal(500, "InternalFailure", "The request processing has failed because of an unknown error"),
    "unavailable": Refusal(503, "ServiceUnavailable", "The server has failed for the moment."),
    "expired": Refusal(403, "ExpiredToken", "The security token included in the request is expired"),
    "invalid": Refusal(400, "InvalidParameterValue", "A value of the request is invalid."),
    "denied": Refusal(403, "AccessDenied", "User is not authorized to perform: {service}:{action}"),
}
# Read on 2026-11-30: botocore 1.44.5, scheduler 2021-06-30, and its API reference's common errors.
SCHEDULER_CODES = {
    "throttling": Refusal(429, "ThrottlingException", "Rate exceeded"),
    "error": Refusal(500, "InternalServerException", "Unexpected error encountered while processing the request."),
    "expired": replace(OTHER_CODES["expired"], code="ExpiredTokenException"),
    "invalid": Refusal(400, "ValidationException", "A value of the request is invalid."),
    "denied": replace(OTHER_CODES["denied"], code="AccessDeniedException"),
}
# CloudWatch used the query protocol first: its newer protocols name an exception, and the old code in a header.
CLOUDWATCH_CODES = {
    "throttling": Refusal(400, "Throttling", "Rate exceeded", "ThrottlingException"),
    "error": Refusal(
        500,
        "InternalServiceError",
        "The request has failed due to an unknown error.",
        "InternalServiceFault",
    ),
    "unavailable": replace(OTHER_CODES["unavailable"], shape="ServiceUnavailableException"),
    "expired": replace(OTHER_CODES["expired"], shape="ExpiredTokenException"),
    "invalid": replace(OTHER_CODES["invalid"], shape="InvalidParameterValueException"),
    "denied": replace(OTHER_CODES["denied"], shape="AccessDeniedException"),
}


@dataclass(frozen=True)
class Call:
    """One request as the injector and the journal see it.

    :param protocol: ``query``, ``json``, ``rest-json`` or ``cbor``.
    """

    service: str
    action: str
    zone: str = ""
    instance_type: str = ""
    protocol: str = "query"


@dataclass
class Rule:
    """One fault.

    :param kind: one of ``KINDS``.
    :param service: such as ``ec2``; ``*`` for every service.
    :param action: such as ``RunInstances``; ``*`` for every action.
    :param count: how many calls it hits before it is spent; 0 for no limit.
    :param probability: of a matching call being hit, 0 to 1.
    :param zones: only these availability zones; empty for all.
    :param types: only these instance types; empty for all.
    :param seconds: how long the close of the connection is delayed; that of a stalled call at most until the rule is
        removed.
    :param code: the error's code, in place of the usual one of its kind.
    :param each: whether the count is for each action, instead of for all of them together.
    """

    kind: str
    service: str = "*"
    action: str = "*"
    count: int = 0
    probability: float = 1.0
    zones: Sequence[str] = ()
    types: Sequence[str] = ()
    seconds: float = 30.0
    code: str = ""
    each: bool = False
    hits: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the rule.

        :raises SandboxError: a value is outside what the field allows.
        """
        if self.kind not in KINDS:
            raise SandboxError(f"fault kind: {self.kind!r}. Allowed: {', '.join(KINDS)}")
        if not 0 < self.probability <= 1:
            raise SandboxError(f"fault probability: {self.probability}. Allowed: more than 0, at most 1")
        if self.count < 0:
            raise SandboxError(f"fault count: {self.count}. Allowed: 0 (no limit) or more")

    def matches(self, call: Call) -> bool:
        """Return whether this rule matches a call and is not spent."""
        return (
            self.service in ("*", call.service)
            and self.action in ("*", call.action)
            and (not self.zones or call.zone in self.zones)
            and (not self.types or call.instance_type in self.types)
            and (self.count == 0 or self.spent(call) < self.count)
        )

    def spent(self, call: Call) -> int:
        """Return how many of the calls that count together with one were hit."""
        return self.counts.get(f"{call.service}:{call.action}", 0) if self.each else self.hits

    def hit(self, call: Call, by: int = 1) -> None:
        """Count a call that was hit."""
        name = f"{call.service}:{call.action}"
        self.hits += by
        self.counts[name] = self.counts.get(name, 0) + by


class Injector:
    """Holds the rules and decides, call by call; safe to use from several threads."""

    def __init__(self, seed: int = 0) -> None:
        """Start without rules; the seed makes probabilities repeat from run to run."""
        self._random = random.Random(seed)
        self._lock = threading.Condition()
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Add a rule."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Delete all rules."""
        with self._lock:
            self._rules.clear()
            self._lock.notify_all()

    def stall(self, rule: Rule) -> None:
        """Return when a rule is removed, or after its seconds."""
        with self._lock:
            self._lock.wait_for(lambda: all(other is not rule for other in self._rules), rule.seconds)

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules with their hits."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def decide(self, call: Call, kinds: Collection[str] = KINDS) -> Rule | None:
        """Return the rule that hits this call, counted, or None.

        :param kinds: only rules of these kinds.
        """
        with self._lock:
            for rule in self._rules:
                if rule.kind in kinds and rule.matches(call) and self._random.random() < rule.probability:
                    rule.hit(call)
                    return rule
        return None

    def spare(self, rule: Rule, call: Call) -> None:
        """Take back a hit: the call did not need what the rule denies."""
        with self._lock:
            rule.hit(call, -1)

    def free(self, call: Call, zones: Iterable[str]) -> list[str]:
        """Return those of some zones in which no rule denies capacity to a call like this one."""
        with self._lock:
            scarce = [rule for rule in self._rules if rule.kind == "capacity"]
            return [zone for zone in zones if not any(rule.matches(replace(call, zone=zone)) for rule in scarce)]


def elsewhere(call: Call, free: Sequence[str]) -> str:
    """Return AWS's sentence about zones that have capacity; empty when there are none."""
    if not free or not call.zone:
        return ""
    return (
        " Our system will be working on provisioning additional capacity. You can currently get {type} capacity by not "
        f"specifying an Availability Zone in your request or choosing {', '.join(free)}."
    )


def refusal(rule: Rule, call: Call, free: Sequence[str] = ()) -> Refusal:
    """Return the error of a rule for a call.

    :param free: the zones that have capacity for it.
    """
    tables = {"ec2": EC2_CODES, "monitoring": CLOUDWATCH_CODES, "scheduler": SCHEDULER_CODES}
    table = tables.get(call.service, OTHER_CODES)
    found = table.get(rule.kind) or OTHER_CODES.get(rule.kind) or EC2_CODES[rule.kind]
    found = replace(found, text=found.text.replace("{elsewhere}", elsewhere(call, free)))
    return replace(found, code=rule.code, shape="") if rule.code else found


def response(found: Refusal, call: Call, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return the status, headers and body of an error in the call's protocol."""
    message = found.text.format(type=call.instance_type, zone=call.zone, service=call.service, action=call.action)
    headers = [("x-amzn-RequestId", request_id)]
    if call.protocol in ("json", "rest-json", "cbor"):
        name = found.shape or found.code
        if call.service in cbor.SERVICES:
            headers.append(("x-amzn-query-error", f"{found.code};{'Sender' if found.status < 500 else 'Receiver'}"))
        if call.protocol == "cbor":
            return found.status, [*headers, *cbor.HEADERS], cbor.encode_error(name, message)
        if call.protocol == "rest-json":
            headers.append(("x-amzn-ErrorType", name))
        body = json.dumps({"__type": name, "message": message})
        return found.status, [*headers, ("Content-Type", "application/x-amz-json-1.1")], body.encode()
    headers.append(("Content-Type", "text/xml"))
    error = f"<Error><Code>{found.code}</Code><Message>{escape(message)}</Message></Error>"
    if call.service == "ec2":
        body = f"<Response><Errors>{error}</Errors><RequestID>{request_id}</RequestID></Response>"
    else:
        body = f"<ErrorResponse>{error}<RequestId>{request_id}</RequestId></ErrorResponse>"
    return found.status, headers, body.encode()
