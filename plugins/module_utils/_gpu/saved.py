# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Saves what NVML has no getter for, until the driver is loaded again: locked clocks, and rejected settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .plan import RejectedStep, Step

# /run lasts as long as the host is up.
LOCKED_CLOCKS = Path("/run/digital_twin.robotics_lab/gpu_locked_clocks.json")
# The kernel creates this folder, with a new inode, each time the driver is loaded.
DRIVER = Path("/sys/module/nvidia")


def driver_load() -> int | None:
    """Return an id that changes with each loading of the driver; None where the kernel does not provide one."""
    try:
        return DRIVER.stat().st_ino
    except OSError:
        return None


def name_of(gpu: dict[str, Any]) -> str:
    """Return the name under which the state of a GPU is saved."""
    return str(gpu["uuid"] or gpu["index"])


def read_saved(what: str) -> dict[str, Any]:
    """Return what was saved since the driver was loaded, by GPU: its locked `clocks`, or the `refused` steps."""
    try:
        document = json.loads(LOCKED_CLOCKS.read_text(encoding="utf-8"))
        return dict(document[what]) if document["driver"] == driver_load() else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def save(what: str, by_gpu: dict[str, Any]) -> None:
    """Replace the `clocks` or the `refused` steps of all GPUs, unless they are the same."""
    if by_gpu == read_saved(what):
        return
    document = {"clocks": read_saved("clocks"), "refused": read_saved("refused"), what: by_gpu, "driver": driver_load()}
    LOCKED_CLOCKS.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = LOCKED_CLOCKS.with_suffix(".new")
    scratch.write_text(json.dumps(document), encoding="utf-8")
    scratch.replace(LOCKED_CLOCKS)


def save_locked(gpu: dict[str, Any], clocks: dict[str, int] | None) -> None:
    """Save the locked clocks of a GPU, or delete them."""
    saved = {**read_saved("clocks"), name_of(gpu): clocks}
    save("clocks", {name: locked for name, locked in saved.items() if locked})


def read_rejected(gpus: list[dict[str, Any]], steps: list[Step]) -> list[RejectedStep]:
    """Return which of these steps a GPU has rejected since the driver was loaded."""
    names = {gpu["index"]: name_of(gpu) for gpu in gpus}
    saved = read_saved("refused")
    return [
        RejectedStep(step, row["reason"], kept=step.before)
        for step in steps
        for row in saved.get(names[step.gpu], [])
        if (row["setting"], row["after"]) == (step.setting, step.after)
    ]


def save_rejected(gpus: list[dict[str, Any]], tried: list[Step], rejected: list[RejectedStep]) -> None:
    """Save the steps that GPUs rejected now, and delete earlier rejections of the same settings."""
    saved = read_saved("refused")
    for gpu in gpus:
        again = {step.setting for step in tried if step.gpu == gpu["index"]}
        saved[name_of(gpu)] = [row for row in saved.get(name_of(gpu), []) if row["setting"] not in again] + [
            {"setting": found.step.setting, "after": found.step.after, "reason": found.reason}
            for found in rejected
            if found.step.gpu == gpu["index"]
        ]
    save("refused", {name: rows for name, rows in saved.items() if rows})
