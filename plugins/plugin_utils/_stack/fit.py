# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the needs of a profile with a machine. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from .data import machines
from .machines import Machine, known_kinds
from .models import OWN, Serving, choose, divide, usable
from .needs import SHARED_MEMORY, Need, Range, components, need, services

FITS, TIGHT, NO = "fits", "tight", "does not fit"


@dataclass(frozen=True)
class Lack:
    """A resource of which a machine has less than a profile needs to run well.

    Attributes:
        kind: ``vram``, ``ram``, ``disk``, ``rt_cores``, ``compute`` or ``model``.
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
        shares: the MiB of the GPU that each service may take; empty when they do not fit or its memory is unknown.
        serving: how NIM serves which language model; None without NIM, without one that fits, or with the user's own.
        cheapest: the cheapest instance type on which it runs; empty when it runs on this machine.
        tight_there: whether it is TIGHT on that one.
    """

    profile: str
    machine: Machine
    need: Need
    lacks: tuple[Lack, ...]
    shares: dict[str, int]
    serving: Serving | None = None
    cheapest: str = ""
    tight_there: bool = False

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
    def reasons(self) -> str:
        """Return why it does not run, or not well; empty when it fits."""
        return "; ".join(lack.text for lack in self.lacks if lack.fatal or self.answer == TIGHT)

    @property
    def message(self) -> str:
        """Return one line; empty when it fits."""
        if not self.lacks:
            return ""
        how = "is tight" if self.answer == TIGHT else NO
        line = f"Profile {self.profile} {how} on {self.machine.name}: {self.reasons}."
        if not self.cheapest:
            return line
        region = machines()["base_region"]
        there = f"{self.cheapest}{', tightly' if self.tight_there else ''}"
        price = f"{known_kinds()[self.cheapest].prices[region]:.3f} US dollars an hour in {region}"
        return f"{line} The cheapest known instance type that does is {there}, {price}."

    @property
    def fraction(self) -> float:
        """How much of the GPU NIM may take, between 0 and 1; 0 without NIM, or where the GPU's memory is not known."""
        if self.serving:
            return self.serving.fraction
        if not self.machine.vram:
            return 0.0
        return self.shares.get("nim", 0) * 100 // usable(self.machine.vram) / 100

    @property
    def arithmetic(self) -> list[str]:
        """Return how the memory of the machine is divided, one line for each part."""
        lines = []
        if self.shares and self.machine.vram:
            parts = " + ".join(f"{share} {name}" for name, share in self.shares.items())
            offered = f"{usable(self.machine.vram)} MiB that CUDA offers of {self.machine.vram}"
            lines.append(f"GPU memory: {parts} = {sum(self.shares.values())} of {offered}")
        if self.serving:
            lines.append(f"Language model: {self.serving.text()}")
        ranges = {name: services()[name].ram for name in components(self.profile)}
        parts = " + ".join(f"{_range(amounts)} {name}" for name, amounts in ranges.items())
        lines.append(f"Memory: {parts} and the system = {_range(self.need.ram)} of {self.machine.ram} MiB")
        return lines


def _range(amounts: Range) -> str:
    """Return a minimum and what it takes to run well."""
    least, well = amounts
    return f"{least} to {well}" if least < well else str(well)


def fit(profile: str, machine: Machine, model: str = "") -> Fit:
    """Return whether a profile runs on a machine, and otherwise where it does.

    Args:
        profile: one of the profiles.
        machine: the machine.
        model: the language model: empty for the largest that fits, the name of one of models.yml, or OWN for another.

    :raises CapacityError: there is no such profile or model.
    """
    found = compare(profile, machine, model)
    if found.answer != NO:
        return found
    # Every instance can have a disk of any size.
    priced = [kind.machine for kind in known_kinds().values() if kind.prices]
    others = [compare(profile, other, model) for other in priced]
    there = next((other for answer in (FITS, TIGHT) for other in others if other.answer == answer), None)
    if there is None:
        return found
    return dataclasses.replace(found, cheapest=there.machine.name, tight_there=there.answer == TIGHT)


def compare(profile: str, machine: Machine, model: str = "") -> Fit:
    """Return whether a profile runs on a machine.

    :raises CapacityError: there is no such profile or model.
    """
    wanted = need(profile)
    shares = divide(profile, machine.vram) if machine.vram else {}
    serving = None
    if "nim" in shares and model != OWN:
        serving = choose(machine.vram or 0, shares["nim"], machine.compute, model)
    too_old = _compute(profile, wanted, machine)
    lacks = [
        _rt_cores(wanted, machine),
        too_old,
        _vram(wanted, machine, shares or too_old),
        _ram(wanted, machine),
        _amount("disk", "GiB of disk", machine.disk, wanted.disk),
    ]
    if "nim" in shares and serving is None and model != OWN and not too_old:
        lacks.append(_model(shares["nim"], model))
    if serving:
        shares["nim"] = serving.budget
    return Fit(profile, machine, wanted, tuple(lack for lack in lacks if lack), shares, serving)


def _rt_cores(wanted: Need, machine: Machine) -> Lack | None:
    if not wanted.rt_cores or machine.traces_rays:
        return None
    has = f"{machine.gpu} has none" if machine.gpu else "there is no GPU"
    return Lack("rt_cores", True, f"Isaac Sim renders on RT cores only and {has}")


def _compute(profile: str, wanted: Need, machine: Machine) -> Lack | None:
    if machine.compute is None or machine.compute >= wanted.compute:
        return None
    those = [name for name in components(profile) if services()[name].compute > machine.compute]
    requires = f"{' and '.join(those)} need a GPU of compute capability {wanted.compute}"
    return Lack("compute", True, f"{requires} and {machine.gpu} has {machine.compute}")


def _vram(wanted: Need, machine: Machine, suffices: object) -> Lack | None:
    """Return what the GPU lacks: of its nominal memory, or, unless something suffices, of what CUDA offers of it."""
    lack = _amount("vram", "MiB of GPU memory", machine.vram, wanted.vram)
    if (lack and lack.fatal) or not machine.vram or not wanted.vram[1] or suffices:
        return lack
    offered = f"CUDA offers {usable(machine.vram)} of its {machine.vram} MiB of GPU memory"
    return Lack("vram", True, f"{offered}, less than the {wanted.vram[0]} it requires")


def _ram(wanted: Need, machine: Machine) -> Lack | None:
    lack = _amount("ram", "MiB of memory", machine.ram, wanted.ram)
    return dataclasses.replace(lack, text=f"{lack.text} ({wanted.note})") if lack and wanted.note else lack


def _amount(kind: str, unit: str, have: int | None, wanted: tuple[int, int]) -> Lack | None:
    least, well = wanted
    if have is None or have >= well:
        return None
    if have >= least:
        return Lack(kind, False, f"{well - have} {unit} less than the {well} it takes to run well")
    return Lack(kind, True, f"{have} {unit}, {least - have} less than the {least} it requires")


def _model(share: int, model: str) -> Lack:
    which = f"the language model {model} does not fit" if model else "no known language model fits"
    return Lack("model", True, f"{which} into the {share} MiB of GPU memory that the other services leave")


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
