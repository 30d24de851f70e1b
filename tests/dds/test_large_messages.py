# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Large messages arrive: at a process that stood still for a while, and over a path that loses packets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dds import (
    COMMON_FRAGMENTS,
    COMMON_RECEIVE_BUFFER,
    GUIDE_RECEIVE_BUFFER,
    LARGE_MESSAGES,
    LOSS_SAMPLES,
    STALL_SAMPLES,
    file_uri,
    kernel_settings,
    losses,
    planned,
    stalls,
)
from tests.support.network import Network


@pytest.mark.parametrize("limit", [COMMON_RECEIVE_BUFFER, GUIDE_RECEIVE_BUFFER], ids=["as installed", "of the guide"])
def test_without_the_role_a_process_that_stood_still_has_lost_nearly_everything(network: Network, limit: int) -> None:
    assert stalls(network, "", {"net.core.rmem_max": limit})[0] <= 2


def test_with_the_role_it_loses_nothing(network: Network, tmp_path: Path) -> None:
    plan = planned(discovery="peers", peers=network.addresses)
    uri = file_uri(tmp_path, plan["cyclonedds"]["11"])
    assert stalls(network, uri, kernel_settings(plan, "net.core."), rounds=5) == [STALL_SAMPLES] * 5


def test_without_the_role_lost_packets_end_a_stream_of_large_messages(network: Network) -> None:
    arrived, late = losses(network, LARGE_MESSAGES, COMMON_FRAGMENTS)
    assert arrived < LOSS_SAMPLES // 2
    assert late == 0
    assert network.hosts[1].counters()["Ip.ReasmFails"] > 0


def test_with_the_roles_message_size_every_message_arrives_and_the_kernel_has_nothing_to_put_together(
    network: Network, tmp_path: Path
) -> None:
    plan = planned(discovery="peers", peers=network.addresses)
    arrived, _late = losses(network, file_uri(tmp_path, plan["cyclonedds"]["11"]), {})
    assert arrived == LOSS_SAMPLES
    assert network.hosts[0].counters()["Ip.FragCreates"] == 0


def test_with_the_roles_kernel_settings_even_messages_that_are_too_large_arrive(network: Network) -> None:
    arrived, _late = losses(network, LARGE_MESSAGES, kernel_settings(planned(), "net.ipv4."))
    assert arrived == LOSS_SAMPLES
    assert network.hosts[0].counters()["Ip.FragCreates"] > 0
