# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that Isaac Sim runs, with the part of Kit that it calls: the order of its calls, its log, the robot."""

from __future__ import annotations

import asyncio
import runpy
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from compose.isaac_sim import graph
from tests.support.project import ROOT
from tests.unit.compose.world.support import HALL, SCENE

SCRIPT = ROOT / "compose" / "isaac_sim" / "open_scene.py"
USD = "/isaac-sim/workspace/hall.usd"
PARTS = ("isaacsim.ros2.bridge", "isaacsim.ros2.core", "isaacsim.ros2.nodes")
STEP = 1 / 60


@dataclass
class Kit:
    """Kit's application, context, timeline, extensions and graph in one object that records calls.

    Attributes:
        broken: extensions that cannot be enabled.
        stuck: what never happens: "ready", "loaded" or "plays".
        updates: how many updates follow the first one in which the scene plays; then the application ends.
        during: what happens at an update, by its number after the first one in which the scene plays.
    """

    opened: tuple[bool, str] = (True, "")
    broken: tuple[str, ...] = ()
    extensions: tuple[str, ...] = PARTS
    stuck: str = ""
    updates: int = 3
    during: dict[int, Callable[[Kit], None]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    now: float = 0.0
    busy: int = 2
    loading: int = 4
    playing: bool = False
    time: float = 0.0
    watched: int = 0
    enabled: set[str] = field(default_factory=set)
    attributes: dict[str, Any] = field(default_factory=dict)
    driven: list[tuple[float, float]] = field(default_factory=list)

    def is_app_ready(self) -> bool:
        return self.stuck != "ready" and self.busy == 0

    def can_open_stage(self) -> bool:
        return self.busy == 0

    async def next_update_async(self) -> None:
        """Advance a sixtieth of a second, or ten minutes while nothing can happen."""
        self.now += 600 if self.stuck else STEP
        self.busy = max(0, self.busy - 1)
        if self.playing and self.stuck != "plays":
            self.time += STEP
            self.attributes[graph.TIME] = self.time
        if any("open and plays" in line for line in self.told):
            if self.watched in self.during:
                self.during[self.watched](self)
            self.watched += 1
            if self.watched > self.updates:
                raise asyncio.CancelledError
        await asyncio.sleep(0)

    def set_extension_enabled_immediate(self, name: str, on: bool) -> None:
        self.told.append(f"enable {name}")
        self.enabled = {*self.extensions} - {*self.broken} if on else set()

    def get_extensions(self) -> list[dict[str, object]]:
        return [{"name": name, "enabled": name in self.enabled} for name in (*self.extensions, "omni.other")]

    async def open_stage_async(self, url: str) -> tuple[bool, str]:
        assert self.can_open_stage()
        assert self.enabled, "the scene is opened before ROS can be connected"
        self.told.append(f"open {url}")
        return self.opened

    def get_stage_loading_status(self) -> tuple[str, int, int]:
        self.loading = max(0, self.loading - (self.stuck != "loaded"))
        return "", 4 - self.loading, self.loading

    def play(self) -> None:
        assert self.loading == 0, "the scene plays before it is loaded"
        self.told.append("play")

    def commit(self) -> None:
        self.told.append("commit")
        self.playing = True

    def is_playing(self) -> bool:
        return self.playing

    def get_current_time(self) -> float:
        return self.time

    def print_and_log(self, text: str) -> None:
        self.told.append(text)

    def post_quit(self, status: int) -> None:
        self.told.append(f"quit {status}")

    # The graph: og.Controller.
    def edit(self, where: dict[str, str], what: dict[str, Any]) -> None:
        assert not self.playing, "the graph is created while the scene plays"
        self.told.append(f"edit {where['graph_path']}")
        self.attributes |= dict(what["set"])
        self.attributes |= {graph.TIME: 0.0, graph.RECEIVED: 0, **{name: [0.0, 0.0, 0.0] for name in graph.COMMANDED}}
        assert where["evaluator_name"] == "execution"
        assert (what["create"], what["connect"]) == ([*graph.NODES.items()], [*graph.CONNECTIONS])

    def attribute(self, path: str) -> str:
        name = path.removeprefix(f"{graph.PATH}/")
        assert name in self.attributes, path
        return name

    def get(self, name: str) -> Any:
        return self.attributes[name]

    def set(self, name: str, value: float) -> None:
        assert name in graph.DRIVEN
        self.attributes[name] = value
        if name == graph.DRIVEN[1]:
            self.driven.append((self.attributes[graph.DRIVEN[0]], value))

    def command(self, linear: float, angular: float = 0.0) -> None:
        """Receive a command."""
        self.attributes[graph.COMMANDED[0]], self.attributes[graph.COMMANDED[1]] = [linear, 0, 0], [0, 0, angular]
        self.attributes[graph.RECEIVED] += 1


class Runner:
    """Runs the script as Kit does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self.heartbeat = folder / "heartbeat"

    def __call__(self, kit: Kit, *scene: str) -> list[str]:
        """Return the calls of the script until the application ends."""
        keys = SimpleNamespace(CREATE_NODES="create", CONNECT="connect", SET_VALUES="set")
        controller = SimpleNamespace(Keys=keys, edit=kit.edit, attribute=kit.attribute, get=kit.get, set=kit.set)
        rates = SimpleNamespace(set_dt=lambda dt: kit.told.append(f"frames {dt:.4f}"))
        physics = SimpleNamespace(setup_simulation=lambda dt, device: kit.told.append(f"physics {dt:.4f} {device}"))
        app = SimpleNamespace(
            is_app_ready=kit.is_app_ready,
            next_update_async=kit.next_update_async,
            get_extension_manager=lambda: kit,
            print_and_log=kit.print_and_log,
            post_quit=kit.post_quit,
        )

        def camera(_path: str, eye: list[float], target: list[float]) -> None:
            kit.told.append(f"look {eye[2] > target[2]}")

        functions: dict[str, dict[str, Any]] = {
            "omni": {},
            "omni.kit": {},
            "omni.kit.app": {"get_app": lambda: app},
            "omni.kit.async_engine": {"run_coroutine": run_coroutine},
            "omni.timeline": {"get_timeline_interface": lambda: kit},
            "omni.usd": {"get_context": lambda: kit},
            "omni.graph": {},
            "omni.graph.core": {"Controller": controller},
            "usdrt": {"Sdf": SimpleNamespace(Path=lambda path: f"<{path}>")},
            "isaacsim": {},
            "isaacsim.core": {},
            "isaacsim.core.rendering_manager": {
                "RenderingManager": rates,
                "ViewportManager": SimpleNamespace(set_camera_view=camera),
            },
            "isaacsim.core.simulation_manager": {"SimulationManager": physics},
        }
        modules = {name: ModuleType(name) for name in functions}
        for name, module in modules.items():
            vars(module).update(functions[name])
            parent, _dot, child = name.rpartition(".")
            if parent:
                setattr(modules[parent], child, module)
            self._monkeypatch.setitem(sys.modules, name, module)
        self._monkeypatch.delitem(sys.modules, "compose.isaac_sim.drive", raising=False)
        self._monkeypatch.setattr(sys, "argv", [str(SCRIPT), *scene])
        self._monkeypatch.setattr(sys, "path", list(sys.path))
        self._monkeypatch.setattr(time, "monotonic", lambda: kit.now)
        self._monkeypatch.setenv("HEARTBEAT_FILE", str(self.heartbeat))
        runpy.run_path(str(SCRIPT))
        return kit.told


def run_coroutine(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it until the application ends."""
    try:
        while True:
            coroutine.send(None)
    except (StopIteration, asyncio.CancelledError):
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runner:
    return Runner(monkeypatch, tmp_path)


def test_a_scene_is_opened_and_played(run: Runner) -> None:
    assert run(Kit(), USD) == [
        "enable isaacsim.ros2.bridge",
        f"open {USD}",
        "play",
        "commit",
        f"scene {USD} is open and plays",
    ]


def test_the_reason_is_logged_when_a_scene_cannot_be_opened(run: Runner) -> None:
    assert run(Kit(opened=(False, "no such file")), USD) == [
        "enable isaacsim.ros2.bridge",
        f"open {USD}",
        f"scene {USD} could not be opened: no such file",
        "quit 1",
    ]


@pytest.mark.parametrize("scene", [("hall",), (), ("",), ("/isaac-sim/apps/isaacsim.exp.full.streaming.kit",)])
def test_without_a_scene_the_hall_is_opened_and_played(run: Runner, scene: tuple[str, ...]) -> None:
    """The rates are set and the graph is created before the scene plays."""
    kit = Kit()
    assert run(kit, *scene) == [
        "enable isaacsim.ros2.bridge",
        f"open {SCENE}",
        "frames 0.0167",
        "physics 0.0167 cpu",
        "edit /World/Ros",
        "look True",
        "play",
        "commit",
        f"scene {SCENE} is open and plays",
    ]
    assert kit.attributes["lidar.inputs:raycastSensorPrim"] == ["</World/Robot/base_link/lidar>"]
    assert kit.attributes["wheels.inputs:jointNames"] == ["left_wheel_joint", "right_wheel_joint"]


@pytest.mark.parametrize("broken", [PARTS[:1], PARTS[1:2], PARTS])
def test_without_the_bridge_the_application_ends(run: Runner, broken: tuple[str, ...]) -> None:
    told = run(Kit(broken=broken))
    assert told[1].startswith(
        f"scene {SCENE} cannot be played: {', '.join(broken)} could not be enabled. The lines above"
    )
    assert told[2:] == ["quit 1"]


def test_isaac_sim_5_has_the_bridge_in_one_part(run: Runner) -> None:
    assert run(Kit(extensions=PARTS[:1]), USD)[-1] == f"scene {USD} is open and plays"


def test_an_isaac_sim_without_the_bridge(run: Runner) -> None:
    assert "cannot be played: isaacsim.ros2.bridge could not be enabled" in run(Kit(extensions=()), USD)[1]


@pytest.mark.parametrize(
    ("stuck", "reason"),
    [
        ("ready", "Isaac Sim is not ready after 1800 s"),
        ("loaded", "files are still being loaded after 1800 s"),
        ("plays", "its time does not advance after 120 s"),
    ],
)
def test_nothing_is_awaited_for_ever(run: Runner, stuck: str, reason: str) -> None:
    assert run(Kit(stuck=stuck))[-2:] == [f"scene {SCENE} cannot be played: {reason}", "quit 1"]
    assert not run.heartbeat.exists()


def fail(kit: Kit) -> None:
    del kit.attributes[graph.RECEIVED]


def test_an_error_while_it_plays_stops_the_robot_and_ends_the_application(run: Runner) -> None:
    """Such as a graph that a viewer has deleted."""
    kit = Kit(updates=100, during={10: lambda kit: kit.command(1.0), 20: fail})
    told = run(kit)
    assert told[-2].startswith(f"scene {SCENE} failed: Traceback")
    assert "KeyError: 'received.outputs:count'" in told[-2]
    assert told[-1] == "quit 1"
    assert kit.driven[-2:] == [(1.0, 0.0), (0.0, 0.0)]


def test_a_camera_that_cannot_be_set_does_not_end_the_application(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit()
    monkeypatch.setattr(kit, "told", Deaf(kit.told))
    told = run(kit)
    assert "the camera could not be set: ValueError: no viewport" in told
    assert told[-1] == f"scene {SCENE} is open and plays"


class Deaf(list[str]):
    """A log in which the camera cannot be set."""

    def append(self, line: str) -> None:
        if line.startswith("look"):
            raise ValueError("no viewport")
        super().append(line)


def test_the_robot_stops_when_its_commands_cease(run: Runner) -> None:
    """A command every twentieth of a second, for one second, and none for the next."""
    commands = {number: (lambda kit: kit.command(0.8, 0.2)) for number in range(60, 120, 3)}
    kit = Kit(updates=200, during=commands)
    run(kit)
    # The last call is that of the end.
    drives = [speeds == (0.8, 0.2) for speeds in kit.driven[:-1]]
    first, last = drives.index(True), len(drives) - drives[::-1].index(True) - 1
    assert all(drives[first : last + 1])
    assert first == 60
    assert (last - 117) * STEP == pytest.approx(HALL.robot.command_timeout, abs=STEP)
    assert set(kit.driven) == {(0.8, 0.2), (0.0, 0.0)}


def test_the_robot_is_stopped_when_the_application_ends(run: Runner) -> None:
    kit = Kit(updates=30, during={20: lambda kit: kit.command(0.8)})
    run(kit)
    assert kit.driven[-2:] == [(0.8, 0.0), (0.0, 0.0)]


def pause(kit: Kit) -> None:
    kit.playing = False


def proceed(kit: Kit) -> None:
    kit.playing = True


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files that are touched."""
    touched: list[Path] = []
    touch = Path.touch

    def noted(path: Path) -> None:
        touch(path)
        touched.append(path)

    monkeypatch.setattr(Path, "touch", noted)
    return touched


@pytest.mark.parametrize("scene", ["", USD], ids=["hall", "scene"])
def test_the_heartbeat_follows_the_simulation(run: Runner, beats: list[Path], scene: str) -> None:
    """Once a second while it advances, and not while a viewer has stopped it."""
    counts: list[int] = []

    def count(_kit: Kit) -> None:
        counts.append(len(beats))

    kit = Kit(updates=600, during={190: count, 200: pause, 210: count, 390: count, 400: proceed, 590: count})
    told = run(kit, *([scene] if scene else []))
    assert [line for line in told if line.startswith("the simulation")] == [
        "the simulation was stopped",
        "the simulation was continued",
    ]
    first, paused, still, last = counts
    assert 3 <= first <= 4
    assert first <= paused == still <= first + 1
    assert still + 3 <= last <= still + 4
    assert set(beats) == {run.heartbeat}


def test_the_heartbeat_of_an_earlier_run_is_removed(run: Runner) -> None:
    run.heartbeat.touch()
    run(Kit(opened=(False, "no such file")), USD)
    assert not run.heartbeat.exists()


def freeze(kit: Kit) -> None:
    kit.stuck = "plays"


@pytest.mark.parametrize("scene", ["", USD], ids=["hall", "scene"])
def test_a_simulation_that_hangs_has_no_heartbeat_and_ends_the_application(
    run: Runner, beats: list[Path], scene: str
) -> None:
    """It plays, but its physics does not. The robot stands."""
    kit = Kit(updates=100, during={0: freeze} if scene else {0: freeze, 3: lambda kit: kit.command(1.0)})
    told = run(kit, *([scene] if scene else []))
    assert told[-2:] == [
        f"scene {scene or SCENE} hangs: it plays, and its time has not advanced for 120 s",
        "quit 1",
    ]
    assert 10 <= kit.watched <= 13
    assert len(beats) <= 1
    assert kit.driven[-1:] == ([] if scene else [(0.0, 0.0)])


def test_one_long_update_is_not_a_hang(run: Runner) -> None:
    """While shaders are compiled."""

    def compile_shaders(kit: Kit) -> None:
        kit.now += 1000

    told = run(Kit(updates=50, during={10: compile_shaders, 30: compile_shaders}), USD)
    assert told[-1] == f"scene {USD} is open and plays"


def test_a_stopped_simulation_is_not_a_hang(run: Runner) -> None:
    def wait(kit: Kit) -> None:
        kit.now += 1000

    told = run(Kit(updates=60, during={5: pause, **dict.fromkeys(range(6, 40), wait), 40: proceed}), USD)
    assert told[-1] == "the simulation was continued"


def test_after_a_stop_the_robot_waits_for_a_new_command(run: Runner) -> None:
    """A command that came before it, or while it stood still, is not followed."""
    commands = {number: (lambda kit: kit.command(0.8)) for number in (20, 21, 22, 200)}
    kit = Kit(updates=220, during={**commands, 23: pause, 60: lambda kit: kit.command(0.7), 100: proceed})
    run(kit)
    moves = [number for number, speeds in enumerate(kit.driven[:-1]) if speeds != (0.0, 0.0)]
    assert moves == [20, 21, 22, *range(200, 220)]


@pytest.mark.parametrize("scene", ["/isaac-sim/workspace/hall.obj", "https://example.com/hall.usd?version=2", "halle"])
def test_another_argument_is_refused(run: Runner, scene: str) -> None:
    """It does not open the hall instead."""
    assert run(Kit(), scene) == [
        f"scene {scene} is not a scene. Allowed: hall, or a path or URL that ends in .usd, .usda, .usdc, .usdz",
        "quit 1",
    ]
