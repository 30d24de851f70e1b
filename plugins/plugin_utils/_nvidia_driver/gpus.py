# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which kernel module and which branch a GPU can have, by its PCI device id. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from .branches import FIRST_BLACKWELL, FIRST_FOR_BLACKWELL, FIRST_TURING, GRACE_HOPPER, LAST_BEFORE_TURING, OPEN_FIRST

OPEN, PROPRIETARY, AUTO = "open", "proprietary", "auto"


class ChoiceError(Exception):
    """The archive does not offer the requested driver; the message lists what it offers or what to change."""


class GpuError(ChoiceError):
    """No driver of any archive has a kernel module for every GPU of the host, as requested."""


def label(device: int) -> str:
    """Return the name of a GPU in messages."""
    return f"GPU 10de:{device:04x}"


def too_old(device: int) -> bool:
    """Return whether a GPU is older than Turing: the open module does not support it."""
    return device < FIRST_TURING


def open_only(device: int) -> bool:
    """Return whether a GPU has only the open module."""
    return device >= FIRST_BLACKWELL or device in GRACE_HOPPER


def modules_for(gpus: Iterable[int], wanted: str) -> tuple[str, ...]:
    """Return the kernel modules that support every GPU: one, or both where each of them does.

    Args:
        gpus: PCI device ids.
        wanted: ``auto``, ``open`` or ``proprietary``.

    Raises:
        GpuError: no module supports every GPU, or the wanted one does not.
    """
    old = next((device for device in gpus if too_old(device)), None)
    new = next((device for device in gpus if open_only(device)), None)
    if old is not None and new is not None:
        raise GpuError(
            f"{label(old)} is older than Turing (a V100 is) and needs the proprietary kernel module, and {label(new)} "
            "has only the open one. One host cannot have both. Remove one of these GPUs, or use two hosts."
        )
    if old is not None and wanted == OPEN:
        raise GpuError(
            f"{label(old)} is older than Turing (a V100 is), and NVIDIA's open module does not support it. Set "
            "nvidia_driver_module to auto or proprietary."
        )
    if new is not None and wanted == PROPRIETARY:
        raise GpuError(f"{label(new)} has only NVIDIA's open module. Set nvidia_driver_module to auto or open.")
    if wanted != AUTO:
        return (wanted,)
    if old is not None:
        return (PROPRIETARY,)
    return (OPEN,) if new is not None else (OPEN, PROPRIETARY)


def preferred(modules: tuple[str, ...], branch: str) -> tuple[str, ...]:
    """Return kernel modules in the order in which a branch's are tried."""
    return modules if int(branch) >= OPEN_FIRST else tuple(sorted(modules, reverse=True))


def branch_problem(gpus: Iterable[int], branch: str) -> str:
    """Return why a branch does not support the GPUs, in a sentence; empty when it does."""
    for device in gpus:
        if too_old(device) and int(branch) > LAST_BEFORE_TURING:
            return (
                f"Driver {branch} does not support {label(device)}, which is older than Turing (a V100 is). The last "
                f"branch that does is {LAST_BEFORE_TURING}."
            )
        if device >= FIRST_BLACKWELL and int(branch) < FIRST_FOR_BLACKWELL:
            return (
                f"Driver {branch} does not support {label(device)}, a Blackwell or newer. The first branch that does "
                f"is {FIRST_FOR_BLACKWELL}."
            )
    return ""
