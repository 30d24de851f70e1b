# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The offers of capacity reservations and capacity blocks, which are paid for already."""

from __future__ import annotations

from typing import Any

from .._aws.errors import ReadError, translated
from .offers import BLOCK, ON_DEMAND, Offer


class ReservationError(Exception):
    """A reservation that does not exist, as the line for the user."""


def read_reservations(ec2: Any, wanted: list[str], region: str, prefix: str) -> tuple[list[Offer], list[str]]:
    """Return the offers of capacity reservations, and a line for each that cannot be used.

    Args:
        ec2: A client of EC2.
        wanted: Their ids, in order.
        region: The region of the client.
        prefix: How the user's variables begin.

    Raises:
        ReservationError: One does not exist.
        ReadError: AWS did not answer.
    """
    if not wanted:
        return [], []
    try:
        with translated("ec2:DescribeCapacityReservations", region):
            found = ec2.describe_capacity_reservations(CapacityReservationIds=wanted)["CapacityReservations"]
    except ReadError as error:
        if not error.code.startswith("InvalidCapacityReservation"):
            raise
        line = f"{prefix}capacity_reservations: {error.detail} Correct the ids, or remove them."
        raise ReservationError(line) from error
    known = {item["CapacityReservationId"]: item for item in found}
    offers, lines = [], []
    for identifier in wanted:
        item = known.get(identifier)
        if item is None:
            raise ReservationError(
                f"{prefix}capacity_reservations: {identifier} does not exist in {region}. Correct or remove it."
            )
        free, state = int(item.get("AvailableInstanceCount", 0)), item.get("State", "")
        if state != "active" or not free:
            lines.append(f"{identifier}: skipped, as it is {state} with {free} free instances")
            continue
        market = BLOCK if item.get("ReservationType") == "capacity-block" else ON_DEMAND
        offers.append(Offer(item["InstanceType"], item["AvailabilityZone"], market, identifier))
    return offers, lines
