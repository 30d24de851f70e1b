# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the phases of a new lab, and the same phases when they have nothing to change.

Each phase runs twice in a sandbox of its own, first against an empty account, then again. Compare the ratio of the two:
absolute times differ between machines. ``make bench`` prints one row for each phase, in seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sandbox.settings import Sandbox
from tests.support.lab import Cloud, Result
from tests.support.project import ROOT

PHASES = ("preflight", "provision", "configure", "verify")
NAME = "bench"


def seconds(action: Callable[[], Result]) -> float:
    """Return the duration of an action, which must succeed."""
    begin = time.monotonic()
    action().must_succeed()
    return time.monotonic() - begin


def row(phase: str, first: float, again: float) -> None:
    """Print the figures of one phase."""
    print(f"{phase:<12}{first:>10.1f}{again:>10.1f}{again / first:>10.2f}", flush=True)


def main() -> None:
    """Measure every phase, and remove everything afterwards."""
    cloud = Cloud(sandbox=Sandbox.at(ROOT / ".cache" / "bench"))
    cloud.command("down").must_succeed()
    print(f"{'phase':<12}{'first':>10}{'again':>10}{'ratio':>10}")
    try:
        first = seconds(lambda: cloud.command("up"))
        row("sandbox up", first, seconds(lambda: cloud.command("up")))
        cloud.up()
        for phase in PHASES:

            def run(phase: str = phase) -> Result:
                return cloud.playbook(f"playbooks/{phase}.yml", aws_infrastructure_name=NAME)

            row(phase, seconds(run), seconds(run))
        destroy = seconds(
            lambda: cloud.playbook(
                "playbooks/destroy.yml", aws_infrastructure_name=NAME, aws_infrastructure_destroy_confirm=NAME
            )
        )
        print(f"{'destroy':<12}{destroy:>10.1f}")
    finally:
        cloud.command("down").must_succeed()


if __name__ == "__main__":
    main()
