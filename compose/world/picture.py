# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A picture of the map, the scene and the places, one over the other, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .description import Hall
from .geometry import Grid, scan
from .scene import COLOURS

# Pixels a metre, and around the map.
SCALE, MARGIN = 28, 40
# The name of a place this close to an earlier one, in metres, is written below it.
CLOSE = 4
# Every nth ray is drawn.
DRAWN = 6
STYLE = (
    "text{font:13px sans-serif;fill:#222}.map{fill:#444}"
    ".ray{stroke:#c00;stroke-width:.6;opacity:.45}.place{fill:#2e7d32;fill-opacity:.35;stroke:#2e7d32}"
    ".robot{fill:#e65100}.axis{fill:#777}.scene{fill-opacity:.55;stroke-width:1.5}"
)


def picture(hall: Hall, grid: Grid, free: Grid) -> str:
    """Return the picture.

    :param free: the cells to which the robot can drive.
    """
    width, height = (SCALE * (high - low) + 2 * MARGIN for high, low in zip(hall.high, hall.low, strict=True))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height + 60:g}" role="img">',
        "<title>The hall: map, scene and places</title>",
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        *_areas(hall, free, '<rect class="free" fill="#eaf4ea"'),
        *_areas(hall, grid, '<rect class="map"'),
    ]
    at = Canvas(hall)
    for box in hall.boxes:
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in COLOURS[box.kind])
        shape = at.rectangle(box.low, box.high)
        lines.append(f'<rect class="scene" fill="{colour}" stroke="{colour}" {shape}/>')
        if box.kind != "wall":
            middle = at.point(*((one + other) / 2 for one, other in zip(box.low, box.high, strict=True)))
            upright = box.high[1] - box.low[1] > box.high[0] - box.low[0]
            turn = f' transform="rotate(-90 {middle[0]} {middle[1]})"' if upright else ""
            label = f'x="{middle[0]}" y="{middle[1]}" dy="4" text-anchor="middle" style="fill:#fff;font-size:11px"'
            lines.append(f"<text {label}{turn}>{box.name}</text>")
    lines += [
        *_rays(hall, at),
        *_places(hall, at),
        *_robot(hall, at),
        *_axes(hall, at),
        *_legend(hall, at),
        "</svg>",
        "",
    ]
    return "\n".join(lines)


class Canvas:
    """Where a point of the floor is in the picture."""

    def __init__(self, hall: Hall) -> None:
        """Store the corners of the map."""
        self._left, self._top = hall.low[0], hall.high[1]

    def point(self, x: float, y: float) -> tuple[str, str]:
        """Return the coordinates of a point."""
        return f"{MARGIN + SCALE * (x - self._left):g}", f"{MARGIN + SCALE * (self._top - y):g}"

    def rectangle(self, low: tuple[float, float], high: tuple[float, float]) -> str:
        """Return the attributes of a rectangle between two corners."""
        x, y = self.point(low[0], high[1])
        return f'x="{x}" y="{y}" width="{_size(high[0] - low[0])}" height="{_size(high[1] - low[1])}"'


def _size(length: float) -> str:
    return f"{SCALE * length:g}"


def _areas(hall: Hall, grid: Grid, begin: str) -> Iterator[str]:
    """Return rectangles that cover the cells of a grid and no others."""
    at = Canvas(hall)
    first = 0
    for number, row in enumerate(grid.rows):
        if number + 1 < len(grid.rows) and grid.rows[number + 1] == row:
            continue
        y = [hall.low[1] + edge * hall.resolution for edge in (first, number + 1)]
        for left, right in _runs(row):
            x = [hall.low[0] + edge * hall.resolution for edge in (left, right)]
            yield f"{begin} {at.rectangle((x[0], y[0]), (x[1], y[1]))}/>"
        first = number + 1


def _runs(row: bytes) -> Iterator[tuple[int, int]]:
    start = row.find(1)
    while start >= 0:
        end = row.find(0, start)
        end = len(row) if end < 0 else end
        yield start, end
        start = row.find(1, end)


def _rays(hall: Hall, at: Canvas) -> Iterator[str]:
    start, lidar = hall.start, hall.robot.lidar
    ends = [
        at.point(start.x + away * math.cos(angle), start.y + away * math.sin(angle))
        for number, away in enumerate(scan(hall.boxes, start, lidar))
        for angle in [start.yaw - math.pi + number * lidar.step]
        if number % DRAWN == 0 and away < math.inf
    ]
    x, y = at.point(start.x, start.y)
    yield from (f'<line class="ray" x1="{x}" y1="{y}" x2="{right}" y2="{down}"/>' for right, down in ends)


def _places(hall: Hall, at: Canvas) -> Iterator[str]:
    names: dict[tuple[float, float], list[str]] = {}
    for place in hall.places:
        names.setdefault(place.coordinates, []).append(place.name)
    for where, found in names.items():
        x, y = at.point(*where)
        yield f'<circle class="place" cx="{x}" cy="{y}" r="{_size(hall.robot.radius)}"/>'
        beside = any(0 < math.dist(where, other) < CLOSE for other in list(names)[: list(names).index(where)])
        yield f'<text x="{x}" y="{y}" dy="{24 if beside else -12}" text-anchor="middle">{", ".join(found)}</text>'


def _robot(hall: Hall, at: Canvas) -> Iterator[str]:
    start, radius = hall.start, hall.robot.radius
    corners = " ".join(
        ",".join(at.point(start.x + radius * math.cos(turn), start.y + radius * math.sin(turn)))
        for turn in (start.yaw + part for part in (0.0, 2.4, -2.4))
    )
    yield f'<polygon class="robot" points="{corners}"/>'


def _axes(hall: Hall, at: Canvas) -> Iterator[str]:
    for x in range(math.ceil(hall.low[0] / 5) * 5, math.floor(hall.high[0]) + 1, 5):
        right, down = at.point(x, hall.low[1])
        yield f'<text class="axis" x="{right}" y="{down}" dy="16" text-anchor="middle">{x}</text>'
    for y in range(math.ceil(hall.low[1] / 5) * 5, math.floor(hall.high[1]) + 1, 5):
        right, down = at.point(hall.low[0], y)
        yield f'<text class="axis" x="{right}" y="{down}" dx="-6" dy="4" text-anchor="end">{y}</text>'


def _legend(hall: Hall, at: Canvas) -> Iterator[str]:
    x, y = at.point(*hall.low)
    parts = (
        "dark: occupied cells of the map; blue, grey and yellow over it: the scene's boxes; metres",
        "pale green: where the robot's centre can be; circles: places, with the robot's radius",
        f"red: every {DRAWN}th ray of the lidar at the start; triangle: the robot at the start",
    )
    for number, part in enumerate(parts):
        yield f'<text x="{x}" y="{y}" dy="{36 + 18 * number}">{part}</text>'
