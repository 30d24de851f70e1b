# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Divide a GPU's memory between the services, and choose the language model that fits. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from .data import models
from .needs import CapacityError, Range, services

# NIM gets at most this share of a GPU, its own default.
LARGEST_SHARE = 0.9
# The value of `model` for a model that is not in models.yml.
OWN = "own"


@dataclass(frozen=True)
class Model:
    """A language model of models.yml.

    Attributes:
        weights: in MiB.
        kv_bytes: KV cache of one token, in bytes.
        compute: the compute capabilities that run it: from the first, and below the second.
        image: the entry of versions.yml that serves it.
        path: where NIM downloads it from; empty for a model that the image has.
    """

    name: str
    served_name: str
    image: str
    precision: str
    weights: int
    kv_bytes: int
    compute: tuple[float, float]
    path: str
    licence: str

    def cache(self, context: int) -> int:
        """Return the KV cache of one context, in MiB."""
        return -(-context * self.kv_bytes // 2**20)

    def runs_on(self, compute: float | None) -> bool:
        """Return whether a GPU of a compute capability runs it; an unknown one runs only what all current GPUs do."""
        first, below = self.compute
        return first <= 8.0 if compute is None else first <= compute < below


@dataclass(frozen=True)
class Wish:
    """What a user asks of NIM.

    Attributes:
        model: empty for the largest model that fits, the name of one of models.yml, or OWN for another.
        context: in tokens; None for the largest of models.yml that fits.
        fraction: how much of its GPU NIM takes, between 0 and 1; None for what the other services leave.
    """

    model: str = ""
    context: int | None = None
    fraction: float | None = None


@dataclass(frozen=True)
class Serving:
    """How NIM serves a model.

    Attributes:
        budget: MiB of the GPU that it may take.
        context: in tokens.
        sequences: how many requests it works on at once.
        fraction: its budget as a fraction of the GPU.
        parts: the MiB of the budget, by what they are for.
    """

    model: Model
    budget: int
    context: int
    sequences: int
    fraction: float
    parts: dict[str, int]

    def text(self) -> str:
        """Return the arithmetic in one line."""
        sums = " + ".join(f"{size} {what}" for what, size in self.parts.items())
        follows = f"context {self.context}, {self.sequences} at once, fraction {self.fraction:.2f} of the GPU"
        return f"{self.model.name} ({self.model.precision}): {sums} = {self.budget} MiB; {follows}"


@cache
def catalogue() -> tuple[Model, ...]:
    """Return the models, the best first."""
    return tuple(_read_model(entry) for entry in models()["models"])


def _read_model(entry: dict[str, Any]) -> Model:
    first, below = (*entry["compute_capability"], 1000.0)[:2]
    return Model(
        name=entry["name"],
        served_name=entry["served_name"],
        image=entry["image"],
        precision=entry["precision"],
        weights=entry["weights_mib"],
        kv_bytes=entry["kv_bytes"],
        compute=(first, below),
        path=entry.get("path", ""),
        licence=entry["licence"],
    )


def usable(vram: int) -> int:
    """Return the MiB of a GPU that CUDA offers to programs."""
    return int(vram * models()["usable_fraction"])


def divide(names: Iterable[str], vram: int) -> dict[str, int]:
    """Return the MiB of a GPU that each of its services may take; empty where their minimums do not fit.

    A language model fits or it does not, while the other services get by with less. So NIM gets what it takes to run
    well, and the others share the rest in proportion to their ranges. What is left over is NIM's as well.
    """
    ranges: dict[str, Range] = {name: services()[name].vram for name in names}
    ranges = {name: (least, well) for name, (least, well) in ranges.items() if well}
    left = usable(vram)
    if sum(least for least, _well in ranges.values()) > left:
        return {}
    shares = {}
    if "nim" in ranges:
        _least, well = ranges.pop("nim")
        shares["nim"] = min(well, left - sum(other for other, _well in ranges.values()))
        left -= shares["nim"]
    spare = left - sum(least for least, _well in ranges.values())
    room = sum(well - least for least, well in ranges.values())
    part = min(spare / room, 1.0) if room else 0.0
    shares |= {name: int(least + (well - least) * part) for name, (least, well) in ranges.items()}
    if "nim" in shares:
        rest = usable(vram) - sum(shares.values())
        shares["nim"] = min(shares["nim"] + rest, int(usable(vram) * LARGEST_SHARE))
    return shares


def share_of(vram: int, fraction: float) -> int:
    """Return the MiB of a GPU that a fraction of it is."""
    return int(usable(vram) * fraction)


def choose(vram: int, share: int, compute: float | None, wish: Wish | None = None) -> Serving | None:
    """Return the largest model that fits into NIM's share of a GPU, or None.

    Args:
        vram: memory of the GPU, in MiB.
        share: NIM's share of it, in MiB.
        compute: the GPU's compute capability, or None if it is unknown.
        wish: what the user asks of NIM.

    :raises CapacityError: there is no model of this name.
    """
    wish = wish or Wish()
    names = sorted({model.name for model in catalogue()})
    if wish.model and wish.model not in names:
        allowed = f"{', '.join(names)}, {OWN}, or empty for the largest that fits"
        raise CapacityError(f"model is {wish.model!r}. Allowed: {allowed}")
    data, whole = models(), usable(vram)
    if not whole:
        return None
    # In steps, so that small differences of drivers have no effect.
    share = share * 100 // whole * whole // 100 if wish.fraction is None else share_of(vram, wish.fraction)
    contexts = data["contexts"] if wish.context is None else [wish.context]
    for model in catalogue():
        if (wish.model and model.name != wish.model) or not model.runs_on(compute):
            continue
        fixed = model.weights + sum(data["overhead_mib"].values())
        for context in contexts:
            if fixed + model.cache(context) <= share:
                return _serve(model, share, whole, context, wish.fraction)
    return None


def _serve(model: Model, share: int, whole: int, context: int, fraction: float | None) -> Serving:
    """Return how a model is served that fits with a context."""
    data = models()
    fixed = model.weights + sum(data["overhead_mib"].values())
    if fraction is None:
        # More cache than its sequences can fill is of no use, and Isaac Sim can use the memory.
        wanted = min(share, fixed + data["sequences"] * model.cache(context))
        percent = -(-wanted * 100 // whole)
        budget = percent * whole // 100
        fraction = percent / 100
    else:
        budget = share
    cached = budget - fixed
    tokens = cached * 2**20 // model.kv_bytes
    return Serving(
        model=model,
        budget=budget,
        context=context,
        sequences=max(1, min(data["sequences"], tokens // min(data["contexts"]))),
        fraction=fraction,
        parts={"weights": model.weights, **data["overhead_mib"], "cache": cached},
    )
