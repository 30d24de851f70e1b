# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nav2, the Foxglove bridge and the command bridge. When one ends, all end, and the container is restarted."""

from __future__ import annotations

import math
import os

from launch import LaunchDescription
from launch.actions import ExecuteProcess, Shutdown
from launch_ros.actions import Node

FOLDER = "/opt/robot"
SERVERS = {
    "map_server": "nav2_map_server",
    "amcl": "nav2_amcl",
    "controller_server": "nav2_controller",
    "planner_server": "nav2_planner",
    "behavior_server": "nav2_behaviors",
    "bt_navigator": "nav2_bt_navigator",
}
# How a scan is made from the point cloud of a lidar: of the half circle ahead, in the robot's frame, without the floor.
CLOUD = {
    "target_frame": "base_link",
    "transform_tolerance": 0.05,
    "min_height": 0.1,
    "max_height": 1.5,
    "angle_min": -math.pi / 2,
    "angle_max": math.pi / 2,
    "angle_increment": math.pi / 360,
    "scan_time": 0.1,
    "range_min": 0.05,
    "range_max": 100.0,
    "use_inf": True,
}


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` starts."""
    given = {name: value for name, value in os.environ.items() if value}
    clock = {"use_sim_time": given.get("USE_SIM_TIME", "true") == "true"}
    described = {"yaml_filename": given.get("MAP_FILE", f"{FOLDER}/map/lab.yaml")}
    settings: list[object] = [given.get("NAV2_FILE", f"{FOLDER}/nav2.yaml"), clock]
    foxglove = {
        "port": 8765,
        "address": given.get("FOXGLOVE_BRIDGE_ADDRESS", "127.0.0.1"),
        # Every client of the port can watch; with clientPublish and services it can also steer.
        "capabilities": given.get("FOXGLOVE_CAPABILITIES", "connectionGraph,assets").split(","),
    }
    topics = [("/odom", given.get("ODOM_TOPIC", "/odom")), ("/scan", given.get("SCAN_TOPIC", "/scan"))]
    servers = [
        _node(package, name, [*settings, described] if name == "map_server" else settings, topics)
        for name, package in SERVERS.items()
    ]
    clouds = [("cloud_in", given["CLOUD_TOPIC"]), ("scan", topics[1][1])] if "CLOUD_TOPIC" in given else []
    # How long a server may be silent, and half of it at its start: Isaac Sim's shader compiler keeps the CPUs busy.
    manager = {"node_names": list(SERVERS), "autostart": True, "bond_timeout": 30.0}
    return LaunchDescription(
        [
            *servers,
            *(
                [_node("pointcloud_to_laserscan", "pointcloud_to_laserscan_node", [CLOUD, clock], clouds)]
                if clouds
                else []
            ),
            _node("nav2_lifecycle_manager", "lifecycle_manager", [manager, clock]),
            _node("foxglove_bridge", "foxglove_bridge", [foxglove, clock]),
            ExecuteProcess(
                cmd=["python3", "-m", "bridge"],
                cwd=FOLDER,
                output="screen",
                on_exit=Shutdown(reason="bridge ended"),
            ),
        ]
    )


def _node(
    package: str, executable: str, parameters: list[object], remappings: list[tuple[str, str]] | None = None
) -> Node:
    return Node(
        package=package,
        executable=executable,
        name=executable,
        parameters=parameters,
        remappings=remappings or [],
        output="screen",
        on_exit=Shutdown(reason=f"{executable} ended"),
    )
