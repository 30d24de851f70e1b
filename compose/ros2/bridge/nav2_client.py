# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends goals to Nav2, reports its answers, and starts it again when it has given up."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav2_msgs.action import NavigateThroughPoses, NavigateToPose
from nav2_msgs.msg import SpeedLimit
from nav2_msgs.srv import ManageLifecycleNodes
from rclpy.action import ActionClient
from std_srvs.srv import Trigger

from .bridge import Bridge
from .bringup import Bringup, Step
from .places import Pose

LOG = logging.getLogger("bridge")
ONE, SEVERAL = "navigate_to_pose", "navigate_through_poses"
OUTCOMES = {GoalStatus.STATUS_SUCCEEDED: "done", GoalStatus.STATUS_CANCELED: "cancelled"}
# How long a request may stay unanswered, in seconds; then it is removed.
ANSWER = 5.0


class Requests:
    """A service and the requests to it that are not answered yet."""

    def __init__(self, node: Any, kind: Any, name: str) -> None:
        """Create the client."""
        self._client = node.create_client(kind, name)
        self._pending: dict[Any, float] = {}

    def ready(self) -> bool:
        """Return whether the service exists."""
        return bool(self._client.service_is_ready())

    def send(self, request: Any, answered: Callable[[Any], None]) -> None:
        """Send a request; an answer within :data:`ANSWER` is passed on."""
        future = self._client.call_async(request)
        self._pending[future] = time.monotonic() + ANSWER

        def done(_future: Any) -> None:
            self._pending.pop(future, None)
            answered(future.result())

        future.add_done_callback(done)

    def waits(self) -> bool:
        """Remove the requests that are too old, and return whether others are unanswered."""
        now = time.monotonic()
        for future, until in list(self._pending.items()):
            if now >= until:
                self._client.remove_pending_request(future)
                self._pending.pop(future, None)
        return bool(self._pending)


class Nav2Client:
    """Nav2 as the navigator; its answers arrive in the executor's thread."""

    bridge: Bridge

    def __init__(self, node: Any, give_up: Callable[[], None]) -> None:
        """Create the clients.

        :param give_up: ends the process and with it Nav2, which cannot be started again or does not cancel a goal.
        """
        self._node = node
        self._end = give_up
        self._goals = {
            ONE: ActionClient(node, NavigateToPose, ONE),
            SEVERAL: ActionClient(node, NavigateThroughPoses, SEVERAL),
        }
        self._cancels = [Requests(node, CancelGoal, f"{name}/_action/cancel_goal") for name in self._goals]
        self._speed = node.create_publisher(SpeedLimit, "speed_limit", 1)
        self._activity = Requests(node, Trigger, "lifecycle_manager/is_active")
        self._nodes = Requests(node, ManageLifecycleNodes, "lifecycle_manager/manage_nodes")
        self._bringup = Bringup()
        self._active = False
        self._asked = False
        self._poll = node.create_timer(1.0, self._check_active)

    def ready(self) -> bool:
        """Return whether goals are accepted: while Nav2 starts, its actions exist and refuse them."""
        return self._active and all(client.server_is_ready() for client in self._goals.values())

    def _check_active(self) -> None:
        """Ask whether Nav2 is active; one question at a time, as a manager that is busy answers none."""
        for requests in (self._nodes, *self._cancels):
            requests.waits()
        if self._activity.waits():
            return
        if self._asked or not self._activity.ready():
            # Not answered in time.
            self._asked = self._active = False
            self._bringup.silent()
        if self._activity.ready():
            self._asked = True
            self._activity.send(Trigger.Request(), self._answered)

    def _answered(self, answer: Any) -> None:
        self._asked = False
        self._active = bool(answer.success)
        step = self._bringup.answered(time.monotonic(), active=self._active)
        if step is Step.START:
            LOG.warning("nav2_inactive", extra={"fields": {"next": "start it"}})
            if self._nodes.ready():
                request = ManageLifecycleNodes.Request(command=ManageLifecycleNodes.Request.STARTUP)
                self._nodes.send(request, self._started)
        elif step is Step.GIVE_UP:
            LOG.error("nav2_inactive", extra={"fields": {"next": "restart the process"}})
            self._end()

    @staticmethod
    def _started(answer: Any) -> None:
        LOG.warning("nav2_start", extra={"fields": {"success": bool(answer.success)}})

    def go(self, ticket: int, poses: Sequence[Pose], speed: float) -> None:
        """Drive to a pose, or to several one after the other."""
        self._speed.publish(SpeedLimit(percentage=True, speed_limit=speed))
        stamped = [_stamped(pose) for pose in poses]
        goal: Any
        if len(stamped) == 1:
            name, goal = ONE, NavigateToPose.Goal(pose=stamped[0])
        else:
            name, goal = SEVERAL, NavigateThroughPoses.Goal(poses=stamped)
        self._goals[name].send_goal_async(goal).add_done_callback(lambda future: self._sent(ticket, future))

    def _sent(self, ticket: int, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self.bridge.ended(ticket, "failed", "Nav2 refused the goal")
            return
        self.bridge.accepted(ticket)
        handle.get_result_async().add_done_callback(lambda result: self._over(ticket, result))

    def _over(self, ticket: int, future: Any) -> None:
        answer = future.result()
        outcome = OUTCOMES.get(answer.status, "failed")
        # Nav2's own text, which it has since 1.3.
        reason = getattr(answer.result, "error_msg", "") or "Nav2 found no path"
        self.bridge.ended(ticket, outcome, reason if outcome == "failed" else "")

    def cancel(self, ticket: int) -> None:
        """Cancel every goal: a request without id and time means all."""
        open_ones = [cancel for cancel in self._cancels if cancel.ready()]
        if not open_ones:
            self.bridge.halted(ticket)
            return
        # Before the first request: its answer may arrive while the second is sent.
        missing = set(open_ones)

        def answered(cancel: Requests, _answer: Any) -> None:
            missing.discard(cancel)
            if not missing:
                self.bridge.halted(ticket)

        for cancel in open_ones:
            cancel.send(CancelGoal.Request(), partial(answered, cancel))

    def give_up(self) -> None:
        """End Nav2, which does not cancel a goal."""
        LOG.error("nav2_drives_on", extra={"fields": {"next": "restart the process"}})
        self._end()


def _stamped(pose: Pose) -> PoseStamped:
    stamped = PoseStamped()
    stamped.header.frame_id = "map"
    stamped.pose.position.x, stamped.pose.position.y = pose.x, pose.y
    stamped.pose.orientation.z, stamped.pose.orientation.w = pose.rotation
    return stamped


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
