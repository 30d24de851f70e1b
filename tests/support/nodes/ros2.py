# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ROS 2 node, configured by its environment."""

from __future__ import annotations

import os
from typing import Any

import rclpy
from std_msgs.msg import String

from tests.support.nodes.order_loop import serve


class Ros2:
    """One node with a publisher and a subscription; it ignores its own samples."""

    def __init__(self) -> None:
        rclpy.init()
        self._name = f"node_{os.getpid()}"
        self._node = rclpy.create_node(self._name)
        self._found: set[int] = set()
        self._publisher = self._node.create_publisher(String, "samples", 10)
        self._node.create_subscription(String, "samples", self._hear, 10)

    def peers(self) -> int:
        """Return the number of other subscribers."""
        rclpy.spin_once(self._node, timeout_sec=0)
        return int(self._publisher.get_subscription_count()) - 1

    def write(self, number: int, size: int) -> None:
        """Send one sample."""
        self._publisher.publish(String(data=f"{self._name} {number} {'x' * size}"))

    def take(self) -> set[int]:
        """Return the numbers of the received samples."""
        rclpy.spin_once(self._node, timeout_sec=0)
        found, self._found = self._found, set()
        return found

    def _hear(self, message: Any) -> None:
        name, number, _padding = message.data.split(" ")
        if name != self._name:
            self._found.add(int(number))


if __name__ == "__main__":
    serve(Ros2)
