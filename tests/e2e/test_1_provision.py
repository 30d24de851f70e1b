# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty account: what is refused, what would be made, and what survives a bad day."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.account import counts, holdings
from tests.support.lab import Cloud, execute, kill_when

BAD_INPUTS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "bad_inputs.yml").read_text("utf-8"))
# Moments of provisioning, each as the call that AWS has just been sent: it is carried out, and nobody hears the answer.
MOMENTS = [
    "CreateVpc",
    "AttachInternetGateway",
    "CreateSubnet",
    "CreateSecurityGroup",
    "RunInstances",
    "AllocateAddress",
]


def test_check_mode_in_an_empty_account(cloud: Cloud, empty_account: set[tuple[str, str]]) -> None:
    planned = cloud.playbook("site.yml", "--check", "--diff", aws_infrastructure_name="planned").must_succeed()
    for word in ("planned-vpc", "planned-sg", "planned-1", "planned-2"):
        assert word in planned.output
    assert cloud.mutating_calls() == []
    assert holdings(cloud.client) == empty_account


def test_nvidias_key_comes_from_the_parameter_store(cloud: Cloud) -> None:
    """Of a lab that names it there, and has it nowhere else."""
    without = {name: value for name, value in cloud.environment.items() if name != "NGC_API_KEY"}
    words = ["ansible-playbook", "playbooks/preflight.yml", "-vvv"]
    refused = execute(words, without)
    assert refused.status == 2
    assert "digital_twin_stack_ngc_api_key is missing" in " ".join(refused.output.split())
    store = cloud.client("ssm")
    store.put_parameter(Name="/robots/ngc", Value="nvapi-of-the-store", Type="SecureString")
    try:
        accepted = execute([*words, "--extra-vars", "lab_ngc_api_key_parameter=/robots/ngc"], without).must_succeed()
    finally:
        store.delete_parameter(Name="/robots/ngc")
    assert "nvapi-of-the-store" not in accepted.output


def row(case: dict[str, Any]) -> Any:
    """Return a bad input as a parameter; those without ``short`` are for the full run."""
    return pytest.param(case, id=case["id"], marks=[] if case.get("short") else [pytest.mark.full])


@pytest.mark.parametrize("case", [row(case) for case in BAD_INPUTS])
def test_bad_input_is_refused_before_the_first_write(cloud: Cloud, case: dict[str, Any]) -> None:
    for code, value in case.get("quotas", {}).items():
        cloud.control("POST", "quotas", {code: value})
    try:
        refused = cloud.playbook("site.yml", **case["variables"])
    finally:
        cloud.control("POST", "quotas", {"L-DB2E81BA": 64, "L-0263D0A3": 5})
    assert refused.status == 2, refused.output
    assert " ".join(case["message"].split()) in " ".join(refused.output.split())
    assert cloud.mutating_calls() == []


@pytest.mark.full
def test_killed_at_any_moment_it_converges(cloud: Cloud, empty_account: set[tuple[str, str]], tmp_path: Path) -> None:
    variables: dict[str, Any] = {"aws_infrastructure_name": "killed", "aws_infrastructure_instance_count": 1}
    words = ["ansible-playbook", "playbooks/provision.yml", "-e", json.dumps(variables)]
    for moment in MOMENTS:
        cloud.control("DELETE", "calls")
        kill_when(words, cloud.environment, tmp_path / "log", partial(cloud.was_asked, moment), moment)
    cloud.playbook("playbooks/provision.yml", **variables).must_succeed()
    made = counts(holdings(cloud.client) - empty_account)
    assert {kind: made[kind] for kind in ("vpc", "subnet", "internet gateway", "instance", "address", "volume")} == {
        "vpc": 1,
        "subnet": 1,
        "internet gateway": 1,
        "instance": 1,
        "address": 1,
        "volume": 1,
    }
    cloud.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="killed").must_succeed()
    assert holdings(cloud.client) == empty_account


@pytest.mark.full
def test_no_capacity_is_said_in_one_line(cloud: Cloud, empty_account: set[tuple[str, str]]) -> None:
    cloud.control("POST", "faults", {"kind": "capacity", "service": "ec2", "action": "RunInstances"})
    variables: dict[str, Any] = {"aws_infrastructure_name": "crowded", "aws_infrastructure_instance_count": 1}
    refused = cloud.playbook("playbooks/provision.yml", **variables)
    assert refused.status == 2
    assert "g5.xlarge" in refused.output
    assert "aws_infrastructure_availability_zone" in refused.output
    cloud.control("DELETE", "faults")
    cloud.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="crowded").must_succeed()
    assert holdings(cloud.client) == empty_account


@pytest.mark.full
def test_throttling_is_waited_out(cloud: Cloud) -> None:
    rule = {"kind": "throttling", "service": "ec2", "probability": 0.2, "count": 10}
    cloud.control("POST", "faults", rule)
    variables: dict[str, Any] = {"aws_infrastructure_name": "throttled", "aws_infrastructure_instance_count": 1}
    cloud.playbook("playbooks/provision.yml", **variables).must_succeed()
    assert cloud.control("GET", "faults")[0]["hits"] == 10
    cloud.playbook("playbooks/destroy.yml", **variables, aws_infrastructure_destroy_confirm="throttled").must_succeed()


def test_a_denied_call_names_the_permission(cloud: Cloud) -> None:
    cloud.control("POST", "faults", {"kind": "denied", "service": "ec2", "action": "DescribeInstanceTypes"})
    refused = cloud.playbook("playbooks/preflight.yml")
    assert refused.status == 2
    assert "ec2:DescribeInstanceTypes" in refused.output
    assert cloud.mutating_calls() == []
