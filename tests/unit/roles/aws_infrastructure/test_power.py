# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role stops, starts and resizes a lab in place, whether AWS has capacity or not, and makes no second machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_aws import LocalAws, running
from tests.unit.roles.aws_infrastructure.test_launch import Play, mutating, player, resources

NAME = "robotics-lab"
CAPACITY = {"kind": "capacity", "action": "StartInstances"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """Run a local AWS for all tests of this file."""
    with running(Path(tmp_path_factory.mktemp("aws"))) as found:
        yield found


@pytest.fixture(scope="module")
def play(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Create a lab with one host, and return a function that runs the role."""
    run = player(aws, tmp_path_factory.mktemp("lab"))
    output, status, _changed = run()
    assert status == 0, output
    return run


def host(aws: LocalAws) -> dict[str, Any]:
    """Return the instance of the lab."""
    live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    (group,) = aws.client("ec2").describe_instances(Filters=live)["Reservations"]
    instance: dict[str, Any] = group["Instances"][0]
    return instance


def shape(aws: LocalAws) -> tuple[str, str]:
    """Return the type and the state of the host."""
    instance = host(aws)
    return instance["InstanceType"], instance["State"]["Name"]


def test_a_lab_is_stopped_and_started(aws: LocalAws, play: Play) -> None:
    before, first = resources(aws), host(aws)["InstanceId"]
    mutating(aws)
    output, status, changed = play("stop", "--check")
    assert (status, changed, mutating(aws)) == (0, 1, []), output
    output, status, changed = play("stop")
    assert (status, changed) == (0, 1), output
    assert shape(aws) == ("g5.xlarge", "stopped")
    mutating(aws)
    assert play("stop")[1:] == (0, 0)
    assert mutating(aws) == []

    output, status, changed = play("start", "--check")
    assert (status, changed, mutating(aws)) == (0, 1, []), output
    assert "by a user of the collection." in output
    # No zone has capacity for the type, for two rounds more.
    aws.inject(**CAPACITY)
    given = {"aws_infrastructure_capacity_wait": 0.001, "aws_infrastructure_capacity_pause": 2}
    output, status, _changed = play("start", **given)
    assert status == 2
    assert output.count("FAILED - RETRYING") == 2
    assert "Its disk is in us-east-1a, so that it starts only there." in output
    assert [call for call in mutating(aws) if call != "CreateTags"] == ["StartInstances"] * 3
    output, status, _changed = play("summary")
    assert "robotics-lab-1: start failed on 2" in output
    # Named types have no further ones.
    assert shape(aws) == ("g5.xlarge", "stopped")

    aws.mend()
    output, status, changed = play("start")
    assert (status, changed) == (0, 1), output
    assert shape(aws) == ("g5.xlarge", "running")
    mutating(aws)
    output, status, changed = play("start")
    assert (status, changed, mutating(aws)) == (0, 0, []), output
    output, status, _changed = play("summary")
    assert "robotics-lab-1 was started on 2" in output
    assert "start failed" not in output
    assert (resources(aws), host(aws)["InstanceId"]) == (before, first)


def test_site_starts_a_host_as_a_further_type_on_which_the_profile_runs(aws: LocalAws, play: Play) -> None:
    before, first = resources(aws), host(aws)["InstanceId"]
    play("stop")
    mutating(aws)
    aws.inject(**CAPACITY, types=["g5.xlarge"])
    auto = {"aws_infrastructure_instance_type": "auto", "aws_infrastructure_profile": "nav"}
    output, status, _changed = play(**auto)
    assert status == 0, output
    kind, state = shape(aws)
    assert (kind, state) == ("g4dn.xlarge", "running"), output
    calls = mutating(aws)
    assert calls.count("StartInstances") == 2
    assert "RunInstances" not in calls
    assert "This change costs -$" in output
    # What the lab's own type is, is known, and start goes back to it.
    assert {"Key": "digital_twin_instance_type", "Value": "g5.xlarge"} in host(aws)["Tags"]
    output, status, changed = play(**auto)
    assert (status, changed) == (0, 0), output
    aws.mend()
    play("stop")
    output, status, _changed = play("start", **auto)
    assert (status, *shape(aws)) == (0, "g5.xlarge", "running"), output
    assert (resources(aws), host(aws)["InstanceId"]) == (before, first)


def test_a_lab_is_resized_in_place(aws: LocalAws, play: Play) -> None:
    before, first = resources(aws), host(aws)["InstanceId"]
    mutating(aws)
    larger = {"aws_infrastructure_instance_type": "g5.2xlarge"}
    # A described change never stops a robot by itself.
    output, status, changed = play(**larger)
    assert (status, changed, mutating(aws)) == (0, 0, []), output
    assert "playbooks/resize.yml" in output
    output, status, changed = play("resize", "--check", **larger)
    assert (status, changed, mutating(aws)) == (0, 1, []), output
    assert "robotics-lab-1: g5.xlarge would become g5.2xlarge" in output
    assert "This change costs +$150.38 a month if always on, +$0.00 stopped." in output
    output, status, changed = play("resize", **larger)
    assert (status, changed) == (0, 1), output
    assert shape(aws) == ("g5.2xlarge", "running")
    assert "RunInstances" not in mutating(aws)
    output, status, changed = play("resize", **larger)
    assert (status, changed, mutating(aws)) == (0, 0, []), output
    assert (resources(aws), host(aws)["InstanceId"]) == (before, first)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"aws_infrastructure_instance_type": "auto"}, '"auto" is the type that the lab has'),
        ({"aws_infrastructure_instance_type": "m5.large"}, "does not offer it, or it has no NVIDIA GPU"),
        (
            {"aws_infrastructure_instance_type": "g4dn.xlarge", "aws_infrastructure_profile": "full"},
            "g4dn.xlarge cannot be the type of robotics-lab-1: ",
        ),
    ],
)
def test_resize_refuses(aws: LocalAws, play: Play, given: dict[str, Any], expected: str) -> None:
    mutating(aws)
    output, status, _changed = play("resize", **given)
    assert status == 2
    assert expected in output
    assert mutating(aws) == []
