# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hall, and descriptions that differ from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compose.world.description import FILE, Hall, load, parse
from compose.world.geometry import Grid
from tests.support.project import ROOT

HALL = load()
SCENE = ROOT / "compose" / "isaac_sim" / "hall.usda"
MAP = ROOT / "compose" / "ros2" / "map" / "lab.pgm"


def changed(**changes: Any) -> str:
    """Return the description with other values, each named by its path, with two underscores between its parts."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    for path, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("__"))
        target = document
        for part in parents:
            target = target[part]
        target[last] = value
    return json.dumps(document)


def hall(**changes: Any) -> Hall:
    """Return a hall with other values."""
    return parse(changed(**changes))


def read_map(path: Path = MAP) -> Grid:
    """Return the cells of an image of the map, as Nav2 reads them."""
    kind, size, white, pixels = path.read_bytes().split(b"\n", 3)
    columns, rows = map(int, size.split())
    assert (kind, white, len(pixels)) == (b"P5", b"255", columns * rows)
    assert set(pixels) <= {0, 254}
    occupied = bytes(pixel < 128 for pixel in pixels)
    lines = [occupied[row * columns : (row + 1) * columns] for row in range(rows)]
    return Grid(HALL.resolution, HALL.low, tuple(reversed(lines)))
