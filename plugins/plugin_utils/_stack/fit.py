# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the needs of a profile with a machine. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .assignment import assign
from .data import machines
from .machines import Card, Machine, known_kinds
from .models import OWN, Serving, Wish, choose, divide, share_of, usable
from .needs import SHARED_MEMORY, Need, Range, components, need, services, system

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
        shares: the MiB of its GPU that each service may take; without those that do not fit, or whose GPU's memory is
            unknown.
        serving: how NIM serves which language model; None without NIM, without one that fits, or with the user's own.
        cheapest: the cheapest instance type on which it runs; empty when it runs on this machine.
        tight_there: whether it is TIGHT on that one.
        wish: what the user asks of NIM.
    """

    profile: str
    machine: Machine
    need: Need
    lacks: tuple[Lack, ...]
    shares: dict[str, int]
    serving: Serving | None = None
    cheapest: str = ""
    tight_there: bool = False
    wish: Wish = field(default_factory=Wish)

    @property
    def answer(self) -> str:
        """How it fits."""
        if any(lack.fatal for lack in self.lacks):
            return NO
        return TIGHT if self.lacks else FITS

    @property
    def vram_message(self) -> str:
        """Return one line; empty when the GPU reports its memory, or the profile needs none."""
        return " ".join(
            f"{load.card.gpu} of {self.machine.name} does not report its memory, so it is not known whether it has "
            f"the {load.vram[1]} MiB that {load.takes(self.profile)} to run well."
            for load in loads(self.profile, self.machine)
            if load.card.vram is None
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
        """How much of its GPU NIM may take, between 0 and 1; 0 without NIM, or where the GPU's memory is not known."""
        if self.serving:
            return self.serving.fraction
        if self.wish.fraction is not None and "nim" in self.shares:
            return self.wish.fraction
        for load in loads(self.profile, self.machine):
            if "nim" in load.names and load.card.vram:
                return self.shares.get("nim", 0) * 100 // usable(load.card.vram) / 100
        return 0.0

    @property
    def arithmetic(self) -> list[str]:
        """Return how the memory of the machine is divided, one line for each part."""
        lines = []
        for load in loads(self.profile, self.machine):
            shares = {name: share for name, share in self.shares.items() if name in load.names}
            if shares and load.card.vram:
                parts = " + ".join(f"{share} {name}" for name, share in shares.items())
                offered = f"{usable(load.card.vram)} MiB that CUDA offers of {load.card.vram}"
                which = "GPU memory" if load.number is None else f"Memory of GPU {load.number}"
                lines.append(f"{which}: {parts} = {sum(shares.values())} of {offered}")
        if self.serving:
            lines.append(f"Language model: {self.serving.text()}")
        ranges = {name: services()[name].ram for name in components(self.profile)} | {"system": system().ram}
        parts = " + ".join(f"{_range(amounts)} {name}" for name, amounts in ranges.items())
        whole = sum(least for least, _well in ranges.values()), sum(well for _least, well in ranges.values())
        vendor = self.need.machine_ram
        requires = f"; NVIDIA requires {vendor} for the whole machine" if vendor else ""
        lines.append(f"Memory: {parts} = {_range(whole)} of {self.machine.ram} MiB{requires}")
        return lines


def _range(amounts: Range) -> str:
    """Return a minimum and what it takes to run well."""
    least, well = amounts
    return f"{least} to {well}" if least < well else str(well)


def fit(profile: str, machine: Machine, wish: Wish | None = None) -> Fit:
    """Return whether a profile runs on a machine, and otherwise where it does.

    Args:
        profile: one of the profiles.
        machine: the machine.
        wish: what the user asks of NIM.

    :raises CapacityError: there is no such profile or model.
    """
    found = compare(profile, machine, wish)
    if found.answer != NO:
        return found
    # Every instance can have a disk of any size.
    priced = [kind.machine for kind in known_kinds().values() if kind.prices]
    others = [compare(profile, other, wish) for other in priced]
    there = next((other for answer in (FITS, TIGHT) for other in others if other.answer == answer), None)
    if there is None:
        return found
    return dataclasses.replace(found, cheapest=there.machine.name, tight_there=there.answer == TIGHT)


@dataclass(frozen=True)
class Load:
    """A GPU, and the services that share it.

    Attributes:
        number: the number of the GPU; None where all services share one.
        names: the services.
    """

    number: int | None
    card: Card
    names: tuple[str, ...]

    @property
    def vram(self) -> Range:
        """The memory that they take, in MiB, as a minimum and to run well."""
        ranges = [services()[name].vram for name in self.names]
        return sum(least for least, _well in ranges), sum(well for _least, well in ranges)

    def takes(self, profile: str) -> str:
        """Return what takes it, with the verb."""
        if self.number is None:
            return f"profile {profile} takes"
        return f"{listed(self.names)} {'take' if len(self.names) > 1 else 'takes'}"


def listed(names: Iterable[str]) -> str:
    """Return names as in a sentence."""
    return " and ".join(names)


def loads(profile: str, machine: Machine) -> list[Load]:
    """Return the GPUs that a profile uses, each with its services.

    :raises CapacityError: there is no such profile.
    """
    numbers = assign(components(profile), len(machine.cards))
    found = []
    for number in sorted(set(numbers.values())):
        names = tuple(name for name in components(profile) if numbers.get(name) == number)
        found.append(Load(number if len(machine.cards) > 1 else None, machine.cards[number], names))
    return found


def compare(profile: str, machine: Machine, wish: Wish | None = None) -> Fit:
    """Return whether a profile runs on a machine.

    :raises CapacityError: there is no such profile or model.
    """
    wish = wish or Wish()
    wanted = need(profile)
    shares: dict[str, int] = {}
    serving = None
    memory: list[Lack | None] = []
    language: Lack | None = None
    for load in loads(profile, machine):
        card = load.card
        divided = divide(load.names, card.vram) if card.vram else {}
        too_old = _too_old(load)
        memory.append(_vram(load, divided or too_old))
        if "nim" in divided and wish.fraction is not None:
            divided["nim"] = share_of(card.vram or 0, wish.fraction)
        if "nim" in divided and wish.model != OWN:
            serving = choose(card.vram or 0, divided["nim"], card.compute, wish)
            if serving:
                divided["nim"] = serving.budget
            elif not too_old:
                language = _model(divided["nim"], wish, load)
        shares |= divided
    lacks = [
        _rt_cores(profile, machine),
        *_compute(profile, machine),
        *memory,
        _ram(wanted, machine),
        _amount("disk", "GiB of disk", machine.disk, wanted.disk),
        language,
    ]
    return Fit(profile, machine, wanted, tuple(lack for lack in lacks if lack), shares, serving, wish=wish)


def _rt_cores(profile: str, machine: Machine) -> Lack | None:
    for load in loads(profile, machine):
        if any(services()[name].rt_cores for name in load.names) and not load.card.traces_rays:
            has = f"{load.card.gpu} has none" if load.card.gpu else "there is no GPU"
            return Lack("rt_cores", True, f"Isaac Sim renders on RT cores only and {has}")
    return None


def _too_old(load: Load) -> list[str]:
    """Return the services that need a newer GPU than theirs."""
    compute = load.card.compute
    return [] if compute is None else [name for name in load.names if services()[name].compute > compute]


def _compute(profile: str, machine: Machine) -> list[Lack]:
    """Return the GPU models that are too old, each once."""
    old: dict[Card, list[str]] = {}
    for load in loads(profile, machine):
        if _too_old(load):
            old.setdefault(load.card, []).extend(_too_old(load))
    return [
        Lack(
            "compute",
            True,
            f"{listed(sorted(names, key=components(profile).index))} {'need' if len(names) > 1 else 'needs'} a GPU of "
            f"compute capability {max(services()[name].compute for name in names)} and {card.gpu} has {card.compute}",
        )
        for card, names in old.items()
    ]


def _vram(load: Load, suffices: object) -> Lack | None:
    """Return what a GPU lacks: of its nominal memory, or, unless something suffices, of what CUDA offers of it."""
    card = load.card
    lack = _amount("vram", "MiB of GPU memory", card.vram, load.vram)
    if card.vram and not suffices and not (lack and lack.fatal):
        offered = f"CUDA offers {usable(card.vram)} of its {card.vram} MiB of GPU memory"
        lack = Lack("vram", True, f"{offered}, less than the {load.vram[0]} it requires")
    large = [name for name in load.names if card.vram and services()[name].card_vram > card.vram]
    if large and not lack:
        least = max(services()[name].card_vram for name in large)
        text = f"{card.vram} MiB of GPU memory, and NVIDIA requires a GPU with {least} for {listed(large)}"
        lack = Lack("vram", False, text)
    if lack and load.number is not None:
        return dataclasses.replace(lack, text=f"GPU {load.number} for {listed(load.names)}: {lack.text}")
    return lack


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


def _model(share: int, wish: Wish, load: Load) -> Lack:
    which = f"the language model {wish.model} does not fit" if wish.model else "no known language model fits"
    context = f" with a context of {wish.context} tokens" if wish.context is not None else ""
    leaves = "that the other services leave" if len(load.names) > 1 else f"of GPU {load.number} that NIM may take"
    if wish.fraction is not None:
        leaves = f"that are {wish.fraction} of the GPU"
    return Lack("model", True, f"{which}{context} into the {share} MiB of GPU memory {leaves}")


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
