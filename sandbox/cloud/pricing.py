"""The Price List API, which moto lacks: GetProducts of AmazonEC2, with the prices that a user of the sandbox sets.

Without any its answers are empty, as AWS's are about what it does not sell.

Sources. Read on 2026-11-30: botocore 1.44.5, pricing 2017-10-15 (filters, limits, errors; products are texts of JSON);
public code with answers of the API (as-scripts of asheiduk, pricing of gp3 in several: attributes, terms, usage types
and units, GiBps-mo for throughput). Inferred: the messages, and the version.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from sandbox.errors import SandboxError

MOST_RESULTS = 100
PUBLISHED = "2026-11-27"
FILTERS = ("TERM_MATCH", "EQUALS", "CONTAINS", "ANY_OF", "NONE_OF")
VOLUMES = {
    "gib_month": ("Storage", "EBS:VolumeUsage.gp3", "GB-Mo", 1),
    "iops_month": ("System Operation", "EBS:VolumeP-IOPS.gp3", "IOPS-Mo", 1),
    "throughput_month": ("Provisioned Throughput", "EBS:VolumeP-Throughput.gp3", "GiBps-mo", 1024),
    "snapshot_gib_month": ("Storage Snapshot", "EBS:SnapshotUsage", "GB-Mo", 1),
}


@dataclass
class PriceList:
    """The prices.

    :param types: by region and type, an hour on demand and reserved, the latter None without.
    :param values: by region and name, as in the collection.
    """

    types: dict[tuple[str, str], tuple[float, float | None]] = field(default_factory=dict)
    values: dict[tuple[str, str], float] = field(default_factory=dict)

    def set(
        self, region: str, type: str = "", price: float = 0, reserved: float | None = None, **values: float
    ) -> None:
        """Set the price of an instance type, or of volumes and snapshots by name.

        :raises SandboxError: a name is not known.
        """
        if unknown := sorted(values.keys() - VOLUMES.keys()):
            raise SandboxError(f"price: {unknown[0]!r}. Allowed: {', '.join(VOLUMES)}")
        if type:
            self.types[region, type] = (float(price), reserved)
        self.values.update({(region, name): float(value) for name, value in values.items()})

    def products(self) -> list[dict[str, Any]]:
        """Return all products."""
        machines = [machine(region, kind, *prices) for (region, kind), prices in sorted(self.types.items())]
        return [*machines, *(storage(region, name, price) for (region, name), price in sorted(self.values.items()))]


def dimensions(unit: str, price: float) -> dict[str, Any]:
    """Return the price dimensions of a term."""
    return {uuid.uuid4().hex[:10]: {"unit": unit, "beginRange": "0", "pricePerUnit": {"USD": f"{price:.10f}"}}}


def product(family: str, attributes: dict[str, str], terms: dict[str, Any]) -> dict[str, Any]:
    """Return a product."""
    return {
        "product": {"productFamily": family, "sku": uuid.uuid4().hex[:16].upper(), "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "terms": terms,
        "version": PUBLISHED.replace("-", ""),
        "publicationDate": f"{PUBLISHED}T00:00:00Z",
    }


def machine(region: str, kind: str, price: float, reserved: float | None) -> dict[str, Any]:
    """Return the product of an instance type with Linux."""
    terms: dict[str, Any] = {"OnDemand": {"a": {"priceDimensions": dimensions("Hrs", price), "termAttributes": {}}}}
    if reserved is not None:
        kinds = [("1yr", "No Upfront", reserved), ("3yr", "No Upfront", reserved * 0.7), ("1yr", "All Upfront", 0.0)]
        terms["Reserved"] = {
            f"{length}/{option}": {
                "priceDimensions": dimensions("Hrs", hourly),
                "termAttributes": {
                    "LeaseContractLength": length,
                    "OfferingClass": "standard",
                    "PurchaseOption": option,
                },
            }
            for length, option, hourly in kinds
        }
    attributes = {
        "servicecode": "AmazonEC2",
        "instanceType": kind,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "licenseModel": "No License required",
        "usagetype": f"BoxUsage:{kind}",
    }
    return product("Compute Instance", attributes, terms)


def storage(region: str, name: str, price: float) -> dict[str, Any]:
    """Return the product of volumes or snapshots."""
    family, usage, unit, factor = VOLUMES[name]
    prefix = "" if region == "us-east-1" else "XXX1-"
    attributes = {"servicecode": "AmazonEC2", "regionCode": region, "usagetype": f"{prefix}{usage}"}
    if family != "Storage Snapshot":
        attributes["volumeApiName"] = "gp3"
    term = {"priceDimensions": dimensions(unit, price * factor), "termAttributes": {}}
    return product(family, attributes, {"OnDemand": {"a": term}})


PRICES = PriceList()


def answer(action: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Return status and answer of a call."""
    given = json.loads(body or b"{}")
    if action != "GetProducts":
        return 400, {"__type": "UnknownOperationException", "message": f"The sandbox has no {action}."}
    if given.get("ServiceCode") != "AmazonEC2":
        return 400, {"__type": "NotFoundException", "message": "The service code is not known."}
    most = int(given.get("MaxResults") or MOST_RESULTS)
    filters = given.get("Filters") or []
    if not 1 <= most <= MOST_RESULTS or any(item.get("Type") not in FILTERS for item in filters):
        return 400, {"__type": "InvalidParameterException", "message": "A parameter is not valid."}
    found = [item for item in PRICES.products() if all(matches(item, wanted) for wanted in filters)]
    first = int(given.get("NextToken") or 0)
    more = {"NextToken": str(first + most)} if len(found) > first + most else {}
    return 200, {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(item) for item in found[first : first + most]],
        **more,
    }


def matches(item: dict[str, Any], wanted: dict[str, str]) -> bool:
    """Return whether a product has an attribute's value; its family counts as one."""
    attributes = {**item["product"]["attributes"], "productFamily": item["product"]["productFamily"]}
    return bool(attributes.get(wanted["Field"]) == wanted["Value"])
