# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tunes GPUs: reads all of them, compares, writes the settings that differ, and reads them back.

Nothing of Ansible is imported here, so that a unit at boot can run the same code.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .nvml import (
    ABSENT,
    COMPUTE_MODES,
    GONE,
    GPU_IS_LOST,
    NO_PERMISSION,
    VERSION_MISMATCH,
    NvmlError,
    Session,
    read_gpus,
)
from .plan import Plan, Step, forgetful, plan_gpu, title
from .request import RequestError, Wanted, select_gpus

# State that NVML has no getter for: locked clocks, and the settings that a GPU rejected. It lasts as long as the driver
# is loaded, and /run as long as the host is up.
LOCKED_CLOCKS = Path("/run/digital_twin.robotics_lab/gpu_locked_clocks.json")
# The kernel creates this folder, with a new inode, each time the driver is loaded.
DRIVER = Path("/sys/module/nvidia")
REMEDIES = {
    VERSION_MISMATCH: "The driver was replaced while its module was loaded. Reboot this host.",
    GPU_IS_LOST: "The GPU has fallen off the bus. Look for Xid messages in dmesg, then reboot.",
}


class TuningError(Exception):
    """A GPU rejected a setting, or was lost while it was set.

    Attributes:
        done: the settings that had been written before.
    """

    def __init__(self, message: str, done: list[Step]) -> None:
        super().__init__(message)
        self.done = done


@dataclass(frozen=True)
class Refusal:
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
class Outcome:
    """The changes that were made, or would be.

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
    """Set GPUs to the requested settings.

    Args:
        names: which GPUs, as ``_gpu_request.select_gpus`` takes them.
        strict: a setting that a GPU does not support, or rejects, is an error.
        write: False only returns the changes.
        relock: also locks clocks that were saved as locked, because a GPU that no process held open has lost them.

    Raises:
        RequestError: a GPU cannot satisfy the request; nothing was written.
        TuningError: a GPU was lost, nothing may be set by this user, or strictly, a GPU refused a setting.
    """
    gpus = select_gpus(names, read_gpus(session))
    # The saved clocks are still to be reset.
    resets = wanted.clocks is not None and wanted.clocks.named == "default"
    plans = compare(gpus, wanted, {} if relock and not resets else read_locked())
    refuse(gpus, plans, strict)
    steps = [step for plan in plans.values() for step in plan.steps]
    if write and steps:
        refusals = write_steps(session, gpus, steps, names, wanted, strict=strict)
        leave_out(gpus, plans, refusals)
        remember_refused(gpus, steps, refusals)
    elif not strict:
        # A write tries again, because a GPU with another power supply may accept what it rejected before.
        leave_out(gpus, plans, read_refused(gpus, steps))
    outcome = Outcome(gpus, plans, steps=[step for plan in plans.values() for step in plan.steps])
    pending = {step.gpu: step.after for step in outcome.steps if step.setting == "ecc"}
    outcome.reboot_required = any(gpu["ecc_current"] != pending.get(gpu["index"], gpu["ecc_pending"]) for gpu in gpus)
    return outcome


def leave_out(gpus: list[dict[str, Any]], plans: dict[int, Plan], refusals: list[Refusal]) -> None:
    """Remove from the plans the steps that GPUs reject, with a warning for each."""
    for gpu in gpus:
        plan = plans[gpu["index"]]
        own = {refusal.step.key: refusal for refusal in refusals if refusal.step.gpu == gpu["index"]}
        for refusal in own.values():
            plan.skipped[refusal.step.option] = refusal.reason
            plan.warnings.append(f"{title(gpu)}: {refusal.step.option} left out: {refusal.reason}")
        # A GPU may keep a value other than the one that was set.
        plan.steps = [
            replace(step, after=own[step.key].kept) if step.key in own else step
            for step in plan.steps
            if step.key not in own or own[step.key].kept != step.before
        ]
        if any(refusal.step.setting == "persistence_mode" and refusal.step.after for refusal in own.values()):
            plan.warnings += forgetful(gpu, plan.steps)


def compare(gpus: list[dict[str, Any]], wanted: Wanted, locked: dict[str, dict[str, int]]) -> dict[int, Plan]:
    """Return a plan for each GPU, by its index."""
    return {gpu["index"]: plan_gpu(gpu, wanted, locked.get(name_of(gpu))) for gpu in gpus}


def name_of(gpu: dict[str, Any]) -> str:
    """Return the name under which the state of a GPU is saved."""
    return str(gpu["uuid"] or gpu["index"])


def refuse(gpus: list[dict[str, Any]], plans: dict[int, Plan], strict: bool) -> None:
    """Raise RequestError when a GPU cannot satisfy the request; all are checked before any is changed."""
    problems = [problem for plan in plans.values() for problem in plan.problems]
    if strict:
        problems += [
            f"{title(gpu)}: {setting}: {reason}. Leave it out for this GPU, or set strict to false."
            for gpu in gpus
            for setting, reason in plans[gpu["index"]].skipped.items()
        ]
    if problems:
        raise RequestError(problems)


def write_steps(
    session: Session, gpus: list[dict[str, Any]], steps: list[Step], names: list[Any], wanted: Wanted, *, strict: bool
) -> list[Refusal]:
    """Write what differs, read it back, and return the steps that GPUs rejected or reverted.

    Raises:
        TuningError: a GPU was lost, nothing may be set by this user, or strictly, a GPU refused a setting.
    """
    by_index = {gpu["index"]: gpu for gpu in gpus}
    refusals = apply(session, by_index, steps, strict=strict)
    refused = {refusal.step.key for refusal in refusals}
    done = [step for step in steps if step.key not in refused]
    taken_back = verify(session, names, wanted, done) if done else []
    if strict and taken_back:
        lines = [f"{title(by_index[back.step.gpu])}: {back.step.setting} {back.reason}" for back in taken_back]
        raise TuningError("; ".join(lines), done)
    return refusals + taken_back


def apply(session: Session, gpus: dict[int, dict[str, Any]], steps: list[Step], *, strict: bool) -> list[Refusal]:
    """Write what differs, and return the steps that NVML rejected.

    Raises:
        TuningError: a GPU was lost, nothing may be set by this user, or strictly, NVML refused a setting.
    """
    done: list[Step] = []
    refusals: list[Refusal] = []
    for step in steps:
        gpu = gpus[step.gpu]
        try:
            handle = session.call("nvmlDeviceGetHandleByIndex", step.gpu)
            write_step(session, handle, gpu, step)
        except NvmlError as error:
            refusal = Refusal(step, f"could not be set to {shown(step.after)}: {error}", error.code, step.before)
            if strict or error.code in GONE:
                raise failure(gpu, refusal, done) from None
            refusals.append(refusal)
        else:
            done.append(step)
    if refusals and not done and all(refusal.code == NO_PERMISSION for refusal in refusals) and os.geteuid() != 0:
        raise failure(gpus[refusals[0].step.gpu], refusals[0], done)
    return refusals


def failure(gpu: dict[str, Any], refusal: Refusal, done: list[Step]) -> TuningError:
    """Return a rejected step as an error that ends with the remedy."""
    remedy = "Leave it out for this GPU, or set strict to false."
    if refusal.code in GONE:
        remedy = REMEDIES.get(refusal.code, "See dmesg, and run `nvidia-smi -q`.")
    elif refusal.code == NO_PERMISSION and os.geteuid() != 0:
        remedy = "Only root may set it: run the module with `become: true`."
    return TuningError(f"{title(gpu)}: {refusal.step.setting} {refusal.reason}. {remedy}", done)


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
    """Set application clocks; lock the clocks where a driver reports application clocks but no longer accepts them."""
    try:
        session.call("nvmlDeviceSetApplicationsClocks", handle, clocks["memory_mhz"], clocks["graphics_mhz"])
    except NvmlError as error:
        if error.code not in ABSENT:
            raise
        lock_clocks(session, handle, gpu, clocks)


def lock_clocks(session: Session, handle: Any, gpu: dict[str, Any], clocks: dict[str, int]) -> None:
    """Lock the clocks, and save them; GPUs older than Ampere have no memory clock that can be locked."""
    session.call("nvmlDeviceSetGpuLockedClocks", handle, clocks["graphics_mhz"], clocks["graphics_mhz"])
    try:
        session.ask("nvmlDeviceSetMemoryLockedClocks", handle, clocks["memory_mhz"], clocks["memory_mhz"])
    except NvmlError:
        # All or nothing.
        with contextlib.suppress(NvmlError):
            session.call("nvmlDeviceResetGpuLockedClocks", handle)
            forget_locked(gpu)
        raise
    remember({**read_locked(), name_of(gpu): clocks}, remembered("refused"))


def forget_locked(gpu: dict[str, Any]) -> None:
    """Delete the saved clocks of one GPU."""
    locked = read_locked()
    if locked.pop(name_of(gpu), None) is not None:
        remember(locked, remembered("refused"))


def reset_clocks(session: Session, handle: Any, gpu: dict[str, Any], step: Step) -> None:
    """Reset the clocks that were set or locked."""
    if not step.locked:
        session.call("nvmlDeviceResetApplicationsClocks", handle)
        return
    session.call("nvmlDeviceResetGpuLockedClocks", handle)
    session.ask("nvmlDeviceResetMemoryLockedClocks", handle)
    forget_locked(gpu)


def verify(session: Session, names: list[Any], wanted: Wanted, done: list[Step]) -> list[Refusal]:
    """Read back, and return the written steps for which the same comparison still finds a difference.

    Raises:
        TuningError: a GPU was lost.
    """
    try:
        gpus = select_gpus(names, read_gpus(session))
    except RequestError as error:
        raise TuningError(str(error), done) from None
    written = {step.key: step for step in done}
    return [
        Refusal(
            written[left.key],
            f"was set to {shown(left.after)} and reads back {shown(left.before)}",
            kept=left.before,
        )
        for plan in compare(gpus, wanted, read_locked()).values()
        for left in plan.steps
        if left.key in written
    ]


def driver_load() -> int | None:
    """Return an id that changes with each loading of the driver; None where the kernel does not provide one."""
    try:
        return DRIVER.stat().st_ino
    except OSError:
        return None


def remembered(what: str) -> dict[str, Any]:
    """Return what was saved since the driver was loaded, by GPU: its locked ``clocks``, or the steps that it
    ``refused``."""
    try:
        document = json.loads(LOCKED_CLOCKS.read_text(encoding="utf-8"))
        return dict(document[what]) if document["driver"] == driver_load() else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def read_locked() -> dict[str, dict[str, int]]:
    """Return the clocks that were locked since the driver was loaded, by the name of the GPU."""
    return remembered("clocks")


def read_refused(gpus: list[dict[str, Any]], steps: list[Step]) -> list[Refusal]:
    """Return which of these steps a GPU has rejected since the driver was loaded."""
    names = {gpu["index"]: name_of(gpu) for gpu in gpus}
    refused = remembered("refused")
    return [
        Refusal(step, row["reason"], kept=step.before)
        for step in steps
        for row in refused.get(names[step.gpu], [])
        if (row["setting"], row["after"]) == (step.setting, step.after)
    ]


def remember_refused(gpus: list[dict[str, Any]], tried: list[Step], refusals: list[Refusal]) -> None:
    """Save the steps that GPUs rejected now, and delete earlier rejections of the same settings."""
    before = remembered("refused")
    after = dict(before)
    for gpu in gpus:
        again = {step.setting for step in tried if step.gpu == gpu["index"]}
        rows = [row for row in before.get(name_of(gpu), []) if row["setting"] not in again]
        rows += [
            {"setting": refusal.step.setting, "after": refusal.step.after, "reason": refusal.reason}
            for refusal in refusals
            if refusal.step.gpu == gpu["index"]
        ]
        after[name_of(gpu)] = rows
    after = {name: rows for name, rows in after.items() if rows}
    if after != before:
        remember(read_locked(), after)


def remember(clocks: dict[str, dict[str, int]], refused: dict[str, Any]) -> None:
    """Replace the saved state."""
    LOCKED_CLOCKS.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = LOCKED_CLOCKS.with_suffix(".new")
    document = {"driver": driver_load(), "clocks": clocks, "refused": refused}
    scratch.write_text(json.dumps(document), encoding="utf-8")
    scratch.replace(LOCKED_CLOCKS)


def shown(value: Any) -> str:
    """Return a setting's value as a message shows it."""
    if isinstance(value, dict):
        return f"{value['memory_mhz']} MHz memory and {value['graphics_mhz']} MHz graphics"
    if isinstance(value, float):
        return f"{value:g} W"
    return {True: "on", False: "off", None: "their defaults"}.get(value, str(value))
