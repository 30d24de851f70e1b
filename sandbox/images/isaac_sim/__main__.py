"""``python3 -m sandbox.images.isaac_sim``: the simulator of Isaac Sim, with its arguments and variables.

With the script open_scene.py it publishes /clock, /odom and /tf at 30 Hz and /scan at 10 Hz, follows /cmd_vel and
touches the script's heartbeat file. Without it, it shows an empty stage and publishes nothing, like the real one.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sandbox.images.isaac_sim.ports import serve
from sandbox.images.isaac_sim.world import LIDAR, RATE, World
from sandbox.ros_topics import (
    Bus,
    Clock,
    Header,
    LaserScan,
    Odometry,
    Point,
    Pose,
    PoseWithCovariance,
    TFMessage,
    Transform,
    TransformStamped,
    Twist,
    TwistWithCovariance,
    Vector3,
    moment,
    rotation,
)

TICKS_PER_SCAN = 3
# What the script needs for the hall, relative to its own folder.
HALL_FILES = (
    *(f"{name}.py" for name in ("drive", "graph", "watchdog")),
    *(f"../world/{name}.py" for name in ("__init__", "description", "scene")),
    *("hall.usda", "../world/hall.json"),
)


class SettingsError(ValueError):
    """The configuration is not valid; the message has the reason."""


@dataclass(frozen=True)
class Settings:
    """The settings.

    Attributes:
        scene: the scene to open and play; empty for an empty stage.
        heartbeat: the file to touch while it plays; None for none.
        factor: how much faster than real time its time passes.
    """

    domain: int
    scene: str
    heartbeat: Path | None
    signalling: int
    media: int
    factor: float


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Return the settings; only the scene is read from the arguments.

    :raises SettingsError: the licence was not accepted, a value is not a number, or the scene cannot be opened.
    """
    if environment.get("ACCEPT_EULA") != "Y":
        raise SettingsError("ACCEPT_EULA is not Y: the user of Isaac Sim must accept NVIDIA's licence with it")
    heartbeat = environment.get("HEARTBEAT_FILE")
    try:
        return Settings(
            domain=int(environment.get("ROS_DOMAIN_ID") or 0),
            scene=scene_of(arguments),
            heartbeat=Path(heartbeat) if heartbeat else None,
            signalling=int(environment.get("ISAACSIM_SIGNAL_PORT") or 49100),
            media=int(environment.get("ISAACSIM_STREAM_PORT") or 47998),
            factor=float(environment.get("REAL_TIME_FACTOR") or 1),
        )
    except ValueError as error:
        raise SettingsError(
            f"ROS_DOMAIN_ID, ISAACSIM_SIGNAL_PORT, ISAACSIM_STREAM_PORT and REAL_TIME_FACTOR must be numbers: {error}"
        ) from None


def scene_of(arguments: Sequence[str]) -> str:
    """Return the argument of the script in ``--exec``, one string with both; empty without a script.

    :raises SettingsError: a file is missing, which ends Isaac Sim.
    """
    for option, value in pairwise(arguments):
        name, _blank, scene = value.partition(" ")
        script = Path(name)
        if option == "--exec" and script.is_file():
            needed = [script.parent / file for file in HALL_FILES] if scene == "hall" else []
            needed += [Path(scene)] if scene.startswith("/") else []
            missing = [str(file) for file in needed if not file.is_file()]
            if missing:
                raise SettingsError(f"scene {scene} could not be opened: {', '.join(missing)} missing")
            return scene
    return ""


class Simulator:
    """The world and its topics."""

    def __init__(self, bus: Bus) -> None:
        """Create the topics."""
        self.world = World()
        self._commands = bus.reader("cmd_vel")
        self._clock, self._odom = bus.writer("clock"), bus.writer("odom")
        self._tf, self._scan = bus.writer("tf"), bus.writer("scan")

    def turn(self) -> None:
        """Advance one step, and publish."""
        for twist in self._commands.take():
            self.world.command(twist.linear.x, twist.angular.z)
        self.world.step()
        world = self.world
        now = moment(world.nanoseconds)
        turned = rotation(world.yaw)
        self._clock.write(Clock(now))
        self._odom.write(
            Odometry(
                Header(now, "odom"),
                "base_link",
                PoseWithCovariance(Pose(Point(world.x, world.y), turned)),
                TwistWithCovariance(Twist(Vector3(world.linear), Vector3(z=world.angular))),
            )
        )
        moved = Transform(Vector3(world.x, world.y), turned)
        self._tf.write(TFMessage([TransformStamped(Header(now, "odom"), "base_link", moved)]))
        if world.ticks % TICKS_PER_SCAN == 0:
            self._scan.write(
                LaserScan(
                    Header(now, "base_link"),
                    angle_min=-math.pi,
                    angle_max=math.pi - LIDAR.step,
                    angle_increment=LIDAR.step,
                    scan_time=TICKS_PER_SCAN / RATE,
                    range_min=LIDAR.nearest,
                    range_max=LIDAR.farthest,
                    ranges=world.scan(),
                )
            )

    def status(self) -> dict[str, object]:
        """Return the content of /status."""
        world = self.world
        return {
            "stage": "plays",
            "seconds": round(world.nanoseconds / 1e9, 3),
            "x": round(world.x, 3),
            "y": round(world.y, 3),
            "yaw": round(world.yaw, 3),
        }


def main() -> int:
    """Run until SIGTERM; return 2 if the configuration is not valid."""
    try:
        settings = read(sys.argv[1:], os.environ)
    except SettingsError as error:
        print(f"The simulator of Isaac Sim cannot start: {error}", file=sys.stderr)
        return 2
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_signal: end.set())
    signal.signal(signal.SIGINT, lambda *_signal: end.set())
    if not settings.scene:
        serve(lambda: {"stage": "empty"}, settings.signalling, settings.media)
        print(f"an empty stage, {settings}", flush=True)
        end.wait()
        return 0
    if settings.heartbeat:
        settings.heartbeat.unlink(missing_ok=True)
    simulator = Simulator(Bus(settings.domain))
    simulator.turn()
    serve(simulator.status, settings.signalling, settings.media)
    print(f"scene {settings.scene} is open and plays, {RATE} steps a second, {settings}", flush=True)
    due = time.monotonic()
    while not end.is_set():
        # On a slow machine its time passes more slowly; it skips no step.
        due = max(due + 1 / RATE / settings.factor, time.monotonic())
        end.wait(due - time.monotonic())
        simulator.turn()
        if settings.heartbeat and simulator.world.ticks % RATE == 0:
            settings.heartbeat.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
