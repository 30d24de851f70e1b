# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The robot of the scene drives, turns, stops and sees, in a physics engine that is not Isaac Sim's."""

from __future__ import annotations

import math

import pytest
from pxr import Usd

from compose.isaac_sim.watchdog import Watchdog
from compose.world.description import STEPS, Place, Pose
from compose.world.geometry import scan
from sandbox.images.ros2.drive import Goal, steer
from tests.unit.compose.world.physics import Engine
from tests.unit.compose.world.support import HALL, SCENE

STAGE = Usd.Stage.Open(str(SCENE))
FLOOR = {"/World/Floor/ground"}
FEET = {f"/World/Robot/{name}" for name in ("left_wheel/contact", "right_wheel/contact", "base_link/caster")}


@pytest.fixture
def engine() -> Engine:
    return Engine(STAGE, HALL)


def test_a_robot_without_commands_stands_still(engine: Engine) -> None:
    """On both wheels and its caster."""
    engine.steps(5)
    assert engine.pose == pytest.approx((HALL.start.x, HALL.start.y, HALL.start.yaw), abs=1e-3)
    assert engine.tilt < 0.5
    assert engine.touched == FLOOR | FEET


@pytest.mark.parametrize("speed", [0.2, 1.0, -0.5])
def test_a_positive_speed_drives_forward(engine: Engine, speed: float) -> None:
    engine.steps(1, speed)
    x, y, _yaw = engine.pose
    engine.steps(1, speed)
    assert engine.pose == pytest.approx((x + speed, y, 0), abs=0.02 * abs(speed))


@pytest.mark.parametrize("rate", [0.5, -2.0])
def test_a_positive_rate_turns_left(engine: Engine, rate: float) -> None:
    engine.steps(1, 0, rate)
    yaw = engine.pose[2]
    engine.steps(0.5, 0, rate)
    assert engine.pose == pytest.approx((0, 0, yaw + rate / 2), abs=0.02)


def test_an_arc(engine: Engine) -> None:
    """A full circle leads back, but for what accelerating takes."""
    engine.steps(math.tau, 1.0, 1.0)
    assert math.hypot(*engine.pose[:2]) < 0.3
    assert engine.touched == FLOOR | FEET


def test_the_robot_brakes_from_full_speed_and_does_not_tip_over(engine: Engine) -> None:
    """Within the way that the limit of the torque gives, and a little more for turning wheels, in both directions."""
    robot = HALL.robot
    braking = 2 * robot.wheels.torque / robot.wheels.radius / (robot.body.mass + 2 * robot.wheels.mass)
    way = robot.fastest.linear**2 / (2 * braking)
    for speed in (robot.fastest.linear, -robot.fastest.linear):
        engine.place(5.0, 5.0, 0.0)
        engine.steps(2, speed)
        start = engine.pose[0]
        tilts = []
        for _step in range(STEPS):
            engine.step()
            tilts.append(engine.tilt)
        assert way < abs(engine.pose[0] - start) < 1.25 * way
        assert engine.speed < 1e-3
        assert max(tilts) < 1.5
    assert engine.touched == FLOOR | FEET


def test_a_wall_stops_the_robot(engine: Engine) -> None:
    """It neither climbs nor passes through."""
    engine.steps(8, -1.0)
    assert engine.pose[0] == pytest.approx(-4.5 + HALL.robot.radius, abs=0.1)
    assert "/World/Hall/wall_west" in engine.touched
    assert engine.tilt < 5
    assert abs(engine.data.body("base_link").xpos[2]) < 0.02


def test_the_robot_drives_to_every_place(engine: Engine) -> None:
    """In turn, with a command every twentieth of a second, and touches no wall or shelf."""
    watchdog = Watchdog(HALL.robot.command_timeout, HALL.robot.fastest.linear, HALL.robot.fastest.angular)
    step, count = 0, 0
    for place in HALL.places:
        speeds = (1.0, 0.0)
        for _step in range(60 * STEPS):
            step += 1
            if step % 3 == 0:
                speeds, count = steer(Goal(*place.coordinates), *engine.pose), count + 1
            engine.step(*watchdog.speeds(step / STEPS, count, *speeds))
            if speeds == (0.0, 0.0):
                break
        engine.steps(0.5)
        assert math.dist(engine.pose[:2], place.coordinates) < HALL.robot.radius, place.name
    assert engine.touched == FLOOR | FEET


def test_the_robot_stops_when_its_commands_cease(engine: Engine) -> None:
    watchdog = Watchdog(HALL.robot.command_timeout, HALL.robot.fastest.linear, HALL.robot.fastest.angular)
    for step in range(1, 4 * STEPS):
        # A command at each step of the first second; the last one is repeated for ever.
        engine.step(*watchdog.speeds(step / STEPS, min(step, STEPS), 1.0, 0.0))
    assert engine.speed < 1e-3
    assert engine.pose[0] < 2.0


@pytest.mark.parametrize("place", HALL.places, ids=lambda place: place.name)
def test_the_lidar_measures_what_the_sandbox_computes(engine: Engine, place: Place) -> None:
    """At each place, ray by ray: the scene, and the distances to the boxes of the description."""
    pose = Pose(*place.coordinates, 0.7)
    engine.place(pose.x, pose.y, pose.yaw)
    assert engine.scan(STAGE) == pytest.approx(scan(HALL.boxes, pose, HALL.robot.lidar), abs=1e-4)
