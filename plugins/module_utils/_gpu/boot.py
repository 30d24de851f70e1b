# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tunes the GPUs of this host by a file. A unit runs it at boot, and whenever the driver is reloaded.

The file holds the options of the module gpu_tuning in JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .apply import TuningError, TuningResult, tune
from .nvml import NvmlError, NvmlUnavailable, open_nvml
from .plan import setting_text, title
from .request import TuningRequestError, read_request


class TuningFileError(Exception):
    """The file with the settings is not valid."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return the options of the module in a file.

    Raises:
        TuningFileError: it has no valid settings.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TuningFileError(f"{path} cannot be read: {error}. Apply the role gpu_tuning again.") from None
    missing = {"gpus", "strict", "state", "persistence_mode", "power_limit", "clocks", "ecc", "compute_mode"}
    missing -= set(settings) if isinstance(settings, dict) else set()
    if missing:
        raise TuningFileError(f"{path} lacks {', '.join(sorted(missing))}. Apply the role gpu_tuning again.")
    return dict(settings)


def apply_settings(settings: dict[str, Any]) -> TuningResult:
    """Tune the GPUs, and lock saved clocks again: the process that held the GPUs open may just have ended."""
    wanted = read_request(settings)
    with open_nvml() as session:
        return tune(session, wanted, settings["gpus"], strict=settings["strict"], write=True, relock=True)


def describe(outcome: TuningResult) -> list[str]:
    """Return the changes, one line for each setting."""
    lines = []
    for gpu in outcome.gpus:
        plan = outcome.plans[gpu["index"]]
        lines += [
            f"{title(gpu)}: {step.setting} set to {setting_text(step.after)}, was {setting_text(step.before)}"
            for step in plan.steps
        ]
        lines += [f"{title(gpu)}: {setting} left out: {reason}" for setting, reason in plan.skipped.items()]
        lines += plan.warnings
        if not plan.steps:
            lines.append(f"{title(gpu)}: as declared")
    if outcome.reboot_required:
        lines.append("ECC changes with the next reboot")
    # A rejected setting is listed as left out, and as a warning with the same text.
    return list(dict.fromkeys(lines))


def main() -> int:
    """Apply the file that the command line names, and return the exit status."""
    try:
        lines = describe(apply_settings(read_settings(Path(sys.argv[1]))))
    except NvmlUnavailable as error:
        reason = f"NVML cannot be used: {error.message}"
    except NvmlError as error:
        reason = f"{error}. See dmesg, and check whether `nvidia-smi -q` answers"
    except (TuningRequestError, TuningFileError, TuningError) as error:
        reason = str(error)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return 0
    sys.stderr.write(f"{reason}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
