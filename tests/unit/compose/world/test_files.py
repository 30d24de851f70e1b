# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that come from the description of the hall."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path

import pytest
import yaml
from pxr import Usd, UsdGeom, UsdPhysics

import compose.world.__main__ as command
from compose.world.description import Place, Point, WorldError
from compose.world.geometry import reachable
from compose.world.picture import MARGIN, SCALE
from tests.support.project import ROOT
from tests.unit.compose.world.support import HALL, MAP, SCENE, hall, read_map

CONTENTS = command.contents(HALL)
FREE = reachable(read_map(), HALL.robot.radius, (HALL.start.x, HALL.start.y))


@pytest.mark.parametrize("name", CONTENTS)
def test_the_files_are_those_of_the_description(name: str) -> None:
    """Otherwise run `python -m compose.world`."""
    assert (ROOT / name).read_bytes() == CONTENTS[name]


def test_the_command_writes_what_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "contents", lambda _hall: CONTENTS)
    names = list(CONTENTS)
    assert command.main([], tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [f"written: {name}" for name in names]
    (tmp_path / names[1]).write_text("edited")
    assert command.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out == f"differs: {names[1]}\n"
    assert (tmp_path / names[1]).read_text() == "edited"
    assert command.main([], tmp_path) == 0
    assert command.main(["--check"], tmp_path) == 0


def test_the_command_reports_an_invalid_description(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load", lambda: hall(robot__radius=0.01))
    assert command.main([], tmp_path) == 2
    assert capsys.readouterr().err == (
        "The hall cannot be used: robot.radius is 0.01. Allowed: a number from 0.05 to 2.\n"
    )
    assert command.main(["--force"], tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_the_robot_cannot_reach_is_refused() -> None:
    barrier = {"name": "bar", "kind": "shelf", "from": [-4.5, 12.0], "to": [19.5, 12.5], "height": 2.0}
    with pytest.raises(WorldError, match=r"cannot drive from its start to north_shelf. Widen the gaps"):
        command.contents(hall(boxes__4=barrier))


def test_nav2_reads_the_map_as_it_is_meant() -> None:
    description = yaml.safe_load(MAP.with_suffix(".yaml").read_text(encoding="utf-8"))
    assert description["image"] == MAP.name
    assert (description["resolution"], description["mode"], description["negate"]) == (0.05, "trinary", 0)
    assert description["origin"] == [*HALL.low, 0.0]
    free, occupied = 0.0, 1.0
    assert free < description["free_thresh"] < description["occupied_thresh"] < occupied


@pytest.mark.parametrize("place", HALL.places, ids=lambda place: place.name)
def test_the_robot_can_drive_to_every_place(place: Place) -> None:
    column, row = FREE.cell(place.coordinates)
    assert FREE.rows[row][column]


@pytest.mark.parametrize("place", HALL.places, ids=lambda place: place.name)
def test_every_place_is_outside_of_what_nav2_inflates(place: Place) -> None:
    """At a place the cost is 0: Nav2 neither slows down nor takes another way because of an obstacle."""
    settings = yaml.safe_load((ROOT / "compose/ros2/nav2.yaml").read_text(encoding="utf-8"))
    layer = settings["global_costmap"]["global_costmap"]["ros__parameters"]["inflation_layer"]
    grid = read_map()
    column, row = grid.cell(place.coordinates)
    reach = math.ceil(layer["inflation_radius"] / grid.resolution)
    for right, up in itertools.product(range(-reach, reach + 1), repeat=2):
        assert math.hypot(right, up) > reach or not grid.rows[row + up][column + right]


def test_no_obstacle_is_between_the_places() -> None:
    """The sandbox's robot drives straight, also from where it was stopped."""
    corners = hull([place.coordinates for place in HALL.places])
    assert len(corners) >= 4
    for box in HALL.boxes:
        for x, y in itertools.product(*(steps(low, high) for low, high in zip(box.low, box.high, strict=True))):
            assert outside((x, y), corners) > 2 * HALL.robot.radius, (box.name, x, y)


def steps(low: float, high: float) -> list[float]:
    count = math.ceil((high - low) / 0.2)
    return [low + (high - low) * number / count for number in range(count + 1)]


def hull(points: list[Point]) -> list[Point]:
    """Return the corners of the convex hull, counter-clockwise."""
    sorted_points = sorted(set(points))

    def half(found: list[Point]) -> list[Point]:
        corners: list[Point] = []
        for x, y in found:
            while len(corners) > 1 and turn(corners[-2], corners[-1], (x, y)) <= 0:
                corners.pop()
            corners.append((x, y))
        return corners[:-1]

    return half(sorted_points) + half(sorted_points[::-1])


def turn(one: Point, two: Point, three: Point) -> float:
    return (two[0] - one[0]) * (three[1] - one[1]) - (two[1] - one[1]) * (three[0] - one[0])


def outside(point: Point, corners: list[Point]) -> float:
    """Return how far a point is outside of a convex polygon, by its nearest edge's line; negative inside."""
    edges = zip(corners, [*corners[1:], corners[0]], strict=True)
    return max(-turn(one, two, point) / math.dist(one, two) for one, two in edges)


Rectangle = tuple[int, int, int, int]


def rectangles(picture: str, name: str) -> list[Rectangle]:
    """Return the rectangles of one class: their edges in cells, from the corner with the smallest coordinates."""
    found = re.findall(rf'<rect class="{name}"[^>]* x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', picture)
    pixels, height = SCALE * HALL.resolution, HALL.cells[1]
    edges = []
    for x, y, across, down in (map(float, numbers) for numbers in found):
        left, top = (x - MARGIN) / pixels, height - (y - MARGIN) / pixels
        edges.append((left, top - down / pixels, left + across / pixels, top))
    assert all(edge == pytest.approx(round(edge), abs=0.02) for four in edges for edge in four)
    return [(round(left), round(low), round(right), round(high)) for left, low, right, high in edges]


def covered(parts: list[Rectangle]) -> list[bytes]:
    """Return the cells that rectangles cover, by row, the row with the smallest y first."""
    columns, rows = HALL.cells
    cells = [bytearray(columns) for _row in range(rows)]
    for left, low, right, high in parts:
        for row in cells[low:high]:
            row[left:right] = b"\1" * (right - left)
    return [bytes(row) for row in cells]


def footprints() -> list[Rectangle]:
    """Return the walls and shelves of the scene that Isaac Sim opens, as seen from above."""
    cache = UsdGeom.BBoxCache(Usd.TimeCode.Default(), [UsdGeom.Tokens.default_])
    stage = Usd.Stage.Open(str(SCENE))
    found = []
    for prim in stage.GetPrimAtPath("/World/Hall").GetChildren():
        assert prim.HasAPI(UsdPhysics.CollisionAPI)
        size = cache.ComputeWorldBound(prim).ComputeAlignedRange()
        corners = zip((*size.GetMin()[:2], *size.GetMax()[:2]), (*HALL.low, *HALL.low), strict=True)
        left, low, right, high = (round((at - least) / HALL.resolution) for at, least in corners)
        found.append((left, low, right, high))
    return found


def test_the_picture_shows_map_scene_and_places() -> None:
    """Each from its own file: the map that Nav2 reads, the scene that Isaac Sim opens, the list of places."""
    picture = (ROOT / "docs/images/hall.svg").read_text(encoding="utf-8")
    assert covered(rectangles(picture, "map")) == list(read_map().rows)
    assert len(footprints()) == len(HALL.boxes)
    assert sorted(rectangles(picture, "scene")) == sorted(footprints())
    circles = {tuple(map(float, pair)) for pair in re.findall(r'<circle class="place" cx="(.*?)" cy="(.*?)"', picture)}
    places = json.loads((ROOT / "compose/places.json").read_text(encoding="utf-8"))
    wanted = {
        (MARGIN + SCALE * (x - HALL.low[0]), MARGIN + SCALE * (HALL.high[1] - y))
        for x, y in (place["coordinates"] for place in places)
    }
    assert len(circles) == len(wanted)
    for spot, place in zip(sorted(circles), sorted(wanted), strict=True):
        assert spot == pytest.approx(place)
    texts = " ".join(re.findall(r">([^<]*)</text>", picture))
    assert all(place["name"] in texts for place in places)


def test_a_changed_description_changes_every_file() -> None:
    now = command.contents(hall(boxes__13__to=[18.7, 6.5], places__5__coordinates=[15, 4.5]))
    assert [name for name in now if CONTENTS[name] == now[name]] == ["compose/ros2/map/lab.yaml"]
