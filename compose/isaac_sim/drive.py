# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connects the robot of the hall to ROS 2, and passes its commands on, in Isaac Sim 6.0 or newer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import omni.graph.core as og
import usdrt
from isaacsim.core.rendering_manager import RenderingManager, ViewportManager
from isaacsim.core.simulation_manager import SimulationManager

from compose.isaac_sim import graph
from compose.isaac_sim.watchdog import STILL, Watchdog
from compose.world.description import STEPS, Hall

CAMERA = "/OmniverseKit_Persp"
# How high above the floor the camera is, and how far south of the hall.
UP, BACK = 20.0, 8.0


class Drive:
    """The robot's connection to ROS 2."""

    def __init__(self, hall: Hall, log: Callable[[str], None]) -> None:
        """Create the graph in the open stage, which must not play yet: changing the rates later ends Isaac Sim 6.0.

        :param log: writes a line.
        """
        # Physics, pictures and the clock advance by the same step: otherwise time in ROS is not the simulation's.
        RenderingManager.set_dt(1 / STEPS)
        SimulationManager.setup_simulation(dt=1 / STEPS, device="cpu")
        og.Controller.edit(
            {"graph_path": graph.PATH, "evaluator_name": "execution"},
            {
                og.Controller.Keys.CREATE_NODES: list(graph.NODES.items()),
                og.Controller.Keys.CONNECT: list(graph.CONNECTIONS),
                og.Controller.Keys.SET_VALUES: [
                    (name, [usdrt.Sdf.Path(str(value))] if isinstance(value, graph.Prim) else value)
                    for name, value in graph.values(hall).items()
                ],
            },
        )
        self._attributes = {name: og.Controller.attribute(f"{graph.PATH}/{name}") for name in graph.read_and_written()}
        fastest = hall.robot.fastest
        self._watchdog = Watchdog(hall.robot.command_timeout, fastest.linear, fastest.angular)
        _look_at(hall, log)

    def step(self, plays: bool) -> float:
        """Pass the last command on, or stop the robot if it is old. Return the simulated time.

        :param plays: whether the simulation plays. While it does not, commands are forgotten.
        """
        now, count = float(self._get(graph.TIME)), int(self._get(graph.RECEIVED))
        if plays:
            linear, angular = (self._get(name) for name in graph.COMMANDED)
            self._send(*self._watchdog.speeds(now, count, float(linear[0]), float(angular[2])))
        else:
            self._watchdog.pause(now)
            self.stop()
        return now

    def stop(self) -> None:
        """Stop the robot."""
        self._send(*STILL)

    def _get(self, name: str) -> Any:
        return og.Controller.get(self._attributes[name])

    def _send(self, *speeds: float) -> None:
        for name, speed in zip(graph.DRIVEN, speeds, strict=True):
            og.Controller.set(self._attributes[name], speed)


def _look_at(hall: Hall, log: Callable[[str], None]) -> None:
    """Show the hall from above its southern wall. If that fails, only the view differs."""
    x, y = ((low + high) / 2 for low, high in zip(hall.low, hall.high, strict=True))
    try:
        ViewportManager.set_camera_view(CAMERA, eye=[x, hall.low[1] - BACK, UP], target=[x, y, 0.0])
    except Exception as error:
        log(f"the camera could not be set: {type(error).__name__}: {error}")
