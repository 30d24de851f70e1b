"""``python3 -m sandbox.images.ros2``: the simulator of the image compose/ros2, with its variables.

The command bridge is that image's own. A goal follower replaces Nav2; Foxglove's server replaces its bridge for ROS.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from cyclonedds.idl import IdlStruct

from compose.ros2.bridge import commands, logs
from compose.ros2.bridge.bridge import Bridge
from compose.ros2.bridge.config import ConfigError, load
from compose.ros2.bridge.inbox import Inbox, connect
from sandbox.images.ros2.drive import FASTEST, Driver, Goal
from sandbox.images.ros2.viewer import Viewer
from sandbox.ros_topics import (
    Bus,
    Header,
    Odometry,
    Point,
    Pose,
    PoseStamped,
    PoseWithCovarianceStamped,
    TFMessage,
    Time,
    Transform,
    TransformStamped,
    Twist,
    Vector3,
    yaw_of,
)

LOG = logging.getLogger("robot")
SUBSCRIBED = ("clock", "odom", "tf", "scan", "goal_pose")
PUBLISHED = ("cmd_vel", "goal_pose", "amcl_pose", "tf")
# Goals are refused after this time without odometry, in seconds.
SILENT = 2.0
WAIT = 0.1


class Robot:
    """The bridge's navigator: the robot's pose and its goal."""

    bridge: Bridge

    def __init__(self, bus: Bus, viewer: Viewer) -> None:
        """Create the topics."""
        self._bus = bus
        self._viewer = viewer
        self._readers = {topic: bus.reader(topic) for topic in SUBSCRIBED}
        self._writers = {topic: bus.writer(topic) for topic in PUBLISHED}
        self._driver = Driver(self._send, self._ended)
        self._stamp = Time()
        self._seen = -SILENT

    def ready(self) -> bool:
        """Return whether there is a robot."""
        return time.monotonic() - self._seen < SILENT

    def go(self, ticket: int, pose: commands.Pose, speed: float) -> None:
        """Drive to a pose, whose yaw this follower ignores, and publish the goal."""
        self.bridge.accepted(ticket)
        self._tell("goal_pose", PoseStamped(Header(self._stamp, "map"), Pose(Point(pose.x, pose.y))))
        self._driver.go(Goal(pose.x, pose.y, fastest=FASTEST * speed / 100, ticket=ticket))

    def cancel(self, ticket: int) -> None:
        """Stop."""
        self._driver.stop()
        self.bridge.halted(ticket)

    def turn(self) -> None:
        """Wait a moment for messages, and handle them."""
        self._bus.wait(WAIT)
        said: dict[str, list[Any]] = {topic: reader.take() for topic, reader in self._readers.items()}
        for topic, messages in said.items():
            for message in messages:
                self._viewer.show(topic, message)
        for clock in said["clock"][-1:]:
            self._stamp = clock.clock
        for goal in said["goal_pose"]:
            self._driver.go(Goal(goal.pose.position.x, goal.pose.position.y))
        for odometry in said["odom"][-1:]:
            self._locate(odometry)

    def _locate(self, odometry: Odometry) -> None:
        """Publish the robot's pose on the map. Its odometry is exact, so this is also its own estimate."""
        self._seen = time.monotonic()
        pose = odometry.pose.pose
        self._driver.at(pose.position.x, pose.position.y, yaw_of(pose.orientation))
        header = Header(odometry.header.stamp, "map")
        self._tell("amcl_pose", PoseWithCovarianceStamped(header, odometry.pose))
        self._tell("tf", TFMessage([TransformStamped(header, "odom", Transform())]))

    def _ended(self, ticket: int, outcome: str) -> None:
        self.bridge.ended(ticket, outcome)

    def _send(self, linear: float, angular: float) -> None:
        self._tell("cmd_vel", Twist(Vector3(linear), Vector3(z=angular)))

    def _tell(self, topic: str, message: IdlStruct) -> None:
        self._writers[topic].write(message)
        self._viewer.show(topic, message)


def main() -> int:
    """Run until SIGTERM; return 2 if the configuration is not valid."""
    try:
        settings = load(os.environ)
        places = commands.read_places(settings.places_file)
        domain = int(os.environ.get("ROS_DOMAIN_ID") or 0)
        port = int(os.environ.get("FOXGLOVE_BRIDGE_PORT") or 8765)
    except (ConfigError, commands.PlacesError, ValueError) as error:
        print(f"the robot cannot start: {error}", file=sys.stderr)
        return 2
    logs.configure()
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_signal: end.set())
    signal.signal(signal.SIGINT, lambda *_signal: end.set())
    viewer = Viewer(os.environ.get("FOXGLOVE_BRIDGE_ADDRESS") or "127.0.0.1", port)
    robot = Robot(Bus(domain), viewer)
    robot.bridge = Bridge(Inbox(connect(settings), settings), robot, places, settings)
    thread = threading.Thread(target=_drive, args=(robot.bridge, end), name="bridge")
    thread.start()
    LOG.info("starting", extra={"fields": {"domain": domain, "port": port, "places": list(places)}})
    try:
        while not end.is_set():
            robot.turn()
    finally:
        end.set()
        thread.join()
        viewer.close()
    return 0


def _drive(bridge: Bridge, end: threading.Event) -> None:
    """Run the bridge; when it fails, the process exits and is restarted."""
    try:
        bridge.run(end)
    except Exception:
        LOG.exception("internal_error")
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
