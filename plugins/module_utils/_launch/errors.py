# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each error code of a launch means for the next try.

Sources, read on 2026-11-30:

* EC2 user guide, "Troubleshoot instance launch issues", and EC2 API reference, "Error codes".
* EC2 developer guide, "Ensuring idempotency in Amazon EC2 API requests"; boto3 issue 4406 for
  IdempotentInstanceTerminated, and ubicloud pull request 5898 for a token that failed with another type.
* Karpenter, ``pkg/errors/errors.go``, and AWS ParallelCluster, "Slurm fast insufficient capacity fail-over", for the
  codes that another zone or type can cure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Another zone may have it.
ZONE = "zone"
# The same answer in every zone: another market or type.
KIND = "kind"
# The same call again, after a pause.
WAIT = "wait"
# The token belongs to an earlier launch: the same call with another one.
RENEW = "renew"
# Nothing helps that a program may do.
STOP = "stop"

ZONE_CODES = {
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientVolumeCapacity",
    "ReservationCapacityExceeded",
    # Spot prices are per zone.
    "SpotMaxPriceTooLow",
    # AWS has interrupted a spot instance while it was launched.
    "SpotInstanceShutdown",
    "SpotInstanceTermination",
    "UnfulfillableCapacity",
    # The zone does not offer the type.
    "Unsupported",
}
KIND_CODES = {
    "InstanceLimitExceeded",
    "MaxFleetCountExceeded",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
}
WAIT_CODES = {
    "EC2ThrottledException",
    "InternalError",
    "InternalFailure",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ServerInternal",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "Unavailable",
    # EC2 sees a new resource some seconds after it was created.
    "InvalidGroup.NotFound",
    "InvalidGroupId.NotFound",
    "InvalidSubnetID.NotFound",
}
RENEW_CODES = {"IdempotentInstanceTerminated", "IdempotentParameterMismatch"}
# EC2 sees a new profile some seconds after IAM.
PROFILE_TEXT = "Invalid IAM Instance Profile"

# Local and Wavelength Zones have a longer name.
ZONE_NAME = re.compile(r"\b[a-z]{2,4}(?:-[a-z]+)+-[0-9]+(?:-[a-z]+-[0-9]+)?[a-z]\b")


@dataclass(frozen=True)
class Refusal:
    """A call that failed.

    Attributes:
        code: The error code of AWS, or the name of botocore's exception when there was no answer.
        text: The error's own text, in one line.
        status: The HTTP status; 0 without an answer.
    """

    code: str
    text: str
    status: int = 0

    @property
    def meaning(self) -> str:
        """What it means for the next try: one of the five kinds above."""
        for meaning, codes in ((ZONE, ZONE_CODES), (KIND, KIND_CODES), (WAIT, WAIT_CODES), (RENEW, RENEW_CODES)):
            if self.code in codes:
                return meaning
        if self.code == "InvalidParameterValue" and PROFILE_TEXT in self.text:
            return WAIT
        # Without an answer the call may have been carried out: the same token returns its instance.
        return WAIT if self.status == 0 or self.status >= 500 else STOP


def named_zones(text: str, besides: str = "") -> list[str]:
    """Return the zones that AWS names in the text of an error, without one of them."""
    return [zone for zone in dict.fromkeys(ZONE_NAME.findall(text)) if zone != besides]
