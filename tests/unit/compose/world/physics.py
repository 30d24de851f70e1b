# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene in a physics engine: MuJoCo, as Isaac Sim's is not available. It shows whether the robot can drive at all.

Masses, inertia, joints, motors, shapes and friction come from the scene, as a physics engine reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
from pxr import Gf, Usd, UsdGeom, UsdPhysics, UsdShade

from compose.isaac_sim import graph
from compose.world.description import STEPS, Hall
from compose.world.scene import BASE, JOINTS, LIDAR, ROBOT
from tests.unit.compose.world.rules import body_of, colliders, world

# Steps of the engine for each step of the simulation.
FINE = 8


def numbers(values: Any) -> str:
    return " ".join(f"{float(value):.9g}" for value in values)


def shapes(stage: Usd.Stage, body: Usd.Prim | None) -> Iterator[str]:
    """Yield the shapes of a body, or those that do not move. Only the robot and the rest collide with each other."""
    origin = world(body) if body else Gf.Matrix4d(1.0)
    for prim in colliders(stage):
        if body_of(prim) != body:
            continue
        place = (world(prim) * origin.GetInverse()).RemoveScaleShear()
        where = f'pos="{numbers(place.ExtractTranslation())}"'
        mask = 'contype="1" conaffinity="2" group="1"' if body else 'contype="2" conaffinity="1"'
        common = f'name="{prim.GetPath()}" {where} {mask} {friction(prim)}'
        if prim.IsA(UsdGeom.Plane):
            yield f'<geom type="plane" size="50 50 1" {common}/>'
        elif prim.IsA(UsdGeom.Sphere):
            yield f'<geom type="sphere" size="{numbers([UsdGeom.Sphere(prim).GetRadiusAttr().Get()])}" {common}/>'
        else:
            half = [part / 2 for part in prim.GetAttribute("xformOp:scale").Get()]
            yield f'<geom type="box" size="{numbers(half)}" {common}/>'


def friction(prim: Usd.Prim) -> str:
    """Return the friction of a shape. A contact without friction prevails."""
    material, _relationship = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial("physics")
    value = UsdPhysics.MaterialAPI(material.GetPrim()).GetDynamicFrictionAttr().Get() if material else 0.5
    return f'friction="{value:g} 0 0"' if value else 'condim="1" priority="1"'


def inertial(prim: Usd.Prim) -> str:
    mass = UsdPhysics.MassAPI(prim)
    return (
        f'<inertial pos="{numbers(mass.GetCenterOfMassAttr().Get())}" mass="{mass.GetMassAttr().Get():g}" '
        f'diaginertia="{numbers(mass.GetDiagonalInertiaAttr().Get())}"/>'
    )


def model_of(stage: Usd.Stage) -> mujoco.MjModel:
    """Return the engine's model of the scene."""
    base = stage.GetPrimAtPath(BASE)
    at = world(base)
    turned = at.ExtractRotationQuat()
    quaternion = numbers([turned.GetReal(), *turned.GetImaginary()])
    wheels, motors = "", ""
    for name in JOINTS:
        prim = stage.GetPrimAtPath(f"{ROBOT}/{name}")
        joint, drive = UsdPhysics.RevoluteJoint(prim), UsdPhysics.DriveAPI.Get(prim, "angular")
        wheel = stage.GetPrimAtPath(joint.GetBody1Rel().GetTargets()[0])
        axis = {"X": "1 0 0", "Y": "0 1 0", "Z": "0 0 1"}[joint.GetAxisAttr().Get()]
        wheels += (
            f'<body name="{wheel.GetName()}" pos="{numbers(joint.GetLocalPos0Attr().Get())}">{inertial(wheel)}'
            f'<joint name="{name}" type="hinge" axis="{axis}"/>{"".join(shapes(stage, wheel))}</body>'
        )
        # The scene counts in degrees, the engine in radians.
        gain, most = math.degrees(drive.GetDampingAttr().Get()), drive.GetMaxForceAttr().Get()
        motors += f'<velocity name="{name}" joint="{name}" kv="{gain:g}" forcerange="{-most:g} {most:g}"/>'
    gravity = UsdPhysics.Scene(stage.GetPrimAtPath("/World/PhysicsScene"))
    down = gravity.GetGravityDirectionAttr().Get() * gravity.GetGravityMagnitudeAttr().Get()
    return mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="radian"/><option timestep="{1 / STEPS / FINE:.9g}" integrator="implicitfast" '
        f'gravity="{numbers(down)}" cone="elliptic" impratio="10"/><worldbody>{"".join(shapes(stage, None))}'
        f'<body name="base_link" pos="{numbers(at.ExtractTranslation())}" quat="{quaternion}"><freejoint/>'
        f"{inertial(base)}{''.join(shapes(stage, base))}{wheels}</body></worldbody>"
        f"<actuator>{motors}</actuator></mujoco>"
    )


class Engine:
    """The running simulation, whose robot is driven as the controller in the graph does."""

    def __init__(self, stage: Usd.Stage, hall: Hall) -> None:
        values: dict[str, Any] = dict(graph.values(hall))
        self._radius = values["differential.inputs:wheelRadius"]
        self._track = values["differential.inputs:wheelDistance"]
        self.model = model_of(stage)
        self.data = mujoco.MjData(self.model)
        self._touched: set[int] = set()
        mujoco.mj_forward(self.model, self.data)

    def step(self, linear: float = 0.0, angular: float = 0.0) -> None:
        """Advance one step of the simulation."""
        for name, side in zip(JOINTS, (-1, 1), strict=True):
            speed = (linear + side * angular * self._track / 2) / self._radius
            self.data.actuator(name).ctrl[0] = speed
        mujoco.mj_step(self.model, self.data, FINE)
        self._touched.update(self.data.contact.geom.ravel().tolist())

    @property
    def touched(self) -> set[str]:
        """The shapes that have touched others."""
        return {self.model.geom(number).name for number in self._touched}

    def steps(self, seconds: float, linear: float = 0.0, angular: float = 0.0) -> None:
        for _step in range(round(seconds * STEPS)):
            self.step(linear, angular)

    @property
    def pose(self) -> tuple[float, float, float]:
        """The position of the base and its yaw."""
        x, y, _z = self.data.body("base_link").xpos
        forward = self.data.body("base_link").xmat.reshape(3, 3)[:, 0]
        return float(x), float(y), math.atan2(forward[1], forward[0])

    @property
    def speed(self) -> float:
        return float(np.linalg.norm(self.data.qvel[:2]))

    @property
    def tilt(self) -> float:
        """The angle between the robot's own vertical and that of the world, in degrees."""
        return math.degrees(math.acos(min(1.0, self.data.body("base_link").xmat[8])))

    def place(self, x: float, y: float, yaw: float) -> None:
        """Put the robot somewhere, at rest."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:7] = [x, y, 0, math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)]
        mujoco.mj_forward(self.model, self.data)

    def scan(self, stage: Usd.Stage) -> list[float]:
        """Return what the sensor measures: the depth from its origin on; its rays begin at the minimum range."""
        sensor = stage.GetPrimAtPath(LIDAR)
        nearest, farthest = (sensor.GetAttribute(name).Get() for name in ("minRange", "maxRange"))
        base = self.data.body("base_link")
        turned = base.xmat.reshape(3, 3)
        eye = base.xpos + turned @ np.array(sensor.GetAttribute("xformOp:translate").Get())
        hit = np.zeros(1, np.int32)
        found = []
        for direction in sensor.GetAttribute("rayDirections").Get():
            ray = turned @ np.array(direction, float)
            away = mujoco.mj_ray(self.model, self.data, eye + nearest * ray, ray, None, 1, -1, hit)
            found.append(nearest + away if away >= 0 else farthest)
        return found
