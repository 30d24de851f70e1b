# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The prices of what a lab uses. Where a region's own is not known, that of the base region is an estimate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ...module_utils._problem import Problem, listed, shown
from .._stack.data import machines
from .._stack.machines import known_kinds

# A month in which prices are shown. What was used in a month is charged by that month's own hours.
HOURS_PER_MONTH = 730
# Every gp3 volume has these at no extra price.
FREE_IOPS, FREE_THROUGHPUT = 3000, 125


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("prices.yml").read_text(encoding="utf-8"))
    return data


@dataclass(frozen=True)
class Prices:
    """The prices in a region, in US dollars.

    Attributes:
        region: The region.
        values: By the names of prices.yml.
        estimated: The names whose values are those of the base region.
        types: The user's prices of instance types, an hour.
        listed: The current list prices of instance types, an hour, as far as AWS has returned them.
        published: When AWS published these; empty without any.
    """

    region: str
    values: Mapping[str, float]
    estimated: frozenset[str] = frozenset()
    types: Mapping[str, float] = field(default_factory=dict)
    listed: Mapping[str, float] = field(default_factory=dict)
    published: str = ""

    def instance(self, instance_type: str) -> tuple[float | None, bool]:
        """Return the price of an instance type an hour, on demand, and whether it is an estimate."""
        if instance_type in self.types:
            return self.types[instance_type], False
        if instance_type in self.listed:
            return self.listed[instance_type], False
        kind = known_kinds().get(instance_type)
        known = kind.prices if kind else {}
        base = known.get(machines()["base_region"])
        if self.region in known:
            return known[self.region], False
        ratio = family_ratio(instance_type, self.region)
        return (base, True) if base is None or ratio is None else (round(base * ratio, 5), False)

    def volume_month(self, size: float, iops: float = FREE_IOPS, throughput: float = FREE_THROUGHPUT) -> float:
        """Return the price of a gp3 volume a month."""
        return (
            size * self.values["gib_month"]
            + max(iops - FREE_IOPS, 0) * self.values["iops_month"]
            + max(throughput - FREE_THROUGHPUT, 0) * self.values["throughput_month"]
        )

    def guesses_volume(self, iops: float = FREE_IOPS, throughput: float = FREE_THROUGHPUT) -> bool:
        """Return whether the price of a gp3 volume is an estimate."""
        names = {"gib_month": True, "iops_month": iops > FREE_IOPS, "throughput_month": throughput > FREE_THROUGHPUT}
        return any(used and name in self.estimated for name, used in names.items())


def family_ratio(instance_type: str, region: str) -> float | None:
    """Return the ratio of an instance type's price in a region to that in the base region, or None."""
    prices = _data()["families"].get(instance_type.partition(".")[0], {}).get("prices", {})
    return prices[region] / prices[machines()["base_region"]] if region in prices else None


def own_types(catalogue: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the prices of instance types that a user has set in the catalogue: those that are not list prices.

    Args:
        catalogue: Entries with `type` and `price_per_hour`.
    """
    found = {}
    for entry in catalogue:
        price, kind = entry.get("price_per_hour"), known_kinds().get(entry["type"])
        listed_price = kind.prices.get(machines()["base_region"]) if kind else None
        if isinstance(price, (int, float)) and not isinstance(price, bool) and price != listed_price:
            found[str(entry["type"])] = float(price)
    return found


def prices_of(
    region: str,
    overrides: Mapping[str, Any] | None = None,
    types: Mapping[str, float] | None = None,
    listed: Mapping[str, Any] | None = None,
) -> Prices:
    """Return the prices in a region. The user's take precedence, then AWS's current ones, then the dated table.

    Args:
        region: The region.
        overrides: The user's prices, by the names of prices.yml.
        types: The user's prices of instance types.
        listed: What AWS has returned, as the module lab_prices_info returns it.
    """
    data, listed = _data(), listed or {}
    overrides = {name: number for name, value in (overrides or {}).items() if (number := as_price(value)) is not None}
    current = {name: float(value) for name, value in listed.get("others", {}).items()}
    own = {**data["everywhere"], **data["regions"].get(region, {}), **current, **overrides}
    base = {**data["regions"][data["base_region"]], **own}
    return Prices(
        region,
        base,
        frozenset(base.keys() - own.keys()),
        dict(types or {}),
        {name: float(value) for name, value in listed.get("types", {}).items()},
        str(listed.get("published", "")),
    )


def named(prices: Prices) -> str:
    """Return whose prices these are, for a report."""
    table = f"list prices of {prices.region} ({dated()})"
    if not prices.published:
        return table
    return f"prices of the Price List API of AWS for {prices.region}, published {prices.published}, else the {table}"


def as_price(value: object) -> float | None:
    """Return a price, also from text as the command line gives it, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        price = float(value)
    except ValueError:
        return None
    return price if math.isfinite(price) and price >= 0 else None


def price_problems(variable: str, overrides: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with a user's prices.

    Args:
        variable: The variable as the user knows it.
        overrides: Its value.
    """
    names = sorted(prices_of(_data()["base_region"]).values)
    unknown = [
        Problem(variable, shown(name), "is not the name of a price", listed(names), "Correct the name")
        for name in overrides
        if name not in names
    ]
    wrong = [
        Problem(
            f"{variable}.{name}",
            shown(value),
            "is not a price",
            "a number of 0 or more, in US dollars",
            "Correct it, or remove it to use the list price",
        )
        for name, value in overrides.items()
        if name in names and as_price(value) is None
    ]
    return unknown + wrong


def dated() -> str:
    """Return the dates of the list prices."""
    instances = machines()["prices_published"]
    return f"instances: {instances[0]} to {instances[-1]}, others: {_data()['checked']}"
