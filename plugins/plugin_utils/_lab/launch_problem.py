# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explain why AWS did not start an instance, and what to change: zone, type, quota, account, key, or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

CALL_ERROR = re.compile(r"\((?P<code>[A-Za-z][\w.]+)\) when calling the \w+ operation")
ZONE = re.compile(r"\b[a-z]{2,4}(?:-[a-z]+)+-[0-9]+(?:-[a-z]+-[0-9]+)?[a-z]\b")

ZONE_CODES = {
    "InsufficientCapacity",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientVolumeCapacity",
    "ReservationCapacityExceeded",
    "SpotMaxPriceTooLow",
    "UnfulfillableCapacity",
    "Unsupported",
}
QUOTA_CODES = {
    "InstanceLimitExceeded",
    "MaxFleetCountExceeded",
    "MaxIOPSLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "VolumeLimitExceeded",
}
# Remedies for the account itself, if no zone, type or quota helps.
ACCOUNT_CODES = {
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": "Allow iam:CreateServiceLinkedRole for the caller.",
    "Blocked": "Ask AWS Support why the account is blocked.",
    "OptInRequired": "Subscribe to EC2, or to the image in AWS Marketplace, with this account.",
    "PendingVerification": "Wait until AWS has verified the account (at most a few hours), then run this again.",
    "UnauthorizedOperation": "Allow the call in the policies of the caller.",
}
LATER_CODES = {
    "InternalError",
    "InternalFailure",
    "RequestLimitExceeded",
    "ServerInternal",
    "ServiceUnavailable",
    "Unavailable",
}
IMAGE_CODES = {"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound"}
# The variable to change, the reason and the remedy, by error code.
SENTENCES = {
    **dict.fromkeys(
        QUOTA_CODES,
        (
            "aws_infrastructure_instance_type",
            "exceeds a quota of the account, in every zone",
            "Use fewer or smaller instances, stop others, or ask for more in Service Quotas.",
        ),
    ),
    **dict.fromkeys(IMAGE_CODES, ("aws_infrastructure_image", "cannot boot from the image", "Choose another image.")),
    **dict.fromkeys(LATER_CODES, ("AWS", "cannot be started at the moment", "Run this again in a few minutes.")),
    **{code: ("AWS account", "may not be started by it", remedy) for code, remedy in ACCOUNT_CODES.items()},
    "InsufficientFreeAddressesInSubnet": (
        "aws_infrastructure_subnet_cidr",
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
        others: Names of the lab's other existing hosts.
    """

    host: str
    instance_type: str
    zone: str
    zones: tuple[str, ...] = ()
    exists: bool = False
    others: tuple[str, ...] = ()


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


def _describe(code: str, text: str, launch: Launch) -> str:
    """Return the line for an error code, or nothing for unknown codes."""
    what = f"{launch.instance_type} for {launch.host} in {launch.zone}"
    if code in ZONE_CODES:
        return f"aws_infrastructure_instance_type: AWS has no {what} at the moment ({code}). {_elsewhere(text, launch)}"
    if code not in SENTENCES:
        return ""
    subject, wrong, remedy = SENTENCES[code]
    return f"{subject}: {what} {wrong} ({code}: {text}). {remedy}"


def _elsewhere(text: str, launch: Launch) -> str:
    """Return the remedy when a zone has no capacity, with AWS's own list of zones first."""
    named = [zone for zone in dict.fromkeys(ZONE.findall(text)) if zone != launch.zone]
    zones = named or [zone for zone in launch.zones if zone != launch.zone]
    source = "AWS lists zones with capacity" if named else "Other zones offer the type"
    offer = f"{source}: {', '.join(zones)}. " if zones else ""
    if launch.exists:
        return (
            f"{offer}Its disk is in {launch.zone}, so it can start only there. Run this again later, or destroy "
            f"the lab, with all that is on its disks, and {_move(zones)}."
        )
    if launch.others:
        return (
            f"{offer}All hosts of a lab are in one zone, and {', '.join(launch.others)} is in {launch.zone}. Run this "
            f"again later, choose another type for new hosts, or destroy the lab and {_move(zones)}."
        )
    return (
        f"{offer}Run this again later, choose another type, or destroy the lab, which has no hosts yet, and "
        f"{_move(zones)}."
    )


def _move(zones: list[str]) -> str:
    """Return how to choose another zone."""
    choice = " or ".join(zones) if zones else "another zone"
    return f"set aws_infrastructure_availability_zone to {choice}"


def _region(zone: str) -> str:
    """Return the region of a zone."""
    return re.sub(r"(?<=[0-9])(?:-[a-z]+-[0-9]+)?[a-z]$", "", zone)
