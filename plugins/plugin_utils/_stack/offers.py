# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the cheapest instance type that a region offers, a quota allows and a profile runs on. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .data import machines
from .fit import FITS, NO, TIGHT, Fit, compare
from .machines import Kind, find_gpu
from .models import Wish

UNPRICED = "its price is not known here: set aws_infrastructure_instance_type to use it"
# The headings of the table of offers.
COLUMNS = ("", "instance type", "GPU", "GPU GiB", "GiB", "vCPUs", "$/hour", "")


@dataclass(frozen=True)
class Offer:
    """An instance type, and why it is not chosen.

    Attributes:
        price: US dollars an hour, in the region whose prices decide the order; None if it is unknown.
        own_price: the same in the lab's region; None if it is unknown.
        reasons: why it cannot be chosen; empty if it could.
        offered: whether the region has it.
        fit: how the profile runs on it; None for a type that the lab cannot use.
    """

    kind: Kind
    price: float | None
    reasons: tuple[str, ...]
    offered: bool
    fit: Fit | None = None
    own_price: float | None = None
    chosen: bool = False

    @property
    def cost(self) -> float | None:
        """US dollars an hour in the lab's region if that is known, otherwise an estimate."""
        return self.price if self.own_price is None else self.own_price

    @property
    def fits(self) -> bool:
        """Whether the profile runs well on it."""
        return self.fit is not None and self.fit.answer == FITS

    @property
    def verdict(self) -> str:
        """One line: why it is not chosen, or how the profile runs on it."""
        if self.chosen:
            notes = [self.fit.reasons] if self.fit and self.fit.reasons else []
            if self.fit and self.fit.serving:
                notes.append(f"{self.fit.serving.model.name}, context {self.fit.serving.context}")
            return "; ".join(["chosen", *notes])
        return "; ".join(self.reasons) or "runs it as well, and costs more"


@dataclass(frozen=True)
class Choice:
    """The offers of a region, the cheapest first, of which at most one is chosen.

    Attributes:
        price_region: the region whose prices decide the order.
    """

    profile: str
    region: str
    price_region: str
    offers: tuple[Offer, ...]

    @property
    def chosen(self) -> Offer | None:
        """Return the chosen offer, or None if there is none."""
        return next((offer for offer in self.offers if offer.chosen), None)

    @property
    def problem(self) -> str:
        """Return why there is no offer, in one line; empty if there is one."""
        if self.chosen:
            return ""
        runs = [offer for offer in self.offers if offer.fit and offer.fit.answer != NO]
        recommended = [offer for offer in self.offers if offer.kind.name == machines()["recommended_by_guide"]]
        shown = [offer for offer in runs if offer.offered] or runs or recommended
        why = ". ".join(f"{offer.kind.name}: {offer.verdict}" for offer in shown[:3])
        return f"profile {self.profile} runs on no instance type that can be had in {self.region}. {why}."

    def lines(self, others: int = 2) -> list[str]:
        """Return the table of offers: all up to the chosen one, some that cost more, and the guide's recommendation."""
        end = next((index for index, offer in enumerate(self.offers) if offer.chosen), len(self.offers)) + 1 + others
        offers = [
            offer
            for index, offer in enumerate(self.offers)
            if index < end or offer.kind.name == machines()["recommended_by_guide"]
        ]
        rows = [COLUMNS, *map(_row, offers)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if any(offer.own_price is None and offer.price is not None for offer in offers):
            table.append(f"~ an estimate: the price in {self.price_region}, as that in {self.region} is not known here")
        first, last = machines()["prices_published"]
        table.append(f"US dollars on demand, for Linux, without disk and address, as published {first} to {last}")
        return table


def _row(offer: Offer) -> tuple[str, ...]:
    """Return the cells of an offer's line."""
    kind = offer.kind
    price = "unknown" if offer.cost is None else f"{'~' if offer.own_price is None else ''}{offer.cost:.3f}"
    count = f"{kind.gpus} x " if kind.gpus > 1 else ""
    return (
        "*" if offer.chosen else "",
        kind.name,
        f"{count}{kind.machine.gpu}" if kind.machine.gpu else "none",
        f"{(kind.machine.vram or 0) / 1024:.1f}",
        f"{kind.machine.ram / 1024:.0f}",
        str(kind.vcpus),
        price,
        offer.verdict,
    )


def family(name: str) -> str:
    """Return the letters of an instance type before its generation, which decide its quota."""
    found = re.match(r"[a-z]+", name)
    return found.group(0) if found else ""


def choose(
    types: Mapping[str, Kind],
    offered: Collection[str],
    quotas: Mapping[str, int | None],
    profile: str,
    region: str,
    *,
    count: int = 1,
    disk: int | None = None,
    model: str = "",
    driver_module: str = "auto",
) -> Choice:
    """Return the offers of a region, with the cheapest usable one chosen.

    A type on which the profile fits is preferred; only without any, one on which it is tight. A type without a known
    price is never chosen, as it may cost the most.

    Args:
        types: the instance types by name.
        offered: the names of those that the region offers, in the lab's zone if it has one.
        quotas: the vCPUs that are left, by the family of a type; None or missing if that is not known.
        profile: what the instances run.
        region: the region.
        count: number of instances.
        disk: size of their root volumes, in GiB.
        model: the language model, as in fit.
        driver_module: the kernel module of the driver that the instances will get: open, proprietary, or another word
            for the one that the GPU needs.

    :raises CapacityError: there is no such profile or model.
    """
    base = machines()["base_region"]
    # A region's own prices decide the order only if they are all known, as prices of two regions cannot be compared.
    priced = [kind for name, kind in types.items() if name in offered and base in kind.prices]
    price_region = region if priced and all(region in kind.prices for kind in priced) else base
    offers = [
        _judge(
            kind,
            kind.prices.get(price_region),
            compare(profile, dataclasses.replace(kind.machine, disk=disk), Wish(model)),
            "" if kind.name in offered else f"not offered in {region}",
            _exceeds(kind.vcpus * count, quotas.get(family(kind.name))),
            _lacks_module(kind, driver_module),
        )
        for kind in types.values()
    ]
    offers.sort(key=lambda offer: (offer.price is None, offer.price or 0.0, offer.kind.vcpus, offer.kind.name))
    offers = [dataclasses.replace(offer, own_price=offer.kind.prices.get(region)) for offer in offers]
    usable = [offer for offer in offers if not offer.reasons]
    best = next((offer for offer in usable if offer.fits), next(iter(usable), None))
    return Choice(profile, region, price_region, tuple(_mark(offer, best) for offer in offers))


def _mark(offer: Offer, best: Offer | None) -> Offer:
    """Return an offer as chosen, or with the reason why a better one is."""
    if offer is best:
        return dataclasses.replace(offer, chosen=True)
    if best and best.fits and offer.fit and offer.fit.answer == TIGHT and not offer.reasons:
        return dataclasses.replace(offer, reasons=(f"tight: {offer.fit.reasons}",))
    return offer


def _exceeds(vcpus: int, left: int | None) -> str:
    """Return that a quota does not allow a number of vCPUs; empty if it does, or is not known."""
    return "" if left is None or vcpus <= left else f"needs {vcpus} vCPUs, and the quota leaves {max(left, 0)}"


def open_module(kind: Kind) -> str:
    """Return whether the driver's open kernel module runs the GPU: needed, possible or none."""
    gpu = find_gpu(kind.machine.gpu)
    return gpu.open_module if gpu else "possible"


def _lacks_module(kind: Kind, chosen: str) -> str:
    """Return that the chosen kernel module does not run the GPU; empty if it does."""
    lacks = {"proprietary": "needed", "open": "none"}.get(chosen, "")
    return f"the {chosen} kernel module does not run {kind.machine.gpu}" if lacks == open_module(kind) else ""


def _judge(kind: Kind, price: float | None, fit: Fit, missing: str, *faults: str) -> Offer:
    """Return the offer of an instance type, with the reasons against it."""
    if kind.unusable:
        return Offer(kind, price, (kind.unusable,), not missing)
    reasons = (
        missing,
        fit.reasons if fit.answer == NO else "",
        *faults,
        "" if price is not None else UNPRICED,
    )
    return Offer(kind, price, tuple(filter(None, reasons)), not missing, fit)
