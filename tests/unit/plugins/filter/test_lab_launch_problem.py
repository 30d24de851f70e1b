# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a host that AWS did not start, by AWS's own words and codes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_launch_problem import lab_launch_problem
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._launch import errors, problem

LAUNCH = {"zone": "us-east-1a", "zones": ["us-east-1a", "us-east-1d"], "instance_type": "g5.xlarge"}
ERROR = "Failed to create new EC2 instance: An error occurred ({}) when calling the {} operation{}: {}"
NAMED = (
    "We currently do not have sufficient g5.xlarge capacity in the Availability Zone you requested (us-east-1a). Our "
    "system will be working on provisioning additional capacity. You can currently get g5.xlarge capacity by not "
    "specifying an Availability Zone in your request or choosing us-east-1b, us-east-1c."
)
UNNAMED = "There is no Spot capacity available that matches your request."
MISSING = "AWS has no g5.xlarge for lab-1 in us-east-1a at the moment"
OTHER = {"name": "lab-2", "instance_id": "i-2", "instance_type": "g4dn.xlarge"}


def tell(code: str, text: str, **how: Any) -> str:
    """Return what is told when a call is refused."""
    call, tries = how.pop("call", "RunInstances"), how.pop("tries", "")
    result = {"item": "lab-1", "msg": ERROR.format(code, call, tries, text)}
    (line,) = lab_launch_problem([result], LAUNCH, **how)
    return line


def test_the_zones_that_aws_names_come_first() -> None:
    line = tell("InsufficientInstanceCapacity", NAMED, tries=" (reached max retries: 4)")
    assert line == (
        f"aws_infrastructure_instance_type: {MISSING} (InsufficientInstanceCapacity). AWS lists zones with capacity: "
        "us-east-1b, us-east-1c. Run this again later, choose another type, or set "
        "aws_infrastructure_availability_zone to us-east-1b or us-east-1c."
    )


def test_without_a_word_of_aws_the_zones_that_offer_the_type_are_named() -> None:
    line = tell("UnfulfillableCapacity", UNNAMED)
    assert "Other zones offer the type: us-east-1d. " in line
    assert line.endswith("or set aws_infrastructure_availability_zone to us-east-1d.")


def test_a_local_zone_is_a_zone() -> None:
    line = tell("Unsupported", "Please choose us-west-2-lax-1a or us-gov-west-1b.")
    assert "us-west-2-lax-1a, us-gov-west-1b" in line


def test_the_zone_of_a_host_is_its_own() -> None:
    result = {
        "item": {"name": "lab-1", "availability_zone": "us-east-1c"},
        "msg": ERROR.format("Unsupported", "X", "", ""),
    }
    (line,) = lab_launch_problem([result], LAUNCH)
    assert "for lab-1 in us-east-1c at the moment" in line


def test_a_stopped_host_can_start_where_its_disk_is_only() -> None:
    existing = [{"name": "lab-1", "instance_id": "i-1", "instance_type": "g4dn.xlarge"}]
    line = tell("InsufficientInstanceCapacity", NAMED, call="StartInstances", existing=existing)
    assert line.startswith("aws_infrastructure_instance_type: AWS has no g4dn.xlarge for lab-1 in us-east-1a")
    assert "Its disk is in us-east-1a, so it can start only there." in line


@pytest.mark.parametrize("code", sorted(errors.ZONE_CODES - problem.SENTENCES.keys()))
def test_what_another_zone_may_help_with(code: str) -> None:
    assert "set aws_infrastructure_availability_zone to us-east-1b or us-east-1c" in tell(code, NAMED)


@pytest.mark.parametrize(
    ("code", "subject", "remedy"),
    [
        *((code, "aws_infrastructure_instance_type", "Service Quotas") for code in sorted(problem.QUOTA_CODES)),
        *((code, "AWS account", remedy) for code, remedy in sorted(problem.ACCOUNT_CODES.items())),
        *((code, "AWS", "Run this again") for code in sorted(problem.LATER_CODES)),
        *((code, "aws_infrastructure_image", "another image") for code in sorted(problem.IMAGE_CODES)),
        ("InsufficientFreeAddressesInSubnet", "aws_infrastructure_subnet_cidr", "a larger subnet"),
        ("IncorrectSpotRequestState", "aws_infrastructure_market", "Wait until it runs"),
    ],
)
def test_what_no_other_zone_helps_with(code: str, subject: str, remedy: str) -> None:
    line = tell(code, "So says AWS.")
    assert line.startswith(f"{subject}: g5.xlarge for lab-1 in us-east-1a ")
    assert f"({code}: So says AWS.)" in line
    assert remedy in line
    assert "availability_zone" not in line


def test_any_other_error_is_reported_unchanged() -> None:
    assert tell("InvalidParameterValue", "No\nsuch  thing.") == (
        "lab-1: Failed to create new EC2 instance: An error occurred (InvalidParameterValue) when calling the "
        "RunInstances operation: No such thing."
    )
    assert lab_launch_problem([{"item": "lab-1"}], LAUNCH) == ["lab-1: no answer"]


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("Client.InvalidKMSKey.InvalidState", "The KMS key provided is in an incorrect state", "may not use the key"),
        ("Client.InternalError", "Client error on launch", "may not use the key"),
        ("Client.VolumeLimitExceeded", "Volume limit exceeded", "Service Quotas"),
        ("Client.InvalidSnapshot.NotFound", "The specified snapshot was not found.", "Choose another image."),
        ("Server.InsufficientInstanceCapacity", NAMED, "set aws_infrastructure_availability_zone to us-east-1b"),
        ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown", "shut itself down"),
        ("Client.UserInitiatedShutdown", "User initiated shutdown", "by a caller of this account"),
        ("Server.InternalError", "Internal error on launch", "Run this again."),
        ("", "", "AWS gives no reason"),
    ],
)
@pytest.mark.parametrize("state", ["shutting-down", "terminated", "stopped"])
def test_an_instance_that_ended_as_soon_as_it_started(code: str, text: str, reason: str, state: str) -> None:
    now = {"instance_id": "i-1", "state": {"name": state}, "state_reason": {"code": code, "message": text}}
    (line,) = lab_launch_problem([{"item": {"name": "lab-1"}, "instance_ids": ["i-1"]}], LAUNCH, ended=[now])
    assert "lab-1" in line
    assert reason in line


def test_a_host_that_runs_is_not_a_problem() -> None:
    results: list[dict[str, Any]] = [
        {"item": "lab-1", "instance_ids": ["i-1"]},
        {"item": "lab-2", "skipped": True},
        # Check mode, of a host that is not there.
        {"item": "lab-3", "spec": {}, "msg": "Would have launched instances if not in check_mode."},
    ]
    now = [{"instance_id": "i-1", "state": {"name": "running"}}]
    assert lab_launch_problem(results, LAUNCH, ended=now) == []
