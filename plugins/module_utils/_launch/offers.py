# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The places where an instance can be launched, their order, and which of them is next."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import KIND, Refusal, named_zones

ON_DEMAND = "on-demand"
SPOT = "spot"
BLOCK = "capacity-block"
# The values of the option, and the markets in the order in which they are tried.
MARKETS = {"on_demand": (ON_DEMAND,), "spot": (SPOT,), "auto": (SPOT, ON_DEMAND)}


@dataclass(frozen=True)
class Offer:
    """One instance type in one zone, in one market.

    Attributes:
        reservation: Id of the capacity reservation or capacity block; empty for none.
    """

    instance_type: str
    zone: str
    market: str = ON_DEMAND
    reservation: str = ""

    def __str__(self) -> str:
        """Return it as messages name it."""
        how = f"reservation {self.reservation}" if self.reservation else self.market.replace("-", " ")
        return f"{self.instance_type} in {self.zone}, {how}"

    @property
    def kind(self) -> tuple[str, str, str]:
        """What has the same quota in every zone."""
        return self.instance_type, self.market, self.reservation


def list_offers(
    types: list[tuple[str, list[str]]], market: str, zones: list[str], reserved: list[Offer] | None = None
) -> list[Offer]:
    """Return the offers in the order in which they are tried.

    What is paid for already comes first. Then every zone before another type, and every type before another market.

    Args:
        types: The instance types in order, each with the zones that offer it.
        market: One of `MARKETS`.
        zones: Zones to try first, in order, such as those of the lab's other hosts.
        reserved: The usable capacity reservations.
    """
    offers = list(reserved or [])
    for name in MARKETS[market]:
        for instance_type, places in types:
            ordered = [zone for zone in zones if zone in places] + [zone for zone in places if zone not in zones]
            offers += [Offer(instance_type, zone, name) for zone in dict.fromkeys(ordered)]
    return offers


@dataclass
class Search:
    """The search for an offer that AWS can fulfil, for all hosts of a run.

    Attributes:
        offers: All offers in order.
        failed: The reason of each that failed, which is not tried again.
        named: The zones that AWS has named for a type in a market.
    """

    offers: list[Offer]
    failed: dict[Offer, Refusal] = field(default_factory=dict)
    named: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def next(self, zone: str = "") -> Offer | None:
        """Return the offer to try next, or None when all have failed.

        Args:
            zone: The only zone that is possible; empty for any.
        """
        left = [offer for offer in self.offers if offer not in self.failed and zone in ("", offer.zone)]
        if not left:
            return None
        # Only among the zones of the first: a zone that AWS names does not make another type or market come first.
        same = [offer for offer in left if offer.kind == left[0].kind]
        named = self.named.get(left[0].kind, [])
        return min(same, key=lambda offer: named.index(offer.zone) if offer.zone in named else len(named))

    def fail(self, offer: Offer, refusal: Refusal) -> None:
        """Record that an offer failed, with all that have the same answer."""
        self.failed[offer] = refusal
        if refusal.meaning == KIND:
            self.failed |= {other: refusal for other in self.offers if other.kind == offer.kind}
            return
        zones = named_zones(refusal.text, offer.zone)
        if zones:
            self.named[offer.kind] = zones
