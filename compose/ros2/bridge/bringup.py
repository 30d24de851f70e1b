# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides when Nav2 is started again. No network and no clock: the caller passes the time.

Nav2's lifecycle manager gives up when one of its nodes is late, and then stays inactive. While it starts nodes, or a
node waits for the robot, it answers no question at all: that is left alone.
"""

from __future__ import annotations

from enum import Enum

# How long Nav2 may answer that it is inactive, in seconds, and how many times that may happen.
PATIENCE = 60.0
TIMES = 3


class Step(Enum):
    """What to do."""

    WAIT = "wait"
    START = "start"
    GIVE_UP = "give up"


class Bringup:
    """The answers of the lifecycle manager."""

    def __init__(self) -> None:
        """Start without answers."""
        self._inactive_since: float | None = None
        self._times = 0

    def answered(self, now: float, *, active: bool) -> Step:
        """Handle an answer.

        STARTUP starts nodes that are unconfigured, as after the failure of a node. It fails for those that an aborted
        bringup has left in between, so the process is restarted when it has not helped.
        """
        if active:
            self._inactive_since, self._times = None, 0
            return Step.WAIT
        if self._inactive_since is None:
            self._inactive_since = now
        if now - self._inactive_since < PATIENCE:
            return Step.WAIT
        self._inactive_since = now
        self._times += 1
        return Step.GIVE_UP if self._times >= TIMES else Step.START

    def silent(self) -> None:
        """Handle a question that was not answered."""
        self._inactive_since = None
