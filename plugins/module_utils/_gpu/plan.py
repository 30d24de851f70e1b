# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares a GPU's settings with the requested ones. Pure functions: nothing is read and nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .request import Clocks, PowerLimit, TuningRequest

# Beginning of the reason when a GPU supports a setting and NVML does not return its value.
UNREADABLE = "NVML cannot read "


@dataclass(frozen=True)
class Step:
    """One setting of one GPU that differs from the request.

    Attributes:
        setting: persistence_mode, compute_mode, ecc, power_limit_watts or clocks.
        before: the current value; for ``ecc`` the value after the next reboot.
        after: the requested value.
        locked: for ``clocks``: by locking them, as the GPU or its driver has no application clocks.
        reset: for ``clocks``: by resetting the clocks that were set.
    """

    gpu: int
    setting: str
    before: Any
    after: Any
    locked: bool = False
    reset: bool = False

    @property
    def key(self) -> tuple[int, str, bool]:
        """What no other step of a plan has."""
        return self.gpu, self.setting, self.locked

    @property
    def option(self) -> str:
        """The name of the module's option for the setting."""
        return self.setting.removesuffix("_watts")


@dataclass(frozen=True)
class RejectedStep:
    """A step that a GPU rejected, or accepted and reverted.

    Attributes:
        code: of NVML; 0 when the GPU accepted the value.
        kept: the current value.
    """

    step: Step
    reason: str
    code: int = 0
    kept: Any = None


@dataclass
class TuningPlan:
    """The changes to one GPU.

    Attributes:
        skipped: settings that are left out, each with the reason: the GPU does not support them, rejected them, or
            they cannot be read.
        problems: reasons not to change any GPU, each one line.
        warnings: differences from the request, each one line.
    """

    steps: list[Step] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def title(gpu: dict[str, Any]) -> str:
    """Return how a message names a GPU."""
    return f"GPU {gpu['index']} ({gpu['name']})" if gpu["name"] else f"GPU {gpu['index']}"


def plan_gpu(gpu: dict[str, Any], wanted: TuningRequest, locked: dict[str, int] | None) -> TuningPlan:
    """Return the changes that a GPU needs to satisfy the request.

    Args:
        gpu: as `read.read_gpu` returns it.
        locked: the clocks that were locked since the driver was loaded, for which NVML has no getter; None for none.
    """
    plan = TuningPlan()
    plan.warnings += [
        f"{title(gpu)}: {reading} cannot be read: {error}" for reading, error in gpu["failed_readings"].items()
    ]
    # Persistence mode comes first: without it the driver resets the others when the last process closes the GPU.
    plan_mode(plan, gpu, "persistence_mode", wanted.persistence_mode)
    plan_mode(plan, gpu, "compute_mode", wanted.compute_mode)
    plan_ecc(plan, gpu, wanted.ecc)
    plan_power_limit(plan, gpu, wanted.power_limit)
    plan_clocks(plan, gpu, wanted.clocks, locked)
    if wanted.quiet:
        plan.skipped = {setting: reason for setting, reason in plan.skipped.items() if reason.startswith(UNREADABLE)}
        # Persistence mode is disabled last, because it preserves the other settings.
        plan.steps.sort(key=lambda step: step.setting == "persistence_mode")
    elif gpu["persistence_mode"] is False and wanted.persistence_mode is not True:
        plan.warnings += forgetful(gpu, plan.steps)
    return plan


def forgetful(gpu: dict[str, Any], steps: list[Step]) -> list[str]:
    """Return the warning that a GPU without persistence mode needs."""
    settings = ", ".join(step.setting for step in steps if step.setting not in ("persistence_mode", "ecc"))
    if not settings:
        return []
    return [f"{title(gpu)}: persistence mode is off, so the driver resets {settings} when its last client exits"]


def lacks(plan: TuningPlan, gpu: dict[str, Any], setting: str, reason: str, *readings: str) -> bool:
    """Return whether a setting has to be left out, and save the reason.

    Args:
        reason: the reason for a reading that the GPU does not support.
        readings: the readings that the setting needs.
    """
    for reading in readings:
        if reading in gpu["failed_readings"]:
            plan.skipped[setting] = f"{UNREADABLE}{reading}, {gpu['failed_readings'][reading]}"
            return True
        if gpu[reading] is None and reason:
            plan.skipped[setting] = reason
            return True
    return False


def differ(plan: TuningPlan, gpu: dict[str, Any], setting: str, before: Any, after: Any) -> None:
    """Add a step if the value differs."""
    if before != after:
        plan.steps.append(Step(gpu["index"], setting, before, after))


def plan_mode(plan: TuningPlan, gpu: dict[str, Any], setting: str, wanted: Any) -> None:
    """Compare a mode that is set at once: persistence mode or compute mode."""
    if wanted is not None and not lacks(plan, gpu, setting, "not supported by this GPU", setting):
        differ(plan, gpu, setting, gpu[setting], wanted)


def plan_ecc(plan: TuningPlan, gpu: dict[str, Any], wanted: bool | str | None) -> None:
    """Compare ECC with the pending mode, which takes effect with the next reboot, and which a write changes."""
    if wanted is None:
        return
    readings = ("ecc_pending", "ecc_default") if wanted == "default" else ("ecc_pending",)
    if not lacks(plan, gpu, "ecc", "this GPU has no ECC that can be switched", *readings):
        differ(plan, gpu, "ecc", gpu["ecc_pending"], gpu["ecc_default"] if wanted == "default" else wanted)


def plan_power_limit(plan: TuningPlan, gpu: dict[str, Any], wanted: PowerLimit | None) -> None:
    """Compare the power limit, within the GPU's own constraints."""
    if wanted is None:
        return
    none = "this GPU has no power limit that can be set"
    readings = ["power_limit_watts", "power_min_watts", "power_max_watts"]
    if wanted.unit == "default":
        readings.append("power_default_watts")
    if lacks(plan, gpu, "power_limit", none, *readings):
        return
    limit, low, high = (gpu[f"power_{name}_watts"] for name in ("limit", "min", "max"))
    if not 0 <= low <= high or high == 0:
        plan.skipped["power_limit"] = none
        return
    watts = {"max": high, "min": low, "default": gpu["power_default_watts"], "watts": wanted.value}.get(
        wanted.unit, float(int(high * wanted.value / 100))
    )
    # A default outside the GPU's own range is not an error of the request: the GPU rejects it.
    if wanted.unit != "default" and not low <= watts <= high:
        meant = "" if wanted.unit == "watts" else f" is {watts:g} W and"
        plan.problems.append(
            f"{title(gpu)}: power_limit {wanted}{meant} is outside its range. Allowed: {low:g} to {high:g} W"
        )
        return
    differ(plan, gpu, "power_limit_watts", limit, watts)


def plan_clocks(plan: TuningPlan, gpu: dict[str, Any], wanted: Clocks | None, locked: dict[str, int] | None) -> None:
    """Compare the clocks: application clocks where there are some, else locked ones."""
    if wanted is None:
        return
    current = gpu["application_clocks"]
    if wanted.named == "default":
        default = gpu["application_clocks_default"]
        lacks(plan, gpu, "clocks", "", "application_clocks", "application_clocks_default")
        if current is not None and default is not None and current != default:
            plan.steps.append(Step(gpu["index"], "clocks", current, default, reset=True))
        if locked:
            plan.steps.append(Step(gpu["index"], "clocks", locked, None, locked=True, reset=True))
        return
    # Without the application clocks it is not known whether they, or locked clocks, are the ones to set.
    if lacks(plan, gpu, "clocks", "", "supported_clocks", "application_clocks"):
        return
    if not gpu["supported_clocks"]:
        plan.skipped["clocks"] = "this GPU does not report which clocks it supports"
        return
    after = nearest_clocks(gpu["supported_clocks"], wanted)
    requested = {"memory": wanted.memory_mhz, "graphics": wanted.graphics_mhz}
    for name, mhz in requested.items():
        used = after[f"{name}_mhz"]
        if mhz not in (None, used):
            plan.warnings.append(
                f"{title(gpu)}: clocks: {name} {mhz} MHz is not supported; used: {used} MHz, the nearest"
            )
    if locked == after:
        return
    if current is not None:
        differ(plan, gpu, "clocks", current, after)
    else:
        plan.steps.append(Step(gpu["index"], "clocks", locked, after, locked=True))


def nearest_clocks(supported: list[dict[str, Any]], wanted: Clocks) -> dict[str, int]:
    """Return the supported pair of clocks in MHz that is nearest to the one wanted; of two the lower.

    Args:
        supported: the memory clocks, ascending, each with its graphics clocks, ascending.
    """
    row = supported[-1]
    if wanted.memory_mhz is not None:
        mhz = wanted.memory_mhz
        row = min(supported, key=lambda entry: abs(entry["memory_mhz"] - mhz))
    graphics = row["graphics_mhz"][-1]
    if wanted.graphics_mhz is not None:
        mhz = wanted.graphics_mhz
        graphics = min(row["graphics_mhz"], key=lambda clock: abs(clock - mhz))
    return {"memory_mhz": row["memory_mhz"], "graphics_mhz": graphics}


def setting_text(value: Any) -> str:
    """Return a setting's value as a message shows it."""
    if isinstance(value, dict):
        return f"{value['memory_mhz']} MHz memory and {value['graphics_mhz']} MHz graphics"
    if isinstance(value, float):
        return f"{value:g} W"
    return {True: "on", False: "off", None: "their defaults"}.get(value, str(value))
