# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What offers cost an hour: today's spot prices by zone, and the offers with their prices as lines of text."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._aws.errors import translated
from .offers import SPOT, Offer

LINUX = "Linux/UNIX"
HEADINGS = ("market", "instance type", "zones, in the order in which they are tried")


@dataclass(frozen=True)
class Price:
    """A price in US dollars an hour.

    Attributes:
        amount: The price; None where it is not known.
        estimated: Whether it is that of another region.
    """

    amount: float | None = None
    estimated: bool = False

    def __str__(self) -> str:
        """Return it as messages name it."""
        if self.amount is None:
            return "at an unknown price"
        return f"at {'about ' if self.estimated else ''}${self.amount:.3f} an hour"


def read_spot_prices(ec2: Any, types: Sequence[str], region: str) -> dict[tuple[str, str], float]:
    """Return the spot prices now, by instance type and zone.

    Raises:
        ReadError: AWS did not answer.
    """
    if not types:
        return {}
    given = {
        "InstanceTypes": list(dict.fromkeys(types)),
        "ProductDescriptions": [LINUX],
        # From now on: the price that holds, of each type and zone.
        "StartTime": datetime.datetime.now(datetime.timezone.utc),
    }
    with translated("ec2:DescribeSpotPriceHistory", region):
        pages = ec2.get_paginator("describe_spot_price_history").paginate(**given)
        entries = [entry for page in pages for entry in page["SpotPriceHistory"]]
    entries.sort(key=lambda entry: entry["Timestamp"])
    return {(entry["InstanceType"], entry["AvailabilityZone"]): float(entry["SpotPrice"]) for entry in entries}


def price_offers(
    offers: Sequence[Offer], on_demand: Mapping[str, Price], spot: Mapping[tuple[str, str], float]
) -> dict[Offer, Price]:
    """Return what each offer costs. A reservation is paid for whether it is used or not, at the price on demand."""
    return {
        offer: Price(spot.get((offer.instance_type, offer.zone)))
        if offer.market == SPOT
        else on_demand.get(offer.instance_type, Price())
        for offer in offers
    }


def describe_offers(prices: Mapping[Offer, Price]) -> list[str]:
    """Return the offers as a table, one line for each market and instance type."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for offer, price in prices.items():
        amount = "" if price.amount is None else f" {'~' if price.estimated else ''}${price.amount:.3f}"
        rows.setdefault(offer.kind, []).append(f"{offer.zone}{amount}")
    table = [
        HEADINGS,
        *(
            (f"reservation {reservation}" if reservation else market.replace("-", " "), instance_type, ", ".join(zones))
            for (instance_type, market, reservation), zones in rows.items()
        ),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(2)]
    return ["  ".join((row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2])) for row in table]
