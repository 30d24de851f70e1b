# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge between a real Redis and a robot: failures of either lose no command and repeat none."""

from __future__ import annotations

import json
import logging
import time
from functools import partial

import pytest

from compose.ros2.bridge.places import Pose
from tests.unit.compose.cognitive.support import PASSWORD
from tests.unit.compose.ros2.support import PLACES, Lab, Robot, fields_of, turns, until


def test_a_command_is_followed_published_and_stored(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    lab.give("zone_b", "a", speed="slow")
    until(bridge, lambda: robot.goals)
    assert robot.goals == [(Pose(10.0, 0.0), 40.0)]
    assert lab.pending() == 1
    robot.end()
    until(bridge, lambda: ("a", "done") in lab.outcomes())
    assert lab.outcomes() == [("a", "done")]
    assert lab.events[0] == {"id": "a", "action": "navigate", "target": "zone_b", "outcome": "done"}
    assert lab.pending() == 0


def test_a_command_with_several_stops_is_one_goal(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    lab.write(json.dumps({"id": "t", "action": "navigate", "stops": [{"target": "zone_c"}, {"target": "zone_a"}]}))
    until(bridge, lambda: robot.goals)
    assert (robot.stops, robot.places) == ([[PLACES["zone_c"]]], ["zone_a"])
    robot.end()
    until(bridge, lambda: ("t", "done") in lab.outcomes())
    assert lab.events[0]["target"] == "zone_a"


def test_commands_from_before_the_start_are_followed_in_order(lab: Lab) -> None:
    robot = Robot()
    for place in ("zone_a", "zone_b", "zone_c"):
        lab.give(place, place)
    bridge = lab.bridge(robot)
    for number in (1, 2, 3):
        until(bridge, partial(robot.was_sent, number))
        robot.end()
    turns(bridge)
    assert robot.places == ["zone_a", "zone_b", "zone_c"]
    assert lab.pending() == 0


def test_a_command_continues_after_a_crash(lab: Lab) -> None:
    lab.give("zone_b", "a")
    lab.give("zone_c", "b")
    crashed = Robot()
    until(lab.bridge(crashed), lambda: crashed.goals)
    robot = Robot()
    bridge = lab.bridge(robot)
    until(bridge, lambda: robot.goals)
    assert robot.places == ["zone_b"]
    robot.end()
    until(bridge, lambda: len(robot.goals) == 2)
    robot.end()
    until(bridge, lambda: lab.pending() == 0)
    later = Robot()
    turns(lab.bridge(later))
    assert (robot.places, later.goals) == (["zone_b", "zone_c"], [])


def test_nothing_starts_after_a_crash_before_a_stop_was_handled(lab: Lab) -> None:
    lab.give("zone_b", "a")
    crashed = Robot(obedient=False)
    before = lab.bridge(crashed)
    until(before, lambda: crashed.goals)
    lab.give(identifier="s")
    until(before, lambda: crashed.cancels)
    robot = Robot()
    bridge = lab.bridge(robot)
    until(bridge, lambda: ("s", "done") in lab.outcomes())
    turns(bridge)
    # The goal of the crashed bridge may still be active, so it is cancelled.
    assert (robot.goals, robot.cancels) == ([], 1)
    assert lab.outcomes() == [("a", "stopped"), ("s", "done")]
    assert lab.pending() == 0


def test_stop_cancels_and_later_commands_move_again(lab: Lab) -> None:
    robot = Robot(obedient=False)
    bridge = lab.bridge(robot, again=0.05)
    for place in ("zone_a", "zone_b"):
        lab.give(place, place)
    until(bridge, lambda: robot.goals)
    lab.give(identifier="s")
    lab.give("zone_c", "zone_c")
    # Until it is confirmed, it is requested again, and nothing else starts.
    until(bridge, lambda: robot.cancels > 2)
    assert len(robot.goals) == 1
    robot.obedient = True
    until(bridge, lambda: len(robot.goals) == 2)
    assert robot.places == ["zone_a", "zone_c"]
    assert lab.outcomes() == [("zone_b", "stopped"), ("zone_a", "stopped"), ("s", "done")]


def test_the_same_command_written_twice_is_followed_once(lab: Lab) -> None:
    """A client repeats a write when its connection breaks before the answer."""
    robot = Robot()
    bridge = lab.bridge(robot)
    lab.give("zone_b", "a")
    lab.give("zone_b", "a")
    until(bridge, lambda: robot.goals)
    turns(bridge)
    assert lab.pending() == 1
    # The end of the duplicate is not the end of the first.
    again = Robot()
    bridge = lab.bridge(again)
    until(bridge, lambda: again.goals)
    again.end()
    until(bridge, lambda: lab.pending() == 0)
    lab.give("zone_b", "a")
    turns(bridge)
    assert again.places == ["zone_b"]
    assert lab.outcomes() == [("a", "duplicate"), ("a", "done"), ("a", "duplicate")]


def test_malformed_messages_are_published(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    turns(bridge)
    bad: list[str | bytes] = [
        "",
        "go!",
        b"\xff\xfe",
        "[" * 9000,
        '{"action": "fly"}',
        '{"action": "navigate", "coordinates": {"a": 1}}',
    ]
    for message in bad:
        lab.write(message)
    lab.redis.xadd("robot_commands:stream", {"other": "field"})
    lab.redis.publish("robot_commands", "not JSON either")
    lab.give("zone_b", "a")
    until(bridge, lambda: robot.goals)
    assert lab.outcomes() == [("", "malformed")] * 8
    assert lab.pending() == 1
    logged = [line for line in fields_of(caplog.records) if line.get("outcome") == "malformed"]
    assert "action is 'fly'. Allowed: navigate" in str(logged)
    assert {record.levelno for record in caplog.records if record.getMessage() == "command"} == {logging.WARNING}


def test_a_killed_redis_loses_no_command(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    # Without ids, so that only their entries identify them.
    lab.give("zone_a")
    lab.give("zone_b")
    until(bridge, lambda: robot.goals)
    lab.server.stop()
    robot.end()
    turns(bridge)
    # Nothing starts while a stop could not arrive.
    assert robot.places == ["zone_a"]
    lab.server.start()
    until(bridge, lambda: len(robot.goals) == 2)
    robot.end()
    until(bridge, lambda: lab.pending() == 0)
    turns(bridge)
    assert robot.places == ["zone_a", "zone_b"]


def test_the_end_of_a_command_counts_before_redis_stores_it(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    lab.give("zone_a", "a")
    until(bridge, lambda: robot.goals)
    lab.server.stop()
    robot.end()
    turns(bridge)
    lab.server.start()
    lab.give("zone_a", "a")
    until(bridge, lambda: lab.redis.zcard("robot_commands:finished"))
    turns(bridge)
    assert (robot.places, lab.pending()) == (["zone_a"], 0)


def test_a_robot_that_a_stop_cannot_reach_stands_until_it_can(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot, patience=0.2, redis_timeout=0.1)
    lab.give("zone_a", "a")
    until(bridge, lambda: robot.goals)
    lab.server.hang()
    until(bridge, lambda: robot.cancels)
    turns(bridge)
    assert len(robot.goals) == 1
    lab.server.go_on()
    until(bridge, lambda: len(robot.goals) == 2)
    assert robot.places == ["zone_a", "zone_a"]
    robot.end()
    until(bridge, lambda: lab.pending() == 0)


def test_a_redis_that_lost_everything_is_read_again(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    turns(bridge)
    lab.redis.flushall()
    lab.give("zone_b", "a")
    until(bridge, lambda: robot.goals)


def test_commands_wait_for_nav2(lab: Lab) -> None:
    robot = Robot(there=False)
    bridge = lab.bridge(robot)
    lab.give("zone_b", "a")
    turns(bridge)
    assert robot.goals == []
    assert not (lab.folder / "healthy").exists()
    robot.there = True
    until(bridge, lambda: robot.goals)
    assert (lab.folder / "healthy").exists()


def test_an_optional_robot_may_be_switched_off(lab: Lab) -> None:
    robot = Robot(there=False)
    bridge = lab.bridge(robot, expects_robot=False)
    lab.give("zone_b", "a")
    turns(bridge)
    assert robot.goals == []
    assert (lab.folder / "healthy").exists()
    robot.there = True
    until(bridge, lambda: robot.goals)


def test_old_commands_are_not_followed(lab: Lab) -> None:
    robot = Robot()
    lab.write('{"action": "navigate", "target": "zone_b", "id": "a"}', entry="1000-1")
    lab.give("zone_c", "b")
    bridge = lab.bridge(robot)
    until(bridge, lambda: robot.goals)
    assert robot.places == ["zone_c"]
    assert lab.outcomes() == [("a", "expired")]
    assert lab.events[0]["reason"] == "was given more than 300 s ago"


def test_a_stop_of_any_age_counts(lab: Lab) -> None:
    robot = Robot()
    lab.write('{"action": "stop", "id": "s"}', entry="1000-1")
    until(lab.bridge(robot), lambda: ("s", "done") in lab.outcomes())
    assert robot.cancels == 1


def test_trimmed_entries_are_published(lab: Lab) -> None:
    crashed = Robot()
    lab.give("zone_b", "a")
    until(lab.bridge(crashed), lambda: crashed.goals)
    lab.redis.xtrim("robot_commands:stream", maxlen=0)
    robot = Robot()
    until(lab.bridge(robot), lab.outcomes)
    assert (robot.goals, lab.outcomes(), lab.pending()) == ([], [("", "malformed")], 0)


def test_the_channel_is_also_read(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    turns(bridge)
    # Messages of other clients, which do not use the stream.
    lab.redis.publish("robot_commands", '{"action": "navigate", "target": "zone_b", "coordinates": {"x": 10, "y": 0}}')
    until(bridge, lambda: robot.goals)
    robot.end()
    # A message that is also in the stream is read from there.
    lab.redis.publish("robot_commands", '{"action": "navigate", "target": "zone_c", "id": "c"}')
    turns(bridge)
    assert robot.places == ["zone_b"]
    assert lab.outcomes() == [("", "done")]


def test_redis_is_reached_through_its_socket(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot, redis_host="192.0.2.1", redis_socket=str(lab.server.socket))
    lab.give("zone_b", "a")
    until(bridge, lambda: robot.goals)


def test_a_stop_on_the_channel_alone_stops(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    lab.give("zone_b", "a")
    until(bridge, lambda: robot.goals)
    lab.redis.publish("robot_commands", '{"action": "stop", "id": "s"}')
    until(bridge, lambda: ("s", "done") in lab.outcomes())
    assert lab.outcomes() == [("a", "stopped"), ("s", "done")]


def test_status_reports_the_robot(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    lab.give("zone_b", "a")
    until(bridge, lambda: robot.goals)
    lab.write('{"action": "status", "id": "q"}')
    until(bridge, lambda: ("q", "done") in lab.outcomes())
    assert lab.events[-1]["robot"] == {"state": "driving", "target": "zone_b", "waiting": 0}


def test_a_wrong_password_is_survived_and_not_logged(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    bridge = lab.bridge(Robot(), redis_password="canary-wrong-11")
    caplog.set_level("DEBUG")
    turns(bridge)
    assert "canary" not in caplog.text + json.dumps(fields_of(caplog.records))
    assert PASSWORD not in caplog.text


def test_many_commands_are_read_at_once(lab: Lab) -> None:
    robot = Robot()
    bridge = lab.bridge(robot)
    for number in range(250):
        lab.give("zone_b", f"a{number}")
    lab.give(identifier="s")
    started = time.monotonic()
    until(bridge, lambda: ("s", "done") in lab.outcomes())
    assert robot.goals == [], f"a command started although a stop was available ({time.monotonic() - started:g} s)"
    assert lab.pending() == 0
