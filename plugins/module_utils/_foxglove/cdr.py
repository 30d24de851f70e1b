# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decodes some ROS 2 messages from CDR, the encoding of DDS. Pure functions."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

HEADER = 4
ORDERS = {b"\0\0": ">", b"\0\1": "<"}
# DDS pads a payload to a multiple of four bytes.
MOST_PADDING = 3
COVARIANCE = 36
NANO = 1e9


class CdrError(Exception):
    """The bytes are not a valid message; the text continues a sentence."""


class Cdr:
    """Reads one value after the other, each aligned to its own size from the end of the header."""

    def __init__(self, payload: bytes) -> None:
        """Read the header.

        Raises:
            CdrError: it is not a header of plain CDR.
        """
        if payload[:2] not in ORDERS or len(payload) < HEADER:
            raise CdrError(f"it begins with {payload[:HEADER].hex() or 'nothing'} instead of 0000 or 0001")
        self._order = ORDERS[payload[:2]]
        self._body = payload[HEADER:]
        self._at = 0

    def take(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        """Return numbers of one of the formats of `struct`.

        Raises:
            CdrError: the payload is too short.
        """
        size = struct.calcsize(f"={kind}")
        at = -(-self._at // size) * size
        self._at = at + size * count
        if self._at > len(self._body):
            raise CdrError(f"it ends after {HEADER + len(self._body)} of at least {HEADER + self._at} bytes")
        return struct.unpack_from(f"{self._order}{count}{kind}", self._body, at)

    def skip_text(self) -> None:
        """Skip a text.

        Raises:
            CdrError: it is not a valid text.
        """
        (length,) = self.take("I")
        if length:
            (text,) = self.take("s", length)
            if text[-1]:
                raise CdrError("a text in it does not end where its length says")

    def end(self) -> None:
        """Check that only padding is left.

        Raises:
            CdrError: the payload is too long.
        """
        if len(self._body) - self._at > MOST_PADDING:
            raise CdrError(f"it has {HEADER + len(self._body)} instead of {HEADER + self._at} bytes")


def finite(number: float) -> float | None:
    """Return a number, or None for one that JSON cannot represent."""
    return number if math.isfinite(number) else None


def read_time(cdr: Cdr) -> float:
    """Return a builtin_interfaces/msg/Time in seconds."""
    (seconds,), (nanoseconds,) = cdr.take("i"), cdr.take("I")
    return float(seconds + nanoseconds / NANO)


def read_stamp(cdr: Cdr) -> float:
    """Return the time of a std_msgs/msg/Header in seconds."""
    stamp = read_time(cdr)
    cdr.skip_text()
    return stamp


def read_pose(cdr: Cdr) -> dict[str, Any]:
    """Return a geometry_msgs/msg/Pose."""
    position = cdr.take("d", 3)
    x, y, z, w = cdr.take("d", 4)
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return {"position": [finite(number) for number in position], "yaw": finite(yaw)}


def read_clock(cdr: Cdr) -> dict[str, Any]:
    """Return a rosgraph_msgs/msg/Clock."""
    return {"seconds": read_time(cdr)}


def read_pose_stamped(cdr: Cdr) -> dict[str, Any]:
    """Return a geometry_msgs/msg/PoseStamped."""
    return {"stamp": read_stamp(cdr), **read_pose(cdr)}


def read_pose_with_covariance_stamped(cdr: Cdr) -> dict[str, Any]:
    """Return a geometry_msgs/msg/PoseWithCovarianceStamped."""
    pose = read_pose_stamped(cdr)
    cdr.take("d", COVARIANCE)
    return pose


def read_odometry(cdr: Cdr) -> dict[str, Any]:
    """Return a nav_msgs/msg/Odometry."""
    stamp = read_stamp(cdr)
    cdr.skip_text()
    pose = read_pose(cdr)
    cdr.take("d", COVARIANCE)
    linear, angular = cdr.take("d", 3), cdr.take("d", 3)
    cdr.take("d", COVARIANCE)
    return {"stamp": stamp, **pose, "speed": finite(math.hypot(*linear)), "turn": finite(angular[2])}


READERS: dict[str, Callable[[Cdr], dict[str, Any]]] = {
    "rosgraph_msgs/msg/Clock": read_clock,
    "nav_msgs/msg/Odometry": read_odometry,
    "geometry_msgs/msg/PoseStamped": read_pose_stamped,
    "geometry_msgs/msg/PoseWithCovarianceStamped": read_pose_with_covariance_stamped,
}


def read_message(schema: str, payload: bytes) -> dict[str, Any] | None:
    """Return the content of a message; None for a schema without a reader.

    Raises:
        CdrError: the payload is not valid.
    """
    reader = READERS.get(schema)
    if reader is None:
        return None
    cdr = Cdr(payload)
    message = reader(cdr)
    cdr.end()
    return message
