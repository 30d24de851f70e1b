# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop a host whose lifetime is over. Its timer starts this program at every boot, whether the guard runs or not.

Run as ``python -m ..._guard.lifetime SETTINGS`` as long before the end of the lifetime as users are warned. `awake`
holds the stop. The exit status is 0 after SIGTERM and after a stop; systemd powers the host off after any other.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from .._gpu_publisher.systemd import log_to_journal
from .decide import LIFETIME, NOTHING, STOP, WARN, Situation, step
from .settings import GuardSettings, GuardSettingsError, read_settings
from .state import AwakeUnreadableError, read_awake, uptime, when
from .stop import LOG, StopFailedError, StopInProgressError, Stopper

EX_OK, EX_SOFTWARE, EX_CONFIG = 0, 70, 78


def situation(settings: GuardSettings) -> tuple[Situation, str]:
    """Return what the decision needs, and why awake_until cannot be used: then the cap on time wins."""
    now = when(uptime())
    try:
        return Situation(now, when(0), read_awake(Path(settings.folder), now)), ""
    except AwakeUnreadableError as error:
        return Situation(now, when(0)), f"{error}. It does not hold the end of the lifetime"


def stop_in_time(settings: GuardSettings, end: threading.Event) -> None:
    """Warn, and stop the host when the warning has lasted.

    Raises:
        StopFailedError: the host was not powered off.
    """
    stopper = Stopper(settings, end, lambda: None)
    warned: float | None = None
    told: set[str] = set()
    while not end.is_set():
        lab, trouble = situation(settings)
        found = step(LIFETIME, lab, settings.warning, None if warned is None else when(warned))
        for text in {found.reason, trouble} - told - {""}:
            LOG.info("%s", text)
            told.add(text)
        if found.action == NOTHING:
            warned = None
        elif found.action == WARN:
            warned = uptime()
            stopper.warn(f"{found.reason}, which is {settings.lifetime_minutes / 60:g} hours from its start")
        elif found.action == STOP:
            try:
                stopper.power_off(LIFETIME, found.reason)
                return
            except StopInProgressError as error:
                LOG.info("%s", error)
        end.wait(settings.poll_seconds)


def main() -> int:
    """Stop the host, and return the exit status."""
    log_to_journal(LOG)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_ignored: end.set())
    try:
        stop_in_time(read_settings(Path(sys.argv[1])), end)
    except GuardSettingsError as error:
        LOG.error("%s", error)
        return EX_CONFIG
    except StopFailedError as error:
        LOG.error("%s", error)
        return EX_OK if end.is_set() else EX_SOFTWARE
    return EX_OK


if __name__ == "__main__":
    raise SystemExit(main())
