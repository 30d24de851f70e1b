# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read current prices: those of the Price List API, and those of the spot market.

Read on 2026-11-30 in public code with answers of the API: gp3 volumes have three products, whose usage types end with
EBS:VolumeUsage.gp3 (GB-Mo), EBS:VolumeP-IOPS.gp3 (IOPS-Mo) and EBS:VolumeP-Throughput.gp3 (GiBps-mo).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

# The regions with an endpoint, by the beginnings of the lab's region. No other region of the partition has one.
ENDPOINTS = (
    ("cn-", "cn-northwest-1"),
    ("eusc-", "eusc-de-east-1"),
    ("us-gov-", ""),
    ("us-iso", ""),
    ("ap-", "ap-south-1"),
    ("eu-", "eu-central-1"),
    ("me-", "eu-central-1"),
    ("af-", "eu-central-1"),
    ("il-", "eu-central-1"),
)
USAGE = {
    "EBS:VolumeUsage.gp3": "gib_month",
    "EBS:VolumeP-IOPS.gp3": "iops_month",
    "EBS:VolumeP-Throughput.gp3": "throughput_month",
    "EBS:SnapshotUsage": "snapshot_gib_month",
}
# Divisors of the units that prices.yml does not have.
UNITS = {"GiBps-mo": 1024}
MACHINE = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}
# The reservation that needs no payment in advance.
RESERVED = {"LeaseContractLength": "1yr", "OfferingClass": "standard", "PurchaseOption": "No Upfront"}


@dataclass
class Listed:
    """Prices in US dollars.

    Attributes:
        published: The newest date of publication.
        others: By the names of prices.yml.
        types: Of instance types, an hour on demand.
        reserved: The same, reserved for a year without payment in advance.
    """

    published: str = ""
    others: dict[str, float] = field(default_factory=dict)
    types: dict[str, float] = field(default_factory=dict)
    reserved: dict[str, float] = field(default_factory=dict)


class TooSlowError(Exception):
    """The API did not answer in time."""


def endpoint_region(region: str) -> str:
    """Return the region of the API's endpoint for a region; empty where the partition has none."""
    return next((home for prefix, home in ENDPOINTS if region.startswith(prefix)), "us-east-1")


def read(client: Any, region: str, types: Iterable[str], seconds: float, clock: Callable[[], float]) -> Listed:
    """Return the prices in a region.

    Args:
        client: The API's client, which makes one attempt.
        region: The region.
        types: The instance types.
        seconds: How long all calls may take together.
        clock: Returns a time.

    Raises:
        TooSlowError: It took longer. What is incomplete is not used.
    """
    end = clock() + seconds
    queries = [{"volumeApiName": "gp3"}, {"productFamily": "Storage Snapshot"}]
    queries += [{"instanceType": name, **MACHINE} for name in dict.fromkeys(types)]
    found = Listed()
    for query in queries:
        fields = {"regionCode": region, **query}
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
        pages = client.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters)
        for page in pages:
            for text in page["PriceList"]:
                _add(found, json.loads(text) if isinstance(text, str) else text)
            if clock() > end:
                raise TooSlowError(f"the Price List API needed more than {seconds:g} s")
    return found


def _add(found: Listed, product: Mapping[str, Any]) -> None:
    """Add the prices of one product."""
    attributes = product["product"]["attributes"]
    terms = product.get("terms", {})
    on_demand = [price for term in terms.get("OnDemand", {}).values() for price in _prices(term)]
    # A product whose price depends on the quantity has no single one.
    if len(on_demand) != 1 or on_demand[0][1] <= 0:
        return
    unit, price = on_demand[0]
    found.published = max(found.published, str(product.get("publicationDate", ""))[:10])
    usage = str(attributes.get("usagetype", ""))
    # Outside us-east-1 a usage type begins with a code of the region.
    name = next((name for end, name in USAGE.items() if usage == end or usage.endswith(f"-{end}")), "")
    if name:
        found.others[name] = price / UNITS.get(unit, 1)
    elif unit == "Hrs" and "instanceType" in attributes:
        found.types[attributes["instanceType"]] = price
        for term in terms.get("Reserved", {}).values():
            if RESERVED.items() <= term.get("termAttributes", {}).items():
                hourly = [value for kind, value in _prices(term) if kind == "Hrs" and value > 0]
                if hourly:
                    found.reserved[attributes["instanceType"]] = hourly[0]


def _prices(term: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Return the units and prices of a term."""
    for dimension in term.get("priceDimensions", {}).values():
        amount = dimension.get("pricePerUnit", {}).get("USD")
        if amount is not None:
            yield dimension.get("unit", ""), float(amount)


def spot_history(client: Any, zones: Mapping[str, str], since: datetime) -> dict[str, list[dict[str, Any]]]:
    """Return when the spot price of instance types changed, and to what, the oldest first.

    Args:
        client: The client of EC2.
        zones: The zone of each type.
        since: From when. The price that held then is included.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for instance_type, zone in zones.items():
        pages = client.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=[instance_type],
            AvailabilityZone=zone,
            ProductDescriptions=["Linux/UNIX"],
            StartTime=since,
            EndTime=datetime.fromtimestamp(time.time(), timezone.utc),
        )
        rows = sorted((row for page in pages for row in page["SpotPriceHistory"]), key=lambda row: row["Timestamp"])
        if rows:
            found[instance_type] = [
                {"time": row["Timestamp"].isoformat(), "price": float(row["SpotPrice"])} for row in rows
            ]
    return found
