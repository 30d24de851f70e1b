# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Opens a scene and plays it: ROS topics are published in a playing stage only.

Isaac Sim runs it, by ``--exec``. Its argument is the scene, a USD file with ROS 2 graphs of its own, or ``hall``: the
lab's own hall with its robot. For that, it finds the rest of ``compose/isaac_sim`` and ``compose/world`` by its path.

While the scene plays and its time advances, it touches a heartbeat file every second. An error ends Isaac Sim.
It follows the documentation and the source of Kit and Isaac Sim 6.0.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import omni.kit.app
import omni.kit.async_engine
import omni.timeline
import omni.usd

# The extension that connects ROS 2, and those of 6.x that contain its parts. In 5.1 it contains them itself.
BRIDGE = "isaacsim.ros2.bridge"
PARTS = {BRIDGE, "isaacsim.ros2.core", "isaacsim.ros2.nodes"}
# How long to wait, in seconds: for the application, which compiles shaders at its first start; for another stage to be
# opened or closed; for the files of the scene, which may be downloaded; and for the simulation's next step.
READY, STAGE, FILES, PLAY = 1800, 300, 1800, 120
# A single update may take minutes, while shaders are compiled. After so many without a step, the simulation hangs.
UPDATES = 10
SCRIPT = Path(__file__).resolve()
HALL = SCRIPT.with_name("hall.usda")
# Kit passes the argument as Python does. Without one, sys.argv may be that of the application, whose file ends in .kit.
ARGUMENT = "".join(sys.argv[1:2])
ENDINGS = (".usd", ".usda", ".usdc", ".usdz")
SCENE = "" if ARGUMENT in {"", "hall"} or ARGUMENT.endswith(".kit") else ARGUMENT
HEARTBEAT = Path(os.environ.get("HEARTBEAT_FILE") or Path(tempfile.gettempdir()) / "scene.heartbeat")
PERIOD = 1.0


class SceneError(RuntimeError):
    """The scene cannot be played; the message has the reason."""


class Heartbeat:
    """A file whose time of modification is the last moment at which the simulation advanced."""

    def __init__(self, file: Path) -> None:
        """Remove the file of an earlier run."""
        self._file = file
        self._next = 0.0
        self._progress = 0.0
        file.unlink(missing_ok=True)

    def beat(self, progress: float) -> None:
        """Touch the file, at most once in a period, and only if the simulation has advanced since the last time.

        :param progress: the simulated time.
        """
        if time.monotonic() >= self._next and progress != self._progress:
            self._file.touch()
            self._next, self._progress = time.monotonic() + PERIOD, progress


async def play(scene: str) -> None:
    """Open and play a scene, and watch it. Any error ends the application.

    :param scene: empty for the hall.
    """
    app = omni.kit.app.get_app()
    drive, name = None, scene or str(HALL)
    try:
        heartbeat = Heartbeat(HEARTBEAT)
        if scene and not scene.endswith(ENDINGS):
            raise SceneError(f"is not a scene. Allowed: hall, or a path or URL that ends in {', '.join(ENDINGS)}")
        await _until(app, app.is_app_ready, READY, "Isaac Sim is not ready")
        _enable_bridge(app)
        await _open(app, name)
        drive = None if scene else _drive(app.print_and_log)
        await _start(app)
        app.print_and_log(f"scene {name} is open and plays")
        await _watch(app, heartbeat, drive)
    except SceneError as error:
        app.print_and_log(f"scene {name} {error}")
        app.post_quit(1)
    except Exception:
        app.print_and_log(f"scene {name} failed: {traceback.format_exc()}")
        app.post_quit(1)
    finally:
        if drive is not None:
            # The graph may be gone, and the application ends.
            with contextlib.suppress(Exception):
                drive.stop()


def _drive(log: Callable[[str], None]) -> Any:
    """Connect the robot of the hall to ROS 2."""
    sys.path.insert(0, str(SCRIPT.parents[2]))
    hall = importlib.import_module("compose.world.description").load()
    return importlib.import_module("compose.isaac_sim.drive").Drive(hall, log)


async def _until(app: Any, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait for a condition.

    :raises SceneError: it was not met in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SceneError(f"cannot be played: {otherwise} after {seconds:g} s")
        await app.next_update_async()


def _enable_bridge(app: Any) -> None:
    """Enable the connection to ROS 2. A graph that is loaded earlier has no ROS nodes, and publishes nothing.

    :raises SceneError: it could not be enabled.
    """
    manager = app.get_extension_manager()
    manager.set_extension_enabled_immediate(BRIDGE, True)
    enabled = {found["name"]: bool(found["enabled"]) for found in manager.get_extensions() if found["name"] in PARTS}
    missing = sorted({BRIDGE, *enabled} - {name for name, on in enabled.items() if on})
    if missing:
        raise SceneError(
            f"cannot be played: {', '.join(missing)} could not be enabled. The lines above have the reason. Set both "
            "ROS_DISTRO and LD_LIBRARY_PATH, or neither of them"
        )


async def _open(app: Any, scene: str) -> None:
    """Open the scene and wait until it is loaded.

    :raises SceneError: it could not be opened.
    """
    context = omni.usd.get_context()
    await _until(app, context.can_open_stage, STAGE, "another stage is still being opened or closed")
    opened, reason = await context.open_stage_async(scene)
    if not opened:
        raise SceneError(f"could not be opened: {reason}")
    for _update in range(2):
        await app.next_update_async()
    # A message, how many files are loaded, and how many are not yet.
    await _until(app, lambda: context.get_stage_loading_status()[2] == 0, FILES, "files are still being loaded")


async def _start(app: Any) -> None:
    """Play, and wait until the simulation has advanced.

    :raises SceneError: it does not.
    """
    timeline = omni.timeline.get_timeline_interface()
    timeline.play()
    # Otherwise the call is only queued, in 6.x.
    timeline.commit()
    start = timeline.get_current_time()
    await _until(
        app, lambda: timeline.is_playing() and timeline.get_current_time() != start, PLAY, "its time does not advance"
    )


async def _watch(app: Any, heartbeat: Heartbeat, drive: Any) -> None:
    """Pass commands on at each step, and report when a viewer stops the simulation or lets it continue.

    :raises SceneError: it plays, and its time does not advance. A restart of Isaac Sim is the remedy.
    """
    timeline = omni.timeline.get_timeline_interface()
    plays, progress, updates, since = True, 0.0, 0, time.monotonic()
    while True:
        await app.next_update_async()
        playing = timeline.is_playing()
        now = drive.step(playing) if drive is not None else timeline.get_current_time()
        if playing != plays:
            plays = playing
            app.print_and_log(f"the simulation was {'continued' if plays else 'stopped'}")
        if not plays or now != progress:
            progress, updates, since = now, 0, time.monotonic()
        updates += 1
        if updates > UPDATES and time.monotonic() - since > PLAY:
            raise SceneError(f"hangs: it plays, and its time has not advanced for {PLAY} s")
        if plays:
            heartbeat.beat(now)


# A reference, because the event loop itself has none that lasts.
TASK = omni.kit.async_engine.run_coroutine(play(SCENE))
