# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a text asks for: a command that may be sent to a robot, or the reason why it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .places import Place, Places


class Action(StrEnum):
    """An action of a robot."""

    NAVIGATE = "navigate"
    INSPECT = "inspect"
    PICK = "pick"
    PLACE = "place"
    STOP = "stop"
    STATUS = "status"
    UNKNOWN = "unknown"


class Speed(StrEnum):
    """The speed of a movement."""

    SLOW = "slow"
    NORMAL = "normal"
    FAST = "fast"


class Refused(ValueError):
    """The text is not a command that may be sent to a robot.

    :ivar code: ``unknown_action``, ``unknown_place`` or ``ambiguous``.
    """

    def __init__(self, code: str, message: str) -> None:
        """Store the code and the message."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Intent:
    """A command that may be sent: a movement always has a place, and a place has coordinates."""

    action: Action
    place: Place | None
    speed: Speed
    confidence: float
    raw_text: str

    @property
    def moves(self) -> bool:
        """Whether the robot drives."""
        return self.action not in (Action.STOP, Action.STATUS)

    def message(self) -> dict[str, object]:
        """Return the message for the channel; ``stop`` and ``status`` have neither target nor coordinates."""
        return {
            "action": self.action.value,
            "target": self.place.name if self.place else None,
            "coordinates": list(self.place.coordinates) if self.place else None,
            "speed": self.speed.value,
            "confidence": self.confidence,
            "raw_text": self.raw_text,
        }


def stop(text: str) -> Intent:
    """Return the command that stops the robot."""
    return Intent(Action.STOP, None, Speed.NORMAL, 0.9, text)


def unknown_place(action: Action, places: Places) -> Refused:
    """Return the error for a command without a known place."""
    return Refused("unknown_place", f"'{action}' needs a known place. Known places: {', '.join(places.names)}.")
