# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs whose hosts nobody configures: one goes and its neighbour stays, a bad day is survived, and a cloud dies."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.waiting import wait_until
from tests.support.account import counts, holdings
from tests.support.lab import NOTHING, Cloud, kill_when, pieces

# Moments of provisioning, each as the call that AWS has just been sent: it is carried out, and nobody hears the answer.
MOMENTS = [
    "CreateVpc",
    "AttachInternetGateway",
    "CreateSubnet",
    "CreateSecurityGroup",
    "RunInstances",
    "AllocateAddress",
]
# A lab of one host.
LAB: dict[str, Any] = {"aws_infrastructure_name": "orphan", "aws_infrastructure_instance_count": 1}


@pytest.fixture
def watched(other: Cloud) -> Cloud:
    """Return the cloud with a lab of one host, its alarms, dashboard and log groups."""
    if not other.lab_runs:
        for playbook in ("provision", "monitor"):
            other.playbook(f"playbooks/{playbook}.yml", **LAB).must_succeed()
        other.lab_runs = True
    return other


@pytest.mark.full
def test_killed_at_any_moment_it_converges(
    other: Cloud, other_empty_account: set[tuple[str, str]], tmp_path: Path
) -> None:
    variables: dict[str, Any] = {"aws_infrastructure_name": "killed", "aws_infrastructure_instance_count": 1}
    words = ["ansible-playbook", "playbooks/provision.yml", "-e", json.dumps(variables)]
    for moment in MOMENTS:
        other.control("DELETE", "calls")
        kill_when(words, other.environment, tmp_path / "log", partial(other.was_asked, moment), moment)
    other.playbook("playbooks/provision.yml", **variables).must_succeed()
    made = counts(holdings(other.client) - other_empty_account)
    assert {kind: made[kind] for kind in ("vpc", "subnet", "internet gateway", "instance", "address", "volume")} == {
        "vpc": 1,
        "subnet": 1,
        "internet gateway": 1,
        "instance": 1,
        "address": 1,
        "volume": 1,
    }
    other.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="killed").must_succeed()
    assert holdings(other.client) == other_empty_account


@pytest.mark.full
def test_no_capacity_is_said_in_one_line(other: Cloud, other_empty_account: set[tuple[str, str]]) -> None:
    other.control("POST", "faults", {"kind": "capacity", "service": "ec2", "action": "RunInstances"})
    variables: dict[str, Any] = {"aws_infrastructure_name": "crowded", "aws_infrastructure_instance_count": 1}
    refused = other.playbook("playbooks/provision.yml", **variables)
    assert refused.status == 2
    assert "g5.xlarge" in refused.output
    assert "aws_infrastructure_availability_zone" in refused.output
    other.control("DELETE", "faults")
    other.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="crowded").must_succeed()
    assert holdings(other.client) == other_empty_account


@pytest.mark.full
def test_throttling_is_waited_out(other: Cloud) -> None:
    rule = {"kind": "throttling", "service": "ec2", "probability": 0.2, "count": 10}
    other.control("POST", "faults", rule)
    variables: dict[str, Any] = {"aws_infrastructure_name": "throttled", "aws_infrastructure_instance_count": 1}
    other.playbook("playbooks/provision.yml", **variables).must_succeed()
    assert other.control("GET", "faults")[0]["hits"] == 10
    other.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="throttled").must_succeed()


def test_one_lab_goes_and_its_neighbour_stays(watched: Cloud) -> None:
    mine = holdings(watched.client)
    assert {"alarm", "dashboard", "log group", "instance"} <= counts(mine).keys()
    other: dict[str, Any] = {
        "aws_infrastructure_name": "neighbour",
        "aws_infrastructure_instance_count": 1,
        "aws_infrastructure_image": "debian-12",
    }
    watched.playbook("playbooks/provision.yml", **other).must_succeed()
    made = counts(holdings(watched.client) - mine)
    assert made["vpc"] == made["instance"] == made["address"] == 1
    watched.playbook("playbooks/destroy.yml", **other, aws_infrastructure_destroy_confirm="neighbour").must_succeed()
    assert holdings(watched.client) == mine


def test_a_cloud_that_dies_leaves_nothing_and_nothing_else_is_touched(watched: Cloud) -> None:
    cloud = watched
    assert {kind: len(names) for kind, names in pieces(cloud).items()} == {
        "containers": 2,  # the host and its VPC's metadata service
        "networks": 1,
        "volumes": 1,
    }
    client = docker.from_env()
    bystander = client.containers.run(
        "digital-twin/host:debian13", ["sleep", "600"], labels={"digital_twin": "another"}, detach=True
    )
    try:
        pid = json.loads(cloud.sandbox.process_file.read_text("utf-8"))["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: cloud.command("running").status != 0, what="the cloud to be dead", seconds=30)
        cloud.lab_runs = False
        cloud.up()
        assert pieces(cloud) == NOTHING
        bystander.reload()
        assert bystander.status == "running"
        before = cloud.sandbox.process_file.read_text("utf-8")
        cloud.up()
        assert cloud.sandbox.process_file.read_text("utf-8") == before, "started twice it must reuse what runs"
    finally:
        bystander.remove(force=True)
        client.close()
