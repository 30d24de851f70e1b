# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Valid messages, as Cyclone DDS writes them, and invalid ones."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._foxglove.cdr import CdrError, read_message

from sandbox.ros_topics import (
    Clock,
    Header,
    Odometry,
    Point,
    Pose,
    PoseStamped,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Quaternion,
    Time,
    Twist,
    TwistWithCovariance,
    Vector3,
    rotation,
)

ODOMETRY, CLOCK, POSE = "nav_msgs/msg/Odometry", "rosgraph_msgs/msg/Clock", "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE = "geometry_msgs/msg/PoseWithCovarianceStamped"
STAMP = Time(12, 500_000_000)
TURNED = Pose(Point(1.0, -2.0, 0.25), rotation(-0.5))
UNSURE = PoseWithCovariance(TURNED, [float(number) for number in range(36)])


def odometry(frame: str = "odom", child: str = "base_link") -> bytes:
    twist = TwistWithCovariance(Twist(Vector3(3.0, -4.0, 0.0), Vector3(7.0, 8.0, 0.5)), [9.0] * 36)
    return Odometry(Header(STAMP, frame), child, UNSURE, twist).serialize()


def clock(order: str, seconds: int, nanoseconds: int) -> bytes:
    return (b"\0\0\0\0" if order == ">" else b"\0\1\0\0") + struct.pack(f"{order}iI", seconds, nanoseconds)


def pose(order: str, *numbers: float) -> bytes:
    """A PoseStamped of seven numbers, in the frame "map"."""
    header = b"\0\0\0\0" if order == ">" else b"\0\1\0\0"
    return header + struct.pack(f"{order}iII4s", 3, 0, 4, b"map\0") + struct.pack(f"{order}7d", *numbers)


@pytest.mark.parametrize("frames", [("odom", "base_link"), ("", ""), ("map", "x"), ("a" * 13, "b" * 300)])
def test_odometry_whatever_its_frames_are_called(frames: tuple[str, str]) -> None:
    """The value after a text is aligned again."""
    told = read_message(ODOMETRY, odometry(*frames))
    assert told == {
        "stamp": 12.5,
        "position": [1.0, -2.0, 0.25],
        "yaw": pytest.approx(-0.5),
        "speed": 5.0,
        "turn": 0.5,
    }


@pytest.mark.parametrize(
    ("schema", "payload", "told"),
    [
        (CLOCK, Clock(STAMP).serialize(), {"seconds": 12.5}),
        (CLOCK, clock("<", -1, 250_000_000), {"seconds": -0.75}),
        (CLOCK, clock(">", 7, 250_000_000), {"seconds": 7.25}),
        (
            POSE,
            PoseStamped(Header(STAMP, "map"), TURNED).serialize(),
            {"stamp": 12.5, "position": [1.0, -2.0, 0.25], "yaw": pytest.approx(-0.5)},
        ),
        (
            POSE_WITH_COVARIANCE,
            PoseWithCovarianceStamped(Header(STAMP, "map"), UNSURE).serialize(),
            {"stamp": 12.5, "position": [1.0, -2.0, 0.25], "yaw": pytest.approx(-0.5)},
        ),
        (
            POSE,
            pose(">", 1, 2, 3, 0, 0, 1, 0),
            {"stamp": 3.0, "position": [1.0, 2.0, 3.0], "yaw": pytest.approx(math.pi)},
        ),
        # What was never set, and what JSON has no word for.
        (POSE, pose("<", *[0] * 7), {"stamp": 3.0, "position": [0.0, 0.0, 0.0], "yaw": 0.0}),
        (POSE, pose("<", math.nan, math.inf, 1, *[math.nan] * 4), {"stamp": 3.0, "position": [None, None, 1.0]}),
        ("sensor_msgs/msg/LaserScan", b"whatever", None),
    ],
)
def test_the_content_of_a_message(schema: str, payload: bytes, told: dict[str, Any] | None) -> None:
    assert read_message(schema, payload) == ({"yaw": None, **told} if told and schema == POSE else told)


def test_a_quaternion_of_any_turn() -> None:
    """A robot on a slope, rolled by 0.3 and pitched by -0.4, looks where it would look on the floor."""
    (i, r), (j, p), (k, y) = ((math.sin(angle / 2), math.cos(angle / 2)) for angle in (0.3, -0.4, 2.0))
    turn = Quaternion(i * p * y - r * j * k, r * j * y + i * p * k, r * p * k - i * j * y, r * p * y + i * j * k)
    told = read_message(POSE, PoseStamped(pose=Pose(orientation=turn)).serialize())
    assert told
    assert told["yaw"] == pytest.approx(2.0)


@pytest.mark.parametrize("size", [0, 1, 4, 12, 16, 20, 40, 100, 400, -8, -1])
def test_a_truncated_message_is_invalid(size: int) -> None:
    with pytest.raises(CdrError, match=r"^it ends after \d+ of at least \d+ bytes|^it begins with "):
        read_message(ODOMETRY, odometry()[:size])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "it begins with nothing instead of 0000 or 0001"),
        (b"\0\7\0\0" + bytes(8), "it begins with 00070000 instead of 0000 or 0001"),
        (clock("<", 1, 0) + bytes(4), "it has 16 instead of 12 bytes"),
    ],
)
def test_payloads_that_are_not_a_clock(payload: bytes, reason: str) -> None:
    with pytest.raises(CdrError, match=f"^{reason}$"):
        read_message(CLOCK, payload)


def test_padding_is_not_part_of_a_message() -> None:
    assert read_message(CLOCK, clock("<", 1, 0) + bytes(3)) == {"seconds": 1.0}


@pytest.mark.parametrize(
    ("length", "reason"), [(3, "a text in it does not end"), (2**32 - 1, "it ends after 76 of at least 4294967311")]
)
def test_a_text_that_is_longer_or_shorter_than_it_says(length: int, reason: str) -> None:
    payload = bytearray(pose("<", *[0] * 7))
    payload[12:16] = struct.pack("<I", length)
    with pytest.raises(CdrError, match=f"^{reason}"):
        read_message(POSE, bytes(payload))
