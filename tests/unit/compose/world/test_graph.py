# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ROS 2 graph of the robot: its nodes, attributes and types are those of Isaac Sim (isaac_sim_nodes.json)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from compose.isaac_sim import graph
from tests.unit.compose.world.support import HALL

VENDOR: dict[str, Any] = json.loads(Path(__file__).with_name("isaac_sim_nodes.json").read_text(encoding="utf-8"))
VALUES: dict[str, Any] = graph.values(HALL)
Connections = Sequence[tuple[str, str]]

# What Python value each type takes, and its range.
NUMBERS = {"uint": (0, 2**32 - 1), "uint64": (0, 2**64 - 1), "int": (-(2**31), 2**31 - 1), "uchar": (0, 255)}
LENGTHS = {"float[2]": 2, "vectord[3]": 3, "quatd[4]": 4}


def fits(value: object, kind: str) -> bool:
    """Return whether a Python value can be that of an attribute."""
    if kind in NUMBERS:
        low, high = NUMBERS[kind]
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    if kind in LENGTHS:
        return (
            isinstance(value, list) and len(value) == LENGTHS[kind] and all(isinstance(part, float) for part in value)
        )
    return {
        "bool": isinstance(value, bool),
        "double": isinstance(value, float),
        "float": isinstance(value, float),
        "string": isinstance(value, str) and not isinstance(value, graph.Prim),
        "target": isinstance(value, graph.Prim),
        "token[]": isinstance(value, list) and all(isinstance(part, str) for part in value),
    }.get(kind, False)


def type_of(nodes: Mapping[str, str], attribute: str) -> str:
    """Return the type of `node.inputs:name` or `node.outputs:name`, empty if there is none."""
    node, _dot, name = attribute.partition(".")
    side, _colon, name = name.partition(":")
    definition = VENDOR["nodes"].get(nodes.get(node), {})
    known = definition.get(side, {})
    if side == "inputs" and definition.get("ros"):
        known = known | VENDOR["ros"]
    return str(known.get(name, ""))


def problems(nodes: Mapping[str, str], connections: Connections, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Isaac Sim would refuse, or run without an effect."""
    yield from (f"{name} is a {kind}, which is unknown" for name, kind in nodes.items() if kind not in VENDOR["nodes"])
    for source, target in connections:
        kinds = type_of(nodes, source), type_of(nodes, target)
        if ".outputs:" not in source or ".inputs:" not in target or not all(kinds) or kinds[0] != kinds[1]:
            yield f"{source} -> {target}: {kinds}"
    ends = Counter(target for _source, target in connections)
    yield from (f"{target} has {count} sources" for target, count in ends.items() if count > 1)
    for name, value in values.items():
        if not fits(value, type_of(nodes, name)):
            yield f"{name} is {value!r}, not a {type_of(nodes, name)}"
        if name in ends:
            yield f"{name} has a value and a source"
    for name in graph.read_and_written():
        if not type_of(nodes, name):
            yield f"{name} is unknown"
    for name in graph.DRIVEN:
        if name in ends:
            yield f"{name} does not obey the watchdog"
    for node in nodes:
        for needed in ("execIn", "timeStamp", "context"):
            if type_of(nodes, f"{node}.inputs:{needed}") and f"{node}.inputs:{needed}" not in ends:
                yield f"{node} has no {needed}"


def test_isaac_sim_has_every_node_and_attribute() -> None:
    assert list(problems(graph.NODES, graph.CONNECTIONS, VALUES)) == []


def test_the_definitions_have_a_version() -> None:
    assert VENDOR["release"].startswith("Isaac Sim 6.")
    assert {*VENDOR["nodes"]} == {*graph.NODES.values()}


@pytest.mark.parametrize(
    ("nodes", "connections", "values", "message"),
    [
        ({"clock": "isaacsim.ros2.bridge.ROS2PublishTime"}, [], {}, "clock is a isaacsim.ros2.bridge.ROS2PublishTime"),
        ({}, [("tick.outputs:tock", "gate.inputs:execIn")], {}, "tick.outputs:tock -> gate.inputs:execIn"),
        (
            {},
            [("lidar.outputs:depths", "scan.inputs:intensitiesData")],
            {},
            "lidar.outputs:depths -> scan.inputs:intens",
        ),
        ({}, [("time.outputs:simulationTime", "odom.inputs:timeStamp")], {}, "odom.inputs:timeStamp has 2 sources"),
        (
            {},
            [("time.outputs:simulationTime", graph.DRIVEN[0])],
            {},
            "differential.inputs:linearVelocity does not obey",
        ),
        ({}, [], {"scan.inputs:numCols": 360.0}, "scan.inputs:numCols is 360.0, not a int"),
        ({}, [], {"scan.inputs:rotationRate": 0}, "scan.inputs:rotationRate is 0, not a float"),
        ({}, [], {"scan.inputs:topic": "scan"}, "scan.inputs:topic is 'scan', not a "),
        ({}, [], {"gate.inputs:step": -1}, "gate.inputs:step is -1, not a uint"),
        ({}, [], {"scan.inputs:azimuthRange": [-180.0, 0.0, 180.0]}, "scan.inputs:azimuthRange is"),
        (
            {},
            [],
            {"lidar.inputs:raycastSensorPrim": "/World/lidar"},
            "raycastSensorPrim is '/World/lidar', not a target",
        ),
        ({}, [], {"odom.inputs:timeStamp": 0.0}, "odom.inputs:timeStamp has a value and a source"),
        ({"extra": "isaacsim.core.nodes.IsaacSimulationGate"}, [], {}, "extra has no execIn"),
    ],
)
def test_a_wrong_graph_is_found(
    nodes: dict[str, str], connections: list[tuple[str, str]], values: dict[str, Any], message: str
) -> None:
    found = problems(graph.NODES | nodes, [*graph.CONNECTIONS, *connections], VALUES | values)
    assert message in "\n".join(found)


@pytest.mark.parametrize("number", range(len(graph.CONNECTIONS)), ids=[target for _source, target in graph.CONNECTIONS])
def test_each_connection_is_needed(number: int) -> None:
    """Without it, a rule above or one of these fails: what is published, and what is executed, is complete."""
    left = [*graph.CONNECTIONS[:number], *graph.CONNECTIONS[number + 1 :]]
    assert list(problems(graph.NODES, left, VALUES)) or {*DATA} - {target for _source, target in left}


# Inputs whose defaults are not what must be published.
DATA = (
    "odom.inputs:position",
    "odom.inputs:orientation",
    "odom.inputs:linearVelocity",
    "odom.inputs:angularVelocity",
    "odom_frame.inputs:translation",
    "odom_frame.inputs:rotation",
    "scan.inputs:linearDepthData",
    "wheels.inputs:velocityCommand",
)


def test_every_message_has_its_data() -> None:
    assert {*DATA} <= {target for _source, target in graph.CONNECTIONS}


def test_the_topics_are_those_of_nav2() -> None:
    topics = {name.partition(".")[0]: value for name, value in VALUES.items() if name.endswith(":topicName")}
    assert topics == {
        "clock": "clock",
        "command": "cmd_vel",
        "odom": "odom",
        "odom_frame": "tf",
        "lidar_frame": "tf",
        "scan": "scan",
    }


def test_the_frames_form_one_tree() -> None:
    edges = {
        (VALUES[f"{node}.inputs:parentFrameId"], VALUES[f"{node}.inputs:childFrameId"])
        for node in ("odom_frame", "lidar_frame")
    }
    assert edges == {("odom", "base_link"), ("base_link", "lidar")}
    assert VALUES["scan.inputs:frameId"] == "lidar"
    assert (VALUES["odom.inputs:odomFrameId"], VALUES["odom.inputs:chassisFrameId"]) == ("odom", "base_link")


def test_the_scan_counts_what_it_contains() -> None:
    """The number of ranges follows from the angles, as its readers compute it."""
    low, high = VALUES["scan.inputs:azimuthRange"]
    step, count = VALUES["scan.inputs:horizontalResolution"], VALUES["scan.inputs:numCols"]
    assert count == HALL.robot.lidar.rays
    assert (high - low) / step + 1 == pytest.approx(count)
    assert step * count == pytest.approx(VALUES["scan.inputs:horizontalFov"])
    assert VALUES["gate.inputs:step"] * HALL.robot.lidar.rate == 60
