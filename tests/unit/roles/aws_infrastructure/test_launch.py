# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role creates a lab where AWS has capacity, the next run changes nothing, and destroy leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import execute
from tests.support.local_aws import LocalAws, running
from tests.support.project import clean_environment

NAME = "robotics-lab"
ROLE = "digital_twin.robotics_lab.aws_infrastructure"
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
# How many zones of the region offer the type.
OFFERING = 5
CAPACITY = {"kind": "capacity", "action": "RunInstances"}
Play = Callable[..., tuple[str, int, int]]


def player(aws: LocalAws, folder: Path) -> Play:
    """Return a function that runs the role, and returns its output, the status, and the number of changed tasks."""
    file = folder / "play.yml"

    def run(part: str = "main", *words: str, **given: Any) -> tuple[str, int, int]:
        include = {"ansible.builtin.include_role": {"name": ROLE, "tasks_from": part}}
        file.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [include]}]))
        values = {
            "aws_infrastructure_name": NAME,
            "aws_infrastructure_region": "us-east-1",
            "aws_infrastructure_private_key_file": str(folder / "key"),
            "aws_infrastructure_known_hosts_file": str(folder / "known_hosts"),
            "aws_infrastructure_admin_cidrs": ["203.0.113.7/32"],
            "aws_infrastructure_viewer_cidrs": ["203.0.113.7/32"],
            "aws_infrastructure_instance_type": "g5.xlarge",
            "aws_infrastructure_destroy_confirm": NAME,
            **given,
        }
        command = ["ansible-playbook", "--inventory", "localhost,", "--connection", "local", str(file)]
        command += ["--extra-vars", json.dumps(values), *words]
        done = execute(command, {**clean_environment(), **aws.environment})
        assert "WARNING" not in done.stderr, done.stderr
        # Ansible wraps long lines.
        output = " ".join((done.stdout + done.stderr).split())
        return output, done.returncode, int(done.stdout.rpartition("changed=")[2].split()[0])

    return run


def resources(aws: LocalAws) -> dict[str, list[str]]:
    """Return what the lab has in EC2, by kind."""
    ec2 = aws.client("ec2")
    live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    groups = ec2.describe_instances(Filters=live)["Reservations"]
    own = [{"Name": "tag:digital_twin_lab", "Values": [NAME]}]
    return {
        "instances": [item["Placement"]["AvailabilityZone"] for group in groups for item in group["Instances"]],
        "subnets": sorted(item["AvailabilityZone"] for item in ec2.describe_subnets(Filters=own)["Subnets"]),
        "tables": [item["RouteTableId"] for item in ec2.describe_route_tables(Filters=own)["RouteTables"]],
        "vpcs": [item["VpcId"] for item in ec2.describe_vpcs(Filters=own)["Vpcs"]],
        "volumes": [item["VolumeId"] for item in ec2.describe_volumes()["Volumes"]],
    }


def mutating(aws: LocalAws) -> list[str]:
    """Return the changing calls since the last time."""
    return [call["action"] for call in aws.calls() if call["mutating"]]


def test_a_lab_whose_zones_are_empty_at_first(tmp_path: Path) -> None:
    with running(tmp_path) as aws:
        play = player(aws, tmp_path)
        # No zone has capacity: 3.6 s of waiting are two rounds more.
        aws.inject(**CAPACITY)
        output, status, _changed = play(aws_infrastructure_capacity_wait=0.001, aws_infrastructure_capacity_pause=2)
        assert status == 2
        assert mutating(aws).count("RunInstances") == 3 * OFFERING
        assert output.count("FAILED - RETRYING") == 2
        assert "AWS has no machine for robotics-lab-1 at the moment: g5.xlarge on demand in us-east-1a" in output
        assert (resources(aws)["instances"], resources(aws)["subnets"]) == ([], ZONES[:1])

        # The first zone has none. What the last run has created is used.
        aws.mend()
        aws.inject(**CAPACITY, zones=[ZONES[0]])
        output, status, _changed = play()
        assert status == 0, output
        assert mutating(aws).count("RunInstances") == 2
        found = resources(aws)
        assert (found["instances"], found["subnets"]) == ([ZONES[1]], ZONES[:2])
        assert "g5.xlarge in us-east-1b, on demand: i-" in output

        output, status, changed = play()
        assert (status, changed) == (0, 0), output
        assert mutating(aws) == []

        output, status, _changed = play("destroy")
        assert status == 0, output
        assert not any(resources(aws).values())
