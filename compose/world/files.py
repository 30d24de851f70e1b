# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nav2's map of the hall, and the list of places."""

from __future__ import annotations

import json

from .description import Hall
from .geometry import Grid

# Shades of the image.
FREE, OCCUPIED = b"1", b"0"


def map_image(grid: Grid) -> bytes:
    """Return the map as a PGM image, whose first row has the greatest y.

    In its plain form, because the files of the robot's image are sent to hosts as text.
    """
    shades = bytes.maketrans(b"\0\1", FREE + OCCUPIED)
    columns, rows = len(grid.rows[0]), len(grid.rows)
    lines = [b" ".join(bytes([shade]) for shade in row.translate(shades)) for row in reversed(grid.rows)]
    return b"\n".join([b"P2", f"{columns} {rows}".encode(), FREE, *lines, b""])


def map_description(hall: Hall, image: str) -> str:
    """Return Nav2's description of the map.

    :param image: the name of the image, next to it.
    """
    x, y = hall.low
    return (
        "---\n"
        "# Written by `python -m compose.world` from compose/world/hall.json.\n"
        f"image: {image}\n"
        "mode: trinary\n"
        f"resolution: {hall.resolution}\n"
        "# x, y and yaw of the lower left corner, in metres and radians.\n"
        f"origin: [{x}, {y}, 0.0]\n"
        "negate: 0\n"
        "occupied_thresh: 0.65\n"
        "free_thresh: 0.25\n"
    )


def places(hall: Hall) -> str:
    """Return the list of places, one a line."""
    lines = (
        json.dumps({"name": place.name, "coordinates": list(place.coordinates), "aliases": list(place.aliases)})
        for place in hall.places
    )
    return "[\n  " + ",\n  ".join(lines) + "\n]\n"
