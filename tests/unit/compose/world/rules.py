# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the scene that OpenUSD's own validation does not have. Each yields what is wrong with a stage."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pxr import Gf, Sdf, Usd, UsdGeom, UsdLux, UsdPhysics, UsdShade, UsdUtils

from compose.isaac_sim import graph
from compose.world.description import STEPS, Hall
from compose.world.geometry import Grid
from compose.world.scene import BASE, JOINTS, LIDAR, ROBOT

VENDOR: dict[str, Any] = json.loads(Path(__file__).with_name("isaac_sim_nodes.json").read_text(encoding="utf-8"))
# Of sums of single-precision numbers.
EXACT = 1e-6
Rule = Callable[[Usd.Stage, Hall, Grid], Iterator[str]]


def world(prim: Usd.Prim) -> Gf.Matrix4d:
    """Return the transformation of a prim, also of a type that OpenUSD does not know."""
    own = Gf.Matrix4d(1.0)
    if not prim.IsA(UsdGeom.Xformable):
        for name in prim.GetAttribute("xformOpOrder").Get() or []:
            assert name == "xformOp:translate", name
            own.SetTranslate(prim.GetAttribute(name).Get())
        return own * world(prim.GetParent())
    return UsdGeom.XformCache().GetLocalToWorldTransform(prim)


def colliders(stage: Usd.Stage) -> list[Usd.Prim]:
    return [prim for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.CollisionAPI)]


def bodies(stage: Usd.Stage) -> list[Usd.Prim]:
    return [prim for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.RigidBodyAPI)]


def body_of(prim: Usd.Prim) -> Usd.Prim | None:
    """Return the nearest rigid body at or above a prim."""
    while prim and not prim.HasAPI(UsdPhysics.RigidBodyAPI):
        prim = prim.GetParent()
    return prim or None


def bounds(prim: Usd.Prim) -> Gf.Range3d:
    """Return the box around a shape, parallel to the axes of the world."""
    if prim.IsA(UsdGeom.Sphere):
        radius = UsdGeom.Sphere(prim).GetRadiusAttr().Get()
        middle = world(prim).ExtractTranslation()
        return Gf.Range3d(middle - Gf.Vec3d(radius), middle + Gf.Vec3d(radius))
    return UsdGeom.BBoxCache(0, ["default", "guide"]).ComputeWorldBound(prim).ComputeAlignedRange()


def applied(prim: Usd.Prim) -> list[str]:
    """Return all API schemas of a prim, also those that OpenUSD does not know."""
    listed = prim.GetMetadata("apiSchemas")
    return list(listed.ApplyOperations([])) if listed else []


def stage_is_measured_in_metres(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    found = {
        "up axis": (UsdGeom.GetStageUpAxis(stage), "Z"),
        "metres a unit": (UsdGeom.GetStageMetersPerUnit(stage), 1.0),
        "kilograms a unit": (UsdPhysics.GetStageKilogramsPerUnit(stage), 1.0),
        # Isaac Sim advances one time code a frame: with the default of 24 it would run too fast.
        "time codes a second": (stage.GetTimeCodesPerSecond(), STEPS),
        "default prim": (str(stage.GetDefaultPrim().GetPath()), "/World"),
        "start": (stage.GetStartTimeCode(), 0),
    }
    yield from (f"{name} is {value}, not {wanted}" for name, (value, wanted) in found.items() if value != wanted)
    if stage.GetEndTimeCode() < 30 * 24 * 3600 * STEPS:
        yield "the simulation ends within a month"


def scene_is_alone(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    layers, assets, missing = UsdUtils.ComputeAllDependencies(stage.GetRootLayer().identifier)
    yield from (f"{path} is needed" for path in [*layers[1:], *assets, *missing])
    yield from (f"{path} is needed" for path in stage.GetRootLayer().GetExternalReferences())
    yield from (
        f"{attribute.GetPath()} is a file"
        for prim in stage.Traverse()
        for attribute in prim.GetAttributes()
        if attribute.GetTypeName() in (Sdf.ValueTypeNames.Asset, Sdf.ValueTypeNames.AssetArray)
        and attribute.HasAuthoredValue()
    )


def there_is_light(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    lights = [UsdLux.LightAPI(prim) for prim in stage.Traverse() if prim.HasAPI(UsdLux.LightAPI)]
    if not any(light.GetIntensityAttr().Get() > 0 for light in lights):
        yield "the picture is black"


def attributes_exist(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    """OpenUSD accepts any name: a misspelt one has no effect."""
    for prim in stage.Traverse():
        vendor: dict[str, str] = {}
        for api in applied(prim):
            known = Usd.SchemaRegistry().FindAppliedAPIPrimDefinition(api.partition(":")[0])
            if api.startswith("Physx"):
                vendor |= VENDOR["physx"]["attributes"].get(api, {})
                if api not in VENDOR["physx"]["attributes"]:
                    yield f"{prim.GetPath()} has the unknown API {api}"
            elif not known:
                yield f"{prim.GetPath()} has the unknown API {api}"
        if str(prim.GetTypeName()) == "IsaacRaycastSensor":
            vendor |= VENDOR["sensor"]["attributes"]
            vendor |= {"xformOp:translate": "double3", "xformOpOrder": "token[]"}
        known_names = prim.GetPrimDefinition().GetPropertyNames()
        for attribute in prim.GetAuthoredProperties():
            name = attribute.GetName()
            if name in known_names or (name.startswith(("xformOp:", "primvars:")) and prim.IsA(UsdGeom.Xformable)):
                continue
            if isinstance(attribute, Usd.Attribute) and vendor.get(name) == str(attribute.GetTypeName()):
                continue
            if name != "material:binding:physics":
                yield f"{attribute.GetPath()} is not known, or has the wrong type"


def bodies_are_not_nested(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    yield from (f"{prim.GetPath()} is in another body" for prim in bodies(stage) if body_of(prim.GetParent()))


def bodies_have_mass_and_shape(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    for prim in bodies(stage):
        mass = UsdPhysics.MassAPI(prim)
        if not prim.HasAPI(UsdPhysics.MassAPI) or not mass.GetMassAttr().Get() > 0:
            yield f"{prim.GetPath()} has no mass"
        elif not all(part > 0 for part in mass.GetDiagonalInertiaAttr().Get()):
            yield f"{prim.GetPath()} has no inertia"
        if not any(body_of(shape) == prim for shape in colliders(stage)):
            yield f"{prim.GetPath()} has no shape"


def colliders_are_shapes(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    yield from (f"{prim.GetPath()} is not a shape" for prim in colliders(stage) if not prim.IsA(UsdGeom.Gprim))


def joints_meet(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    for prim in stage.Traverse():
        if not prim.IsA(UsdPhysics.Joint):
            continue
        joint = UsdPhysics.Joint(prim)
        frames = []
        for number in "01":
            targets = prim.GetRelationship(f"physics:body{number}").GetTargets()
            body = stage.GetPrimAtPath(targets[0]) if targets else None
            if not body or body_of(body) != body:
                yield f"{prim.GetPath()} has no body {number}"
                return
            at = getattr(joint, f"GetLocalPos{number}Attr")().Get()
            turned = getattr(joint, f"GetLocalRot{number}Attr")().Get()
            frame = Gf.Matrix4d().SetRotate(Gf.Quatd(turned)) * Gf.Matrix4d().SetTranslate(Gf.Vec3d(at))
            frames.append(frame * world(body))
        if not Gf.IsClose(*frames, EXACT):
            yield f"the frames of {prim.GetPath()} do not meet"


def wheels_are_driven(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    for name in JOINTS:
        prim = stage.GetPrimAtPath(f"{ROBOT}/{name}")
        drive = UsdPhysics.DriveAPI.Get(prim, "angular")
        joint = UsdPhysics.RevoluteJoint(prim)
        if not joint or not drive:
            yield f"{name} is not a driven joint"
            continue
        limit, speed = drive.GetMaxForceAttr().Get(), prim.GetAttribute("physxJoint:maxJointVelocity").Get()
        fastest = hall.robot.fastest
        needed = (fastest.linear + fastest.angular * hall.robot.wheels.track / 2) / hall.robot.wheels.radius
        wanted = {
            "axis": joint.GetAxisAttr().Get() == "Y",
            "limits": joint.GetLowerLimitAttr().Get() == -math.inf and joint.GetUpperLimitAttr().Get() == math.inf,
            "collisions": joint.GetCollisionEnabledAttr().Get() is False,
            # A velocity drive: a stiffness would pull the wheel back to an angle.
            "type": drive.GetTypeAttr().Get() == "force",
            "stiffness": drive.GetStiffnessAttr().Get() == 0,
            "damping": drive.GetDampingAttr().Get() > 0,
            "target": drive.GetTargetVelocityAttr().Get() == 0,
            "torque": 0 < limit < math.inf,
            "speed": speed is not None and math.degrees(needed) < speed < math.inf,
        }
        yield from (f"{name} has the wrong {name_of}" for name_of, right in wanted.items() if not right)


def robot_is_one_articulation(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    roots = [str(prim.GetPath()) for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.ArticulationRootAPI)]
    if roots != [BASE]:
        yield f"the articulation begins at {roots}"
    elif body_of(stage.GetPrimAtPath(BASE)) != stage.GetPrimAtPath(BASE):
        yield "a floating articulation begins at its body"


def robot_touches_the_floor(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    """With its wheels and its caster only."""
    for prim in colliders(stage):
        if not body_of(prim):
            continue
        low = bounds(prim).GetMin()[2]
        touches = prim.IsA(UsdGeom.Sphere)
        if touches != (abs(low) < EXACT) or low < -EXACT:
            yield f"{prim.GetPath()} is {low:g} above the floor"
    ground = [prim for prim in colliders(stage) if prim.IsA(UsdGeom.Plane)]
    if [world(prim).ExtractTranslation()[2] for prim in ground] != [0.0]:
        yield "there is no floor at height 0"


def robot_stands_on_three_points(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    """With more, a wheel may carry nothing. The centre of mass is between them."""
    points = [world(prim).ExtractTranslation() for prim in colliders(stage) if prim.IsA(UsdGeom.Sphere)]
    if len(points) != 3:
        yield f"the robot stands on {len(points)} points"
        return
    base = stage.GetPrimAtPath(BASE)
    centre = world(base).Transform(Gf.Vec3d(UsdPhysics.MassAPI(base).GetCenterOfMassAttr().Get()))
    one, two, three = ((point[0] - centre[0], point[1] - centre[1]) for point in points)
    sides = [a[0] * b[1] - a[1] * b[0] for a, b in ((one, two), (two, three), (three, one))]
    if not (all(side > 0 for side in sides) or all(side < 0 for side in sides)):
        yield "the centre of mass is not between wheels and caster"


def materials_roll_and_slide(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    """Without a value friction is 0, and the wheels spin."""
    for prim in colliders(stage):
        if not prim.IsA(UsdGeom.Sphere) and not prim.IsA(UsdGeom.Plane):
            continue
        material, _relationship = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial("physics")
        if not material:
            yield f"{prim.GetPath()} has no material"
            continue
        physics = UsdPhysics.MaterialAPI(material.GetPrim())
        friction = (physics.GetStaticFrictionAttr().Get(), physics.GetDynamicFrictionAttr().Get())
        combine = material.GetPrim().GetAttribute("physxMaterial:frictionCombineMode").Get()
        slides = prim.GetName() == "caster"
        # The floor's friction would be averaged with that of the caster.
        if (max(friction) == 0 and combine == "min") != slides or (not slides and min(friction) < 0.5):
            yield f"{prim.GetPath()} has the friction {friction}, {combine}"


def robot_is_as_described(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    """Its start, its wheels, and what the controller in the graph knows of them."""
    start = Gf.Matrix4d().SetRotate(Gf.Rotation(Gf.Vec3d(0, 0, 1), math.degrees(hall.start.yaw)))
    start.SetTranslateOnly(Gf.Vec3d(hall.start.x, hall.start.y, 0))
    for path in (ROBOT, BASE):
        if not Gf.IsClose(world(stage.GetPrimAtPath(path)), start, EXACT):
            yield f"{path} does not start at {hall.start}"
    to_robot = world(stage.GetPrimAtPath(BASE)).GetInverse()
    wheels = [stage.GetPrimAtPath(f"{ROBOT}/{name.removesuffix('_joint')}") for name in JOINTS]
    left, right = (to_robot.Transform(world(wheel).ExtractTranslation()) for wheel in wheels)
    values: dict[str, Any] = dict(graph.values(hall))
    if abs(left[1] - right[1] - values["differential.inputs:wheelDistance"]) > EXACT or left[1] < 0:
        yield f"the wheels are at {left} and {right}"
    for wheel in wheels:
        for part in ("contact", "tyre"):
            radius = wheel.GetChild(part).GetAttribute("radius").Get()
            if abs(radius - values["differential.inputs:wheelRadius"]) > EXACT:
                yield f"{wheel.GetPath()}/{part} has the radius {radius}"
    for prim in colliders(stage):
        if body_of(prim) and prim.IsA(UsdGeom.Cube):
            to_middle = world(prim) * to_robot
            corners = (to_middle.Transform(Gf.Vec3d(x, y, 0)) for x in (-0.5, 0.5) for y in (-0.5, 0.5))
            reach = max(math.hypot(corner[0], corner[1]) for corner in corners)
            if reach > hall.robot.radius + EXACT:
                yield f"{prim.GetPath()} reaches {reach:g} from the middle"


def rays_are_complete(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    """Isaac Sim disables a sensor whose arrays have other lengths; the message counts on equal steps."""
    sensor, lidar = stage.GetPrimAtPath(LIDAR), hall.robot.lidar
    if str(sensor.GetTypeName()) != "IsaacRaycastSensor" or not sensor.GetAttribute("enabled").Get():
        yield f"{LIDAR} is not a sensor"
        return
    origins, directions = sensor.GetAttribute("rayOrigins").Get(), sensor.GetAttribute("rayDirections").Get()
    counts = {sensor.GetAttribute("numRays").Get(), len(origins), len(directions), lidar.rays}
    if len(counts) > 1:
        yield f"numbers of rays differ: {sorted(counts)}"
    if any(origin != Gf.Vec3f(0) for origin in origins):
        yield "a ray does not begin at the sensor"
    for number, (x, y, z) in enumerate(directions):
        angle = -math.pi + number * lidar.step
        if math.dist((x, y, z), (math.cos(angle), math.sin(angle), 0)) > EXACT:
            yield f"ray {number} does not have the angle {math.degrees(angle):g}"
    ranges = [sensor.GetAttribute(name).Get() for name in ("minRange", "maxRange")]
    if any(abs(a - b) > EXACT for a, b in zip(ranges, (lidar.nearest, lidar.farthest), strict=True)):
        yield f"the range is {ranges}"
    if sensor.GetAttribute("rayTimeOffsets").HasAuthoredValue():
        yield "the rays are not cast at once"
    if body_of(sensor) != stage.GetPrimAtPath(BASE):
        yield "the sensor does not move with the robot"
    height = world(sensor).ExtractTranslation() - world(stage.GetPrimAtPath(BASE)).ExtractTranslation()
    frame: Any = graph.values(hall)["lidar_frame.inputs:translation"]
    if math.dist(height, frame) > EXACT:
        yield f"the sensor is at {height}, which is not its frame in ROS"


def rays_miss_the_robot(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    eye = world(stage.GetPrimAtPath(LIDAR)).ExtractTranslation()
    for prim in colliders(stage):
        box = bounds(prim)
        if body_of(prim) and box.GetMin()[2] - EXACT <= eye[2] <= box.GetMax()[2] + EXACT:
            yield f"the lidar sees {prim.GetPath()}"


def map_shows_what_the_lidar_hits(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    """Cell by cell: the map, and the fixed shapes at the height of the lidar."""
    height = world(stage.GetPrimAtPath(LIDAR)).ExtractTranslation()[2]
    cells = [bytearray(len(row)) for row in grid.rows]
    for prim in colliders(stage):
        box = bounds(prim)
        if body_of(prim) or prim.IsA(UsdGeom.Plane) or not box.GetMin()[2] <= height <= box.GetMax()[2]:
            continue
        columns, rows = (middles(box, axis, grid, count) for axis, count in enumerate((len(cells[0]), len(cells))))
        for row in rows:
            cells[row][columns.start : columns.stop] = b"\1" * len(columns)
    for number, (found, wanted) in enumerate(zip(cells, grid.rows, strict=True)):
        if found != wanted:
            (column, *_others) = (at for at, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
            yield f"map and scene differ in column {column} of row {number}"
            return


def middles(box: Gf.Range3d, axis: int, grid: Grid, count: int) -> range:
    """Return the cells whose middles are within a box."""
    low, high = ((edge[axis] - grid.low[axis]) / grid.resolution for edge in (box.GetMin(), box.GetMax()))
    return range(max(0, math.ceil(low - 0.5 + EXACT)), min(count, math.ceil(high - 0.5 - EXACT)))


def graph_finds_its_prims(stage: Usd.Stage, hall: Hall, grid: Grid) -> Iterator[str]:
    for name, value in graph.values(hall).items():
        if isinstance(value, graph.Prim) and not stage.GetPrimAtPath(str(value)):
            yield f"{name} is {value}, which does not exist"
    names = [prim.GetName() for prim in stage.Traverse() if prim.IsA(UsdPhysics.Joint)]
    if names != graph.values(hall)["wheels.inputs:jointNames"]:
        yield f"the joints are {names}"
    if stage.GetPrimAtPath(graph.PATH):
        yield f"{graph.PATH} exists already"


RULES: tuple[Rule, ...] = (
    stage_is_measured_in_metres,
    scene_is_alone,
    there_is_light,
    attributes_exist,
    bodies_are_not_nested,
    bodies_have_mass_and_shape,
    colliders_are_shapes,
    joints_meet,
    wheels_are_driven,
    robot_is_one_articulation,
    robot_touches_the_floor,
    robot_stands_on_three_points,
    materials_roll_and_slide,
    robot_is_as_described,
    rays_are_complete,
    rays_miss_the_robot,
    map_shows_what_the_lidar_hits,
    graph_finds_its_prims,
)
