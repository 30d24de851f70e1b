# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends goals to Nav2 and reports its answers; it decides nothing."""

from __future__ import annotations

import math
from typing import Any

from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav2_msgs.action import NavigateToPose
from nav2_msgs.msg import SpeedLimit
from rclpy.action import ActionClient
from std_srvs.srv import Trigger

from .bridge import Bridge
from .commands import Pose

ACTION = "navigate_to_pose"
OUTCOMES = {GoalStatus.STATUS_SUCCEEDED: "done", GoalStatus.STATUS_CANCELED: "cancelled"}


class Nav2Client:
    """Nav2 as the navigator; its answers arrive in the executor's thread."""

    bridge: Bridge

    def __init__(self, node: Any) -> None:
        """Create the clients."""
        self._node = node
        self._goals = ActionClient(node, NavigateToPose, ACTION)
        self._cancels = node.create_client(CancelGoal, f"{ACTION}/_action/cancel_goal")
        self._speed = node.create_publisher(SpeedLimit, "speed_limit", 1)
        self._manager = node.create_client(Trigger, "lifecycle_manager/is_active")
        self._active = False
        self._poll = node.create_timer(1.0, self._check_active)

    def ready(self) -> bool:
        """Return whether goals are accepted: while Nav2 starts, its action exists and refuses them."""
        return self._active and bool(self._goals.server_is_ready())

    def _check_active(self) -> None:
        if self._manager.service_is_ready():
            self._manager.call_async(Trigger.Request()).add_done_callback(self._answered)
        else:
            self._active = False

    def _answered(self, future: Any) -> None:
        self._active = bool(future.result().success)

    def go(self, ticket: int, pose: Pose, speed: float) -> None:
        """Drive to a pose."""
        self._speed.publish(SpeedLimit(percentage=True, speed_limit=speed))
        goal = NavigateToPose.Goal(pose=PoseStamped())
        goal.pose.header.frame_id = "map"
        goal.pose.pose.position.x, goal.pose.pose.position.y = pose.x, pose.y
        goal.pose.pose.orientation.z, goal.pose.pose.orientation.w = pose.rotation
        self._goals.send_goal_async(goal).add_done_callback(lambda future: self._sent(ticket, future))

    def _sent(self, ticket: int, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self.bridge.ended(ticket, "failed", "Nav2 refused the goal")
            return
        self.bridge.accepted(ticket)
        handle.get_result_async().add_done_callback(lambda result: self._over(ticket, result))

    def _over(self, ticket: int, future: Any) -> None:
        outcome = OUTCOMES.get(future.result().status, "failed")
        self.bridge.ended(ticket, outcome, "Nav2 found no path" if outcome == "failed" else "")

    def cancel(self, ticket: int) -> None:
        """Cancel every goal: a request without id and time means all."""
        if not self._cancels.service_is_ready():
            self.bridge.halted(ticket)
            return
        request = self._cancels.call_async(CancelGoal.Request())
        request.add_done_callback(lambda _answer: self.bridge.halted(ticket))


class InitialPose:
    """Publishes the robot's initial pose until AMCL has one."""

    def __init__(self, node: Any, x: float, y: float, yaw: float) -> None:
        """Start publishing."""
        self._node = node
        self._pose = PoseWithCovarianceStamped()
        self._pose.header.frame_id = "map"
        self._pose.pose.pose.position.x, self._pose.pose.pose.position.y = x, y
        self._pose.pose.pose.orientation.z, self._pose.pose.pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
        # Half a metre and fifteen degrees: of x, of y, and of the rotation about z.
        self._pose.pose.covariance[0] = self._pose.pose.covariance[7] = 0.25
        self._pose.pose.covariance[35] = 0.07
        self._publisher = node.create_publisher(PoseWithCovarianceStamped, "initialpose", 1)
        self._known = node.create_subscription(PoseWithCovarianceStamped, "amcl_pose", self._stop, 1)
        self._timer = node.create_timer(1.0, self._publish)

    def _publish(self) -> None:
        if self._publisher.get_subscription_count():
            self._pose.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(self._pose)

    def _stop(self, _pose: PoseWithCovarianceStamped) -> None:
        self._timer.cancel()
