# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of the robot's image, as far as they can be checked without ROS."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.unit.compose.cognitive.support import ROOT
from tests.unit.compose.ros2.support import PLACES

IMAGE = ROOT / "compose" / "ros2"


@pytest.mark.parametrize(("name", "where"), PLACES.items(), ids=PLACES)
def test_every_place_is_in_the_free_space_of_the_map(name: str, where: tuple[float, float]) -> None:
    description = yaml.safe_load((IMAGE / "map" / "lab.yaml").read_text(encoding="utf-8"))
    kind, width, height, white, *pixels = (IMAGE / "map" / description["image"]).read_text(encoding="ascii").split()
    assert (kind, len(pixels)) == ("P2", int(width) * int(height))
    left, bottom, _yaw = description["origin"]
    column, above = (
        int((at - least) / description["resolution"]) for at, least in zip(where, (left, bottom), strict=True)
    )
    for x in (column - 1, column, column + 1):
        for y in (above - 1, above, above + 1):
            darkness = 1 - int(pixels[(int(height) - 1 - y) * int(width) + x]) / int(white)
            assert darkness < description["free_thresh"], f"{name} is at a wall"


def test_nav2_is_configured_as_ros_reads_it() -> None:
    text = (IMAGE / "nav2.yaml").read_text(encoding="utf-8")
    assert not re.search(r":\s*[&*]", text), "ROS 2 does not support YAML aliases"
    settings = yaml.safe_load(text)
    servers = re.findall(r'"(\w+)": "nav2_', (IMAGE / "robot.launch.py").read_text(encoding="utf-8"))
    assert {*servers, "local_costmap", "global_costmap"} == {*settings, "map_server"}


def test_the_image_has_the_client_of_redis_that_is_tested_here() -> None:
    tested = re.search(r"^redis==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    installed = re.search(r"^redis==(\S+)", (IMAGE / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert tested
    assert installed
    assert tested[1] == installed[1]
