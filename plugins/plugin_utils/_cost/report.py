# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report what a lab costs and cost, and what spot instances or a reservation would save. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...module_utils._usage.entries import INSTANCE, ON_DEMAND, Entry, merge
from .month import HOUR, Month, cost_of_month, end_of
from .prices import Prices
from .rates import reservation, spot_saving


@dataclass(frozen=True)
class Market:
    """What AWS asks for instance types now, an hour.

    Attributes:
        spot: On the spot market.
        reserved: Reserved for a year without payment in advance.
        discount: The discount of a reservation where its price is not known, between 0 and 1.
    """

    spot: Mapping[str, float] = field(default_factory=dict)
    reserved: Mapping[str, float] = field(default_factory=dict)
    discount: float = 0.35


def report(
    entries: Iterable[Entry], hosts: Sequence[str], prices: Prices, month: Month, market: Market
) -> dict[str, Any]:
    """Return the cost of a month so far, what would have saved money, and lines for a reader.

    Args:
        entries: The usage.
        hosts: The instance types of the lab's hosts.
        prices: The prices in its region.
        month: The month.
        market: What AWS asks now.
    """
    usage = merge(entries)
    cost = cost_of_month(usage, prices, month)
    hours = hours_by_type(usage, month)
    spot = {
        name: {"price": market.spot[name], "hours": round(used, 2), **spot_saving(price, market.spot[name], used)}
        for name, used in hours.items()
        if used and name in market.spot and (price := prices.instance(name)[0]) is not None
    }
    begin = max(month.first, min((entry.start for entry in usage), default=month.first))
    elapsed = max(min(month.now, month.last) - begin, 0) / HOUR
    reserved = {
        name: _reserved(name, hours.get(name, 0.0), elapsed * hosts.count(name), price, market)
        for name in dict.fromkeys(hosts)
        if elapsed and (price := prices.instance(name)[0])
    }
    found = {"month": cost, "spot": spot, "reservation": reserved}
    return {**found, "lines": lines(found)}


def hours_by_type(usage: Iterable[Entry], month: Month) -> dict[str, float]:
    """Return the hours on demand by instance type."""
    hours: dict[str, float] = {}
    for run in usage:
        instance_type, _slash, market = run.what.partition("/")
        if run.kind == INSTANCE and market == ON_DEMAND:
            hours.setdefault(instance_type, 0.0)
            hours[instance_type] += month.share(run.start, end_of(run, month.now)) / HOUR
    return hours


def _reserved(name: str, hours: float, paid: float, price: float, market: Market) -> dict[str, float | bool]:
    """Return what reservations for all hosts of a type would have saved since the lab began, in this month."""
    known = name in market.reserved
    discount = min(max(1 - market.reserved[name] / price, 0), 1) if known else market.discount
    found = reservation(price, discount, hours, paid)
    return {
        "discount_percent": round(discount * 100, 1),
        "known": known,
        "hours": round(hours, 2),
        "hours_paid": round(paid, 2),
        "use_percent": round(hours / paid * 100, 1),
        "saved": found["saved"],
        "break_even_percent": found["break_even_percent"],
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return a report as lines."""
    month = found["month"]
    used = ", ".join(
        f"{hours:.2f} hours {market.replace('-', ' ')}" for market, hours in month["hours"].items() if hours
    )
    parts = ", ".join(f"{part} ${amount:.2f}" for part, amount in month["cost"].items() if amount)
    text = [f"{month['month']} so far: ${month['total']:.2f}{f' ({parts})' if parts else ''}, {used or 'no hours'}."]
    if month["hours_possible"]:
        text.append(
            f"Up to {month['hours_possible']:.2f} hours more are possible: AWS does not report when an instance ended."
        )
    if month["without_price"]:
        text.append(f"Without {', '.join(month['without_price'])}, whose price is not known.")
    if month["estimated"]:
        text.append("Some prices are not known in this region: those of us-east-1 stand for them.")
    for name, saving in found["spot"].items():
        change = f"${abs(saving['saved']):.2f} {'less' if saving['saved'] >= 0 else 'more'}"
        text.append(
            f"Spot: the {saving['hours']:.2f} hours of {name} would have cost {change} ({saving['percent']:.1f} %), at"
            f" today's ${saving['price']:.4f} an hour."
        )
    for name, saving in found["reservation"].items():
        change = f"saved ${saving['saved']:.2f}" if saving["saved"] >= 0 else f"cost ${-saving['saved']:.2f} more"
        of = "" if saving["known"] else ", an assumption,"
        text.append(
            f"Reservation: {name} ran {saving['use_percent']:.1f} % of {saving['hours_paid']:.2f} hours. A reservation"
            f" at a discount of {saving['discount_percent']:.1f} %{of} would have {change}. It is worth it above"
            f" {saving['break_even_percent']:.1f} %."
        )
    return text
