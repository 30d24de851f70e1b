# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invalid settings change nothing in an empty account, and check mode shows what would be created."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.account import holdings
from tests.support.lab import Account, execute

BAD_INPUTS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "bad_inputs.yml").read_text("utf-8"))


def test_check_mode_in_an_empty_account(no_hosts: Account) -> None:
    before = holdings(no_hosts.client)
    planned = no_hosts.playbook("site.yml", "--check", "--diff", aws_infrastructure_name="planned").must_succeed()
    for word in ("planned-vpc", "planned-sg", "planned-1", "planned-2"):
        assert word in planned.output
    assert no_hosts.mutating_calls() == []
    assert holdings(no_hosts.client) == before


def test_nvidias_key_comes_from_the_parameter_store(no_hosts: Account) -> None:
    """The key is in no other place."""
    without = {name: value for name, value in no_hosts.environment.items() if name != "NGC_API_KEY"}
    words = ["ansible-playbook", "playbooks/preflight.yml", "-vvv"]
    refused = execute(words, without)
    assert refused.status == 2
    assert "digital_twin_stack_ngc_api_key is missing" in " ".join(refused.output.split())
    store = no_hosts.client("ssm")
    store.put_parameter(Name="/robots/ngc", Value="nvapi-canary-of-the-store", Type="SecureString")
    try:
        accepted = execute([*words, "--extra-vars", "lab_ngc_api_key_parameter=/robots/ngc"], without).must_succeed()
    finally:
        store.delete_parameter(Name="/robots/ngc")
    assert "nvapi-canary-of-the-store" not in accepted.output


def row(case: dict[str, Any]) -> Any:
    """Return a bad input as a parameter; those without ``short`` are for the full run."""
    return pytest.param(case, id=case["id"], marks=[] if case.get("short") else [pytest.mark.full])


@pytest.mark.parametrize("case", [row(case) for case in BAD_INPUTS])
def test_bad_input_is_refused_before_the_first_write(no_hosts: Account, case: dict[str, Any]) -> None:
    for code, value in case.get("quotas", {}).items():
        no_hosts.control("POST", "quotas", {code: value})
    try:
        refused = no_hosts.playbook("site.yml", **case["variables"])
    finally:
        no_hosts.control("POST", "quotas", {"L-DB2E81BA": 64, "L-0263D0A3": 5})
    # The inventory refuses a region that does not exist before a play starts.
    assert refused.status == case.get("status", 2), refused.output
    assert " ".join(case["message"].split()) in " ".join(refused.output.split())
    assert no_hosts.mutating_calls() == []


def test_a_denied_call_names_the_permission(no_hosts: Account) -> None:
    no_hosts.control("POST", "faults", {"kind": "denied", "service": "ec2", "action": "DescribeInstanceTypes"})
    refused = no_hosts.playbook("playbooks/preflight.yml")
    assert refused.status == 2
    assert "ec2:DescribeInstanceTypes" in refused.output
    assert no_hosts.mutating_calls() == []
