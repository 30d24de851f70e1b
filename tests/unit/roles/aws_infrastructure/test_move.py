# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role moves a stopped host to another zone if the user consents, and the lab is as it was, in one place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import execute
from tests.support.local_aws import LocalAws, running
from tests.support.project import ROOT, clean_environment
from tests.unit.roles.aws_infrastructure.test_launch import Lab, mutating, present
from tests.unit.roles.aws_infrastructure.test_power import host

EMPTY = {"kind": "capacity", "action": "StartInstances", "zones": ["us-east-1a"]}
OFFICE = {"start": "08:00", "stop": "19:30", "days": "weekdays", "zone": "Europe/Berlin"}
CONSENT = {"aws_infrastructure_move_zone_confirm": "robotics-lab"}


def address(aws: LocalAws) -> tuple[str, str]:
    """Return the Elastic IP and the instance that has it."""
    (found,) = aws.client("ec2").describe_addresses()["Addresses"]
    return found["PublicIp"], found["InstanceId"]


def test_a_host_moves_with_the_consent_of_the_user(tmp_path: Path) -> None:
    with running(tmp_path) as aws:
        lab = Lab(aws, tmp_path)
        play, ec2 = lab.play, aws.client("ec2")
        play()
        first, (public, _holder) = host(aws), address(aws)
        ec2.stop_instances(InstanceIds=[first["InstanceId"]])
        aws.inject(**EMPTY)
        whole = present(aws)
        mutating(aws)

        output, status, _changed = play("start")
        assert (status, host(aws)["InstanceId"]) == (2, first["InstanceId"])
        assert "run playbooks/start.yml with aws_infrastructure_move_zone_confirm set to the lab's name" in output
        output, status, _changed = play("start", aws_infrastructure_move_zone_confirm="other")
        assert status == 2
        assert 'aws_infrastructure_move_zone_confirm: "other" is not the name of the lab.' in output
        assert set(mutating(aws)) <= {"StartInstances", "CreateTags"}

        output, status, _changed = play("start", "--check", **CONSENT)
        assert (status, mutating(aws)) == (0, []), output
        assert "If AWS has no machine where the hosts are:" in output
        assert "robotics-lab-1 moves from us-east-1a to the first of us-east-1b, us-east-1c" in output
        assert "Snapshots of 200 GiB cost $10.00 a month at most" in output
        assert present(aws) == whole

        output, status = start(lab, aws_schedule_times=OFFICE, start_verify=False, **CONSENT)
        assert status == 0, output
        second = host(aws)
        assert (second["State"]["Name"], lab.zones("instances")) == ("running", ["us-east-1b"])
        assert f"{second['InstanceId']} replaces {first['InstanceId']}" in output
        assert address(aws) == (public, second["InstanceId"])
        assert not {kind for kind, _name in present(aws) - whole} & {"image", "snapshot"}
        assert usage(aws, first["InstanceId"])
        # The schedule starts and stops the instance that there is.
        assert scheduled(aws) == {second["InstanceId"]}

        # The lab is complete, and what it runs on is what it was.
        aws.mend()
        lab.settled()


def start(lab: Lab, **given: Any) -> tuple[str, int]:
    """Run playbooks/start.yml for a lab, and return its output and the status."""
    command = [
        str(ROOT / "playbooks/start.yml") if word.endswith("-start.yml") else word
        for word in lab.command("start", **given)
    ]
    done = execute(command, {**clean_environment(), **lab.aws.environment})
    return " ".join((done.stdout + done.stderr).split()), done.returncode


def scheduled(aws: LocalAws) -> set[str]:
    """Return the instances that the lab's schedules start and stop."""
    scheduler = aws.client("scheduler")
    found = [
        scheduler.get_schedule(Name=row["Name"], GroupName=row["GroupName"])["Target"]["Input"]
        for row in scheduler.list_schedules()["Schedules"]
    ]
    return {identifier for text in found for identifier in json.loads(text)["InstanceIds"]}


def usage(aws: LocalAws, instance: str) -> list[Any]:
    """Return the parts of the lab's record of its usage that name an instance."""
    found = aws.client("ssm").get_parameters_by_path(Path="/digital-twin/robotics-lab/usage", Recursive=True)
    return [row["Name"] for row in found["Parameters"] if instance.removeprefix("i-") in row["Value"]]
