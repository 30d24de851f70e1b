# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The requested settings of GPUs, checked as far as possible without reading one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

COMPUTE_MODES = ("default", "exclusive_process", "prohibited")
NAMED_LIMITS = ("max", "default", "min")
NAMED_CLOCKS = ("max", "default")
POWER_LIMIT = re.compile(r"^(\d+(?:\.\d+)?)\s*(W|%)?$", re.IGNORECASE)


class TuningRequestError(Exception):
    """A request that no GPU could satisfy.

    Attributes:
        problems: each one line.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class PowerLimit:
    """The requested power limit.

    Attributes:
        unit: one of ``max``, ``default``, ``min`` (``value`` is then 0), ``watts``, ``percent`` (of the GPU's maximum).
    """

    unit: str
    value: float = 0.0

    def __str__(self) -> str:
        return {"watts": f"{self.value:g} W", "percent": f"{self.value:g}%"}.get(self.unit, self.unit)


@dataclass(frozen=True)
class Clocks:
    """The requested clocks, in MHz.

    Attributes:
        named: ``max``, ``default``, or empty when there are numbers.
        memory_mhz: None for the highest.
        graphics_mhz: None for the highest at that memory clock.
    """

    named: str = ""
    memory_mhz: int | None = None
    graphics_mhz: int | None = None


@dataclass(frozen=True)
class TuningRequest:
    """The requested settings; None leaves a setting unchanged.

    Attributes:
        ecc: True, False or ``default``.
        quiet: do not report a setting that a GPU does not support, because there is nothing to reset.
    """

    persistence_mode: bool | None = None
    power_limit: PowerLimit | None = None
    clocks: Clocks | None = None
    ecc: bool | str | None = None
    compute_mode: str | None = None
    quiet: bool = False


DEFAULTS = TuningRequest(
    persistence_mode=False,
    power_limit=PowerLimit("default"),
    clocks=Clocks("default"),
    ecc="default",
    compute_mode="default",
    quiet=True,
)


def read_request(params: dict[str, Any]) -> TuningRequest:
    """Return the request that the module's options describe.

    Raises:
        TuningRequestError: an option has a value that no GPU could satisfy.
    """
    if params["state"] == "default":
        return DEFAULTS
    problems: list[str] = []
    power_limit = read_power_limit(params["power_limit"], problems)
    clocks = read_clock_request(params["clocks"], problems)
    if problems:
        raise TuningRequestError(problems)
    return TuningRequest(
        persistence_mode=params["persistence_mode"],
        power_limit=power_limit,
        clocks=clocks,
        ecc=params["ecc"],
        compute_mode=params["compute_mode"],
    )


def read_power_limit(value: Any, problems: list[str]) -> PowerLimit | None:
    """Return a power limit, or add to the problems."""
    if value is None:
        return None
    text = str(value).strip()
    if text in NAMED_LIMITS:
        return PowerLimit(text)
    found = None if isinstance(value, bool) else POWER_LIMIT.match(text)
    if found is None:
        problems.append(
            f"power_limit: {value!r} is not a valid limit. Allowed: max, default, min, watts such as 250, or a share "
            "of the maximum such as 80%"
        )
        return None
    number = float(found[1])
    if found[2] != "%":
        return PowerLimit("watts", number)
    if not 0 < number <= 100:
        problems.append(f"power_limit: {text} of the maximum is not a valid limit. Allowed: more than 0% to 100%")
        return None
    return PowerLimit("percent", number)


def read_clock_request(value: Any, problems: list[str]) -> Clocks | None:
    """Return clocks, or add to the problems."""
    if value is None:
        return None
    if isinstance(value, str) and value in NAMED_CLOCKS:
        return Clocks(value)
    allowed = (
        "Allowed: max, default, or a mapping of memory and graphics in MHz, such as {memory: 6251, graphics: 1710}"
    )
    if not isinstance(value, dict) or not value or not set(value) <= {"memory", "graphics"}:
        problems.append(f"clocks: {value!r} is not a valid value. {allowed}")
        return None
    numbers: dict[str, int | None] = {}
    for name in ("memory", "graphics"):
        given = value.get(name)
        if given is None:
            numbers[name] = None
        elif not isinstance(given, bool) and str(given).isascii() and str(given).isdigit() and int(given) > 0:
            numbers[name] = int(given)
        else:
            problems.append(f"clocks: {name} is {given!r}. {allowed}")
            return None
    return Clocks(memory_mhz=numbers["memory"], graphics_mhz=numbers["graphics"])


def select_gpus(wanted: list[Any], gpus: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the GPUs that are named, in the order of their indices.

    Args:
        wanted: ``all``, indices and UUIDs.
        gpus: as `read.read_gpus` returns them.

    Raises:
        TuningRequestError: a name is not a GPU of this host, or one of them does not answer.
    """
    if not gpus:
        raise TuningRequestError(["gpus: NVML works on this host and finds no GPU. Run `lspci -d 10de:`"])
    names = [str(name) for name in wanted]
    # A GPU whose UUID cannot be read is still known by its index.
    own = {gpu["index"]: [str(name) for name in (gpu["index"], gpu.get("uuid")) if name is not None] for gpu in gpus}
    allowed = ", ".join(["all", *(" or ".join(known) for known in own.values())])
    strangers = [name for name in names if name != "all" and not any(name in known for known in own.values())]
    problems = [f"gpus: {name} is not a GPU of this host. Allowed: {allowed}" for name in strangers]
    if not names:
        problems = [f"gpus: the list is empty. Allowed: {allowed}"]
    chosen = [gpu for gpu in gpus if "all" in names or set(own[gpu["index"]]) & set(names)]
    problems += [
        f"gpus: GPU {gpu['index']} does not answer: {gpu['error']}. Look for Xid messages in dmesg, then reboot."
        for gpu in chosen
        if gpu["error"]
    ]
    if problems:
        raise TuningRequestError(problems)
    return chosen
