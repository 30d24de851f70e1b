# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OmniGraph that connects the robot to ROS 2, as data: its nodes, connections and values.

Commands do not go from their subscriber to the wheels by themselves: ``drive.py`` passes them on, with the watchdog.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from compose.world.description import STEPS, Hall
from compose.world.scene import BASE, JOINTS, LIDAR

PATH = "/World/Ros"
FRAME = "lidar"
# The types keep the prefix of the extension isaacsim.ros2.bridge, which enables isaacsim.ros2.nodes, where they are.
NODES = {
    "tick": "omni.graph.action.OnPlaybackTick",
    "time": "isaacsim.core.nodes.IsaacReadSimulationTime",
    "context": "isaacsim.ros2.bridge.ROS2Context",
    "clock": "isaacsim.ros2.bridge.ROS2PublishClock",
    "command": "isaacsim.ros2.bridge.ROS2SubscribeTwist",
    "received": "omni.graph.action.Counter",
    "differential": "isaacsim.robot.wheeled_robots.DifferentialController",
    "wheels": "isaacsim.core.nodes.IsaacArticulationController",
    "odometry": "isaacsim.core.nodes.IsaacComputeOdometry",
    "odom": "isaacsim.ros2.bridge.ROS2PublishOdometry",
    "odom_frame": "isaacsim.ros2.bridge.ROS2PublishRawTransformTree",
    "lidar_frame": "isaacsim.ros2.bridge.ROS2PublishRawTransformTree",
    "gate": "isaacsim.core.nodes.IsaacSimulationGate",
    "lidar": "isaacsim.sensors.physics.IsaacReadRaycastSensor",
    "scan": "isaacsim.ros2.bridge.ROS2PublishLaserScan",
}
ROS = ("clock", "command", "odom", "odom_frame", "lidar_frame", "scan")
CONNECTIONS = (
    *(("tick.outputs:tick", f"{node}.inputs:execIn") for node in ("clock", "command", "differential", "wheels")),
    *(("tick.outputs:tick", f"{node}.inputs:execIn") for node in ("odometry", "lidar_frame", "gate")),
    *(("context.outputs:context", f"{node}.inputs:context") for node in ROS),
    *(("time.outputs:simulationTime", f"{node}.inputs:timeStamp") for node in ROS if node != "command"),
    ("command.outputs:execOut", "received.inputs:execIn"),
    ("differential.outputs:velocityCommand", "wheels.inputs:velocityCommand"),
    ("odometry.outputs:execOut", "odom.inputs:execIn"),
    ("odometry.outputs:execOut", "odom_frame.inputs:execIn"),
    *((f"odometry.outputs:{name}", f"odom.inputs:{name}") for name in ("position", "orientation")),
    # In the robot's frame, as the message wants it; globalLinearVelocity is not.
    *((f"odometry.outputs:{name}", f"odom.inputs:{name}") for name in ("linearVelocity", "angularVelocity")),
    ("odometry.outputs:position", "odom_frame.inputs:translation"),
    ("odometry.outputs:orientation", "odom_frame.inputs:rotation"),
    ("gate.outputs:execOut", "lidar.inputs:execIn"),
    ("lidar.outputs:execOut", "scan.inputs:execIn"),
    ("lidar.outputs:depths", "scan.inputs:linearDepthData"),
)
# What the watchdog reads and writes.
TIME = "time.outputs:simulationTime"
RECEIVED = "received.outputs:count"
COMMANDED = ("command.outputs:linearVelocity", "command.outputs:angularVelocity")
DRIVEN = ("differential.inputs:linearVelocity", "differential.inputs:angularVelocity")


class Prim(str):
    """The path of a prim, as the value of a relationship."""

    __slots__ = ()


def values(hall: Hall) -> dict[str, object]:
    """Return the values of attributes that differ from their defaults, or that must not change with them."""
    robot, lidar = hall.robot, hall.robot.lidar
    step = math.degrees(lidar.step)
    return {
        # Otherwise a viewer's stop would set back the time of ROS.
        "time.inputs:resetOnStop": False,
        "context.inputs:useDomainIDEnvVar": True,
        "clock.inputs:topicName": "clock",
        "command.inputs:topicName": "cmd_vel",
        # An old command must not wait behind the last one.
        "command.inputs:queueSize": 1,
        "differential.inputs:wheelRadius": robot.wheels.radius,
        "differential.inputs:wheelDistance": robot.wheels.track,
        "differential.inputs:maxLinearSpeed": robot.fastest.linear,
        "differential.inputs:maxAngularSpeed": robot.fastest.angular,
        "differential.inputs:linearVelocity": 0.0,
        "differential.inputs:angularVelocity": 0.0,
        "wheels.inputs:targetPrim": Prim(BASE),
        "wheels.inputs:jointNames": list(JOINTS),
        "odometry.inputs:chassisPrim": Prim(BASE),
        "odom.inputs:topicName": "odom",
        "odom.inputs:odomFrameId": "odom",
        "odom.inputs:chassisFrameId": "base_link",
        "odom.inputs:publishRawVelocities": False,
        "odom_frame.inputs:topicName": "tf",
        "odom_frame.inputs:parentFrameId": "odom",
        "odom_frame.inputs:childFrameId": "base_link",
        # Not static: that is sent once, and users of 6.x report that a ROS node that starts later does not get it.
        "lidar_frame.inputs:topicName": "tf",
        "lidar_frame.inputs:parentFrameId": "base_link",
        "lidar_frame.inputs:childFrameId": FRAME,
        "lidar_frame.inputs:translation": [0.0, 0.0, lidar.height],
        "lidar_frame.inputs:rotation": [0.0, 0.0, 0.0, 1.0],
        "gate.inputs:step": STEPS // lidar.rate,
        "lidar.inputs:raycastSensorPrim": Prim(LIDAR),
        "scan.inputs:topicName": "scan",
        "scan.inputs:frameId": FRAME,
        "scan.inputs:horizontalFov": 360.0,
        "scan.inputs:horizontalResolution": step,
        # The last ray is one step before the first: number, range and step agree.
        "scan.inputs:azimuthRange": [-180.0, 180.0 - step],
        "scan.inputs:depthRange": [lidar.nearest, lidar.farthest],
        # All rays are cast at once. With a rate, the message would claim that they are not.
        "scan.inputs:rotationRate": 0.0,
        "scan.inputs:numRows": 1,
        "scan.inputs:numCols": lidar.rays,
    }


def read_and_written() -> Iterable[str]:
    """Return the attributes that the watchdog uses."""
    return (TIME, RECEIVED, *COMMANDED, *DRIVEN)
