# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lidar sees and where the robot can drive."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .description import EXACT, Box, Hall, Lidar, Point, Pose


@dataclass(frozen=True)
class Grid:
    """The cells of a map by row, the row with the smallest y first.

    Attributes:
        low: the outer corner of the first cell of the first row.
        rows: for each cell whether a box covers it.
    """

    resolution: float
    low: Point
    rows: tuple[bytes, ...]

    def cell(self, point: Point) -> tuple[int, int]:
        """Return the column and the row of the cell that contains a point."""
        column, row = (math.floor((at - low) / self.resolution) for at, low in zip(point, self.low, strict=True))
        return column, row


def rasterise(hall: Hall) -> Grid:
    """Return the map of the boxes, all of which the lidar sees. Their edges are edges of cells."""
    columns, count = hall.cells
    rows = [bytearray(columns) for _row in range(count)]
    for box in hall.boxes:
        (left, bottom), (right, top) = (
            tuple(round((at - low) / hall.resolution) for at, low in zip(corner, hall.low, strict=True))
            for corner in (box.low, box.high)
        )
        for row in rows[bottom:top]:
            row[left:right] = b"\1" * (right - left)
    return Grid(hall.resolution, hall.low, tuple(map(bytes, rows)))


def reachable(grid: Grid, radius: float, start: Point) -> Grid:
    """Return the cells to which a round robot can drive from a start, without coming off the map.

    :param radius: of the robot. Its centre keeps this distance from the middle of each occupied cell, and half a cell.
    """
    columns, count = len(grid.rows[0]), len(grid.rows)
    reach = radius / grid.resolution + 0.5
    around = range(-math.ceil(reach), math.ceil(reach) + 1)
    disc = [(right, up) for right in around for up in around if math.hypot(right, up) <= reach]
    blocked = [bytearray(columns) for _row in range(count)]
    for column, row in _edge(grid):
        for right, up in disc:
            if 0 <= column + right < columns and 0 <= row + up < count:
                blocked[row + up][column + right] = 1
    margin = math.ceil(reach)
    found = [bytearray(columns) for _row in range(count)]
    waiting = [grid.cell(start)]
    while waiting:
        column, row = waiting.pop()
        inside = margin <= column < columns - margin and margin <= row < count - margin
        if inside and not found[row][column] and not blocked[row][column] and not grid.rows[row][column]:
            found[row][column] = 1
            waiting += [(column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1)]
    return Grid(grid.resolution, grid.low, tuple(map(bytes, found)))


def _edge(grid: Grid) -> Iterable[tuple[int, int]]:
    """Return the occupied cells next to a free one."""
    columns, count = len(grid.rows[0]), len(grid.rows)
    for row, cells in enumerate(grid.rows):
        column = cells.find(1)
        while column >= 0:
            beside = ((column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1))
            if any(0 <= x < columns and 0 <= y < count and not grid.rows[y][x] for x, y in beside):
                yield column, row
            column = cells.find(1, column + 1)


def scan(boxes: Iterable[Box], pose: Pose, lidar: Lidar) -> list[float]:
    """Return the distances to the boxes in one rotation, counter-clockwise from behind; infinity for a miss."""
    ranges = [math.inf] * lidar.rays
    first = pose.yaw - math.pi
    angles = [first + number * lidar.step for number in range(lidar.rays)]
    directions = [(math.cos(angle), math.sin(angle)) for angle in angles]
    for box in boxes:
        for number in _rays(box, pose, first, lidar.step):
            away = ray(box, (pose.x, pose.y), directions[number % lidar.rays])
            if lidar.nearest <= away <= lidar.farthest and away < ranges[number % lidar.rays]:
                ranges[number % lidar.rays] = away
    return ranges


def _rays(box: Box, pose: Pose, first: float, step: float) -> range:
    """Return the numbers of the rays that can hit a box: those between its outermost corners."""
    (left, bottom), (right, top) = box.low, box.high
    middle = math.atan2((bottom + top) / 2 - pose.y, (left + right) / 2 - pose.x)
    corners = ((left, bottom), (left, top), (right, bottom), (right, top))
    aside = [math.remainder(math.atan2(y - pose.y, x - pose.x) - middle, math.tau) for x, y in corners]
    start, end = (middle + min(aside) - first) / step, (middle + max(aside) - first) / step
    return range(math.ceil(start - EXACT), math.floor(end + EXACT) + 1)


def ray(box: Box, origin: Point, direction: Point) -> float:
    """Return how far a box is in a direction, which has length 1; infinity if it is not there, 0 from inside."""
    across = _between(box.low[0] - origin[0], box.high[0] - origin[0], direction[0])
    upward = _between(box.low[1] - origin[1], box.high[1] - origin[1], direction[1])
    enter = max(across[0], upward[0], 0.0)
    return enter if enter <= min(across[1], upward[1]) else math.inf


def _between(low: float, high: float, along: float) -> Point:
    """Return where a ray is between two coordinates, from one distance to another."""
    if along > 0:
        return low / along, high / along
    if along < 0:
        return high / along, low / along
    return (-math.inf, math.inf) if low <= 0 <= high else (math.inf, -math.inf)
