"""RunInstances' ClientToken, which moto ignores: one launch for one token, in a region or in a zone of it.

Sources. Read on 2026-11-30: EC2 developer guide, "Ensuring idempotency in Amazon EC2 API requests" (a token is
zonal when the request names a zone or a subnet: in another zone it launches again), and public issues with AWS's
messages: rust-lang/bors 830 (other parameters), boto3 4406 (the instance was terminated) and ubicloud 5898 (a request
that failed for lack of capacity has used its token as well).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.responses.instances import InstanceResponse

LONGEST = 64
# What a retry can change: the place is part of the key.
OTHER = ("ClientToken", "Placement.AvailabilityZone", "Action", "Version")


@dataclass
class Use:
    """The first use of a token.

    :param backend: moto's of the account and region; a reset replaces it.
    :param reservation: the result; None when the request has failed.
    """

    parameters: dict[str, str]
    backend: Any
    reservation: Any = None


USES: dict[tuple[str, str, str, str], Use] = {}


def plain(fields: dict[str, list[str]]) -> dict[str, str]:
    """Return the parameters of a request that must be the same in a retry."""
    return {name: values[0] for name, values in fields.items() if name not in OTHER and values and values[0]}


def place(backend: Any, fields: dict[str, list[str]]) -> str:
    """Return the zone that a request names, itself or by a subnet; empty when EC2 chooses."""
    subnet_id = next((values[0] for name, values in fields.items() if name.endswith("SubnetId")), "")
    zones = (zone for zone, subnets in backend.subnets.items() if subnet_id in subnets)
    return next(zones, "") or (fields.get("Placement.AvailabilityZone") or [""])[0]


def mismatch() -> EC2ClientError:
    """Return AWS's error about other parameters."""
    return EC2ClientError(
        "IdempotentParameterMismatch",
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    )


def bind(account: str, region: str, zone: str, fields: dict[str, list[str]]) -> Use | None:
    """Return what a request's token stands for, from now on if it is new; None for a request without a token.

    :raises EC2ClientError: the token is too long, or stands for other parameters.
    """
    token = (fields.get("ClientToken") or [""])[0]
    if not token:
        return None
    if len(token) > LONGEST or not token.isascii():
        raise EC2ClientError(
            "InvalidParameterValue", f"The client token '{token}' is longer than {LONGEST} characters."
        )
    key, backend = (account, region, zone, token), ec2_backends[account][region]
    known = USES.get(key)
    if known is None or known.backend is not backend or not alive(known):
        USES[key] = known = Use(plain(fields), backend)
    if known.parameters != plain(fields):
        raise mismatch()
    return known


def alive(use: Use) -> bool:
    """Return whether a use belongs to the present state of moto, which tests reset."""
    return use.reservation is None or use.reservation.id in use.backend.reservations


@cache
def install() -> None:
    """Patch moto in this process, once; after ``market_api.install``, whose checks belong to the launch."""
    responses: Any = InstanceResponse
    answer = responses.run_instances

    def run_instances(self: Any) -> ActionResult:
        dry = self._get_param("DryRun", False)
        zone = place(self.ec2_backend, self.querystring)
        use = None if dry else bind(self.current_account, self.region, zone, self.querystring)
        if use is None:
            result: ActionResult = answer(self)
            return result
        if use.reservation is None:
            result = answer(self)
            use.reservation = result.result
        elif all(instance.state == "terminated" for instance in use.reservation.instances):
            raise EC2ClientError(
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with a terminated instance. Please use a different "
                "client token.",
            )
        return ActionResult(use.reservation)

    responses.run_instances = run_instances
