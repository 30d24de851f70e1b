# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m bridge.health``: the container's health check."""

from __future__ import annotations

import os
import sys
import time

from .config import ConfigError, load

# The bridge touches the file several times a second while commands can be followed, or wait for an optional robot.
OLDEST = 10.0


def check(touched: float, now: float) -> str:
    """Return why commands cannot be followed; empty when they can."""
    silent = now - touched
    if silent <= OLDEST:
        return ""
    return f"for {silent:.0f} s Redis has not answered, Nav2 has accepted no goals, or the bridge has been stuck"


def main() -> int:
    """Print the state; return 1 when commands cannot be followed."""
    try:
        touched = load(os.environ).health_file.stat().st_mtime
    except (ConfigError, OSError) as error:
        print(error)
        return 1
    reason = check(touched, time.time())
    print(reason or "healthy")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
