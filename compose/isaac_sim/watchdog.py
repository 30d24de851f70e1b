# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stops the robot when its commands cease: Isaac Sim's own subscriber repeats the last one for ever."""

from __future__ import annotations

import math
from dataclasses import dataclass

STILL = (0.0, 0.0)


@dataclass
class Watchdog:
    """Decides the speeds of the robot from the last command and its age, in simulated time.

    In simulated time, a simulator that is slower than real time does not stop the robot between two commands, and the
    robot drives no further than in real time.

    Attributes:
        timeout: the robot stops after this time without a command, in seconds.
        linear: its maximum speed, in metres a second.
        angular: its maximum rate of turn, in radians a second.
    """

    timeout: float
    linear: float
    angular: float
    _now: float = -math.inf
    _count: int = 0
    _heard: float | None = None
    # When the simulation stood still, until it has advanced from there.
    _still: float | None = -math.inf

    def pause(self, now: float) -> None:
        """Forget the last command, because the simulation stands still: the robot waits for a new one.

        :param now: the simulated time.
        """
        self._heard, self._still = None, now

    def speeds(self, now: float, count: int, linear: float, angular: float) -> tuple[float, float]:
        """Return the linear and the angular speed at this moment.

        :param now: the simulated time.
        :param count: how many commands have been received.
        :param linear: of the last command, as is ``angular``.
        """
        # How old the first command is cannot be known: it may have waited while the simulation stood still, or before
        # the first call. After a stop the clock or the count may start again, too.
        if self._still is not None or now < self._now:
            self._heard = None
            if now != self._still:
                self._still = None
        elif count > self._count:
            self._heard = now
        self._now, self._count = now, count
        if self._heard is None or not now - self._heard <= self.timeout:
            return STILL
        if not (math.isfinite(linear) and math.isfinite(angular)):
            return STILL
        return _limited(linear, self.linear), _limited(angular, self.angular)


def _limited(speed: float, most: float) -> float:
    return min(most, max(-most, speed))
