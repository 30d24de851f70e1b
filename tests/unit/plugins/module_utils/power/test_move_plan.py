# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the move of a host needs next, from what exists; and where it may go."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._launch.run import StopError
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._power.calls import Host, Type
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._power.images import Copy
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._power.move_plan import (
    disk_mappings,
    next_step,
    obstacle,
    offers_of,
    tags_of,
)

STARTED = datetime(2026, 11, 30, 7, 0, tzinfo=UTC)
LATER = STARTED + timedelta(hours=8)
OLD, NEW, IMAGE = "i-0a", "i-0b", "ami-0c"


def host(identifier: str = OLD, state: str = "stopped", zone: str = "a", image: str = "ami-0", **more: Any) -> Host:
    tags = [{"Key": key, "Value": value} for key, value in more.pop("tags", {}).items()]
    instance = {
        "InstanceId": identifier,
        "State": {"Name": state},
        "Placement": {"AvailabilityZone": zone},
        "InstanceType": "g5.xlarge",
        "ImageId": image,
        "LaunchTime": STARTED,
        "Architecture": "x86_64",
        "Tags": tags,
        **more,
    }
    return Host("lab-1", instance)


def copy(created: datetime | None = LATER, identifier: str = IMAGE) -> Copy:
    return Copy(identifier, OLD, "available", created, "/dev/sda1")


def new(state: str = "running", **more: Any) -> Host:
    return host(NEW, state, "b", IMAGE, tags={"digital_twin_move": f"from {OLD} {IMAGE}"}, **more)


LEAVING: dict[str, Any] = {"tags": {"digital_twin_move": "leaving a"}}
# The instances, whether the host is to move, its image, whether snapshots exist, and the step.
STEPS = {
    "nothing was begun": ([host()], False, None, False, None),
    "begin": ([host()], True, None, False, "begin"),
    "begin while it stops": ([host(state="stopping")], True, None, False, "begin"),
    "it runs": ([host(state="running")], True, None, False, None),
    "go on with the image": ([host(**LEAVING)], True, copy(), True, "begin"),
    "wait for the caller": ([host(**LEAVING)], False, copy(), True, None),
    "given up": ([host(state="running", **LEAVING)], False, copy(), True, "clean"),
    "given up without its tag": ([host(state="running")], False, None, True, "clean"),
    "given up before the image": ([host(state="running", **LEAVING)], False, None, False, "clean"),
    "end": ([host(**LEAVING), new()], False, copy(), True, "end"),
    "end in any order": ([new("pending"), host()], True, copy(), True, "end"),
    "end without the old one": ([new()], False, None, True, "end"),
}


@pytest.mark.parametrize(("instances", "wanted", "image", "snapshots", "expected"), STEPS.values(), ids=STEPS)
def test_the_next_step(
    instances: list[Host], wanted: bool, image: Copy | None, snapshots: bool, expected: str | None
) -> None:
    step = next_step(instances, wanted, {OLD: image} if image else {}, {OLD} if snapshots else set())
    assert (step.kind if step else None) == expected
    if step and expected == "end":
        assert (step.source, step.host.id) == (OLD, NEW)
        # Only the image of which the new instance was made.
        assert (step.copy.id if step.copy else "") in (IMAGE, "")


DOUBTS = {
    "both run": ([host(state="running"), new()], copy(), "is running while i-0b in b is running"),
    "the old one starts": ([host(state="pending"), new()], copy(), "is pending while"),
    "the old one has run again": ([host(), new()], copy(STARTED), "has run after the image"),
    "the age is not known": ([host(), new()], copy(None), "has run after the image"),
    "of another image": ([host(), new()], copy(identifier="ami-0d"), "has several instances"),
    "without an image": ([host(), new()], None, "has several instances"),
    "three": ([host(), new(), host("i-0d", image=IMAGE)], copy(), "has several instances"),
    "two new ones": ([new(), host("i-0d", image=IMAGE)], copy(), "has several instances"),
}


@pytest.mark.parametrize(("instances", "image", "expected"), DOUBTS.values(), ids=DOUBTS)
def test_a_doubt_stops_the_move(instances: list[Host], image: Copy | None, expected: str) -> None:
    with pytest.raises(StopError, match=expected) as caught:
        next_step(instances, True, {OLD: image} if image else {}, set())
    assert re.search(r"Nothing was (changed|deleted)\.", str(caught.value))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ""),
        ({"InstanceLifecycle": "spot"}, "it is a spot instance"),
        ({"NetworkInterfaces": [{"PrivateIpAddresses": [{}]}]}, ""),
        ({"NetworkInterfaces": [{"PrivateIpAddresses": [{}, {}]}]}, "several private addresses"),
        ({"NetworkInterfaces": [{}, {}]}, "2 network interfaces"),
        ({"Placement": {"AvailabilityZone": "a", "Tenancy": "host"}}, "tenancy is host"),
        ({"RootDeviceType": "instance-store"}, "root disk is in its machine"),
    ],
)
def test_what_cannot_move(more: dict[str, Any], expected: str) -> None:
    volumes: dict[str, dict[str, Any]] = {"vol-root": {"Tags": []}}
    assert expected in obstacle(host(**more), volumes)
    assert bool(expected) == bool(obstacle(host(**more), volumes))


def test_a_host_with_a_data_volume_does_not_move() -> None:
    volumes = {"vol-root": {}, "vol-data": {"Tags": [{"Key": "digital_twin_data", "Value": "true"}]}}
    assert "its data volume vol-data stays in" in obstacle(host(), volumes)


def test_the_places_to_try() -> None:
    places = {"g5.xlarge": ["a", "b", "c"], "g6.xlarge": ["c", "a"], "g5g.xlarge": ["b"], "unknown": ["b"]}
    kinds = {name: Type(name, ("x86_64",), 1) for name in ("g5.xlarge", "g6.xlarge")}
    kinds["g5g.xlarge"] = Type("g5g.xlarge", ("arm64",), 1)
    offers = offers_of(host(), places, kinds, ["c", "a"])
    expected = [("g5.xlarge", "c"), ("g5.xlarge", "b"), ("g6.xlarge", "c")]
    assert [(offer.instance_type, offer.zone) for offer in offers] == expected
    assert {offer.market for offer in offers} == {"on-demand"}


def test_the_disks_are_as_they_are_now() -> None:
    mappings = [
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeId": "vol-1", "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeId": "vol-2", "DeleteOnTermination": False}},
    ]
    volumes = {
        "vol-1": {"VolumeType": "gp3", "Size": 300, "Iops": 4000, "Throughput": 250},
        # EC2 accepts no performance of these.
        "vol-2": {"VolumeType": "gp2", "Size": 50, "Iops": 150},
    }
    first = {"VolumeType": "gp3", "VolumeSize": 300, "Iops": 4000, "Throughput": 250, "DeleteOnTermination": True}
    second = {"VolumeType": "gp2", "VolumeSize": 50, "DeleteOnTermination": False}
    assert disk_mappings(host(BlockDeviceMappings=mappings), volumes) == [
        {"DeviceName": "/dev/sda1", "Ebs": first},
        {"DeviceName": "/dev/sdf", "Ebs": second},
    ]


def test_the_tags_do_not_change_between_two_runs() -> None:
    tags = {"Name": "lab-1", "team": "a", "digital_twin_last_error": "start 1", "aws:x": "1", "digital_twin_gpus": "1"}
    more = {"digital_twin_last_action": "stop person 1", "digital_twin_move": "leaving a", "digital_twin_resize": "x y"}
    expected = {"Name": "lab-1", "team": "a", "digital_twin_instance_type": "g5.xlarge"}
    assert tags_of(host(tags={**tags, **more}), copy(), "g5.xlarge") == {
        **expected,
        "digital_twin_move": f"from {OLD} {IMAGE}",
    }
