# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab that is only provisioned, in a run that is killed while its host starts.

The unit tests of role aws_infrastructure have the other calls, missing capacity and throttling.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.account import counts, holdings
from tests.support.lab import Cloud, kill_when

# The run is killed right after each of these calls: AWS executes it, and the caller gets no response.
MOMENTS = ["RunInstances", "AllocateAddress"]


@pytest.mark.full
def test_a_run_that_is_killed_while_a_host_starts_can_be_repeated(
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
