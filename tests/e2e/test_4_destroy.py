# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Destroying the lab needs its name and keeps its neighbour, and a killed sandbox leaves nothing."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import docker

from sandbox.waiting import wait_until
from tests.support.account import counts, holdings
from tests.support.foreign_resources import ForeignResources
from tests.support.lab import NOTHING, Cloud, pieces

NAME = "robotics-lab"
# Another lab in the same account, with monitoring, and not configured.
NEIGHBOUR: dict[str, Any] = {
    "aws_infrastructure_name": "neighbour",
    "aws_infrastructure_instance_count": 1,
    "aws_infrastructure_image": "debian-12",
}
# A host, the metadata service of its VPC, the VPC's network, and the root volume.
OF_THE_NEIGHBOUR = {"containers": 2, "networks": 1, "volumes": 1}


def test_destroy_needs_the_name_of_the_lab(lab: Cloud) -> None:
    refused = lab.playbook("playbooks/destroy.yml")
    assert refused.status == 2
    assert "aws_infrastructure_destroy_confirm" in refused.output
    refused = lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm="another-lab")
    assert refused.status == 2
    assert lab.mutating_calls() == []


def test_nothing_is_left_of_the_lab_and_its_neighbour_stays(lab: Cloud, empty_account: set[tuple[str, str]]) -> None:
    before = holdings(lab.client)
    for playbook in ("provision", "monitor"):
        lab.playbook(f"playbooks/{playbook}.yml", **NEIGHBOUR).must_succeed()
    neighbour = holdings(lab.client) - before
    made = counts(neighbour)
    assert made["vpc"] == made["instance"] == made["address"] == made["dashboard"] == 1
    assert {"alarm", "log group"} <= made.keys()

    # Resources of other owners with the lab's tags, set by a caller that may only tag.
    strangers = ForeignResources(lab.client("ec2"), NAME)
    strangers.network()
    strangers.key_pair()
    # So far ahead that it is not due before.
    times = {"stop": f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}", "days": "daily", "zone": "UTC"}
    lab.playbook("playbooks/schedule.yml", aws_schedule_times=times).must_succeed()
    assert ("schedule group", f"digital-twin-{NAME}") in holdings(lab.client)
    lab.lab_runs = False
    destroyed = lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm=NAME).must_succeed()
    assert strangers.missing() == []
    for name in strangers.names().values():
        assert destroyed.output.count(f" {name} (") == 2, f"{name} is reported before and after"
    strangers.leave()
    assert holdings(lab.client) == empty_account | neighbour
    assert {kind: len(names) for kind, names in pieces(lab).items()} == OF_THE_NEIGHBOUR
    again = lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm=NAME).must_succeed()
    assert again.changed == {}


def test_a_killed_sandbox_leaves_nothing_and_other_containers_stay(cloud: Cloud) -> None:
    """It is killed while the neighbour runs."""
    assert {kind: len(names) for kind, names in pieces(cloud).items()} == OF_THE_NEIGHBOUR
    client = docker.from_env()
    bystander = client.containers.run(
        "digital-twin/host:debian13", ["sleep", "600"], labels={"digital_twin": "another"}, detach=True
    )
    try:
        pid = json.loads(cloud.sandbox.process_file.read_text("utf-8"))["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: cloud.command("running").status != 0, what="the cloud to be dead", seconds=30)
        cloud.up()
        assert pieces(cloud) == NOTHING
        bystander.reload()
        assert bystander.status == "running"
        before = cloud.sandbox.process_file.read_text("utf-8")
        cloud.up()
        assert cloud.sandbox.process_file.read_text("utf-8") == before, "a second start must reuse the running sandbox"
    finally:
        bystander.remove(force=True)
        client.close()
