# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines and their GPUs: those of machines.yml, and those that EC2 or nvidia-smi describes. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .data import machines
from .needs import GIB


@dataclass(frozen=True)
class Gpu:
    """What the collection knows of a GPU model.

    Attributes:
        vram: in MiB; None if it is not known.
        compute: its compute capability.
        open_module: ``needed``, ``possible`` or ``none``: whether the driver's open kernel module runs it.
    """

    name: str
    vram: int | None
    compute: float
    generation: str
    rt_cores: bool
    open_module: str


@dataclass(frozen=True)
class Card:
    """One GPU of a machine.

    Attributes:
        gpu: its model; empty when there is none.
        vram: its memory, in MiB. None when it does not report it, as a GPU that shares the machine's memory.
        rt_cores: whether it has RT cores; None to decide by its model.
    """

    gpu: str = ""
    vram: int | None = 0
    rt_cores: bool | None = None

    @property
    def traces_rays(self) -> bool:
        """Whether it has RT cores, as an unknown model is assumed to have."""
        if self.rt_cores is not None:
            return self.rt_cores
        known = find_gpu(self.gpu)
        return known.rt_cores if known else bool(self.gpu)

    @property
    def compute(self) -> float | None:
        """Its compute capability; None if its model is unknown."""
        known = find_gpu(self.gpu)
        return known.compute if known else None


@dataclass(frozen=True)
class Machine:
    """A machine, or a type of instance.

    Attributes:
        name: its name in messages.
        cards: its GPUs; without any, one that has no model and no memory.
        ram: in MiB.
        disk: size of the disk that holds the images, in GiB; None skips the check.
    """

    name: str
    cards: tuple[Card, ...]
    ram: int
    disk: int | None = None

    @property
    def gpu(self) -> str:
        """The model of its first GPU; empty when there is none."""
        return self.cards[0].gpu

    @property
    def vram(self) -> int | None:
        """Memory of its first GPU, in MiB."""
        return self.cards[0].vram


@dataclass(frozen=True)
class Kind:
    """An instance type.

    Attributes:
        gpus: number of whole GPUs; 0 if it has only a share of one.
        network: in Gbit/s; None if it is not known.
        disk_gb: size of its local disks.
        prices: US dollars an hour, on demand, by region.
        unusable: why the lab cannot use it, whatever it runs; empty if it can.
    """

    machine: Machine
    gpus: int
    vcpus: int
    network: float | None = None
    disk_gb: int = 0
    prices: Mapping[str, float] = field(default_factory=dict)
    unusable: str = ""

    @property
    def name(self) -> str:
        """Its name in EC2."""
        return self.machine.name


@cache
def gpu_table() -> tuple[tuple[re.Pattern[str], Gpu], ...]:
    """Return the known GPUs, each with the pattern that finds it in a longer name."""
    return tuple(
        (
            re.compile(rf"(?<![A-Z0-9]){re.escape(name.upper())}(?![A-Z0-9])"),
            Gpu(
                name=name,
                vram=entry["vram_mib"],
                compute=entry["compute_capability"],
                generation=entry["generation"],
                rt_cores=entry["rt_cores"],
                open_module=entry["open_module"],
            ),
        )
        for entry in machines()["gpus"]
        for name in entry["names"]
    )


def find_gpu(name: str) -> Gpu | None:
    """Return what is known of a GPU, by its name in EC2 or nvidia-smi; None if the model is unknown."""
    return next((gpu for pattern, gpu in gpu_table() if pattern.search(name.upper())), None)


@cache
def known_kinds() -> dict[str, Kind]:
    """Return the instance types of machines.yml by name, the cheapest of the base region first."""
    base = machines()["base_region"]
    found = [_read_kind(entry) for entry in machines()["types"]]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.prices.get(base, float("inf")))}


def _read_kind(entry: dict[str, Any]) -> Kind:
    gpu = find_gpu(entry["gpu"])
    cards = (Card(entry["gpu"], gpu.vram if gpu else None),) * entry["gpu_count"]
    machine = Machine(entry["type"], cards, entry["ram_gib"] * GIB)
    return Kind(
        machine=machine,
        gpus=entry["gpu_count"],
        vcpus=entry["vcpus"],
        network=entry["network_gbps"],
        disk_gb=entry["disk_gb"],
        prices=entry["prices"],
    )


def read_described(entry: Mapping[str, Any]) -> Kind:
    """Return an instance type from EC2's DescribeInstanceTypes, as the API returns it."""
    gpus = entry.get("GpuInfo", {}).get("Gpus", [])
    nvidia = [gpu for gpu in gpus if gpu.get("Manufacturer") == "NVIDIA"]
    first: Mapping[str, Any] = nvidia[0] if nvidia else {}
    count = sum(gpu.get("Count", 0) for gpu in nvidia)
    reported = first.get("MemoryInfo", {}).get("SizeInMiB", 0) or None
    known = find_gpu(first.get("Name", ""))
    vram = min(reported, known.vram) if reported and known and known.vram else reported
    card = Card(first.get("Name", ""), vram if nvidia else 0)
    machine = Machine(entry["InstanceType"], (card,) * max(count, 1), entry["MemoryInfo"]["SizeInMiB"])
    network = re.search(r"(?:([0-9]+)x )?([0-9.]+) Gigabit", entry.get("NetworkInfo", {}).get("NetworkPerformance", ""))
    return Kind(
        machine=machine,
        gpus=count,
        vcpus=entry["VCpuInfo"]["DefaultVCpus"],
        network=int(network[1] or 1) * float(network[2]) if network else None,
        disk_gb=entry.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        unusable=_why_unusable(entry, gpus, nvidia, count),
    )


def _why_unusable(entry: Mapping[str, Any], gpus: list[Any], nvidia: list[Any], count: int) -> str:
    """Return why the lab cannot use an instance type at all; empty if it can."""
    if "x86_64" not in entry.get("ProcessorInfo", {}).get("SupportedArchitectures", ["x86_64"]):
        return "it is not an x86_64 machine"
    if not nvidia:
        makers = sorted({gpu.get("Manufacturer", "another vendor") for gpu in gpus})
        return f"its GPU is from {' and '.join(makers)}, not from NVIDIA" if gpus else "it has no GPU"
    if count < 1:
        return "it has a share of a GPU, which needs NVIDIA's GRID driver"
    if "on-demand" not in entry.get("SupportedUsageClasses", ["on-demand"]):
        return "it is not sold on demand"
    return ""


def merge(described: list[Mapping[str, Any]], offered: Collection[str] = ()) -> dict[str, Kind]:
    """Return the known instance types, and those that EC2 describes, whose description overrides all but the prices.

    Args:
        described: types, as DescribeInstanceTypes returns them; empty if EC2 was not asked.
        offered: the names of those that were asked for.
    """
    merged = dict(known_kinds())
    for name in offered if described else ():
        if name in merged:
            merged[name] = dataclasses.replace(merged[name], unusable="EC2 no longer describes it")
    for kind in map(read_described, described):
        prices = merged[kind.name].prices if kind.name in merged else {}
        merged[kind.name] = dataclasses.replace(kind, prices=prices)
    return merged
