# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the guard of a host, and the file that holds them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path


class GuardSettingsError(Exception):
    """The settings are invalid."""


@dataclass(frozen=True)
class GuardSettings:
    """The settings of the guard.

    Attributes:
        folder: for its files: awake_until, status.json and last_stop.json.
        idle_stop: whether it stops an idle host.
        idle_minutes: how long the host must be idle.
        wait_for_user_minutes: how long a host that was started waits for its first use.
        gpu_threshold: percentage above which a GPU is in use.
        client_ports: local TCP ports whose clients use the host.
        lifetime_minutes: how long after the boot the host stops; 0 for never. Its timer, not the guard, has the time.
        warning_minutes: how long before the stop users are warned.
        stack_unit: systemd unit that is stopped first; empty for none.
        hook: command that runs before a stop; empty for none.
        hook_seconds: after which the hook is killed.
        topics: ARNs of SNS topics that get the warnings.
        record_tags: whether the last action is recorded in a tag of the instance.
        poll_seconds: between two requests to the metadata service.
        activity_seconds: between two looks for activity.
        stack_seconds: for the stop of the unit.
        root: folder of the host's file system.
        proc: folder of its processes.
    """

    folder: str
    idle_stop: bool = False
    idle_minutes: float = 60
    wait_for_user_minutes: float = 240
    gpu_threshold: float = 5
    client_ports: list[int] = field(default_factory=list)
    lifetime_minutes: float = 0
    warning_minutes: float = 10
    stack_unit: str = ""
    hook: list[str] = field(default_factory=list)
    hook_seconds: float = 60
    topics: list[str] = field(default_factory=list)
    record_tags: bool = True
    poll_seconds: float = 5
    activity_seconds: float = 15
    stack_seconds: float = 120
    root: str = "/"
    proc: str = "/proc"

    @property
    def warning(self) -> timedelta:
        """How long before the stop users are warned."""
        return timedelta(minutes=self.warning_minutes)


def read_settings(path: Path) -> GuardSettings:
    """Return the settings of a file.

    Raises:
        GuardSettingsError: it cannot be read, or its content is invalid.
    """
    try:
        return GuardSettings(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        advice = "Apply the role instance_guard again."
        raise GuardSettingsError(f"{path} cannot be read: {error}. {advice}") from None
