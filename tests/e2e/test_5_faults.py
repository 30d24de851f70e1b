# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs that are only provisioned: a run is killed, AWS has no capacity, or throttles the calls."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.account import counts, holdings
from tests.support.lab import Cloud, kill_when

# The run is killed right after each of these calls: AWS executes it, and the caller gets no response.
MOMENTS = [
    "CreateVpc",
    "AttachInternetGateway",
    "CreateSubnet",
    "CreateSecurityGroup",
    "RunInstances",
    "AllocateAddress",
]


@pytest.mark.full
def test_a_run_that_is_killed_at_any_moment_can_be_repeated(
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
def test_missing_capacity_is_reported_in_one_line(other: Cloud, other_empty_account: set[tuple[str, str]]) -> None:
    other.control("POST", "faults", {"kind": "capacity", "service": "ec2", "action": "RunInstances"})
    variables: dict[str, Any] = {"aws_infrastructure_name": "crowded", "aws_infrastructure_instance_count": 1}
    refused = other.playbook("playbooks/provision.yml", **variables)
    assert refused.status == 2
    assert "g5.xlarge" in refused.output
    assert "aws_infrastructure_capacity_wait" in refused.output
    other.control("DELETE", "faults")
    other.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="crowded").must_succeed()
    assert holdings(other.client) == other_empty_account


@pytest.mark.full
def test_throttled_calls_are_retried(other: Cloud) -> None:
    rule = {"kind": "throttling", "service": "ec2", "probability": 0.2, "count": 10}
    other.control("POST", "faults", rule)
    variables: dict[str, Any] = {"aws_infrastructure_name": "throttled", "aws_infrastructure_instance_count": 1}
    other.playbook("playbooks/provision.yml", **variables).must_succeed()
    assert other.control("GET", "faults")[0]["hits"] == 10
    other.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="throttled").must_succeed()
