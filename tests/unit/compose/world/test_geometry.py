# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Distances, rays and the cells that the robot can reach."""

from __future__ import annotations

import math

import pytest

from compose.world.description import Box, Pose
from compose.world.geometry import Grid, rasterise, ray, reachable, scan
from tests.unit.compose.world.support import HALL, hall

BOX = Box("box", "shelf", (1.0, 2.0), (3.0, 3.0), 1.0)


@pytest.mark.parametrize(
    ("point", "distance"),
    [((2, 2.5), 0), ((1, 2), 0), ((0, 2.5), 1), ((2, 5), 2), ((4, 1), math.sqrt(2)), ((0, 7), math.sqrt(17))],
)
def test_distance(point: tuple[float, float], distance: float) -> None:
    assert BOX.distance(point) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("origin", "angle", "distance"),
    [
        ((0, 2.5), 0, 1),
        ((0, 2.5), 180, math.inf),
        ((5, 2.5), 180, 2),
        ((2, 0), 90, 2),
        ((2, 0), -90, math.inf),
        ((0, 0), 90, math.inf),
        ((0, 1), 45, math.sqrt(2)),
        ((0, 3.5), 0, math.inf),
        ((2, 2.5), 30, 0),
    ],
)
def test_ray(origin: tuple[float, float], angle: float, distance: float) -> None:
    direction = (math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    assert ray(BOX, origin, direction) == pytest.approx(distance)


def test_a_scan_is_what_single_rays_find() -> None:
    """From many places, among them some next to a box, where a box covers nearly half of the circle."""
    lidar = HALL.robot.lidar
    poses = [Pose(x / 10, y / 10, (x + y) / 30) for x in range(-40, 190, 37) for y in range(-70, 170, 41)]
    poses += [Pose(5.0, 16.1, 1.0), Pose(-4.2, 0.0, -2.0), Pose(1.0 + 0.2, -4.7, 0.0)]
    for pose in poses:
        if min(box.distance((pose.x, pose.y)) for box in HALL.boxes) <= lidar.nearest:
            continue
        found = scan(HALL.boxes, pose, lidar)
        for number, away in enumerate(found):
            angle = pose.yaw - math.pi + number * lidar.step
            direction = (math.cos(angle), math.sin(angle))
            assert away == pytest.approx(min(ray(box, (pose.x, pose.y), direction) for box in HALL.boxes)), (
                pose,
                angle,
            )


def test_a_scan_leaves_out_what_is_too_near_or_too_far() -> None:
    lidar = HALL.robot.lidar
    near = scan([Box("near", "wall", (0.1, -0.1), (0.2, 0.1), 1.0)], Pose(0, 0, 0), lidar)
    far = scan([Box("far", "wall", (41.0, -5.0), (42.0, 5.0), 1.0)], Pose(0, 0, 0), lidar)
    assert near == far == [math.inf] * lidar.rays


def test_rasterise() -> None:
    grid = rasterise(HALL)
    assert (len(grid.rows[0]), len(grid.rows)) == (500, 520)
    for point, occupied in [
        ((-4.51, 0), 1),
        ((-4.49, 0), 0),
        ((2.01, 16.21), 1),
        ((2.01, 16.19), 0),
        ((19.99, 17.99), 1),
    ]:
        column, row = grid.cell(point)
        assert grid.rows[row][column] == occupied, point


PICTURE = """
##########
#    #   #
#    #   #
#        #
#    #   #
##########
"""


def drawn(picture: str) -> Grid:
    rows = [bytes(cell == "#" for cell in line) for line in picture.strip().splitlines()]
    return Grid(1.0, (0.0, 0.0), tuple(reversed(rows)))


@pytest.mark.parametrize(
    ("radius", "picture", "cells"),
    [
        (0.4, PICTURE, 4 * 4 + 1 + 3 * 4),
        # The gap is one cell wide; a robot of this radius needs three.
        (1.0, PICTURE, 2 * 2),
        # The door is open to the outside, where the map ends.
        (0.4, PICTURE.replace("#        #", "#         "), 4 * 4 + 1 + 3 * 4),
    ],
    ids=["small", "large", "door"],
)
def test_reachable(radius: float, picture: str, cells: int) -> None:
    found = reachable(drawn(picture), radius, (2.5, 2.5))
    assert sum(map(sum, found.rows)) == cells


def test_nothing_is_reachable_from_an_occupied_cell() -> None:
    assert sum(map(sum, reachable(drawn(PICTURE), 0.4, (0.5, 0.5)).rows)) == 0


def test_a_place_behind_a_closed_row_of_shelves_is_not_reachable() -> None:
    """Each box is valid by itself, and each place is free."""
    closed = hall(boxes__4={"name": "bar", "kind": "shelf", "from": [-4.5, 12.0], "to": [19.5, 12.5], "height": 2.0})
    found = reachable(rasterise(closed), closed.robot.radius, (0.0, 0.0))
    column, row = found.cell((5.0, 15.0))
    assert not found.rows[row][column]
