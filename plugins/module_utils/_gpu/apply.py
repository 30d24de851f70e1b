# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tunes GPUs: reads all of them, compares, writes the settings that differ, and reads them back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

from .nvml import GONE, GPU_IS_LOST, NO_PERMISSION, VERSION_MISMATCH, NvmlError, NvmlSession
from .plan import RejectedStep, Step, TuningPlan, forgetful, plan_gpu, setting_text, title
from .read import read_gpus
from .request import TuningRequest, TuningRequestError, select_gpus
from .saved import name_of, read_rejected, read_saved, save_rejected
from .write import write_step

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


@dataclass
class TuningResult:
    """The changes that were made, or would be.

    Attributes:
        gpus: the chosen GPUs as they were found.
        plans: by index.
        reboot_required: ECC of a chosen GPU changes with the next reboot.
    """

    gpus: list[dict[str, Any]]
    plans: dict[int, TuningPlan]
    reboot_required: bool = False
    steps: list[Step] = field(default_factory=list)


def tune(
    session: NvmlSession, wanted: TuningRequest, names: list[Any], *, strict: bool, write: bool, relock: bool = False
) -> TuningResult:
    """Set GPUs to the requested settings.

    Args:
        names: which GPUs, as `request.select_gpus` takes them.
        strict: a setting that a GPU does not support, or rejects, is an error.
        write: False only returns the changes.
        relock: also locks clocks that were saved as locked, because a GPU that no process held open has lost them.

    Raises:
        TuningRequestError: a GPU cannot satisfy the request; nothing was written.
        TuningError: a GPU was lost, nothing may be set by this user, or strictly, a GPU refused a setting.
    """
    gpus = select_gpus(names, read_gpus(session))
    # The saved clocks are still to be reset.
    resets = wanted.clocks is not None and wanted.clocks.named == "default"
    plans = compare(gpus, wanted, {} if relock and not resets else read_saved("clocks"))
    check_plans(gpus, plans, strict)
    steps = [step for plan in plans.values() for step in plan.steps]
    if write and steps:
        rejected = write_steps(session, gpus, steps, names, wanted, strict=strict)
        leave_out(gpus, plans, rejected)
        save_rejected(gpus, steps, rejected)
    elif not strict:
        # A write tries again, because a GPU with another power supply may accept what it rejected before.
        leave_out(gpus, plans, read_rejected(gpus, steps))
    result = TuningResult(gpus, plans, steps=[step for plan in plans.values() for step in plan.steps])
    pending = {step.gpu: step.after for step in result.steps if step.setting == "ecc"}
    result.reboot_required = any(gpu["ecc_current"] != pending.get(gpu["index"], gpu["ecc_pending"]) for gpu in gpus)
    return result


def leave_out(gpus: list[dict[str, Any]], plans: dict[int, TuningPlan], rejected: list[RejectedStep]) -> None:
    """Remove from the plans the steps that GPUs reject, with a warning for each."""
    for gpu in gpus:
        plan = plans[gpu["index"]]
        own = {rejection.step.key: rejection for rejection in rejected if rejection.step.gpu == gpu["index"]}
        for rejection in own.values():
            plan.skipped[rejection.step.option] = rejection.reason
            plan.warnings.append(f"{title(gpu)}: {rejection.step.option} left out: {rejection.reason}")
        # A GPU may keep a value other than the one that was set.
        plan.steps = [
            replace(step, after=own[step.key].kept) if step.key in own else step
            for step in plan.steps
            if step.key not in own or own[step.key].kept != step.before
        ]
        if any(rejection.step.setting == "persistence_mode" and rejection.step.after for rejection in own.values()):
            plan.warnings += forgetful(gpu, plan.steps)


def compare(
    gpus: list[dict[str, Any]], wanted: TuningRequest, locked: dict[str, dict[str, int]]
) -> dict[int, TuningPlan]:
    """Return a plan for each GPU, by its index."""
    return {gpu["index"]: plan_gpu(gpu, wanted, locked.get(name_of(gpu))) for gpu in gpus}


def check_plans(gpus: list[dict[str, Any]], plans: dict[int, TuningPlan], strict: bool) -> None:
    """Raise TuningRequestError when a GPU cannot satisfy the request; all are checked before any is changed."""
    problems = [problem for plan in plans.values() for problem in plan.problems]
    if strict:
        problems += [
            f"{title(gpu)}: {setting}: {reason}. Leave it out for this GPU, or set strict to false."
            for gpu in gpus
            for setting, reason in plans[gpu["index"]].skipped.items()
        ]
    if problems:
        raise TuningRequestError(problems)


def write_steps(
    session: NvmlSession,
    gpus: list[dict[str, Any]],
    steps: list[Step],
    names: list[Any],
    wanted: TuningRequest,
    *,
    strict: bool,
) -> list[RejectedStep]:
    """Write what differs, read it back, and return the steps that GPUs rejected or reverted.

    Raises:
        TuningError: a GPU was lost, nothing may be set by this user, or strictly, a GPU refused a setting.
    """
    by_index = {gpu["index"]: gpu for gpu in gpus}
    rejected = apply(session, by_index, steps, strict=strict)
    refused = {rejection.step.key for rejection in rejected}
    done = [step for step in steps if step.key not in refused]
    reverted = verify(session, names, wanted, done) if done else []
    if strict and reverted:
        lines = [
            f"{title(by_index[rejection.step.gpu])}: {rejection.step.setting} {rejection.reason}"
            for rejection in reverted
        ]
        raise TuningError("; ".join(lines), done)
    return rejected + reverted


def apply(
    session: NvmlSession, gpus: dict[int, dict[str, Any]], steps: list[Step], *, strict: bool
) -> list[RejectedStep]:
    """Write what differs, and return the steps that NVML rejected.

    Raises:
        TuningError: a GPU was lost, nothing may be set by this user, or strictly, NVML refused a setting.
    """
    done: list[Step] = []
    rejected: list[RejectedStep] = []
    for step in steps:
        gpu = gpus[step.gpu]
        try:
            handle = session.call("nvmlDeviceGetHandleByIndex", step.gpu)
            write_step(session, handle, gpu, step)
        except NvmlError as error:
            rejection = RejectedStep(
                step, f"could not be set to {setting_text(step.after)}: {error}", error.code, step.before
            )
            if strict or error.code in GONE:
                raise failure(gpu, rejection, done) from None
            rejected.append(rejection)
        else:
            done.append(step)
    if rejected and not done and all(rejection.code == NO_PERMISSION for rejection in rejected) and os.geteuid() != 0:
        raise failure(gpus[rejected[0].step.gpu], rejected[0], done)
    return rejected


def failure(gpu: dict[str, Any], rejection: RejectedStep, done: list[Step]) -> TuningError:
    """Return a rejected step as an error that ends with the remedy."""
    remedy = "Leave it out for this GPU, or set strict to false."
    if rejection.code in GONE:
        remedy = REMEDIES.get(rejection.code, "See dmesg, and run `nvidia-smi -q`.")
    elif rejection.code == NO_PERMISSION and os.geteuid() != 0:
        remedy = "Only root may set it: run the module with `become: true`."
    return TuningError(f"{title(gpu)}: {rejection.step.setting} {rejection.reason}. {remedy}", done)


def verify(session: NvmlSession, names: list[Any], wanted: TuningRequest, done: list[Step]) -> list[RejectedStep]:
    """Read back, and return the written steps for which the same comparison still finds a difference.

    Raises:
        TuningError: a GPU was lost.
    """
    try:
        gpus = select_gpus(names, read_gpus(session))
    except TuningRequestError as error:
        raise TuningError(str(error), done) from None
    written = {step.key: step for step in done}
    return [
        RejectedStep(
            written[left.key],
            f"was set to {setting_text(left.after)} and reads back {setting_text(left.before)}",
            kept=left.before,
        )
        for plan in compare(gpus, wanted, read_saved("clocks")).values()
        for left in plan.steps
        if left.key in written
    ]
