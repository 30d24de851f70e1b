# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 -m tests.unit.compose.ros2.robot FILE``: a bridge whose robot reaches each goal at once and logs it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from compose.ros2.bridge.bridge import Bridge
from compose.ros2.bridge.config import load
from compose.ros2.bridge.inbox import Inbox, connect
from compose.ros2.bridge.places import Pose


class Writer:
    """A navigator that logs each goal and reports it as reached."""

    bridge: Bridge

    def __init__(self, file: Path) -> None:
        self._file = file

    def ready(self) -> bool:
        """Accept every goal."""
        return True

    def go(self, ticket: int, poses: Sequence[Pose], _speed: float) -> None:
        """Be there."""
        with self._file.open("a", encoding="utf-8") as log:
            log.write("".join(f"{pose.x:g}\n" for pose in poses))
        self.bridge.ended(ticket, "done")

    def cancel(self, ticket: int) -> None:
        """Do nothing: no goal is ever active."""
        self.bridge.halted(ticket)

    def give_up(self) -> None:
        """End the process."""
        sys.exit("a goal was not cancelled")


if __name__ == "__main__":
    settings = load(os.environ)
    writer = Writer(Path(sys.argv[1]))
    writer.bridge = Bridge(Inbox(connect(settings), settings), writer, {}, settings)
    writer.bridge.run(threading.Event())
