# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab's usage is corrected by what AWS reports: stops and starts without a run of the collection."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.entries import Entry, machine, merge
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.observe import (
    Datapoints,
    Instance,
    Thing,
    update,
)

G5 = machine("g5.xlarge", "on-demand")
# Sorts after G5: of two equal descriptions of a run, the one that sorts last is kept.
G6 = machine("g6.12xlarge", "on-demand")


def at(clock: str, day: int = 4) -> int:
    """Return a time of a day in November."""
    hour, minute = map(int, clock.split(":"))
    return int(datetime(2026, 11, day, hour, minute, tzinfo=UTC).timestamp())


def run(start: str, seen: str, end: str = "open", identifier: str = "i-1", **more: Any) -> Entry:
    return Entry("instance", identifier, G5, at(start), at(seen), end, **more)


def minutes(*spans: tuple[str, str], period: int = 60) -> Datapoints:
    return Datapoints([when for start, end in spans for when in range(at(start), at(end), period)], period)


def instance(launched: str, state: str, stopped: str = "", **more: Any) -> Instance:
    transition = f"User initiated (2026-11-04 {stopped}:00 GMT)" if stopped else ""
    return Instance("i-1", G5, at(launched), state, transition, **more)


NOW = at("18:00")
STOP = "Client.UserInitiatedShutdown"


@pytest.mark.parametrize(
    ("record", "instances", "points", "expected"),
    [
        pytest.param([], [instance("08:00", "running")], None, [run("08:00", "18:00")], id="first seen, running"),
        pytest.param(
            [run("08:00", "09:00")], [instance("08:00", "running")], None, [run("08:00", "18:00")], id="still running"
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("08:00", "stopped", "12:30", reason=STOP)],
            minutes(("08:00", "12:33")),
            [run("08:00", "12:30", "ec2", reason=STOP)],
            id="stopped by a person, the schedule or the alarm: EC2 knows when, and it shuts down for 3 minutes",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("08:00", "stopped", reason="Server.SpotInstanceShutdown")],
            minutes(("08:00", "12:31")),
            [run("08:00", "12:31", "metrics", reason="Server.SpotInstanceShutdown")],
            id="stopped, and EC2 gives no time: by its datapoints",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("08:00", "stopped")],
            None,
            [run("08:00", "09:00", "seen")],
            id="stopped, no time and no datapoints",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [replace(instance("08:00", "stopped", "12:30"), what=G6)],
            None,
            [run("08:00", "12:30", "ec2")],
            id="stopped, then given another type: it has run as the one before",
        ),
        pytest.param(
            [run("08:00", "12:30", "ec2")],
            [replace(instance("08:00", "stopped", "12:30"), what=G6)],
            None,
            [run("08:00", "12:30", "ec2")],
            id="its end was recorded before it was given another type",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("08:00", "stopped", "07:00")],
            None,
            [run("08:00", "09:00", "seen")],
            id="a time before the start belongs to an earlier run",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("14:00", "running")],
            minutes(("08:00", "12:00"), ("14:00", "18:00")),
            [run("08:00", "12:00", "metrics"), run("14:00", "18:00")],
            id="stopped and started again unseen",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("12:01", "running")],
            minutes(("08:00", "18:00")),
            [run("08:00", "12:01", "metrics"), run("12:01", "18:00")],
            id="stopped and started again within a minute",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("14:00", "running")],
            None,
            [run("08:00", "09:00", "seen"), run("14:00", "18:00")],
            id="stopped and started again, no datapoints",
        ),
        pytest.param(
            [run("06:00", "07:00", "ec2")],
            [instance("14:00", "running")],
            minutes(("06:00", "07:02"), ("09:00", "11:00"), ("14:00", "18:00")),
            [run("06:00", "07:00", "ec2"), run("09:00", "11:00", "metrics", exact=False), run("14:00", "18:00")],
            id="a whole run unseen",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [],
            minutes(("08:00", "12:00")),
            [run("08:00", "12:00", "metrics")],
            id="terminated",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [],
            minutes(("08:00", "10:00"), ("10:01", "12:00")),
            [run("08:00", "12:00", "metrics")],
            id="one missing datapoint is not a stop",
        ),
        pytest.param(
            [run("08:00", "12:00", "metrics")],
            [],
            minutes(("08:00", "12:05")),
            [run("08:00", "12:05", "metrics")],
            id="datapoints that arrive late",
        ),
        pytest.param(
            [run("08:00", "12:00", "metrics")],
            [],
            None,
            [run("08:00", "12:00", "metrics")],
            id="datapoints that expired",
        ),
        pytest.param(
            [run("08:00", "12:30", "ec2", reason=STOP)],
            [],
            minutes(("08:00", "12:33")),
            [run("08:00", "12:30", "ec2", reason=STOP)],
            id="EC2's end stays",
        ),
        pytest.param([], [], minutes(("08:00", "12:00")), [], id="datapoints of an instance that is not the lab's"),
        pytest.param(
            [run("06:00", "07:00", "ec2")],
            [],
            minutes(("06:00", "07:00"), ("09:00", "11:00"), period=300),
            [run("06:00", "07:00", "ec2"), run("09:00", "11:00", "metrics", exact=False)],
            id="datapoints of more than 15 days ago",
        ),
        pytest.param(
            [run("08:00", "09:00")],
            [instance("14:00", "running"), replace(instance("15:00", "running"), identifier="i-2")],
            minutes(("08:00", "12:00"), ("14:00", "18:00")),
            [run("08:00", "12:00", "metrics"), run("14:00", "18:00"), run("15:00", "18:00", identifier="i-2")],
            id="a second host",
        ),
    ],
)
def test_runs(record: list[Entry], instances: list[Instance], points: Datapoints | None, expected: list[Entry]) -> None:
    found = update(record, instances, [], {"i-1": points} if points else {}, NOW)
    assert found == expected
    # A second look at the same AWS changes nothing, and a lost update is made again.
    assert update(found, instances, [], {"i-1": points} if points else {}, NOW) == expected
    assert merge(record, found) == expected


VOLUME = Entry("volume", "vol-1", "gp3/200/3000/125", at("08:00"), at("09:00"))
GROWN = Entry("volume", "vol-1", "gp3/400/3000/125", at("09:00"), at("18:00"))


@pytest.mark.parametrize(
    ("record", "things", "expected"),
    [
        ([], [Thing("volume", "vol-1", "gp3/200/3000/125", at("08:00"))], [replace(VOLUME, seen=NOW)]),
        ([VOLUME], [Thing("volume", "vol-1", "gp3/200/3000/125", at("08:00"))], [replace(VOLUME, seen=NOW)]),
        ([VOLUME], [], [replace(VOLUME, end="seen")]),
        ([VOLUME], [Thing("volume", "vol-1", "gp3/400/3000/125", at("08:00"))], [replace(VOLUME, end="ec2"), GROWN]),
        (
            [replace(VOLUME, end="ec2"), replace(GROWN, seen=at("10:00"))],
            [Thing("volume", "vol-1", "gp3/400/3000/125", at("08:00"))],
            [replace(VOLUME, end="ec2"), GROWN],
        ),
        # An address has no time of its creation: from when it was first seen.
        (
            [],
            [Thing("address", "eipalloc-1", "in-use")],
            [Entry("address", "eipalloc-1", "in-use", NOW, NOW, exact=False)],
        ),
        # A reading that lacked it was wrong.
        (
            [replace(VOLUME, end="seen")],
            [Thing("volume", "vol-1", "gp3/200/3000/125", at("08:00"))],
            [replace(VOLUME, seen=NOW)],
        ),
    ],
    ids=["new", "there", "gone", "grown", "grown before", "an address", "back"],
)
def test_things(record: list[Entry], things: list[Thing], expected: list[Entry]) -> None:
    found = update(record, [], things, {}, NOW)
    assert found == expected
    assert update(found, [], things, {}, NOW) == expected
