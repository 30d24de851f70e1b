# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the needs of a profile with a machine. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from .needs import COMPONENTS, DEFAULT_MODEL, GIB, LARGEST_SHARE, SHARED_MEMORY, Need, components, need

# GPUs in instances of the last ten years without RT cores, from NVIDIA's data sheets.
WITHOUT_RT_CORES = re.compile(
    r"(?<![A-Z0-9])(K80|M60|P4|P40|P100|V100S?|A30|A100|A800|H100|H200|GH200|B200|GB200)(?![0-9])"
)

FITS, TIGHT, NO = "fits", "tight", "does not fit"


@dataclass(frozen=True)
class Machine:
    """A machine, or a type of instance.

    Attributes:
        name: its name in messages.
        gpu: the model of its GPU; empty when there is none.
        vram: memory of one GPU, in MiB, as no service uses several. None when it does not report it,
            as a GPU that shares the machine's memory.
        ram: in MiB.
        disk: size of the disk that holds the images, in GiB; None skips the check.
        rt_cores: whether its GPU has RT cores; None to decide by its model.
    """

    name: str
    gpu: str
    vram: int | None
    ram: int
    disk: int | None = None
    rt_cores: bool | None = None

    @property
    def traces_rays(self) -> bool:
        """Whether the GPU has RT cores."""
        if self.rt_cores is not None:
            return self.rt_cores
        return bool(self.gpu) and not WITHOUT_RT_CORES.search(self.gpu.upper())


# "Instance Requirements" in the guide, the cheapest first. Memory of GPU and machine from EC2's DescribeInstanceTypes,
# except for the T4, of whose 16384 MiB the driver leaves 15360 (NVML). EC2 no longer lists p3, so the
# guide's values are used.
INSTANCES = {
    machine.name: machine
    for machine in (
        Machine("g4dn.xlarge", "T4", 15360, 16 * GIB),
        Machine("g4dn.2xlarge", "T4", 15360, 32 * GIB),
        Machine("g5.xlarge", "A10G", 22888, 16 * GIB),
        Machine("g5.2xlarge", "A10G", 22888, 32 * GIB),
        Machine("p3.2xlarge", "V100", 16384, 61 * GIB),
    )
}


@dataclass(frozen=True)
class Lack:
    """A resource of which a machine has less than a profile needs to run well.

    Attributes:
        kind: ``vram``, ``ram``, ``disk`` or ``rt_cores``.
        fatal: whether it has less than the minimum.
        text: one line without the machine's name.
    """

    kind: str
    fatal: bool
    text: str


@dataclass(frozen=True)
class Fit:
    """Whether a profile runs on a machine.

    Attributes:
        answer: FITS, TIGHT or NO.
        lacks: why it is not FITS.
        smallest: the cheapest instance on which it runs; empty when it runs on this machine.
        tight_there: whether it is TIGHT on that one.
        nim_share: memory of the GPU that is left for NIM where it runs, in MiB; 0 when there is none, or no NIM.
    """

    profile: str
    machine: Machine
    need: Need
    lacks: tuple[Lack, ...]
    smallest: str = ""
    tight_there: bool = False
    nim_share: int = 0

    @property
    def answer(self) -> str:
        """How it fits."""
        if any(lack.fatal for lack in self.lacks):
            return NO
        return TIGHT if self.lacks else FITS

    @property
    def vram_message(self) -> str:
        """Return one line; empty when the GPU reports its memory, or the profile needs none."""
        if self.machine.vram is not None or not self.need.vram[1]:
            return ""
        return (
            f"{self.machine.gpu} of {self.machine.name} does not report its memory, so it is not known whether it has "
            f"the {self.need.vram[1]} MiB that profile {self.profile} takes to run well."
        )

    @property
    def message(self) -> str:
        """Return one line; empty when it fits."""
        if not self.lacks:
            return ""
        texts = [lack.text for lack in self.lacks if lack.fatal or self.answer == TIGHT]
        how = "is tight" if self.answer == TIGHT else NO
        line = f"Profile {self.profile} {how} on {self.machine.name}: {'; '.join(texts)}."
        if self.answer == TIGHT:
            return line
        return f"{line} The smallest instance that does is {self.smallest}{', tightly' if self.tight_there else ''}."

    @property
    def nim_message(self) -> str:
        """Return one line; empty when the default model has room, or is not part of it."""
        if not self.nim_share or self.nim_share >= DEFAULT_MODEL:
            return ""
        least, well = COMPONENTS["nim"].vram
        return (
            f"NIM is counted with the guide's {least} to {well} MiB of GPU memory, enough for a small or quantised "
            f"model. The default one, llama-3.1-8b-instruct, takes about {DEFAULT_MODEL} at 16 bits a weight and does "
            f"not start on {self.smallest or self.machine.name}, where {self.nim_share} are left for it."
        )


def fit(profile: str, machine: Machine) -> Fit:
    """Return whether a profile runs on a machine, and otherwise where it does.

    :raises CapacityError: there is no such profile.
    """
    found = _compare(profile, machine)
    if found.answer != NO:
        return found
    # Every instance can have a disk of any size, and each profile runs on at least one of them.
    there = next(other for other in (_compare(profile, known) for known in INSTANCES.values()) if other.answer != NO)
    return dataclasses.replace(
        found, smallest=there.machine.name, tight_there=there.answer == TIGHT, nim_share=there.nim_share
    )


def nim_share(profile: str, vram: int | None) -> int:
    """Return the MiB of a GPU that are left for NIM when the other services have what they need to run well.

    It is at least NIM's own minimum; without NIM, without a GPU, or with one of unknown memory, it is 0.

    :raises CapacityError: there is no such profile.
    """
    names = components(profile)
    if "nim" not in names or vram is None:
        return 0
    others = sum(COMPONENTS[name].vram[1] for name in names if name != "nim")
    return min(max(vram - others, COMPONENTS["nim"].vram[0]), int(vram * LARGEST_SHARE))


def nim_fraction(profile: str, vram: int | None) -> float:
    """Return NIM's share as a fraction of the GPU, in steps, so that small differences of drivers have no effect.

    :raises CapacityError: there is no such profile.
    """
    return nim_share(profile, vram) * 100 // vram / 100 if vram else 0.0


def _compare(profile: str, machine: Machine) -> Fit:
    wanted = need(profile)
    lacks = (
        _rt_cores(wanted, machine),
        _amount("vram", "MiB of GPU memory", machine.vram, wanted.vram),
        _amount("ram", "MiB of memory", machine.ram, wanted.ram),
        _amount("disk", "GiB of disk", machine.disk, wanted.disk),
    )
    found = tuple(lack for lack in lacks if lack)
    return Fit(profile, machine, wanted, found, nim_share=nim_share(profile, machine.vram))


def _rt_cores(wanted: Need, machine: Machine) -> Lack | None:
    if not wanted.rt_cores or machine.traces_rays:
        return None
    has = f"{machine.gpu} has none" if machine.gpu else "there is no GPU"
    return Lack("rt_cores", True, f"Isaac Sim renders on RT cores only and {has}")


def _amount(kind: str, unit: str, have: int | None, wanted: tuple[int, int]) -> Lack | None:
    least, well = wanted
    if have is None or have >= well:
        return None
    if have >= least:
        return Lack(kind, False, f"{well - have} {unit} less than the {well} it takes to run well")
    return Lack(kind, True, f"{have} {unit}, {least - have} less than the {least} it requires")


UNITS = {"": 1.0, "B": 2**-20, "KIB": 2**-10, "MIB": 1.0, "GIB": 2.0**10, "TIB": 2.0**20}
UNITS |= {"KB": 1e3 / 2**20, "MB": 1e6 / 2**20, "GB": 1e9 / 2**20, "TB": 1e12 / 2**20}
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)?", re.IGNORECASE)


def reported_mib(text: str) -> int | None:
    """Return an amount of memory that nvidia-smi prints, in MiB; None for any text in its place.

    Such texts are ``[N/A]``, ``[Not Supported]``, ``[Unknown Error]``, ``[GPU requires reset]`` and an empty
    one. No GPU has 0 MiB of memory.
    """
    found = AMOUNT.fullmatch(text.strip())
    return (int(float(found[1]) * UNITS[(found[2] or "").upper()]) or None) if found else None


def read_gpus(text: str) -> list[tuple[str, int | None]]:
    """Return name and memory in MiB of each GPU that ``nvidia-smi --query-gpu=name,memory.total`` prints as CSV."""
    rows = [line.rpartition(",") for line in text.splitlines() if "," in line]
    gpus = [(name.strip(), memory.strip()) for name, _comma, memory in rows]
    # Without the option noheader, nvidia-smi prints a heading.
    return [
        (f"A GPU without a name ({name})" if not name or name.startswith("[") else name, reported_mib(memory))
        for name, memory in gpus
        if (name, memory.split(" ")[0]) != ("name", "memory.total")
    ]


def shared_memory(ram: int, wanted: int = SHARED_MEMORY) -> tuple[int, str]:
    """Return the shared memory of containers in MiB, and why it is less than wanted; empty when it is not.

    Its content is in the memory of the machine. The limit is half of that, as for Linux's own.
    """
    most = ram // 2
    if wanted <= most:
        return wanted, ""
    return most, f"Shared memory is {most} MiB instead of {wanted}: half of the machine's {ram} MiB of memory."
