# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene of Isaac Sim, opened with OpenUSD. What OpenUSD's validation does not see, ``rules.py`` checks.

Each rule is tested too: a changed scene must break it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pxr import Gf, Sdf, Usd, UsdPhysics, UsdValidation

from compose.world.scene import BASE, JOINTS, LIDAR, ROBOT, scene
from tests.unit.compose.world import rules
from tests.unit.compose.world.support import HALL, SCENE, hall, read_map

GRID = read_map()


def opened(text: str) -> Usd.Stage:
    layer = Sdf.Layer.CreateAnonymous(".usda")
    assert layer.ImportFromString(text)
    return Usd.Stage.Open(layer)


def shipped() -> Usd.Stage:
    """Return the shipped scene, whose changes are not saved."""
    return opened(SCENE.read_text(encoding="utf-8"))


def broken(stage: Usd.Stage) -> dict[str, list[str]]:
    """Return what each rule finds, for those that find something."""
    found = {rule.__name__: list(rule(stage, HALL, GRID)) for rule in rules.RULES}
    return {name: problems for name, problems in found.items() if problems}


def test_openusd_finds_nothing() -> None:
    registry = UsdValidation.ValidationRegistry()
    validators = registry.GetOrLoadAllValidators()
    assert len(validators) > 20
    stage = Usd.Stage.Open(str(SCENE))
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [f"{error.GetName()}: {error.GetMessage()}" for error in errors] == []


def test_the_rules_find_nothing() -> None:
    stage = Usd.Stage.Open(str(SCENE))
    assert broken(stage) == {}


def test_a_physics_engine_finds_every_part() -> None:
    """The shapes, bodies and joints as OpenUSD's parser returns them to physics engines."""
    found = UsdPhysics.UsdPhysicsLoadStageFromPrimRange(shipped(), ["/"])
    parts = {str(kind): [str(path) for path in paths] for kind, (paths, _descriptions) in found.items()}
    assert Counter({kind: len(paths) for kind, paths in parts.items()}) == {
        "Scene": 1,
        "RigidBodyMaterial": 3,
        "PlaneShape": 1,
        "CubeShape": len(HALL.boxes) + 1,
        "SphereShape": 3,
        "RigidBody": 3,
        "RevoluteJoint": 2,
        "Articulation": 1,
    }
    assert parts["Articulation"] == [BASE]
    assert parts["RevoluteJoint"] == [f"{ROBOT}/{name}" for name in JOINTS]


def test_another_description_makes_a_valid_scene() -> None:
    """With another start, other wheels and another lidar, the rules hold for it and not for the shipped one."""
    other = hall(
        start={"x": 10.0, "y": 5.0, "yaw": 1.0},
        robot__wheels__radius=0.07,
        robot__wheels__track=0.31,
        robot__lidar__rays=180,
        robot__lidar__height=0.5,
    )
    stage = opened(scene(other))
    assert [list(rule(stage, other, GRID)) for rule in rules.RULES] == [[]] * len(rules.RULES)
    assert {"robot_is_as_described", "rays_are_complete"} <= broken(stage).keys()


def at(path: str, attribute: str, value: Any) -> Callable[[Usd.Stage], None]:
    """Return a change of one attribute."""

    def change(stage: Usd.Stage) -> None:
        found = stage.GetPrimAtPath(path).GetAttribute(attribute)
        assert found.HasAuthoredValue(), (path, attribute)
        assert found.Get() != value
        found.Set(value)

    return change


def on(path: str, api: Any, *more: str) -> Callable[[Usd.Stage], None]:
    """Return a change that applies an API."""

    def change(stage: Usd.Stage) -> None:
        api.Apply(stage.GetPrimAtPath(path), *more)

    return change


def without(*paths: str) -> Callable[[Usd.Stage], None]:
    def change(stage: Usd.Stage) -> None:
        assert all(stage.RemovePrim(path) for path in paths)

    return change


def metadata(name: str, value: Any) -> Callable[[Usd.Stage], None]:
    return lambda stage: stage.SetMetadata(name, value)


def misspelt(stage: Usd.Stage) -> None:
    stage.GetPrimAtPath(f"{ROBOT}/left_wheel").CreateAttribute("physics:weight", Sdf.ValueTypeNames.Float).Set(1.0)


def unknown_api(stage: Usd.Stage) -> None:
    assert stage.GetPrimAtPath(JOINT).AddAppliedSchema("PhysxWheelAPI")


def wrong_type(stage: Usd.Stage) -> None:
    sensor = stage.GetPrimAtPath(LIDAR)
    sensor.RemoveProperty("numRays")
    sensor.CreateAttribute("numRays", Sdf.ValueTypeNames.Int, custom=False).Set(HALL.robot.lidar.rays)


def referenced(stage: Usd.Stage) -> None:
    stage.DefinePrim("/World/Shelf").GetReferences().AddReference("https://example.com/shelf.usd")


def unbound(stage: Usd.Stage) -> None:
    stage.GetPrimAtPath(f"{ROBOT}/left_wheel/contact").GetRelationship("material:binding:physics").ClearTargets(True)


def fewer_rays(stage: Usd.Stage) -> None:
    directions = stage.GetPrimAtPath(LIDAR).GetAttribute("rayDirections")
    directions.Set(directions.Get()[:-1])


def turned_rays(stage: Usd.Stage) -> None:
    directions = stage.GetPrimAtPath(LIDAR).GetAttribute("rayDirections")
    directions.Set([*directions.Get()[1:], directions.Get()[0]])


def without_body(stage: Usd.Stage) -> None:
    stage.GetPrimAtPath(f"{ROBOT}/left_wheel_joint").GetRelationship("physics:body1").ClearTargets(True)


def mast_is_solid(stage: Usd.Stage) -> None:
    UsdPhysics.CollisionAPI.Apply(stage.GetPrimAtPath(f"{BASE}/mast"))


def fourth_point(stage: Usd.Stage) -> None:
    caster = Sdf.CopySpec(stage.GetRootLayer(), f"{BASE}/caster", stage.GetRootLayer(), f"{BASE}/caster_2")
    assert caster
    stage.GetPrimAtPath(f"{BASE}/caster_2").GetAttribute("xformOp:translate").Set((0.14, 0, 0.03))


CONTACT = f"{ROBOT}/left_wheel/contact"
JOINT = f"{ROBOT}/left_wheel_joint"
CHANGES: dict[str, tuple[Callable[[Usd.Stage], None], set[str]]] = {
    "inches": (metadata("metersPerUnit", 0.0254), {"stage_is_measured_in_metres"}),
    "y up": (metadata("upAxis", "Y"), {"stage_is_measured_in_metres"}),
    "24 time codes a second": (metadata("timeCodesPerSecond", 24.0), {"stage_is_measured_in_metres"}),
    "ends after a minute": (metadata("endTimeCode", 3600.0), {"stage_is_measured_in_metres"}),
    "a download": (referenced, {"scene_is_alone"}),
    "no light": (without("/World/Sky", "/World/Sun"), {"there_is_light"}),
    "a misspelt attribute": (misspelt, {"attributes_exist"}),
    "an attribute of another type": (wrong_type, {"attributes_exist"}),
    "an unknown API": (unknown_api, {"attributes_exist"}),
    "a body in a body": (on(f"{BASE}/body", UsdPhysics.RigidBodyAPI), {"bodies_are_not_nested"}),
    "no mass": (at(f"{ROBOT}/left_wheel", "physics:mass", 0.0), {"bodies_have_mass_and_shape"}),
    "no inertia": (at(BASE, "physics:diagonalInertia", (0, 1, 1)), {"bodies_have_mass_and_shape"}),
    "no shape": (without(CONTACT), {"bodies_have_mass_and_shape"}),
    "a group that collides": (on("/World/Hall", UsdPhysics.CollisionAPI), {"colliders_are_shapes"}),
    "a joint beside its wheel": (at(JOINT, "physics:localPos0", (0, 0.17, 0.08)), {"joints_meet"}),
    "a turned joint": (at(JOINT, "physics:localRot1", Gf.Quatf(0.7071068, 0.7071068, 0, 0)), {"joints_meet"}),
    "a joint without a wheel": (without_body, {"joints_meet"}),
    "another axis": (at(JOINT, "physics:axis", "Z"), {"wheels_are_driven"}),
    "a spring": (at(JOINT, "drive:angular:physics:stiffness", 10.0), {"wheels_are_driven"}),
    "no damping": (at(JOINT, "drive:angular:physics:damping", 0.0), {"wheels_are_driven"}),
    "no torque": (at(JOINT, "drive:angular:physics:maxForce", 0.0), {"wheels_are_driven"}),
    "endless torque": (at(JOINT, "drive:angular:physics:maxForce", float("inf")), {"wheels_are_driven"}),
    "a motor that is too slow": (at(JOINT, "physxJoint:maxJointVelocity", 1000.0), {"wheels_are_driven"}),
    "a motor that runs": (at(JOINT, "drive:angular:physics:targetVelocity", 90.0), {"wheels_are_driven"}),
    "two articulations": (on(ROBOT, UsdPhysics.ArticulationRootAPI), {"robot_is_one_articulation"}),
    "a robot in the air": (at(ROBOT, "xformOp:translate", (0, 0, 0.1)), {"robot_touches_the_floor"}),
    "a wheel in the floor": (at(CONTACT, "radius", 0.09), {"robot_touches_the_floor", "robot_is_as_described"}),
    "a caster in the air": (at(f"{BASE}/caster", "radius", 0.02), {"robot_touches_the_floor"}),
    "no floor": (without("/World/Floor/ground"), {"robot_touches_the_floor"}),
    "four points": (fourth_point, {"robot_stands_on_three_points"}),
    "tips forward": (at(BASE, "physics:centerOfMass", (0.05, 0, 0.09)), {"robot_stands_on_three_points"}),
    "a wheel without material": (unbound, {"materials_roll_and_slide"}),
    "smooth wheels": (at("/World/Materials/Rubber", "physics:dynamicFriction", 0.0), {"materials_roll_and_slide"}),
    "a caster that brakes": (
        at("/World/Materials/Smooth", "physxMaterial:frictionCombineMode", "average"),
        {"materials_roll_and_slide"},
    ),
    "another start": (at(ROBOT, "xformOp:translate", (1, 0, 0)), {"robot_is_as_described"}),
    "another track": (at(f"{ROBOT}/left_wheel", "xformOp:translate", (0, 0.17, 0.08)), {"robot_is_as_described"}),
    "a body that is too wide": (at(f"{BASE}/body", "xformOp:scale", (0.5, 0.26, 0.2)), {"robot_is_as_described"}),
    "a missing ray": (fewer_rays, {"rays_are_complete"}),
    "a turned lidar": (turned_rays, {"rays_are_complete"}),
    "another number of rays": (at(LIDAR, "numRays", 180), {"rays_are_complete"}),
    "a short range": (at(LIDAR, "maxRange", 10.0), {"rays_are_complete"}),
    "a lidar that is off": (at(LIDAR, "enabled", False), {"rays_are_complete"}),
    "a lidar in the body": (at(LIDAR, "xformOp:translate", (0, 0, 0.2)), {"rays_miss_the_robot", "rays_are_complete"}),
    "a solid mast": (mast_is_solid, {"rays_miss_the_robot"}),
    "a shelf that is too low": (
        at("/World/Hall/ramp", "xformOp:scale", (0.8, 3, 0.4)),
        {"map_shows_what_the_lidar_hits"},
    ),
    "a shelf elsewhere": (
        at("/World/Hall/ramp", "xformOp:translate", (18.25, 5, 0.6)),
        {"map_shows_what_the_lidar_hits"},
    ),
    "a missing shelf": (without("/World/Hall/rack_north"), {"map_shows_what_the_lidar_hits"}),
    "no lidar": (without(LIDAR), {"graph_finds_its_prims"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_rule_finds_what_it_is_for(name: str) -> None:
    stage = shipped()
    change, wanted = CHANGES[name]
    change(stage)
    for rule in rules.RULES:
        if rule.__name__ in wanted:
            assert list(rule(stage, HALL, GRID)), rule.__name__


def test_every_rule_is_broken_by_a_change() -> None:
    assert set().union(*(wanted for _change, wanted in CHANGES.values())) == {rule.__name__ for rule in rules.RULES}
