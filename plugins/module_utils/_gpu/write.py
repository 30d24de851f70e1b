# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes a setting to a GPU: persistence mode, compute mode, ECC, power limit or clocks."""

from __future__ import annotations

import contextlib
from typing import Any

from .nvml import ABSENT, NvmlError, NvmlSession
from .plan import Step
from .read import COMPUTE_MODES
from .saved import save_locked


def write_step(session: NvmlSession, handle: Any, gpu: dict[str, Any], step: Step) -> None:
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


def set_clocks(session: NvmlSession, handle: Any, gpu: dict[str, Any], clocks: dict[str, int]) -> None:
    """Set application clocks; lock the clocks where a driver reports application clocks but no longer accepts them."""
    try:
        session.call("nvmlDeviceSetApplicationsClocks", handle, clocks["memory_mhz"], clocks["graphics_mhz"])
    except NvmlError as error:
        if error.code not in ABSENT:
            raise
        lock_clocks(session, handle, gpu, clocks)


def lock_clocks(session: NvmlSession, handle: Any, gpu: dict[str, Any], clocks: dict[str, int]) -> None:
    """Lock the clocks, and save them; GPUs older than Ampere have no memory clock that can be locked."""
    session.call("nvmlDeviceSetGpuLockedClocks", handle, clocks["graphics_mhz"], clocks["graphics_mhz"])
    try:
        session.call_optional("nvmlDeviceSetMemoryLockedClocks", handle, clocks["memory_mhz"], clocks["memory_mhz"])
    except NvmlError:
        # All or nothing.
        with contextlib.suppress(NvmlError):
            session.call("nvmlDeviceResetGpuLockedClocks", handle)
            save_locked(gpu, None)
        raise
    save_locked(gpu, clocks)


def reset_clocks(session: NvmlSession, handle: Any, gpu: dict[str, Any], step: Step) -> None:
    """Reset the clocks that were set or locked."""
    if not step.locked:
        session.call("nvmlDeviceResetApplicationsClocks", handle)
        return
    session.call("nvmlDeviceResetGpuLockedClocks", handle)
    session.call_optional("nvmlDeviceResetMemoryLockedClocks", handle)
    save_locked(gpu, None)
