# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain why AWS did not start an instance, and what to change: zone, type, quota, account, key, or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import KIND, KIND_CODES, WAIT_CODES, ZONE_CODES, Refusal, named_zones
from .offers import SPOT, Offer

CALL_ERROR = re.compile(r"\((?P<code>[A-Za-z][\w.]+)\) when calling the \w+ operation")

# Quotas of the account, in every zone.
QUOTA_CODES = {*KIND_CODES, "MaxIOPSLimitExceeded", "VolumeLimitExceeded"}
# Remedies for the account itself, if no zone, type or quota helps.
ACCOUNT_CODES = {
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": "Allow iam:CreateServiceLinkedRole for the caller.",
    "Blocked": "Ask AWS Support why the account is blocked.",
    "OptInRequired": "Subscribe to EC2, or to the image in AWS Marketplace, with this account.",
    "PendingVerification": "Wait until AWS has verified the account (at most a few hours), then run this again.",
    "UnauthorizedOperation": "Allow the call in the policies of the caller.",
}
LATER_CODES = {code for code in WAIT_CODES if not code.startswith("Invalid")}
IMAGE_CODES = {"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound"}
# The variable to change, the reason and the remedy, by error code.
SENTENCES = {
    **dict.fromkeys(
        QUOTA_CODES,
        (
            "{prefix}instance_type",
            "exceeds a quota of the account, in every zone",
            "Use fewer or smaller instances, stop others, or ask for more in Service Quotas.",
        ),
    ),
    **dict.fromkeys(IMAGE_CODES, ("{prefix}image", "cannot boot from the image", "Choose another image.")),
    **dict.fromkeys(LATER_CODES, ("AWS", "cannot be started at the moment", "Run this again in a few minutes.")),
    **{code: ("AWS account", "may not be started by it", remedy) for code, remedy in ACCOUNT_CODES.items()},
    "IncorrectSpotRequestState": (
        "{prefix}market",
        "was stopped by AWS, which needed its capacity, and only AWS can start it again",
        "Wait until it runs, or destroy the lab, with all that is on its disks, and choose another market.",
    ),
    "InsufficientFreeAddressesInSubnet": (
        "{prefix}subnet_cidr",
        "has no free address in the subnet",
        "Remove other resources from it, or destroy the lab and choose a larger subnet.",
    ),
}


@dataclass(frozen=True)
class Launch:
    """The instance to start.

    Attributes:
        host: Its name.
        instance_type: Its type.
        zone: The zone of the lab.
        zones: All zones that offer the type.
        exists: Whether the instance already existed, stopped. Then its disk binds it to the zone.
        prefix: How the user's variables begin.
    """

    host: str
    instance_type: str
    zone: str
    zones: tuple[str, ...] = ()
    exists: bool = False
    prefix: str = "aws_infrastructure_"


def error_code(message: str) -> str:
    """Return the error code of AWS in a module's message, or nothing."""
    match = CALL_ERROR.search(message)
    return match["code"] if match else ""


def describe_refusal(message: str, launch: Launch) -> str:
    """Return one line with the reason why AWS refused a call and the remedy; nothing for unknown errors.

    Args:
        message: The message of the module that made the call.
        launch: The instance to start.
    """
    code = error_code(message)
    text = " ".join(message.rpartition("operation")[2].lstrip(": ").split())
    return _describe(code, text, launch)


def describe_end(code: str, text: str, launch: Launch) -> str:
    """Return one line with the reason why an instance terminated at launch.

    Args:
        code: The code of its state reason, such as Client.InvalidKMSKey.InvalidState.
        text: Its text.
        launch: The instance to start.
    """
    side, _dot, rest = code.partition(".")
    # AWS begins the text with the code.
    reason = " ".join(text.removeprefix(f"{code}:").split()) or "AWS gives no reason"
    known = _describe(rest, reason, launch) if side in ("Client", "Server") and rest != "InternalError" else ""
    if known:
        return known
    if code.startswith(("Client.InvalidKMSKey", "Client.InternalError")) or "kms" in reason.lower():
        remedy = (
            "EBS most likely may not use the key with which it encrypts new volumes. Check the key's state and policy: "
            f"aws ec2 get-ebs-default-kms-key-id --region {_region(launch.zone)}, then aws kms describe-key."
        )
    elif code == "Client.InstanceInitiatedShutdown":
        remedy = "The image shut itself down. Choose another image, or look at its console output."
    elif code.startswith("Client.User"):
        remedy = "It was stopped or terminated by a caller of this account. Run this again."
    else:
        remedy = "Run this again. If it fails again, check https://health.aws.amazon.com."
    return f"{launch.host}: the instance ended as soon as it started ({code or 'no code'}: {reason}). {remedy}"


def describe_failures(host: str, failed: Mapping[Offer, Refusal], prefix: str, stays: str = "") -> str:
    """Return one line with everything that AWS has refused for a host, and the remedies.

    Args:
        host: Its name.
        failed: The reason of each offer that failed.
        prefix: How the user's variables begin.
        stays: The zone of its disk, which binds a host that exists; empty for a new one.
    """
    if not failed:
        return f"{prefix}instance_type: no zone offers a type for {host}. Choose another type or zone."
    zones: dict[tuple[tuple[str, str, str], str], list[str]] = {}
    for offer, refusal in failed.items():
        zones.setdefault((offer.kind, refusal.code), []).append(offer.zone)
    parts = []
    for ((instance_type, market, reservation), code), places in zones.items():
        how = f"in {reservation}" if reservation else market.replace("-", " ")
        parts.append(f"{instance_type} {how} in {', '.join(places)} ({code})")
    remedies = f"Run this again later, set {prefix}capacity_wait to go on trying, or allow other types or zones."
    if stays:
        remedies = (
            f"Its disk is in {stays}, so that it starts only there. Run this again later, set {prefix}capacity_wait to "
            f"go on trying, or allow further types with {prefix}further_types and {prefix}further_types_price."
        )
        if all(offer.market != SPOT for offer in failed):
            remedies += (
                f" To move it to another zone with all of its disks, run playbooks/start.yml with "
                f"{prefix}move_zone_confirm set to the lab's name. With --check that shows what changes."
            )
    if any(refusal.meaning == KIND for refusal in failed.values()):
        remedies += " Ask for a higher quota in Service Quotas, or stop other instances."
    if "InsufficientFreeAddressesInSubnet" in {refusal.code for refusal in failed.values()}:
        remedies += f" Choose a larger {prefix}subnet_cidr or {prefix}vpc_cidr for a new lab."
    return f"{prefix}instance_type: AWS has no machine for {host} at the moment: {'; '.join(parts)}. {remedies}"


def _describe(code: str, text: str, launch: Launch) -> str:
    """Return the line for an error code, or nothing for unknown codes."""
    what = f"{launch.instance_type} for {launch.host} in {launch.zone}"
    if code in ZONE_CODES and code not in SENTENCES:
        return f"{launch.prefix}instance_type: AWS has no {what} at the moment ({code}). {_elsewhere(text, launch)}"
    if code not in SENTENCES:
        return ""
    subject, wrong, remedy = SENTENCES[code]
    subject = subject.format(prefix=launch.prefix)
    return f"{subject}: {what} {wrong} ({code}: {text}). {remedy}"


def _elsewhere(text: str, launch: Launch) -> str:
    """Return the remedy when a zone has no capacity, with AWS's own list of zones first."""
    named = named_zones(text, launch.zone)
    zones = named or [zone for zone in launch.zones if zone != launch.zone]
    source = "AWS lists zones with capacity" if named else "Other zones offer the type"
    offer = f"{source}: {', '.join(zones)}. " if zones else ""
    if launch.exists:
        return (
            f"{offer}Its disk is in {launch.zone}, so it can start only there. Run this again later, or destroy "
            f"the lab, with all that is on its disks, and {_move(launch, zones)}."
        )
    return f"{offer}Run this again later, choose another type, or {_move(launch, zones)}."


def _move(launch: Launch, zones: list[str]) -> str:
    """Return how to choose another zone."""
    choice = " or ".join(zones) if zones else "another zone"
    return f"set {launch.prefix}availability_zone to {choice}"


def _region(zone: str) -> str:
    """Return the region of a zone."""
    return re.sub(r"(?<=[0-9])(?:-[a-z]+-[0-9]+)?[a-z]$", "", zone)
