"""Faults that AWS makes on a bad day, injected in front of the emulator.

A rule names what it hits (service, action, zones, instance types), how often (count, probability) and what happens.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from xml.sax.saxutils import escape

from sandbox.errors import SandboxError

KINDS = ("throttling", "capacity", "error", "timeout", "denied")
EC2_CODES = {
    "throttling": (503, "RequestLimitExceeded", "Request limit exceeded."),
    "capacity": (
        500,
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone}).",
    ),
    "error": (500, "InternalError", "An internal error has occurred"),
    "denied": (403, "UnauthorizedOperation", "You are not authorized to perform this operation: {service}:{action}"),
}
OTHER_CODES = {
    "throttling": (400, "ThrottlingException", "Rate exceeded"),
    "error": (500, "InternalFailure", "The request processing has failed because of an unknown error"),
    "denied": (403, "AccessDenied", "User is not authorized to perform: {service}:{action}"),
}


@dataclass(frozen=True)
class Call:
    """One request as the injector and the journal see it."""

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
    :param seconds: how long a time-out keeps the caller waiting before the connection is closed.
    """

    kind: str
    service: str = "*"
    action: str = "*"
    count: int = 0
    probability: float = 1.0
    zones: Sequence[str] = ()
    types: Sequence[str] = ()
    seconds: float = 30.0
    hits: int = 0

    def __post_init__(self) -> None:
        """Refuse what could never match.

        :raises SandboxError: a value is outside what the field allows.
        """
        if self.kind not in KINDS:
            raise SandboxError(f"fault kind: {self.kind!r}; allowed: {', '.join(KINDS)}")
        if not 0 < self.probability <= 1:
            raise SandboxError(f"fault probability: {self.probability}; allowed: more than 0, at most 1")
        if self.count < 0:
            raise SandboxError(f"fault count: {self.count}; allowed: 0 (no limit) or more")

    def matches(self, call: Call) -> bool:
        """Say whether this rule is about such a call and not yet spent."""
        return (
            self.service in ("*", call.service)
            and self.action in ("*", call.action)
            and (not self.zones or call.zone in self.zones)
            and (not self.types or call.instance_type in self.types)
            and (self.count == 0 or self.hits < self.count)
        )


class Injector:
    """Holds the rules and decides, call by call; safe to use from several threads."""

    def __init__(self, seed: int = 0) -> None:
        """Start without rules; the seed makes probabilities repeat from run to run."""
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Add a rule."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Forget every rule."""
        with self._lock:
            self._rules.clear()

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules with their hits."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def decide(self, call: Call) -> Rule | None:
        """Return the rule that hits this call, counted, or None."""
        with self._lock:
            for rule in self._rules:
                if rule.matches(call) and self._random.random() < rule.probability:
                    rule.hits += 1
                    return rule
        return None


def response(rule: Rule, call: Call, request_id: str) -> tuple[int, str, str]:
    """Return status, content type and body in the form that the service's own protocol gives an error."""
    table = EC2_CODES if call.service == "ec2" else OTHER_CODES
    status, code, text = table.get(rule.kind) or EC2_CODES[rule.kind]
    message = text.format(type=call.instance_type, zone=call.zone, service=call.service, action=call.action)
    if call.protocol == "json":
        body = f'{{"__type": "{code}", "message": "{message}"}}'
        return status, "application/x-amz-json-1.1", body
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    if call.service == "ec2":
        return status, "text/xml", f"<Response><Errors>{error}</Errors><RequestID>{request_id}</RequestID></Response>"
    return status, "text/xml", f"<ErrorResponse>{error}<RequestId>{request_id}</RequestId></ErrorResponse>"
