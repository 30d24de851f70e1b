# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a lab's usage cost in a month, or so far in it. Pure functions.

AWS charges Linux instances by the second, at least one minute for each start, and nothing for a spot instance that EC2
itself interrupts in its first hour. A spot instance pays the price at the beginning of each of its hours. Volumes and
snapshots are charged by their share of the month, metrics by each hour in which they received data.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...module_utils._usage.entries import ADDRESS, ALARM, INSTANCE, OPEN, SEEN, SNAPSHOT, SPOT, VOLUME, Entry, merge
from ...module_utils._usage.record import bounds
from .prices import FREE_IOPS, FREE_THROUGHPUT, Prices

HOUR = 3600
SHORTEST_RUN = 60
# StateReason's code of a spot instance that EC2 interrupted, with the stop and the terminate behaviour.
INTERRUPTED = ("Server.SpotInstanceShutdown", "Server.SpotInstanceTermination")
PARTS = ("instances", "volumes", "snapshots", "addresses", "metrics", "alarms")


@dataclass(frozen=True)
class SpotHistory:
    """The spot price of an instance type in a zone: when it changed, and to what. The first one holds before, too."""

    changes: Sequence[tuple[int, float]]

    def at(self, when: int) -> float:
        """Return the price at a time."""
        ordered = sorted(self.changes)
        index = bisect.bisect_right(ordered, when, key=lambda change: change[0])
        return ordered[max(index - 1, 0)][1]


@dataclass(frozen=True)
class Month:
    """A month, as far as it is over.

    Attributes:
        name: Such as 2026-11.
        now: The time until which it is charged.
        metrics: How many metrics an instance publishes while it runs.
        spot: Prices by instance type. Without one a spot instance has no known price.
    """

    name: str
    now: int
    metrics: int = 0
    spot: Mapping[str, SpotHistory] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """When it begins."""
        return bounds(self.name)[0]

    @property
    def last(self) -> int:
        """When it ends."""
        return bounds(self.name)[1]

    def share(self, start: int, end: int) -> int:
        """Return how many seconds of a span are in it."""
        return max(min(end, self.last, self.now) - max(start, self.first), 0)


def cost_of_month(entries: Iterable[Entry], prices: Prices, month: Month) -> dict[str, Any]:
    """Return what a lab's usage cost, in US dollars, and its hours.

    Args:
        entries: The usage, also of other months.
        prices: The prices in its region.
        month: The month.
    """
    usage = merge(entries)
    runs = [entry for entry in usage if entry.kind == INSTANCE]
    cost = dict.fromkeys(PARTS, 0.0)
    hours = {"on-demand": 0.0, "spot": 0.0}
    unknown: dict[str, None] = {}
    estimated = False
    for run in runs:
        seconds = month.share(run.start, end_of(run, month.now))
        instance_type, _slash, market = run.what.partition("/")
        hours[market] = hours.get(market, 0.0) + seconds / HOUR
        amount, guessed = _run_cost(run, prices, month)
        if amount is None:
            unknown.update({instance_type if market != SPOT else f"{instance_type} (spot)": None} if seconds else {})
        else:
            cost["instances"] += amount
            estimated = estimated or (guessed and seconds > 0)
    whole = month.last - month.first
    for entry in usage:
        part = month.share(entry.start, end_of(entry, month.now)) / whole
        if entry.kind == VOLUME:
            price, guessed = volume_price(entry.what, prices)
            cost["volumes"] += part * price
            estimated = estimated or (guessed and part > 0)
        elif entry.kind == SNAPSHOT:
            cost["snapshots"] += part * float(entry.what) * prices.values["snapshot_gib_month"]
            estimated = estimated or ("snapshot_gib_month" in prices.estimated and part > 0)
        elif entry.kind == ADDRESS:
            cost["addresses"] += part * whole / HOUR * prices.values["address_hour"]
        elif entry.kind == ALARM:
            cost["alarms"] += part * float(entry.what) * prices.values["alarm_month"]
    cost["metrics"] = month.metrics * metric_hours(runs, month) / (whole / HOUR) * prices.values["metric_month"]
    open_hours = sum(unknown_seconds(run, runs, month) for run in runs) / HOUR
    return {
        "month": month.name,
        "hours": {market: round(value, 2) for market, value in hours.items()},
        "hours_possible": round(open_hours, 2),
        "cost": {part: round(value, 2) for part, value in cost.items()},
        "total": round(sum(cost.values()), 2),
        "without_price": list(unknown),
        "estimated": estimated,
    }


def end_of(entry: Entry, now: int) -> int:
    """Return when an entry ended. What is open goes on: EC2 has not said otherwise."""
    return max(now, entry.seen) if entry.end == OPEN else entry.seen


def unknown_seconds(run: Entry, runs: Sequence[Entry], month: Month) -> int:
    """Return how much longer a run may have lasted whose end is not known: until the next one of the same instance."""
    if run.end != SEEN:
        return 0
    later = [other.start for other in runs if other.identifier == run.identifier and other.start > run.start]
    return month.share(run.seen, min(later, default=month.now))


def _run_cost(run: Entry, prices: Prices, month: Month) -> tuple[float | None, bool]:
    """Return what the part of a run in a month costs, and whether the price is an estimate."""
    instance_type, _slash, market = run.what.partition("/")
    end = end_of(run, month.now)
    if market == SPOT:
        if run.reason in INTERRUPTED and end - run.start < HOUR:
            return 0.0, False
        history = month.spot.get(instance_type)
        return (None, False) if history is None else (_spot_cost(run.start, end, history, month), False)
    price, guessed = prices.instance(instance_type)
    if price is None:
        return None, False
    return month.share(run.start, _charged_until(run.start, end)) / HOUR * price, guessed


def _charged_until(start: int, end: int) -> int:
    """Return until when a run is charged."""
    return max(end, start + SHORTEST_RUN) if end > start else end


def _spot_cost(start: int, end: int, history: SpotHistory, month: Month) -> float:
    """Return what a spot instance costs in a month: each of its hours at the price at the beginning of that hour."""
    end = _charged_until(start, end)
    begins = range(start, end, HOUR)
    return sum(month.share(begin, min(begin + HOUR, end)) / HOUR * history.at(begin) for begin in begins)


def volume_price(what: str, prices: Prices) -> tuple[float, bool]:
    """Return the price of a volume a month, and whether it is an estimate, as it is for all types but gp3."""
    kind, size, iops, throughput = [*what.split("/"), "", "", ""][:4]
    if kind != "gp3":
        return prices.volume_month(float(size)), True
    extras = float(iops or FREE_IOPS), float(throughput or FREE_THROUGHPUT)
    return prices.volume_month(float(size), *extras), prices.guesses_volume(*extras)


def metric_hours(runs: Iterable[Entry], month: Month) -> int:
    """Return how many hours of the clock received data, for all instances together."""
    touched = set()
    for run in runs:
        first = max(run.start, month.first)
        last = first + month.share(run.start, end_of(run, month.now))
        touched |= {(run.identifier, hour) for hour in range(first // HOUR, math.ceil(last / HOUR))}
    return len(touched)
