# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m compose.world`` writes the files that come from ``hall.json``; with ``--check`` it lists what differs.

They are in the repository, and a test compares them: the robot's image is built and Isaac Sim opens its scene without
running this, both have exactly what was tested, and a review shows what a change of the hall does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from . import files
from .description import Hall, WorldError, load
from .geometry import rasterise, reachable
from .picture import picture
from .scene import scene

PROJECT = Path(__file__).resolve().parents[2]


def contents(hall: Hall) -> dict[str, bytes]:
    """Return the content of each file, by its path in the project.

    :raises WorldError: the robot cannot drive to a place.
    """
    grid = rasterise(hall)
    free = reachable(grid, hall.robot.radius, (hall.start.x, hall.start.y))
    for place in hall.places:
        column, row = free.cell(place.coordinates)
        if not free.rows[row][column]:
            raise WorldError(
                f"the robot cannot drive from its start to {place.name}. Widen the gaps between the boxes to more "
                f"than its diameter, {2 * hall.robot.radius:g}, plus two cells"
            )
    return {
        "compose/ros2/map/lab.pgm": files.map_image(grid),
        "compose/ros2/map/lab.yaml": files.map_description(hall, "lab.pgm").encode(),
        "compose/places.json": files.places(hall).encode(),
        "compose/isaac_sim/hall.usda": scene(hall).encode(),
        "docs/images/hall.svg": picture(hall, grid, free).encode(),
    }


def main(arguments: Sequence[str], project: Path = PROJECT) -> int:
    """Write or compare the files; return 1 if they differ, 2 if the description is not valid."""
    if arguments not in ([], ["--check"]):
        print("Usage: python -m compose.world [--check]", file=sys.stderr)
        return 2
    try:
        wanted = contents(load())
    except WorldError as error:
        print(f"The hall cannot be used: {error}.", file=sys.stderr)
        return 2
    differing = {}
    for name, content in wanted.items():
        path = project / name
        if not path.is_file() or path.read_bytes() != content:
            differing[path] = content
    for path, content in differing.items():
        print(f"{'differs' if arguments else 'written'}: {path.relative_to(project)}")
        if not arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return 1 if arguments and differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
