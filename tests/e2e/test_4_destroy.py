# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end: one lab goes and its neighbour stays, then nothing is left; and a cloud that dies leaves nothing either."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import docker

from sandbox.waiting import wait_until
from tests.support.account import counts, holdings
from tests.support.lab import Cloud

NAME = "robotics-lab"
NOTHING: dict[str, list[str]] = {"containers": [], "networks": [], "volumes": []}


def pieces(cloud: Cloud) -> dict[str, list[str]]:
    """Return the names of what the engine holds for this sandbox's labs, by kind.

    The registry and the internet gateway are the sandbox's own: they stay, on the engine's networks and with no volume.
    """
    mine: dict[str, str | list[str] | bool] = {"label": cloud.sandbox.label_filter}
    own = {cloud.sandbox.name(part) for part in ("registry", "packages", "edge")}
    client = docker.from_env()
    try:
        containers = {str(entry.name) for entry in client.containers.list(all=True, filters=mine)} - own
        return {
            "containers": sorted(containers),
            "networks": sorted(str(entry.name) for entry in client.networks.list(filters=mine)),
            "volumes": sorted(str(entry.name) for entry in client.volumes.list(filters=mine)),
        }
    finally:
        client.close()


def test_destroy_wants_to_be_sure(lab: Cloud) -> None:
    refused = lab.playbook("playbooks/destroy.yml")
    assert refused.status == 2
    assert "aws_infrastructure_destroy_confirm" in refused.output
    refused = lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm="another-lab")
    assert refused.status == 2
    assert lab.mutating_calls() == []


def test_one_lab_goes_its_neighbour_stays_then_nothing_is_left(lab: Cloud, empty_account: set[tuple[str, str]]) -> None:
    mine = holdings(lab.client)
    other: dict[str, Any] = {
        "aws_infrastructure_name": "neighbour",
        "aws_infrastructure_instance_count": 1,
        "aws_infrastructure_image": "debian-12",
    }
    lab.playbook("playbooks/provision.yml", **other).must_succeed()
    made = counts(holdings(lab.client) - mine)
    assert made["vpc"] == made["instance"] == made["address"] == 1
    lab.playbook("playbooks/destroy.yml", **other, aws_infrastructure_destroy_confirm="neighbour").must_succeed()
    assert holdings(lab.client) == mine

    lab.lab_runs = False
    lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm=NAME).must_succeed()
    assert holdings(lab.client) == empty_account
    assert pieces(lab) == NOTHING
    again = lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm=NAME).must_succeed()
    assert again.changed == {}


def test_a_cloud_that_dies_leaves_nothing_and_nothing_else_is_touched(cloud: Cloud) -> None:
    variables: dict[str, Any] = {"aws_infrastructure_name": "orphan", "aws_infrastructure_instance_count": 1}
    cloud.playbook("playbooks/provision.yml", **variables).must_succeed()
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
