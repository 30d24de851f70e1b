# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a sentence to a robot that moves, by the shipped bridge on real ROS 2.

Isaac Sim's simulator speaks Cyclone DDS, ROS 2 has Fast DDS: each with the configuration of the role ros2_networking.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from sandbox.images.isaac_sim.world import LIDAR, RADIUS, RATE
from sandbox.ros_topics import NANO, Bus, Header, Point, Pose, PoseStamped, Time
from tests.support.dds import file_uri, planned, ros2_environment
from tests.support.foxglove import SECONDS, Watcher, watch
from tests.support.ros2 import ROS2
from tests.unit.compose.cognitive.support import PASSWORD, ROOT, RedisServer, free_port
from tests.unit.sandbox.images.support import Page, free_domain, process, say, secret, wait_for_port

PLACES = {place["name"]: place["coordinates"] for place in json.loads((ROOT / "compose" / "places.json").read_text())}
# The script that Isaac Sim runs, relative to the simulator's working directory.
SCRIPT = "compose/isaac_sim/open_scene.py"
# The simulated time's factor to real time.
FACTOR = 5
PYTHON = str(ROS2 / "bin" / "python")
# The bridge's limits, and as much again on a slow machine.
NAV2_GONE, ANSWER, BRINGUP = 10, 5, 60


class Commands:
    """A client that sends commands through the stream, and reads the events."""

    def __init__(self, redis: RedisServer) -> None:
        # The declared types differ from the real answers.
        client: Any = Redis(host="127.0.0.1", port=redis.port, password=PASSWORD, decode_responses=True)
        self._redis = client
        self._channel = client.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe("robot_events")
        self._channel.get_message(timeout=SECONDS)

    def give(self, identifier: str, **command: Any) -> None:
        """Send a command."""
        self._redis.xadd("robot_commands:stream", {"command": json.dumps({"id": identifier, **command})})

    def ends(self, identifier: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait for the end of a command, and return the event."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self._channel.get_message(timeout=1)
            if message and (event := json.loads(message["data"]))["id"] == identifier:
                return dict(event)
        pytest.fail(f"{identifier} did not end within {seconds:g} s")


@dataclass
class Network:
    """One host's DDS, on its loopback interface."""

    domain: int
    cyclone: dict[str, str]
    fast: dict[str, str]


def network_in(folder: Path) -> Network:
    """Write the role's configurations."""
    domain = free_domain()
    description = {"discovery": "host", "domain_id": domain, "directory": str(folder)}
    cyclone = planned(**description, other_rmws=["rmw_fastrtps_cpp"])
    logs = {"ROS_LOG_DIR": str(folder / "log"), "ROS_HOME": str(folder)}
    fast = ros2_environment(planned(**description, rmw="rmw_fastrtps_cpp"), folder)
    uri = {"CYCLONEDDS_URI": file_uri(folder, cyclone["cyclonedds"]["11"])}
    return Network(domain, {**cyclone["environment"], **uri, **logs}, fast)


def bridge_environment(redis: RedisServer, folder: Path) -> dict[str, str]:
    """Return the variables of compose.yaml."""
    return {
        "REDIS_SOCKET": str(redis.socket),
        "REDIS_USERNAME": "robot",
        "REDIS_PASSWORD_FILE": secret(folder),
        "PLACES_FILE": str(ROOT / "compose" / "places.json"),
        "HEALTH_FILE": str(folder / "healthy"),
        "ROBOT_FOLDER": str(ROOT / "compose" / "ros2"),
    }


@dataclass
class Lab:
    """Both simulators and their environment."""

    redis: RedisServer
    network: Network
    foxglove: int
    commands: Commands
    folder: Path
    output: Callable[[], str]

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


@contextmanager
def running(folder: Path, redis: RedisServer, **variables: str) -> Iterator[Lab]:
    """Run Isaac Sim's simulator, and the robot's processes."""
    network = network_in(folder)
    signalling, media, foxglove = (free_port() for _port in range(3))
    simulator = {
        **network.cyclone,
        "ACCEPT_EULA": "Y",
        "ISAACSIM_SIGNAL_PORT": str(signalling),
        "ISAACSIM_STREAM_PORT": str(media),
        "REAL_TIME_FACTOR": str(FACTOR),
    }
    robot = {
        **network.cyclone,
        **bridge_environment(redis, folder),
        "FOXGLOVE_BRIDGE_PORT": str(foxglove),
        **variables,
    }
    with (
        process(folder, "sandbox.images.isaac_sim", simulator, "--exec", f"{SCRIPT} hall") as simulated,
        process(folder, "sandbox.images.ros2", robot, python=PYTHON) as driven,
    ):
        wait_for_port(signalling, simulated)
        wait_for_port(foxglove, driven)
        yield Lab(redis, network, foxglove, Commands(redis), folder, driven)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run Redis."""
    server = RedisServer(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def lab(ros2: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run Redis and both simulators on the loopback address."""
    folder = tmp_path_factory.mktemp("lab")
    server = RedisServer(folder)
    server.start()
    try:
        with running(folder, server) as lab:
            yield lab
    finally:
        server.stop()


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
    monkeypatch.setenv("CYCLONEDDS_URI", lab.network.cyclone["CYCLONEDDS_URI"])
    bus = Bus(lab.network.domain)
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


def near(place: str, odometry: Any) -> bool:
    """Return whether the robot is at a place."""
    position = odometry.pose.pose.position
    return math.dist((position.x, position.y), PLACES[place]) < RADIUS


def test_the_robot_visits_every_place_in_order(lab: Lab) -> None:
    """By one goal of Nav2."""
    stops = ["zone_c", "north_shelf", "home", "zone_a", "charging", "south_shelf", "zone_b", "loading_dock"]
    assert set(stops) == set(PLACES)
    with lab.watch("odom") as watcher:
        lab.commands.give("tour", action="navigate", stops=[{"target": place} for place in stops], speed="fast")
        for place in stops:
            watcher.until("odom", partial(near, place))
    assert lab.commands.ends("tour") == {
        "id": "tour",
        "action": "navigate",
        "target": "loading_dock",
        "outcome": "done",
    }


def test_a_stop_ends_a_tour(lab: Lab) -> None:
    lab.commands.give("tour2", action="navigate", stops=[{"target": "zone_b"}, {"target": "zone_c"}], speed="slow")
    with lab.watch("odom") as watcher:
        watcher.until("odom", lambda odometry: odometry.twist.twist.linear.x > 0)
        lab.commands.give("halt", action="stop")
        assert lab.commands.ends("tour2")["outcome"] == "stopped"
        assert lab.commands.ends("halt")["outcome"] == "done"
        watcher.until("odom", lambda odometry: odometry.twist.twist.linear.x == 0)


def test_a_goal_that_nav2_cannot_reach_fails_with_its_reason(lab: Lab) -> None:
    lab.commands.give("far", action="navigate", coordinates=[900, 900])
    assert lab.commands.ends("far") == {
        "id": "far",
        "action": "navigate",
        "target": None,
        "outcome": "failed",
        "reason": "the goal is outside the map",
    }


def test_nav2_is_started_again_after_an_aborted_bringup(ros2: None, redis: RedisServer, tmp_path: Path) -> None:
    """After a minute; the command that waits is then followed."""
    with running(tmp_path, redis, BRINGUP_FAILURES="1") as lab:
        lab.commands.give("a", action="navigate", target="charging")
        assert lab.commands.ends("a", BRINGUP + SECONDS)["outcome"] == "done"
        assert '"nav2_start", "success": true' in lab.output()
        assert lab.output().count('"nav2_inactive"') == 1


class Scripted(NamedTuple):
    """A bridge with a scripted Nav2.

    Attributes:
        nav2: returns Nav2's output.
        pid: the process of Nav2.
        output: returns the bridge's output.
    """

    commands: Commands
    nav2: Callable[[], str]
    pid: int
    output: Callable[[], str]


@contextmanager
def bridge(folder: Path, redis: RedisServer, mode: str) -> Iterator[Scripted]:
    """Run the shipped bridge with a Nav2 that behaves in one way."""
    network = network_in(folder)
    settings = {**network.fast, **bridge_environment(redis, folder)}
    with (
        process(folder, "tests.support.nodes.scripted_nav2", network.fast, mode, python=PYTHON) as nav2,
        process(folder, "bridge", settings, python=PYTHON, cwd=ROOT / "compose" / "ros2") as output,
    ):
        until(lambda: "question" in nav2())
        (found,) = subprocess.run(
            ["pgrep", "--parent", str(os.getpid()), "--full", "scripted_nav2"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        yield Scripted(Commands(redis), nav2, int(found), output)


def until(true: Callable[[], bool]) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "the condition was never met"
        time.sleep(0.05)


def test_a_refused_goal_has_failed(ros2: None, redis: RedisServer, tmp_path: Path) -> None:
    with bridge(tmp_path, redis, "refuses") as (commands, _nav2, _pid, _output):
        commands.give("a", action="navigate", target="zone_b")
        ended = commands.ends("a")
        assert (ended["outcome"], ended["reason"]) == ("failed", "Nav2 refused the goal")
        commands.give("b", action="navigate", stops=[{"target": "zone_b"}, {"target": "zone_c"}])
        assert commands.ends("b")["reason"] == "Nav2 refused the goal"


def test_the_goal_of_a_killed_nav2_has_failed_and_a_stop_works(ros2: None, redis: RedisServer, tmp_path: Path) -> None:
    with bridge(tmp_path, redis, "drives") as (commands, nav2, pid, _output):
        commands.give("a", action="navigate", target="zone_b")
        until(lambda: "goal" in nav2())
        os.kill(pid, signal.SIGKILL)
        ended = commands.ends("a", NAV2_GONE + SECONDS)
        assert (ended["outcome"], ended["reason"]) == ("failed", "Nav2 has accepted no goals for 10 s")
        commands.give("b", action="stop")
        assert commands.ends("b")["outcome"] == "done"


def test_questions_to_a_mute_nav2_do_not_pile_up(ros2: None, redis: RedisServer, tmp_path: Path) -> None:
    """One at a time, each for five seconds; commands wait."""
    with bridge(tmp_path, redis, "mute") as (commands, nav2, _pid, _output):
        commands.give("a", action="navigate", target="zone_b")
        time.sleep(3 * ANSWER)
        assert 2 <= nav2().count("question") <= 4
        assert "goal" not in nav2()
        commands.give("b", action="stop")
        assert commands.ends("a")["outcome"] == "stopped"
        assert commands.ends("b")["outcome"] == "done"
        assert not (tmp_path / "healthy").exists()


def test_the_goal_of_a_silent_nav2_is_cancelled(ros2: None, redis: RedisServer, tmp_path: Path) -> None:
    """It still drives the robot, although it does not answer whether it is active."""
    with bridge(tmp_path, redis, "distracted") as (commands, nav2, _pid, _output):
        commands.give("a", action="navigate", target="zone_b")
        assert commands.ends("a", NAV2_GONE + SECONDS)["reason"] == "Nav2 has accepted no goals for 10 s"
        until(lambda: "cancellation" in nav2())


def test_the_bridge_ends_if_nav2_does_not_stop(ros2: None, redis: RedisServer, tmp_path: Path) -> None:
    """The container's other processes end with it, Nav2 among them."""
    with bridge(tmp_path, redis, "drives") as (commands, nav2, _pid, output):
        commands.give("a", action="navigate", target="zone_b")
        until(lambda: "goal" in nav2())
        commands.give("b", action="stop")
        until(lambda: "bridge ended with 1" in output())
        assert '"nav2_drives_on"' in output()
        assert nav2().count("cancellation") > 1
