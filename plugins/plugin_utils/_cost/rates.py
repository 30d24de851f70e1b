# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a lab costs an hour and a month, and what spot, a reservation or another size would change. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...module_utils._values import whole_number
from .prices import FREE_IOPS, FREE_THROUGHPUT, HOURS_PER_MONTH, Prices


@dataclass(frozen=True)
class Size:
    """What of a host is paid for.

    Attributes:
        instance_type: Its type.
        volume: GiB of its gp3 volume.
        iops: Operations a second of it.
        throughput: MiB/s of it.
        addresses: Its public addresses.
    """

    instance_type: str
    volume: int
    iops: int = FREE_IOPS
    throughput: int = FREE_THROUGHPUT
    addresses: int = 1


@dataclass(frozen=True)
class Disk:
    """A gp3 volume of its own, which is paid for whether a host has it or not: GiB, operations a second and MiB/s."""

    size: int
    iops: int = FREE_IOPS
    throughput: int = FREE_THROUGHPUT


def rates(hosts: Sequence[Size], prices: Prices, disks: Sequence[Disk] = ()) -> dict[str, Any]:
    """Return what hosts cost. Disks and addresses are paid for whether their instances run or not."""
    stopped = sum(prices.volume_month(disk.size, disk.iops, disk.throughput) for disk in disks) + sum(
        prices.volume_month(host.volume, host.iops, host.throughput)
        + host.addresses * prices.values["address_hour"] * HOURS_PER_MONTH
        for host in hosts
    )
    found = [(host.instance_type, *prices.instance(host.instance_type)) for host in hosts]
    hourly = sum(price or 0 for _type, price, _estimated in found) + stopped / HOURS_PER_MONTH
    volumes = any(host.volume and prices.guesses_volume(host.iops, host.throughput) for host in hosts)
    volumes = volumes or any(prices.guesses_volume(disk.iops, disk.throughput) for disk in disks)
    return {
        "per_hour": round(hourly, 2),
        "per_month": round(hourly * HOURS_PER_MONTH, 2),
        "per_month_stopped": round(stopped, 2),
        "without_price": list(dict.fromkeys(name for name, price, _estimated in found if price is None)),
        "estimated": volumes or any(estimated and price is not None for _type, price, estimated in found),
    }


def difference(
    before: Sequence[Size],
    after: Sequence[Size],
    prices: Prices,
    disks: tuple[Sequence[Disk], Sequence[Disk]] = ((), ()),
) -> dict[str, Any]:
    """Return what a change costs a month, always on and stopped: more when positive.

    `without_price` has the types for which the difference is not known. Then both are null. `disks` are the volumes of
    their own before and after.
    """
    old, new = rates(before, prices, disks[0]), rates(after, prices, disks[1])
    missing = list(dict.fromkeys([*old["without_price"], *new["without_price"]]))
    return {
        "per_month": None if missing else round(new["per_month"] - old["per_month"], 2),
        "per_month_stopped": round(new["per_month_stopped"] - old["per_month_stopped"], 2),
        "without_price": missing,
        "estimated": old["estimated"] or new["estimated"],
    }


def difference_line(changes: dict[str, Any]) -> str:
    """Return a difference as a sentence for --check."""
    stopped = _money(changes["per_month_stopped"])
    if changes["per_month"] is None:
        types = ", ".join(changes["without_price"])
        return f"The price of {types} is not known. Volumes and addresses: {stopped} a month."
    estimate = " These are estimates, with prices of another region." if changes["estimated"] else ""
    return f"This change costs {_money(changes['per_month'])} a month if always on, {stopped} stopped.{estimate}"


def _money(amount: float) -> str:
    """Return an amount with its sign."""
    return f"{'-' if amount < 0 else '+'}${abs(amount):.2f}"


def spot_saving(on_demand: float, spot: float, hours: float) -> dict[str, float]:
    """Return what the spot market would have saved. A spot price above that on demand saves nothing.

    Args:
        on_demand: The price an hour on demand.
        spot: The spot price now.
        hours: The hours of use.
    """
    return {
        "saved": round((on_demand - spot) * hours, 2),
        "percent": round((1 - spot / on_demand) * 100, 1) if on_demand else 0.0,
    }


def reservation(
    on_demand: float, discount: float, hours: float, hours_of_month: float = HOURS_PER_MONTH
) -> dict[str, float]:
    """Return what a reservation costs and saves a month. It is paid for every hour, used or not.

    It is worth it above a use of 1 - discount: 65 % of all hours with a discount of 35 %.

    Args:
        on_demand: The price an hour on demand.
        discount: The discount on it, between 0 and 1.
        hours: The hours of use in the month.
        hours_of_month: All its hours.
    """
    if not 0 <= discount <= 1:
        raise ValueError(f"the discount {discount} is not between 0 and 1; 35 % is 0.35")
    reserved = on_demand * (1 - discount) * hours_of_month
    return {
        "per_month": round(reserved, 2),
        "saved": round(on_demand * hours - reserved, 2),
        "break_even_hours": round((1 - discount) * hours_of_month, 1),
        "break_even_percent": round((1 - discount) * 100, 1),
    }


def discount_of(on_demand: float, reserved_month: float, hours_of_month: float = HOURS_PER_MONTH) -> float:
    """Return the discount of a reservation from its price a month."""
    return 1 - reserved_month / (on_demand * hours_of_month)


def provisioned(
    instances: Sequence[Mapping[str, Any]],
    volumes: Sequence[Mapping[str, Any]],
    declared: Mapping[str, Any],
    excess: Collection[str] = (),
) -> tuple[list[Size], list[Size]]:
    """Return the hosts of a lab as they are, and as provisioning leaves them.

    Existing instances keep their type. Their volumes grow, and never shrink.

    Args:
        instances: The instances of the lab.
        volumes: Their root volumes.
        declared: The description of the lab, as the filter lab_differences gets it.
        excess: The ids of instances that are terminated.
    """
    roots = {item["instance_id"]: volume for volume in volumes for item in volume.get("attachment_set") or []}
    wanted = declared["volume"]
    before, after = [], []
    for instance in instances:
        root = roots.get(instance["instance_id"], wanted)
        disk = [_number(root.get(key)) or _number(wanted[key]) for key in ("size", "iops", "throughput")]
        before.append(Size(instance["instance_type"], *disk))
        if instance["instance_id"] not in excess:
            size = max(disk[0], _number(wanted["size"]))
            after.append(Size(instance["instance_type"], size, _number(wanted["iops"]), _number(wanted["throughput"])))
    launch = declared["launch"]
    size, iops, throughput = (_number(wanted[key]) for key in ("size", "iops", "throughput"))
    after += [Size(launch["instance_type"], size, iops, throughput) for _host in launch["hosts"]]
    return before, after


def provisioned_disks(
    volumes: Sequence[Mapping[str, Any]], declared: Mapping[str, Any]
) -> tuple[list[Disk], list[Disk]]:
    """Return the data volumes of a lab as they are, and as provisioning leaves them.

    Args:
        volumes: Its data volumes, each with the number of its host.
        declared: `hosts`, the numbers of the lab's hosts, and `size`, `iops` and `throughput` of a data volume.
    """
    wanted = Disk(*(_number(declared[key]) for key in ("size", "iops", "throughput")))
    hosts = [str(index) for index in declared["hosts"]] if wanted.size else []
    there = {
        str(item["index"]): Disk(*(_number(item.get(key)) for key in ("size", "iops", "throughput")))
        for item in volumes
    }
    after = [wanted if index in hosts else disk for index, disk in there.items()]
    return list(there.values()), after + [wanted for index in hosts if index not in there]


def _number(value: object) -> int:
    """Return a whole number, 0 where there is none."""
    return whole_number(value) or 0
