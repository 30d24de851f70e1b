# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator of Isaac Sim, and the viewer's page. tests/dds has the robot."""

from __future__ import annotations

import json
import math
import re
import secrets
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.images.isaac_sim.__main__ import SettingsError, read
from sandbox.images.isaac_sim.world import HALL, RADIUS, RATE, World
from sandbox.ros_topics import Bus
from tests.support.foxglove import SECONDS
from tests.unit.compose.cognitive.support import ROOT, free_port
from tests.unit.sandbox.images.support import LOOPBACK, free_domain, process, wait_for_port

PLACES = {place["name"]: place["coordinates"] for place in json.loads((ROOT / "compose" / "places.json").read_text())}
# The script that Isaac Sim runs, relative to the simulator's working directory.
SCRIPT = ROOT / "compose" / "isaac_sim" / "open_scene.py"
# The simulated time's factor to real time.
FACTOR = 5


@dataclass
class Simulator:
    """A simulator that plays its scene."""

    signalling: int
    media: int
    heartbeat: Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Run the simulator on the loopback address."""
    folder = tmp_path_factory.mktemp("simulator")
    signalling, media = free_port(), free_port()
    heartbeat = folder / "heartbeat"
    simulator = {
        "ROS_DOMAIN_ID": str(free_domain()),
        "CYCLONEDDS_URI": LOOPBACK,
        "ACCEPT_EULA": "Y",
        "ISAACSIM_SIGNAL_PORT": str(signalling),
        "ISAACSIM_STREAM_PORT": str(media),
        "HEARTBEAT_FILE": str(heartbeat),
        "REAL_TIME_FACTOR": str(FACTOR),
    }
    settings = "--/exts/omni.services.livestream.session/quitOnSessionEnded=false"
    with process(folder, "sandbox.images.isaac_sim", simulator, settings, "--exec", f"{SCRIPT} hall") as simulated:
        wait_for_port(signalling, simulated)
        yield Simulator(signalling, media, heartbeat)


def test_the_page_fetches_nothing_from_elsewhere() -> None:
    site = ROOT / "sandbox" / "images" / "foxglove" / "site"
    index = (site / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([^"]*)"', index)) == {"viewer.js", "page.js"}
    for file in site.iterdir():
        assert set(re.findall(r"\w+://", file.read_text(encoding="utf-8"))) <= {"ws://"}, file.name


def fetch(port: int, path: str = "/") -> tuple[int, str]:
    """Return the status and the text of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_status_has_the_position_of_the_robot(lab: Simulator) -> None:
    status, text = fetch(lab.signalling, "/status")
    assert status == 200
    assert json.loads(text).keys() == {"stage", "seconds", "x", "y", "yaw"}


def test_the_heartbeat_is_at_most_a_second_old(lab: Simulator) -> None:
    """Of the simulated time, and as much again on a slow machine."""
    wait_until(lab.heartbeat.is_file)
    assert time.time() - lab.heartbeat.stat().st_mtime < SECONDS
    before = lab.heartbeat.stat().st_mtime_ns
    wait_until(lambda: lab.heartbeat.stat().st_mtime_ns != before)


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_stream_reports_that_there_is_no_picture(lab: Simulator) -> None:
    status, text = fetch(lab.signalling)
    assert (status, "renders nothing" in text) == (501, True)


def test_the_media_port_answers_stun_only(lab: Simulator) -> None:
    transaction = secrets.token_bytes(12)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(("127.0.0.1", lab.media))
        client.send(b"hello")
        client.send(b"\0\1\0\0\x21\x12\xa4\x42" + transaction)
        answer = client.recv(1024)
        port = client.getsockname()[1]
    assert answer[:2] == b"\1\1"
    assert answer[8:20] == transaction
    assert int.from_bytes(answer[26:28], "big") ^ 0x2112 == port
    assert bytes(one ^ other for one, other in zip(answer[28:32], b"\x21\x12\xa4\x42", strict=True)) == b"\x7f\0\0\1"


@pytest.mark.parametrize(
    "arguments",
    [(), ("--exec", "/nothing/open_scene.py http://host/hall.usd")],
    ids=["no argument", "no script"],
)
def test_an_empty_stage_has_no_robot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Its ports still answer."""
    monkeypatch.setenv("CYCLONEDDS_URI", LOOPBACK)
    domain = free_domain()
    signalling, media = free_port(), free_port()
    simulator = {
        "ROS_DOMAIN_ID": str(domain),
        "CYCLONEDDS_URI": LOOPBACK,
        "ACCEPT_EULA": "Y",
        "ISAACSIM_SIGNAL_PORT": str(signalling),
        "ISAACSIM_STREAM_PORT": str(media),
        "HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
    }
    bus = Bus(domain)
    readers = [bus.reader(topic) for topic in ("clock", "odom", "tf", "scan")]
    with process(tmp_path, "sandbox.images.isaac_sim", simulator, *arguments) as simulated:
        wait_for_port(signalling, simulated)
        # With a robot, the first step comes before a port answers, and thirty follow within a second.
        time.sleep(1)
        assert [reader.take() for reader in readers] == [[], [], [], []]
        assert json.loads(fetch(signalling, "/status")[1]) == {"stage": "empty"}
        assert fetch(signalling)[0] == 501
    assert not (tmp_path / "heartbeat").exists()


@pytest.mark.parametrize("missing", ["hall.usda", "watchdog.py", "../world/hall.json"])
def test_without_a_file_of_the_hall_it_ends(tmp_path: Path, missing: str) -> None:
    for name in ("isaac_sim", "world"):
        shutil.copytree(ROOT / "compose" / name, tmp_path / name)
    arguments = ["--exec", f"{tmp_path}/isaac_sim/open_scene.py hall"]
    assert read(arguments, {"ACCEPT_EULA": "Y"}).scene == "hall"
    (tmp_path / "isaac_sim" / missing).unlink()
    with pytest.raises(SettingsError, match=f"scene hall could not be opened: .*{missing} missing"):
        read(arguments, {"ACCEPT_EULA": "Y"})


def test_without_its_scene_it_ends() -> None:
    with pytest.raises(SettingsError, match=r"scene /nothing/hall[.]usd could not be opened"):
        read(["--exec", f"{SCRIPT} /nothing/hall.usd"], {"ACCEPT_EULA": "Y"})


def test_without_the_licence_it_does_not_start() -> None:
    with pytest.raises(SettingsError, match="ACCEPT_EULA is not Y"):
        read([], {})


def drive(*commands: tuple[float, float]) -> World:
    """Return a world after these commands, one per step."""
    world = World()
    for command in commands:
        world.command(*command)
        world.step()
    return world


def test_the_same_commands_lead_to_the_same_place() -> None:
    commands = [(1.0, 0.3)] * 100 + [(0.5, -1.0)] * 50
    assert drive(*commands) == drive(*commands)
    assert drive(*[(1.0, 0.0)] * RATE).x == pytest.approx(1.0)


def test_a_wall_stops_the_robot() -> None:
    world = drive(*[(-1.5, 0.0)] * RATE * 10)
    assert world.x == pytest.approx(-4.5 + RADIUS, abs=1.5 / RATE)
    assert world.linear == 0


def test_a_robot_without_commands_stops() -> None:
    world = drive((1.0, 0.0))
    for _tick in range(RATE):
        world.step()
    assert world.x == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("speeds", [(math.nan, math.inf), (1e9, -1e9)])
def test_invalid_speeds_leave_the_robot_at_a_valid_position(speeds: tuple[float, float]) -> None:
    world = drive(speeds, speeds)
    assert all(map(math.isfinite, (world.x, world.y, world.yaw)))


def test_no_wall_is_between_two_places() -> None:
    """The goal follower drives straight."""
    for here in PLACES.values():
        for there in PLACES.values():
            for part in range(101):
                point = tuple(one + (other - one) * part / 100 for one, other in zip(here, there, strict=True))
                assert all(box.distance((point[0], point[1])) > 2 * RADIUS for box in HALL.boxes), (here, there)
