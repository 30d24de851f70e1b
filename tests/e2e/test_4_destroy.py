# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of the lab: it goes when it is meant to, and nothing of it is left."""

from __future__ import annotations

from tests.support.account import holdings
from tests.support.lab import NOTHING, Cloud, pieces

NAME = "robotics-lab"


def test_destroy_wants_to_be_sure(lab: Cloud) -> None:
    refused = lab.playbook("playbooks/destroy.yml")
    assert refused.status == 2
    assert "aws_infrastructure_destroy_confirm" in refused.output
    refused = lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm="another-lab")
    assert refused.status == 2
    assert lab.mutating_calls() == []


def test_nothing_is_left_of_the_lab(lab: Cloud, empty_account: set[tuple[str, str]]) -> None:
    lab.lab_runs = False
    lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm=NAME).must_succeed()
    assert holdings(lab.client) == empty_account
    assert pieces(lab) == NOTHING
    again = lab.playbook("playbooks/destroy.yml", aws_infrastructure_destroy_confirm=NAME).must_succeed()
    assert again.changed == {}
