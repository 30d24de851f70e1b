# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python3 -m tests.support.nodes.scripted_nav2 MODE``: Nav2's interfaces in an unusual state.

It reports that it is active, and prints a line for each question, goal and cancellation. MODE is one of:
  refuses    refuses every goal
  drives     accepts goals, never ends one, and refuses to cancel
  mute       never answers whether it is active
  distracted accepts and cancels goals, and after the first does not answer whether it is active
"""

from __future__ import annotations

import sys
from typing import Any

import rclpy
from nav2_msgs.action import NavigateThroughPoses, NavigateToPose
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_srvs.srv import Trigger


def main(mode: str) -> None:
    """Run until the process is killed."""
    # SIGTERM ends the process at once.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("scripted_nav2")

    goals: list[Any] = []

    async def active(_request: Any, answer: Any) -> Any:
        print("question", flush=True)
        if mode == "mute" or (mode == "distracted" and goals):
            await Future()
        answer.success = True
        return answer

    def wanted(goal: Any) -> GoalResponse:
        print("goal", flush=True)
        goals.append(goal)
        return GoalResponse.REJECT if mode == "refuses" else GoalResponse.ACCEPT

    def unwanted(_handle: Any) -> CancelResponse:
        print("cancellation", flush=True)
        return CancelResponse.ACCEPT if mode == "distracted" else CancelResponse.REJECT

    async def drive(_handle: Any) -> Any:
        await Future()

    servers = []
    # Otherwise the next question would wait here for the answer to the first.
    group = ReentrantCallbackGroup()
    node.create_service(Trigger, "lifecycle_manager/is_active", active, callback_group=group)
    for kind, name in ((NavigateToPose, "navigate_to_pose"), (NavigateThroughPoses, "navigate_through_poses")):
        servers.append(ActionServer(node, kind, name, drive, goal_callback=wanted, cancel_callback=unwanted))
    rclpy.spin(node)


if __name__ == "__main__":
    main(sys.argv[1])
