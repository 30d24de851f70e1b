# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tunes GPUs: reads all of them, compares, writes what differs, and reads back what it wrote.

Nothing of Ansible is imported here, so that a unit at boot can run the same code.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_plan import Plan, Step, plan_gpu, title
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_request import (
    RequestError,
    Wanted,
    select_gpus,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._nvml import (
    ABSENT,
    COMPUTE_MODES,
    GPU_IS_LOST,
    NO_PERMISSION,
    VERSION_MISMATCH,
    NvmlError,
    Session,
    read_gpus,
)

# NVML has no question for locked clocks. They last as long as the driver is loaded, and /run as long as the host is up.
LOCKED_CLOCKS = Path("/run/digital_twin.robotics_lab/gpu_locked_clocks.json")
# The kernel makes this folder, with an inode of its own, each time the driver is loaded.
DRIVER = Path("/sys/module/nvidia")
REMEDIES = {
    NO_PERMISSION: "only root may: use become",
    VERSION_MISMATCH: "the driver was replaced under its loaded module: reboot",
    GPU_IS_LOST: "the GPU has fallen off the bus: see dmesg for Xid messages, reboot",
}


class TuningError(Exception):
    """A setting that a GPU did not take.

    Attributes:
        done: what had been set before that.
    """

    def __init__(self, message: str, done: list[Step]) -> None:
        super().__init__(message)
        self.done = done


@dataclass
class Outcome:
    """What tuning did, or would do.

    Attributes:
        gpus: the chosen GPUs as they were found.
        plans: by index.
        reboot_required: ECC of a chosen GPU changes with the next reboot.
    """

    gpus: list[dict[str, Any]]
    plans: dict[int, Plan]
    reboot_required: bool = False
    steps: list[Step] = field(default_factory=list)


def tune(
    session: Session, wanted: Wanted, names: list[Any], *, strict: bool, write: bool, relock: bool = False
) -> Outcome:
    """Bring GPUs to what is wanted.

    Args:
        names: which GPUs, as ``_gpu_request.select_gpus`` takes them.
        strict: a setting that a GPU does not have is a reason to refuse.
        write: False only says what would be done.
        relock: locks also clocks that are remembered as locked, since a GPU that nothing held open has lost them.

    Raises:
        RequestError: something cannot be; nothing was written.
        TuningError: NVML refused a write, or what was written did not stay.
    """
    gpus = select_gpus(names, read_gpus(session))
    # What is remembered is still what is to be given up.
    resets = wanted.clocks is not None and wanted.clocks.named == "default"
    plans = compare(gpus, wanted, {} if relock and not resets else read_locked())
    refuse(gpus, plans, strict)
    outcome = Outcome(gpus, plans, steps=[step for plan in plans.values() for step in plan.steps])
    if write and outcome.steps:
        apply(session, gpus, outcome.steps)
        verify(session, names, wanted)
    pending = {step.gpu: step.after for step in outcome.steps if step.setting == "ecc"}
    outcome.reboot_required = any(gpu["ecc_current"] != pending.get(gpu["index"], gpu["ecc_pending"]) for gpu in gpus)
    return outcome


def compare(gpus: list[dict[str, Any]], wanted: Wanted, locked: dict[str, dict[str, int]]) -> dict[int, Plan]:
    """Return a plan for each GPU, by its index."""
    return {gpu["index"]: plan_gpu(gpu, wanted, locked.get(gpu["uuid"])) for gpu in gpus}


def refuse(gpus: list[dict[str, Any]], plans: dict[int, Plan], strict: bool) -> None:
    """Raise RequestError when a GPU cannot be as wanted; all of them are looked at before any is touched."""
    problems = [problem for plan in plans.values() for problem in plan.problems]
    if strict:
        problems += [
            f"{title(gpu)}: {setting}: {reason}; do: leave it out for this GPU, or strict"
            for gpu in gpus
            for setting, reason in plans[gpu["index"]].skipped.items()
        ]
    if problems:
        raise RequestError(problems)


def apply(session: Session, gpus: list[dict[str, Any]], steps: list[Step]) -> None:
    """Write what differs.

    Raises:
        TuningError: NVML refused.
    """
    by_index = {gpu["index"]: gpu for gpu in gpus}
    done: list[Step] = []
    for step in steps:
        gpu = by_index[step.gpu]
        try:
            handle = session.call("nvmlDeviceGetHandleByIndex", step.gpu)
            write_step(session, handle, gpu, step)
        except NvmlError as error:
            remedy = REMEDIES.get(error.code, "see dmesg, and what nvidia-smi -q says of it")
            raise TuningError(
                f"{title(gpu)}: {step.setting} could not be set to {shown(step.after)}: {error}; do: {remedy}", done
            ) from None
        done.append(step)


def write_step(session: Session, handle: Any, gpu: dict[str, Any], step: Step) -> None:
    """Write one setting of one GPU."""
    if step.setting == "persistence_mode":
        session.call("nvmlDeviceSetPersistenceMode", handle, int(step.after))
    elif step.setting == "compute_mode":
        mode = next(number for number, name in COMPUTE_MODES.items() if name == step.after)
        session.call("nvmlDeviceSetComputeMode", handle, mode)
    elif step.setting == "ecc":
        session.call("nvmlDeviceSetEccMode", handle, int(step.after))
    elif step.setting == "power_limit_watts":
        session.call("nvmlDeviceSetPowerManagementLimit", handle, round(step.after * 1000))
    elif step.reset:
        reset_clocks(session, handle, gpu, step)
    elif step.locked:
        lock_clocks(session, handle, gpu, step.after)
    else:
        set_clocks(session, handle, gpu, step.after)


def set_clocks(session: Session, handle: Any, gpu: dict[str, Any], clocks: dict[str, int]) -> None:
    """Set application clocks; lock the clocks where a driver shows application clocks and no longer takes them."""
    try:
        session.call("nvmlDeviceSetApplicationsClocks", handle, clocks["memory_mhz"], clocks["graphics_mhz"])
    except NvmlError as error:
        if error.code not in ABSENT:
            raise
        lock_clocks(session, handle, gpu, clocks)


def lock_clocks(session: Session, handle: Any, gpu: dict[str, Any], clocks: dict[str, int]) -> None:
    """Lock the clocks, and remember it; GPUs older than Ampere have no memory clock that can be locked."""
    session.call("nvmlDeviceSetGpuLockedClocks", handle, clocks["graphics_mhz"], clocks["graphics_mhz"])
    session.ask("nvmlDeviceSetMemoryLockedClocks", handle, clocks["memory_mhz"], clocks["memory_mhz"])
    remember_locked({**read_locked(), gpu["uuid"]: clocks})


def reset_clocks(session: Session, handle: Any, gpu: dict[str, Any], step: Step) -> None:
    """Give up what was set or locked."""
    if not step.locked:
        session.call("nvmlDeviceResetApplicationsClocks", handle)
        return
    session.call("nvmlDeviceResetGpuLockedClocks", handle)
    session.ask("nvmlDeviceResetMemoryLockedClocks", handle)
    remember_locked({uuid: clocks for uuid, clocks in read_locked().items() if uuid != gpu["uuid"]})


def verify(session: Session, names: list[Any], wanted: Wanted) -> None:
    """Read back: the same comparison must find nothing left to do.

    Raises:
        TuningError: a value did not stay.
    """
    gpus = select_gpus(names, read_gpus(session))
    locked = read_locked()
    left = [
        f"{title(gpu)}: {step.setting} was set to {shown(step.after)} and reads back {shown(step.before)}"
        for gpu in gpus
        for step in plan_gpu(gpu, wanted, locked.get(gpu["uuid"])).steps
    ]
    if left:
        raise TuningError("; ".join(left), [])


def driver_load() -> int | None:
    """Return what tells one loading of the driver from the next; None where the kernel does not say."""
    try:
        return DRIVER.stat().st_ino
    except OSError:
        return None


def read_locked() -> dict[str, dict[str, int]]:
    """Return the clocks that were locked since the driver was loaded, by the GPU's UUID."""
    try:
        remembered = json.loads(LOCKED_CLOCKS.read_text(encoding="utf-8"))
        return dict(remembered["clocks"]) if remembered["driver"] == driver_load() else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def remember_locked(clocks: dict[str, dict[str, int]]) -> None:
    """Replace what is remembered."""
    LOCKED_CLOCKS.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = LOCKED_CLOCKS.with_suffix(".new")
    scratch.write_text(json.dumps({"driver": driver_load(), "clocks": clocks}), encoding="utf-8")
    scratch.replace(LOCKED_CLOCKS)


def shown(value: Any) -> str:
    """Return a setting's value as a message shows it."""
    if isinstance(value, dict):
        return f"{value['memory_mhz']} MHz memory and {value['graphics_mhz']} MHz graphics"
    if isinstance(value, float):
        return f"{value:g} W"
    return {True: "on", False: "off", None: "their defaults"}.get(value, str(value))
