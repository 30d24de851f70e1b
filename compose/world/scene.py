# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scene that Isaac Sim opens: the hall and the robot, with their physics, as an OpenUSD text file.

It names no other file. The ROS 2 graph is not part of it: Isaac Sim's own version creates that.
Names that begin with Physx or physx, and the lidar's, are NVIDIA's; OpenUSD itself ignores them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .description import STEPS, Body, Box, Hall, Lidar, Robot, Wheels

ROBOT = "/World/Robot"
BASE = f"{ROBOT}/base_link"
LIDAR = f"{BASE}/lidar"
# In the order in which the controller sends its commands.
JOINTS = ("left_wheel_joint", "right_wheel_joint")
COLOURS = {"wall": (0.75, 0.75, 0.72), "shelf": (0.16, 0.32, 0.55), "dock": (0.85, 0.6, 0.1)}
# The simulation runs until then, in time codes: half a year. Kit's own stages end after some hours.
END = 1_000_000_000
# Friction of rubber on concrete. The caster slides: its material prevails over the floor's.
RUBBER, SMOOTH = (0.9, 0.8), (0.0, 0.0)
# Newton metre seconds a degree: the motors reach their maximum torque half a degree a second from their speed.
DAMPING = 5.0
# How much faster than at full speed a wheel may turn, when it is pushed.
RESERVE = 2.0


def scene(hall: Hall) -> str:
    """Return the scene as the text of a .usda file."""
    body = [*_surroundings(hall), "", *_hall(hall.boxes), "", *_robot(hall)]
    header = [
        "#usda 1.0",
        "(",
        '    defaultPrim = "World"',
        '    doc = "Written by `python -m compose.world` from compose/world/hall.json."',
        f"    endTimeCode = {END}",
        "    kilogramsPerUnit = 1",
        "    metersPerUnit = 1",
        "    startTimeCode = 0",
        f"    timeCodesPerSecond = {STEPS}",
        '    upAxis = "Z"',
        ")",
        "",
    ]
    return "\n".join([*header, *_prim("Xform", "World", body), ""])


def _prim(kind: str, name: str, body: Iterable[str] = (), *, apis: tuple[str, ...] = ()) -> list[str]:
    """Return the lines of a prim.

    :param apis: the API schemas that are applied to it.
    """
    head = f'def {kind} "{name}"'
    if apis:
        head += f" (\n    prepend apiSchemas = [{', '.join(map(_quoted, apis))}]\n)"
    return [*head.split("\n"), "{", *(f"    {line}" if line else "" for line in body), "}"]


def _quoted(text: str) -> str:
    return f'"{text}"'


def _tuple(*numbers: float) -> str:
    return f"({', '.join(_number(number) for number in numbers)})"


def _number(number: float) -> str:
    """Return a number without the noise of sums of decimal fractions."""
    rounded = round(number, 9) + 0.0
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


def _moved(*position: float, scale: tuple[float, float, float] | None = None, yaw: float = 0.0) -> list[str]:
    """Return the transformation of a prim."""
    operations = {"translate": f"double3 xformOp:translate = {_tuple(*position)}"}
    if yaw:
        turned = _tuple(math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))
        operations["orient"] = f"quatd xformOp:orient = {turned}"
    if scale:
        operations["scale"] = f"float3 xformOp:scale = {_tuple(*scale)}"
    order = ", ".join(_quoted(f"xformOp:{name}") for name in operations)
    return [*operations.values(), f"uniform token[] xformOpOrder = [{order}]"]


def _coloured(red: float, green: float, blue: float) -> str:
    return f"color3f[] primvars:displayColor = [{_tuple(red, green, blue)}]"


def _cuboid(name: str, low: tuple[float, ...], high: tuple[float, ...], *more: str, apis: tuple[str, ...]) -> list[str]:
    """Return a cuboid between two corners."""
    middle = [(one + other) / 2 for one, other in zip(low, high, strict=True)]
    x, y, z = (other - one for one, other in zip(low, high, strict=True))
    shape = ["double size = 1", "float3[] extent = [(-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)]"]
    return _prim("Cube", name, [*shape, *more, *_moved(*middle, scale=(x, y, z))], apis=apis)


def _material(name: str, friction: tuple[float, float], combine: str) -> list[str]:
    static, dynamic = friction
    return _prim(
        "Material",
        name,
        [
            f"float physics:staticFriction = {_number(static)}",
            f"float physics:dynamicFriction = {_number(dynamic)}",
            "float physics:restitution = 0",
            f'uniform token physxMaterial:frictionCombineMode = "{combine}"',
        ],
        apis=("PhysicsMaterialAPI", "PhysxMaterialAPI"),
    )


def _bound(material: str) -> str:
    return f"rel material:binding:physics = </World/Materials/{material}>"


def _surroundings(hall: Hall) -> list[str]:
    """Return physics, light, materials and floor."""
    physics = [
        "vector3f physics:gravityDirection = (0, 0, -1)",
        "float physics:gravityMagnitude = 9.81",
        f"uint physxScene:timeStepsPerSecond = {STEPS}",
        "bool physxScene:enableGPUDynamics = 0",
        'uniform token physxScene:broadphaseType = "MBP"',
        'uniform token physxScene:solverType = "TGS"',
    ]
    materials = [
        *_material("Rubber", RUBBER, "average"),
        *_material("Concrete", RUBBER, "average"),
        *_material("Smooth", SMOOTH, "min"),
    ]
    # The plane is endless, and not drawn; the cuboid is drawn.
    plane = _prim(
        "Plane",
        "ground",
        ['uniform token axis = "Z"', 'uniform token purpose = "guide"', _bound("Concrete")],
        apis=("PhysicsCollisionAPI", "MaterialBindingAPI"),
    )
    surface = _cuboid("surface", (*hall.low, -0.1), (*hall.high, 0.0), _coloured(0.35, 0.35, 0.34), apis=())
    sky = ["float inputs:intensity = 600"]
    sun = ["float inputs:intensity = 1200", "float inputs:angle = 2", "float3 xformOp:rotateXYZ = (35, 20, 0)"]
    sun.append('uniform token[] xformOpOrder = ["xformOp:rotateXYZ"]')
    return [
        *_prim("PhysicsScene", "PhysicsScene", physics, apis=("PhysxSceneAPI",)),
        "",
        *_prim("DomeLight", "Sky", sky),
        "",
        *_prim("DistantLight", "Sun", sun),
        "",
        *_prim("Scope", "Materials", materials),
        "",
        *_prim("Xform", "Floor", [*plane, "", *surface]),
    ]


def _hall(boxes: Iterable[Box]) -> list[str]:
    """Return the walls and the shelves. Without a rigid body they do not move."""
    lines: list[str] = []
    for box in boxes:
        colour = _coloured(*COLOURS[box.kind])
        lines += _cuboid(box.name, (*box.low, 0.0), (*box.high, box.height), colour, apis=("PhysicsCollisionAPI",))
    return _prim("Xform", "Hall", lines)


def _robot(hall: Hall) -> list[str]:
    """Return the robot at its start. Its body's origin is on the floor, below the middle of the axle."""
    robot = hall.robot
    sides = dict(zip(JOINTS, (robot.wheels.track / 2, -robot.wheels.track / 2), strict=True))
    parts = _base(robot)
    for joint, aside in sides.items():
        wheel = joint.removesuffix("_joint")
        parts += ["", *_wheel(wheel, aside, robot.wheels), "", *_joint(joint, wheel, aside, robot)]
    return _prim("Xform", "Robot", [*_moved(hall.start.x, hall.start.y, 0, yaw=hall.start.yaw), *parts])


def _mass(mass: float, centre: tuple[float, float, float], inertia: tuple[float, float, float]) -> list[str]:
    return [
        f"float physics:mass = {_number(mass)}",
        f"point3f physics:centerOfMass = {_tuple(*centre)}",
        f"float3 physics:diagonalInertia = {_tuple(*inertia)}",
        "quatf physics:principalAxes = (1, 0, 0, 0)",
    ]


def _base(robot: Robot) -> list[str]:
    body, caster, lidar = robot.body, robot.caster, robot.lidar
    forward, upward = body.balance
    own = [
        *_mass(body.mass, (forward, 0, upward), _inertia(body)),
        "bool physxArticulation:enabledSelfCollisions = 0",
        # A robot that stands still must not sleep through its next command.
        "float physxArticulation:sleepThreshold = 0",
        "int physxArticulation:solverPositionIterationCount = 32",
        "int physxArticulation:solverVelocityIterationCount = 4",
    ]
    half = (body.length / 2, body.width / 2)
    hull = _cuboid(
        "body",
        (-half[0], -half[1], body.bottom),
        (*half, body.top),
        _coloured(0.9, 0.35, 0.1),
        apis=("PhysicsCollisionAPI",),
    )
    ball = _sphere("caster", caster.radius, "Smooth", _moved(-caster.behind, 0, caster.radius))
    # Drawn only; the rays begin above the body and hit nothing of the robot.
    mast = [
        'uniform token axis = "Z"',
        "double radius = 0.04",
        f"double height = {_number(lidar.height - body.top)}",
        _coloured(0.1, 0.1, 0.1),
        *_moved(0, 0, (lidar.height + body.top) / 2),
    ]
    apis = ("PhysicsRigidBodyAPI", "PhysicsMassAPI", "PhysicsArticulationRootAPI", "PhysxArticulationAPI")
    lines = [*own, "", *hull, "", *ball, "", *_prim("Cylinder", "mast", mast), "", *_lidar(lidar)]
    return _prim("Xform", "base_link", lines, apis=apis)


def _inertia(body: Body) -> tuple[float, float, float]:
    """Return the moments of inertia of a cuboid of even density."""
    x, y, z = body.length**2, body.width**2, (body.top - body.bottom) ** 2
    return body.mass * (y + z) / 12, body.mass * (x + z) / 12, body.mass * (x + y) / 12


def _sphere(name: str, radius: float, material: str, more: list[str]) -> list[str]:
    """Return a ball that touches the floor."""
    apis = ("PhysicsCollisionAPI", "MaterialBindingAPI")
    size = _number(radius)
    extent = f"float3[] extent = [({', '.join([f'-{size}'] * 3)}), ({', '.join([size] * 3)})]"
    return _prim("Sphere", name, [f"double radius = {size}", extent, _bound(material), *more], apis=apis)


def _lidar(lidar: Lidar) -> list[str]:
    """Return the sensor, whose rays begin behind the robot and go counter-clockwise."""
    angles = [-math.pi + number * lidar.step for number in range(lidar.rays)]
    directions = ", ".join(_tuple(math.cos(angle), math.sin(angle), 0) for angle in angles)
    origins = ", ".join([_tuple(0, 0, 0)] * lidar.rays)
    return _prim(
        "IsaacRaycastSensor",
        "lidar",
        [
            "bool enabled = 1",
            f"uint numRays = {lidar.rays}",
            f"float minRange = {_number(lidar.nearest)}",
            f"float maxRange = {_number(lidar.farthest)}",
            f"float3[] rayOrigins = [{origins}]",
            f"float3[] rayDirections = [{directions}]",
            'token outputFrameOfReference = "SENSOR"',
            "bool reportHitPrimPaths = 0",
            # On the sensor itself, as NVIDIA's own wrapper writes it.
            *_moved(0, 0, lidar.height),
        ],
    )


def _wheel(name: str, aside: float, wheels: Wheels) -> list[str]:
    """Return a wheel, which is drawn as a cylinder and rolls as a ball: PhysX makes a polygon of a cylinder."""
    across = wheels.mass * (3 * wheels.radius**2 + wheels.width**2) / 12
    tyre = [
        'uniform token axis = "Y"',
        f"double radius = {_number(wheels.radius)}",
        f"double height = {_number(wheels.width)}",
        _coloured(0.05, 0.05, 0.05),
    ]
    lines = [
        *_mass(wheels.mass, (0, 0, 0), (across, wheels.mass * wheels.radius**2 / 2, across)),
        *_moved(0, aside, wheels.radius),
        "",
        *_prim("Cylinder", "tyre", tyre),
        "",
        *_sphere("contact", wheels.radius, "Rubber", ['uniform token purpose = "guide"']),
    ]
    return _prim("Xform", name, lines, apis=("PhysicsRigidBodyAPI", "PhysicsMassAPI"))


def _joint(name: str, wheel: str, aside: float, robot: Robot) -> list[str]:
    """Return the axle of a wheel with its motor. A positive speed drives forward."""
    wheels, fastest = robot.wheels, robot.fastest
    turning = (fastest.linear + fastest.angular * wheels.track / 2) / wheels.radius
    return _prim(
        "PhysicsRevoluteJoint",
        name,
        [
            'uniform token physics:axis = "Y"',
            f"rel physics:body0 = <{BASE}>",
            f"rel physics:body1 = <{ROBOT}/{wheel}>",
            "bool physics:collisionEnabled = 0",
            f"point3f physics:localPos0 = {_tuple(0, aside, wheels.radius)}",
            "point3f physics:localPos1 = (0, 0, 0)",
            "quatf physics:localRot0 = (1, 0, 0, 0)",
            "quatf physics:localRot1 = (1, 0, 0, 0)",
            'uniform token drive:angular:physics:type = "force"',
            "float drive:angular:physics:stiffness = 0",
            f"float drive:angular:physics:damping = {_number(DAMPING)}",
            f"float drive:angular:physics:maxForce = {_number(wheels.torque)}",
            "float drive:angular:physics:targetVelocity = 0",
            f"float physxJoint:maxJointVelocity = {_number(round(math.degrees(RESERVE * turning)))}",
        ],
        apis=("PhysicsDriveAPI:angular", "PhysxJointAPI"),
    )
