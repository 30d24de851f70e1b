# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The prices of what a lab uses. Where a region's own is not known, that of the base region is an estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    """

    region: str
    values: Mapping[str, float]
    estimated: frozenset[str] = frozenset()
    types: Mapping[str, float] = field(default_factory=dict)

    def instance(self, instance_type: str) -> tuple[float | None, bool]:
        """Return the price of an instance type an hour, on demand, and whether it is an estimate."""
        if instance_type in self.types:
            return self.types[instance_type], False
        kind = known_kinds().get(instance_type)
        known = kind.prices if kind else {}
        if self.region in known:
            return known[self.region], False
        return known.get(machines()["base_region"]), True

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


def prices_of(
    region: str, overrides: Mapping[str, float] | None = None, types: Mapping[str, float] | None = None
) -> Prices:
    """Return the prices in a region.

    Args:
        region: The region.
        overrides: The user's prices, by the names of prices.yml.
        types: The user's prices of instance types.
    """
    data, overrides = _data(), dict(overrides or {})
    own = {**data["everywhere"], **data["regions"].get(region, {}), **overrides}
    base = {**data["regions"][data["base_region"]], **own}
    return Prices(region, base, frozenset(base.keys() - own.keys()), dict(types or {}))


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
        if name in names
        and (isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0)
    ]
    return unknown + wrong


def dated() -> str:
    """Return of when the prices are."""
    instances = machines()["prices_published"]
    return f"list prices, instances {instances[0]} to {instances[-1]}, other {_data()['checked']}"
