# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each service and profile of the stack needs of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from ...module_utils._values import driver_order
from .data import versions

GIB = 1024
Range = tuple[int, int]


class CapacityError(ValueError):
    """An unknown profile or an invalid value; the message lists what is allowed."""


@dataclass(frozen=True)
class Need:
    """What a part of the stack needs, as a minimum and to run well.

    Attributes:
        vram: memory of the GPU, in MiB.
        ram: memory of the machine, in MiB.
        disk: images, models and caches, in GiB.
        rt_cores: whether it requires a GPU with RT cores.
        compute: compute capability of the GPU; 0 for any.
        machine_ram: memory that the vendor requires of the whole machine, in MiB; 0 for none.
        card_vram: memory that the vendor requires of the whole GPU, in MiB; 0 for none.
        driver: the oldest version of NVIDIA's driver; empty for any, or none.
        note: the requirements of vendor and guide, for messages.
    """

    vram: Range = (0, 0)
    ram: Range = (0, 0)
    disk: Range = (0, 0)
    rt_cores: bool = False
    compute: float = 0.0
    machine_ram: int = 0
    card_vram: int = 0
    driver: str = ""
    note: str = ""


# The profiles of compose.yaml.
PROFILES = {
    "sim": ("redis", "cognitive", "isaac_sim", "ros2", "foxglove"),
    "nav": ("redis", "cognitive", "ros2", "foxglove"),
    "voice": ("redis", "cognitive", "riva", "nim"),
    "full": ("redis", "cognitive", "riva", "nim", "ros2", "isaac_sim", "foxglove"),
}

# The shared memory of the containers in the guide.
SHARED_MEMORY = 16 * GIB


def mib(gigabytes: float) -> int:
    """Return an amount in GB of 10^9 bytes, as vendors state memory, in MiB."""
    return int(gigabytes * 10**9 / 2**20)


def read_need(given: dict[str, Any]) -> Need:
    """Return the needs of an entry of versions.yml."""

    def amount(name: str) -> Range:
        least, well = given[f"{name}_mib"] if f"{name}_mib" in given else map(mib, given.get(f"{name}_gb", (0, 0)))
        return least, well

    least, well = given.get("disk_gib", (0, 0))
    return Need(
        vram=amount("vram"),
        ram=amount("ram"),
        disk=(least, well),
        rt_cores=given.get("rt_cores", False),
        compute=given.get("compute_capability", 0.0),
        machine_ram=mib(given.get("machine", {}).get("ram_gb", 0)),
        card_vram=mib(given.get("machine", {}).get("vram_gb", 0)),
        driver=given.get("driver", ""),
        note=_note(given),
    )


def _note(given: dict[str, Any]) -> str:
    """Return what vendor and guide require of the memory, where they differ."""
    if "guide" not in given:
        return ""
    least, well = given["guide"]["ram_gb"]
    return f"NVIDIA requires {given['machine']['ram_gb']} GB for Isaac Sim, the guide counts {least} to {well}"


@cache
def services() -> dict[str, Need]:
    """Return what each service needs."""
    return {name: read_need(entry["needs"]) for name, entry in versions()["services"].items()}


def components(profile: str) -> tuple[str, ...]:
    """Return the services of a profile.

    :raises CapacityError: there is no such profile.
    """
    if profile not in PROFILES:
        raise CapacityError(f"profile is {profile!r}. Allowed: {', '.join(PROFILES)}")
    return PROFILES[profile]


def system() -> Need:
    """Return what the system itself needs, with Docker."""
    return read_need(versions()["host"]["needs"])


def need(profile: str) -> Need:
    """Return what a profile needs, including the system itself.

    :raises CapacityError: there is no such profile.
    """
    parts = [system(), *(services()[name] for name in components(profile))]
    least, well = _sum([part.ram for part in parts])
    machine = max(part.machine_ram for part in parts)
    return Need(
        vram=_sum([part.vram for part in parts]),
        ram=(least, max(well, machine)),
        disk=_sum([part.disk for part in parts]),
        rt_cores=any(part.rt_cores for part in parts),
        compute=max(part.compute for part in parts),
        machine_ram=machine,
        card_vram=max(part.card_vram for part in parts),
        driver=max((part.driver for part in parts), key=driver_order),
        note="; ".join(part.note for part in parts if part.note),
    )


def _sum(ranges: list[Range]) -> Range:
    return sum(least for least, _well in ranges), sum(well for _least, well in ranges)
