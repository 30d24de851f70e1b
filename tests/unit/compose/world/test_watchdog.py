# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog of the robot in Isaac Sim, with a simulated clock."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from compose.isaac_sim.watchdog import STILL, Watchdog
from tests.unit.compose.world.support import HALL

STEP = 1 / 60


class Run:
    """A watchdog, its clock, and a subscriber that repeats the last command as Isaac Sim's does."""

    def __init__(self, timeout: float = 0.5) -> None:
        self.watchdog = Watchdog(timeout, 1.5, 2.5)
        self.now, self.count, self.last = 0.0, 0, STILL
        self.step()

    def step(self, *command: float) -> tuple[float, float]:
        """Advance one step, with a new command or none, and return the speeds."""
        self.now += STEP
        if command:
            self.count, self.last = self.count + 1, (command[0], command[1])
        return self.watchdog.speeds(self.now, self.count, *self.last)

    def steps(self, seconds: float) -> list[tuple[float, float]]:
        return [self.step() for _step in range(round(seconds / STEP))]


def moving(speeds: Iterable[tuple[float, float]]) -> list[bool]:
    return [speed != STILL for speed in speeds]


def test_a_command_is_passed_on() -> None:
    run = Run()
    assert run.step(0.7, -0.3) == (0.7, -0.3)
    assert run.step() == (0.7, -0.3)
    assert run.step(0.0, 0.0) == STILL


@pytest.mark.parametrize("timeout", [0.1, 0.5, 2.0])
def test_the_robot_stops_when_its_commands_cease(timeout: float) -> None:
    run = Run(timeout)
    run.step(1.0, 0.0)
    drives = moving(run.steps(timeout + 1))
    last = len(drives) - drives[::-1].index(True) if True in drives else 0
    assert last * STEP == pytest.approx(timeout, abs=1.5 * STEP)
    assert drives == [True] * last + [False] * (len(drives) - last)


def test_the_robot_drives_on_while_commands_come() -> None:
    """Nav2 sends twenty a second, also of the same speed."""
    run = Run()
    assert all(moving(speed for _command in range(40) for speed in [run.step(0.5, 0.0), *run.steps(0.05)]))


def test_the_robot_drives_again_after_a_pause() -> None:
    run = Run()
    run.step(1.0, 0.0)
    assert run.steps(2)[-1] == STILL
    assert run.step(1.0, 0.0) == (1.0, 0.0)


def test_a_paused_simulation_does_not_age_a_command() -> None:
    """No time passes, and the robot does not move either."""
    run = Run()
    run.step(1.0, 0.0)
    assert [run.watchdog.speeds(run.now, run.count, 1.0, 0.0) for _frame in range(100)] == [(1.0, 0.0)] * 100


def test_after_a_stop_the_robot_waits_for_a_new_command() -> None:
    """Also if the clock goes on from where it was, the first look comes before the first step, or a command waited."""
    run = Run()
    run.step(1.0, 0.0)
    for _frame in range(100):
        run.watchdog.pause(run.now)
    assert run.watchdog.speeds(run.now, run.count, 1.0, 0.0) == STILL
    # In the step in which the simulation continues, the subscriber takes a command that was sent before.
    assert run.step(0.9, 0.0) == STILL
    assert not any(moving(run.steps(1)))
    assert run.step(0.4, 0.0) == (0.4, 0.0)


def test_the_first_look_does_not_trust_an_old_command() -> None:
    assert Watchdog(0.5, 1.5, 2.5).speeds(10.0, 7, 1.0, 0.0) == STILL


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_old_command_does_not_survive_a_restart_of_the_clock(count: int) -> None:
    """After Stop and Play the time begins again, the count may, and the subscriber still has the last command."""
    run = Run()
    for _command in range(3):
        run.step(1.0, 0.0)
    run.now, run.count = 0.0, count
    assert not any(moving(run.steps(1)))
    assert run.step(0.4, 0.0) == (0.4, 0.0)


def test_a_count_that_starts_again_is_not_a_command() -> None:
    run = Run()
    for _command in range(5):
        run.step(1.0, 0.0)
    run.steps(1)
    run.count = 0
    assert not any(moving(run.steps(1)))


@pytest.mark.parametrize(
    ("command", "speeds"),
    [
        ((9.0, 0.0), (1.5, 0.0)),
        ((-9.0, 9.0), (-1.5, 2.5)),
        ((0.2, -9.0), (0.2, -2.5)),
        ((math.nan, 1.0), STILL),
        ((1.0, math.nan), STILL),
        ((math.inf, 0.0), STILL),
        ((1.0, -math.inf), STILL),
    ],
)
def test_speeds_are_limited(command: tuple[float, float], speeds: tuple[float, float]) -> None:
    assert Run().step(*command) == speeds


def test_a_time_that_is_not_a_number_stops_the_robot() -> None:
    run = Run()
    run.step(1.0, 0.0)
    assert run.watchdog.speeds(math.nan, run.count, 1.0, 0.0) == STILL


def test_the_robot_stops_within_its_distance_from_a_shelf() -> None:
    """At full speed, from the last command on: the way until the watchdog acts, and the way of braking."""
    robot = HALL.robot
    braking = 2 * robot.wheels.torque / robot.wheels.radius / (robot.body.mass + 2 * robot.wheels.mass)
    way = robot.fastest.linear * (robot.command_timeout + 2 * STEP) + robot.fastest.linear**2 / (2 * braking)
    assert way < 1.2
