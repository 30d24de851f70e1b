# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of the robot's image, as far as they can be checked without ROS."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from compose.ros2.bridge.places import Pose
from tests.unit.compose.cognitive.support import ROOT
from tests.unit.compose.ros2.support import PLACES

IMAGE = ROOT / "compose" / "ros2"


@pytest.mark.parametrize(("name", "where"), PLACES.items(), ids=PLACES)
def test_every_place_is_in_the_free_space_of_the_map(name: str, where: Pose) -> None:
    """In the image that the robot's image contains, and half a metre around the place."""
    description = yaml.safe_load((IMAGE / "map" / "lab.yaml").read_text(encoding="utf-8"))
    # In the plain form of PGM: the role sends the files of the image as text.
    kind, *numbers = (IMAGE / "map" / description["image"]).read_text(encoding="ascii").split()
    width, height, white, *pixels = map(int, numbers)
    assert (kind, len(pixels)) == ("P2", width * height)
    left, bottom, _yaw = description["origin"]
    resolution = description["resolution"]
    column, above = (int((at - least) / resolution) for at, least in zip(where[:2], (left, bottom), strict=True))
    around = round(0.5 / resolution)
    for y in range(above - around, above + around + 1):
        row = (height - 1 - y) * width
        for pixel in pixels[row + column - around : row + column + around + 1]:
            darkness = 1 - pixel / white
            assert darkness < description["free_thresh"], f"{name} is at a wall"


@pytest.mark.parametrize("file", ["nav2.yaml", "carter.yaml"])
def test_nav2_is_configured_as_ros_reads_it(file: str) -> None:
    text = (IMAGE / file).read_text(encoding="utf-8")
    assert not re.search(r":\s*[&*]", text), "ROS 2 does not support YAML aliases"
    settings = yaml.safe_load(text)
    servers = re.findall(r'"(\w+)": "nav2_', (IMAGE / "robot.launch.py").read_text(encoding="utf-8"))
    assert {*servers, "local_costmap", "global_costmap"} == {*settings, "map_server"}


def test_carter_differs_from_the_robot_of_the_hall_in_its_size_and_speed_only() -> None:
    ours, carters = (leaves(yaml.safe_load((IMAGE / name).read_text("utf-8"))) for name in ("nav2.yaml", "carter.yaml"))
    differ = {path for path in ours.keys() | carters.keys() if ours.get(path) != carters.get(path)}
    assert {path.rpartition(".")[2] for path in differ} == {
        *("robot_radius", "footprint", "footprint_padding", "inflation_radius", "width", "height"),
        *("desired_linear_vel", "max_angular_accel", "rotate_to_heading_angular_vel", "lookahead_dist"),
    }


def leaves(values: Any, path: str = "") -> dict[str, Any]:
    """Return the values by their paths."""
    if not isinstance(values, dict):
        return {path: values}
    return {name: value for key, found in values.items() for name, value in leaves(found, f"{path}.{key}").items()}


def test_the_image_has_the_client_of_redis_that_is_tested_here() -> None:
    tested = re.search(r"^redis==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    installed = re.search(r"^redis==(\S+)", (IMAGE / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert tested
    assert installed
    assert tested[1] == installed[1]
