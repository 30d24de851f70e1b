# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a sentence to a robot that moves: the simulators of Isaac Sim and of the robot, with real Redis and DDS."""

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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sandbox.images.isaac_sim.__main__ import SettingsError, read
from sandbox.images.isaac_sim.world import HALL, LIDAR, RADIUS, RATE, World
from sandbox.ros_topics import NANO, Bus, Header, Point, Pose, PoseStamped, Time
from tests.support.foxglove import SECONDS, Watcher, watch
from tests.unit.compose.cognitive.support import ROOT, RedisServer, free_port
from tests.unit.sandbox.images.support import LOOPBACK, Page, free_domain, process, say, secret, wait_for_port

PLACES = {place["name"]: place["coordinates"] for place in json.loads((ROOT / "compose" / "places.json").read_text())}
# The script that Isaac Sim runs, relative to the simulator's working directory.
SCRIPT = "compose/isaac_sim/open_scene.py"
# The simulated time's factor to real time.
FACTOR = 5


@dataclass
class Lab:
    """Both simulators and their environment."""

    redis: RedisServer
    domain: int
    signalling: int
    media: int
    foxglove: int
    heartbeat: Path

    def watch(self, *topics: str) -> AbstractContextManager[Watcher]:
        """Subscribe to topics through Foxglove's server."""
        return watch(f"127.0.0.1:{self.foxglove}", *topics)

    def drives_to(self, x: float, y: float) -> None:
        """Wait until the robot stands still at a place."""

        def there(odometry: Any) -> bool:
            position, speed = odometry.pose.pose.position, odometry.twist.twist.linear.x
            return math.hypot(position.x - x, position.y - y) < RADIUS and speed == 0

        with self.watch("odom") as watcher:
            watcher.until("odom", there)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run Redis and both simulators on the loopback address."""
    folder = tmp_path_factory.mktemp("lab")
    domain = free_domain()
    signalling, media, foxglove = (free_port() for _port in range(3))
    heartbeat = folder / "heartbeat"
    dds = {"ROS_DOMAIN_ID": str(domain), "CYCLONEDDS_URI": LOOPBACK}
    redis = RedisServer(folder)
    redis.start()
    simulator = {
        **dds,
        "ACCEPT_EULA": "Y",
        "ISAACSIM_SIGNAL_PORT": str(signalling),
        "ISAACSIM_STREAM_PORT": str(media),
        "HEARTBEAT_FILE": str(heartbeat),
        "REAL_TIME_FACTOR": str(FACTOR),
    }
    robot = {
        **dds,
        "REDIS_SOCKET": str(redis.socket),
        "REDIS_USERNAME": "robot",
        "REDIS_PASSWORD_FILE": secret(folder),
        "PLACES_FILE": str(ROOT / "compose" / "places.json"),
        "HEALTH_FILE": str(folder / "healthy"),
        "FOXGLOVE_BRIDGE_PORT": str(foxglove),
    }
    settings = "--/exts/omni.services.livestream.session/quitOnSessionEnded=false"
    try:
        with (
            process(folder, "sandbox.images.isaac_sim", simulator, settings, "--exec", f"{SCRIPT} hall") as simulated,
            process(folder, "sandbox.images.ros2", robot) as driven,
        ):
            wait_for_port(signalling, simulated)
            wait_for_port(foxglove, driven)
            yield Lab(redis, domain, signalling, media, foxglove, heartbeat)
    finally:
        redis.stop()


def test_what_foxglove_sees(lab: Lab) -> None:
    """The topics are those of ROS 2, encoded and described as its bridge does."""
    with lab.watch() as watcher:
        assert watcher.subprotocol == "foxglove.sdk.v1"
        assert {topic: channel["schemaName"] for topic, channel in watcher.channels.items()} == {
            "clock": "rosgraph_msgs/msg/Clock",
            "odom": "nav_msgs/msg/Odometry",
            "tf": "tf2_msgs/msg/TFMessage",
            "scan": "sensor_msgs/msg/LaserScan",
            "amcl_pose": "geometry_msgs/msg/PoseWithCovarianceStamped",
            "goal_pose": "geometry_msgs/msg/PoseStamped",
            "cmd_vel": "geometry_msgs/msg/Twist",
        }
        encodings = {(channel["encoding"], channel["schemaEncoding"]) for channel in watcher.channels.values()}
        assert encodings == {("cdr", "ros2msg")}
        assert watcher.channels["amcl_pose"]["schema"].split("\n")[:5] == [
            "std_msgs/Header header",
            "geometry_msgs/PoseWithCovariance pose",
            "=" * 80,
            "MSG: std_msgs/Header",
            "builtin_interfaces/Time stamp",
        ]


def nanoseconds(time: Time) -> int:
    """Return a time as one number."""
    return time.sec * NANO + time.nanosec


def test_the_clock_ticks_thirty_times_a_second(lab: Lab) -> None:
    with lab.watch("clock") as watcher:
        times = [nanoseconds(watcher.until("clock").clock) for _tick in range(10)]
        steps = {round((later - earlier) * RATE / NANO) for earlier, later in pairwise(times)}
        assert min(steps) == 1, times


def test_the_frames_lead_from_the_map_to_the_robot(lab: Lab) -> None:
    with lab.watch("tf") as watcher:
        frames = set()
        for _step in range(100):
            transform = watcher.until("tf").transforms[0]
            frames.add((transform.header.frame_id, transform.child_frame_id))
        assert frames == {("map", "odom"), ("odom", "base_link")}


def test_the_lidar_sees_the_nearest_wall(lab: Lab) -> None:
    """At the start, the left end of the hall is 4.5 metres behind the robot."""
    with lab.watch("scan") as watcher:
        scan = watcher.until("scan")
        assert (len(scan.ranges), scan.header.frame_id) == (LIDAR.rays, "base_link")
        assert scan.ranges[0] == pytest.approx(4.5)


def test_a_sentence_moves_the_robot_to_the_loading_dock(lab: Lab) -> None:
    with lab.watch("goal_pose") as watcher:
        say(lab.redis, "go to the loading dock")
        assert watcher.until("goal_pose").pose.position == Point(*PLACES["loading_dock"])
    lab.drives_to(*PLACES["loading_dock"])
    with lab.watch("amcl_pose") as watcher:
        pose = watcher.until("amcl_pose").pose.pose.position
    assert math.dist((pose.x, pose.y), PLACES["loading_dock"]) < RADIUS


def test_stop_halts_it(lab: Lab) -> None:
    with lab.watch("odom") as watcher:
        say(lab.redis, "go to the south shelf slowly")
        watcher.until("odom", lambda odometry: odometry.twist.twist.linear.x > 0)
        say(lab.redis, "stop")
        stopped = watcher.until("odom", lambda odometry: odometry.twist.twist.linear.x == 0).pose.pose
        assert math.dist((stopped.position.x, stopped.position.y), PLACES["south_shelf"]) > 1
        for _step in range(2 * RATE):
            assert watcher.until("odom").pose.pose == stopped


def test_the_robot_drives_to_a_goal_of_another_node(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", LOOPBACK)
    bus = Bus(lab.domain)
    goals = bus.writer("goal_pose")
    goal = PoseStamped(Header(frame_id="map"), Pose(Point(*PLACES["zone_c"])))

    def obeyed(odometry: Any) -> bool:
        """Publish it until it is received: a new node may not be discovered yet."""
        goals.write(goal)
        return bool(odometry.twist.twist.linear.x > 0)

    with lab.watch("odom") as watcher:
        watcher.until("odom", obeyed)
    lab.drives_to(*PLACES["zone_c"])


def test_the_viewers_page_follows_the_robot(lab: Lab) -> None:
    """Its own script receives the goal and the robot's arrival."""
    page = Page(lab.foxglove)
    try:
        page.until(lambda robot: robot["time"] and robot["pose"] and robot["scan"])
        assert len(page.robot["scan"]["ranges"]) == LIDAR.rays
        say(lab.redis, "go to the north shelf")
        goal = page.until(lambda robot: robot["goal"])["goal"]
        assert [goal["x"], goal["y"]] == PLACES["north_shelf"]
        page.until(lambda robot: math.hypot(robot["pose"]["x"] - goal["x"], robot["pose"]["y"] - goal["y"]) < RADIUS)
    finally:
        page.close()


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


def test_the_status_has_the_position_of_the_robot(lab: Lab) -> None:
    status, text = fetch(lab.signalling, "/status")
    assert status == 200
    assert json.loads(text).keys() == {"stage", "seconds", "x", "y", "yaw"}


def test_the_heartbeat_is_at_most_a_second_old(lab: Lab) -> None:
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


def test_the_stream_reports_that_there_is_no_picture(lab: Lab) -> None:
    status, text = fetch(lab.signalling)
    assert (status, "renders nothing" in text) == (501, True)


def test_the_media_port_answers_stun_only(lab: Lab) -> None:
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
