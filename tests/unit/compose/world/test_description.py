# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of the hall: what is accepted, and how an error is reported."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose.cognitive.places import parse as parse_places
from compose.ros2.bridge.config import load as load_bridge
from compose.world import files
from compose.world.description import WorldError, load, parse
from tests.support.project import ROOT
from tests.unit.compose.world.support import HALL, changed, hall

ROLE = yaml.safe_load((ROOT / "roles/digital_twin_stack/defaults/main.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": "0.05"}, "resolution is '0.05'. Allowed: a number from 0.01 to 1"),
        ({"resolution": True}, "resolution is True. Allowed: a number from 0.01 to 1"),
        ({"resolution": math.nan}, "resolution is nan. Allowed: a number from 0.01 to 1"),
        ({"colour": "red"}, "'colour'. Allowed: an object with exactly resolution, floor, boxes, places, start, robot"),
        ({"start": [0, 0, 0]}, "start has [0, 0, 0]. Allowed: an object with exactly x, y, yaw"),
        ({"floor": {"from": [0, 0]}}, "floor has 'from'. Allowed: an object with exactly from, to"),
        ({"floor__to": [20, 18, 3]}, "floor.to is [20, 18, 3]. Allowed: a list of two numbers"),
        ({"boxes": []}, "boxes is []. Allowed: a list with at least one object"),
        ({"boxes__0__kind": "tree"}, "boxes[0].kind is 'tree'. Allowed: a text that matches wall|shelf|dock"),
        ({"boxes__0__name": "Wall"}, "boxes[0].name is 'Wall'. Allowed: a text that matches [a-z][a-z0-9_]*"),
        ({"boxes__1__name": "wall_west"}, "'wall_west' is the name of two boxes or places. Give each its own name"),
        (
            {"boxes__0__to": [-5.0, 18.0]},
            "wall_west reaches from (-5.0, -8.0) to (-5.0, 18.0). Both coordinates of `to`",
        ),
        ({"boxes__0__from": [-5.5, -8.0]}, "wall_west reaches from (-5.5, -8.0) to (-4.5, 18.0). Allowed: the floor"),
        ({"boxes__4__from": [2.03, 16.2]}, "rack_north has the coordinate 2.03. Allowed: multiples of the resolution"),
        ({"boxes__13__height": 0.3}, "ramp has the height 0.3. The lidar at 0.35 does not see it"),
        ({"places__0__aliases": "start"}, "places[0].aliases is 'start'. Allowed: a list of texts, which may be empty"),
        ({"places__3__coordinates": [5.0, 16.0]}, "north_shelf is 0.20 from rack_north. The robot needs more than its"),
        ({"places__3__coordinates": [5.0, 16.5]}, "north_shelf is 0.00 from rack_north. The robot needs more than its"),
        ({"places__3__coordinates": [5.0, 19.0]}, "north_shelf is at (5, 19). Allowed: the floor"),
        ({"start__x": -4.4}, "start is 0.10 from wall_west. The robot needs more than its radius and one cell, 0.3"),
        ({"start__yaw": 4}, "start.yaw is 4. Allowed: a number from -3.14159 to 3.14159"),
        ({"robot__radius": 0.2}, "robot.body reaches 0.222036 from the middle. Allowed: up to robot.radius, 0.2"),
        ({"robot__wheels__track": 0.4}, "robot.wheels reaches 0.28 from the middle. Allowed: up to robot.radius, 0.25"),
        ({"robot__wheels__track": 0.25}, "robot.wheels.track is 0.25. Allowed: at least 0.3"),
        ({"robot__caster__behind": 0.3}, "robot.caster reaches 0.33 from the middle. Allowed: up to robot.radius"),
        ({"robot__body__top": 0.05}, "robot.body reaches from 0.06 up to 0.05. Increase `top`"),
        ({"robot__body__balance": [0.01, 0.09]}, "robot.body.balance[0] is 0.01. Allowed: between caster and axle"),
        (
            {"robot__body__balance": [-0.06, 0.3]},
            "robot.body.balance[1] is 0.3. Allowed: above 0, up to robot.body.top",
        ),
        ({"robot__wheels__torque": 6}, "robot.wheels.torque is 6.0: braking with 8.8 m/s² tips the robot over"),
        ({"robot__lidar__height": 0.26}, "robot.lidar.height is 0.26. It must be above robot.body.top, 0.26"),
        ({"robot__lidar__rays": 360.5}, "robot.lidar.rays is 360.5. Allowed: a whole number from 8 to 3600"),
        ({"robot__lidar__rate": 7}, "robot.lidar.rate is 7. Allowed: a divisor of 60, the steps a second"),
        (
            {"robot__lidar__farthest": 36},
            "robot.lidar measures from 0.15 to 36.0. Allowed: from less than robot.radius",
        ),
        (
            {"robot__lidar__nearest": 0.25},
            "robot.lidar measures from 0.25 to 40.0. Allowed: from less than robot.radius",
        ),
        ({"robot__command_timeout": 0}, "robot.command_timeout is 0. Allowed: a number from 0.1 to 2"),
        ({"robot__command_timeout": 60}, "robot.command_timeout is 60. Allowed: a number from 0.1 to 2"),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorldError, match=re.escape(message)):
        parse(changed(**changes))


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "hall.json").write_text("{")
    with pytest.raises(WorldError, match=r"hall.json: the description is not JSON: .* Correct the file or restore"):
        load(tmp_path / "hall.json")
    with pytest.raises(WorldError, match=r"none.json cannot be read: .*No such file"):
        load(tmp_path / "none.json")


def test_other_values_are_accepted() -> None:
    assert hall(robot__command_timeout=2, start__yaw=1.5).start.yaw == 1.5


def test_the_places_are_those_of_the_command_service_and_of_the_role() -> None:
    """Its own reader accepts them: no name is empty, occurs twice, or stops the robot."""
    listed = {place.name: (place.coordinates, place.aliases) for place in parse_places(files.places(HALL))}
    defaults = {
        place["name"]: (tuple(place["coordinates"]), tuple(place.get("aliases", [])))
        for place in ROLE["digital_twin_stack_places"]
    }
    assert listed == defaults


def test_the_robot_starts_where_its_localisation_expects_it() -> None:
    start = (HALL.start.x, HALL.start.y, HALL.start.yaw)
    assert load_bridge({}).initial_pose == start
    assert load_bridge({"INITIAL_POSE": ROLE["digital_twin_stack_initial_pose"]}).initial_pose == start


def test_nav2_has_the_radius_of_the_robot() -> None:
    settings = yaml.safe_load((ROOT / "compose/ros2/nav2.yaml").read_text(encoding="utf-8"))
    for costmap in ("local_costmap", "global_costmap"):
        assert settings[costmap][costmap]["ros__parameters"]["robot_radius"] == HALL.robot.radius
    speed = settings["controller_server"]["ros__parameters"]["FollowPath"]["desired_linear_vel"]
    assert speed <= HALL.robot.fastest.linear
