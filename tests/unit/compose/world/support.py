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
    kind, size, white, *lines = path.read_text(encoding="ascii").splitlines()
    columns, rows = map(int, size.split())
    cells = [bytes(int(shade) / int(white) < 0.5 for shade in line.split()) for line in lines]
    assert (kind, len(cells), {len(row) for row in cells}) == ("P2", rows, {columns})
    return Grid(HALL.resolution, HALL.low, tuple(reversed(cells)))
