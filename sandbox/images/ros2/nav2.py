"""Nav2's interfaces on real ROS 2, with a goal follower that drives straight lines instead of a planner."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped, Twist
from nav2_msgs.action import NavigateThroughPoses, NavigateToPose
from nav2_msgs.msg import SpeedLimit
from nav2_msgs.srv import ManageLifecycleNodes
from nav_msgs.msg import Odometry
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from compose.world.description import load
from sandbox.images.ros2.drive import FASTEST, Driver, Goal

LOG = logging.getLogger("nav2")
HALL = load()
# A goal is aborted after this time without odometry, in seconds; nav2.yaml has it as movement_time_allowance.
SILENT = 20.0


def on_the_map(pose: PoseStamped) -> bool:
    """Return whether a goal is inside the hall."""
    point = (pose.pose.position.x, pose.pose.position.y)
    return all(low <= at <= high for low, at, high in zip(HALL.low, point, HALL.high, strict=True))


class Nav2:
    """The actions, services and topics of Nav2 that the bridge and viewers use.

    Its odometry is exact, so the robot's estimate of its pose on the map is its odometry.
    """

    def __init__(self, node: Any, failures: int = 0) -> None:
        """Create them.

        :param failures: how many attempts to start fail, as a bringup that is aborted.
        """
        self._node = node
        self._failures = failures
        self._active = False
        self._manager: list[Any] = []
        self._fastest = FASTEST
        self._seen = 0.0
        self._ticket = 0
        self._ends: dict[int, Future] = {}
        self._driver = Driver(self._send, self._ended)
        self._cmd_vel = node.create_publisher(Twist, "cmd_vel", 10)
        self._amcl_pose = node.create_publisher(PoseWithCovarianceStamped, "amcl_pose", 10)
        self._tf = node.create_publisher(TFMessage, "tf", 10)
        self._shown = node.create_publisher(PoseStamped, "goal_pose", 10)
        self._last_shown: PoseStamped | None = None
        node.create_subscription(Odometry, "odom", self._locate, 10)
        node.create_subscription(SpeedLimit, "speed_limit", self._limit, 10)
        node.create_subscription(PoseStamped, "goal_pose", self._clicked, 10)
        self._servers = [
            ActionServer(
                node,
                kind,
                name,
                self._drive,
                goal_callback=self._wanted,
                cancel_callback=self._unwanted,
            )
            for kind, name in ((NavigateToPose, "navigate_to_pose"), (NavigateThroughPoses, "navigate_through_poses"))
        ]
        node.create_timer(1.0, self._watch)

    def _start(self) -> bool:
        """Bring it up, unless that is to fail."""
        self._active = self._failures <= 0
        self._failures -= 1
        LOG.info("bringup", extra={"fields": {"active": self._active}})
        return self._active

    def _locate(self, odometry: Odometry) -> None:
        """Publish the robot's pose on the map, and drive."""
        self._seen = time.monotonic()
        if not self._manager:
            # Nav2 answers no question before it knows where the robot is.
            self._manager = [
                self._node.create_service(Trigger, "lifecycle_manager/is_active", self._is_active),
                self._node.create_service(ManageLifecycleNodes, "lifecycle_manager/manage_nodes", self._manage),
            ]
            self._start()
        if not self._active:
            return
        pose, stamp = odometry.pose.pose, odometry.header.stamp
        located = PoseWithCovarianceStamped(pose=odometry.pose)
        located.header.frame_id, located.header.stamp = "map", stamp
        self._amcl_pose.publish(located)
        transform = TransformStamped(child_frame_id="odom")
        transform.header.frame_id, transform.header.stamp = "map", stamp
        self._tf.publish(TFMessage(transforms=[transform]))
        turn = pose.orientation
        yaw = math.atan2(2 * (turn.w * turn.z + turn.x * turn.y), 1 - 2 * (turn.y * turn.y + turn.z * turn.z))
        self._driver.at(pose.position.x, pose.position.y, yaw)

    def _is_active(self, _request: Any, answer: Any) -> Any:
        answer.success = self._active
        return answer

    def _manage(self, request: Any, answer: Any) -> Any:
        """Start and reset; the other commands are refused."""
        if request.command == ManageLifecycleNodes.Request.STARTUP:
            answer.success = not self._active and self._start()
        elif request.command == ManageLifecycleNodes.Request.RESET:
            self._active = False
            self._abort()
            answer.success = True
        return answer

    def _limit(self, limit: SpeedLimit) -> None:
        self._fastest = FASTEST * limit.speed_limit / 100 if limit.percentage else limit.speed_limit

    def _wanted(self, _goal: Any) -> GoalResponse:
        return GoalResponse.ACCEPT if self._active else GoalResponse.REJECT

    def _unwanted(self, _handle: Any) -> CancelResponse:
        self._driver.stop()
        return CancelResponse.ACCEPT

    async def _drive(self, handle: Any) -> Any:
        """Carry out a goal; a new one replaces it."""
        result = handle.request
        kind = NavigateToPose if hasattr(result, "pose") else NavigateThroughPoses
        outcome = "done"
        for pose in [result.pose] if kind is NavigateToPose else result.poses:
            if handle.is_cancel_requested:
                outcome = "cancelled"
                break
            if not on_the_map(pose):
                handle.abort()
                return kind.Result(error_code=1, error_msg="the goal is outside the map")
            outcome = await self._go(pose)
            if outcome != "done":
                break
        if outcome == "done":
            handle.succeed()
            return kind.Result()
        if handle.is_cancel_requested:
            handle.canceled()
            return kind.Result()
        handle.abort()
        return kind.Result(error_code=1, error_msg=f"the goal was {outcome}")

    def _go(self, pose: PoseStamped) -> Future:
        """Drive to a pose, and return the future outcome."""
        self._ticket += 1
        self._last_shown = pose
        self._shown.publish(pose)
        ended = self._ends[self._ticket] = Future()
        self._driver.go(Goal(pose.pose.position.x, pose.pose.position.y, fastest=self._fastest, ticket=self._ticket))
        return ended

    def _clicked(self, pose: PoseStamped) -> None:
        """Drive to the goal of another node, such as a viewer's."""
        if pose != self._last_shown and self._active:
            self._driver.go(Goal(pose.pose.position.x, pose.pose.position.y, fastest=self._fastest))

    def _ended(self, ticket: int, outcome: str) -> None:
        self._ends.pop(ticket).set_result(outcome)

    def _watch(self) -> None:
        """Abort the goal of a robot that does not report where it is."""
        if time.monotonic() - self._seen > SILENT:
            self._abort()

    def _abort(self) -> None:
        if self._driver.busy:
            self._driver.stop("aborted")

    def _send(self, linear: float, angular: float) -> None:
        twist = Twist()
        twist.linear.x, twist.angular.z = linear, angular
        self._cmd_vel.publish(twist)
