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
    cyclone,
    file_uri,
    find,
    kernel_settings,
    planned,
    send_with_loss,
    stall,
)
from tests.support.network import Network, machine_settings


@pytest.mark.parametrize("limit", [COMMON_RECEIVE_BUFFER, GUIDE_RECEIVE_BUFFER], ids=["as installed", "of the guide"])
def test_without_the_role_a_process_that_stood_still_has_lost_nearly_everything(network: Network, limit: int) -> None:
    here, there = network.hosts
    with (
        machine_settings({"net.core.rmem_max": limit}),
        cyclone(here, "", reliable=False) as sender,
        cyclone(there, "", reliable=False) as receiver,
    ):
        find(sender, receiver)
        assert stall(sender, receiver) <= 2


def test_with_the_role_it_loses_nothing(network: Network, tmp_path: Path) -> None:
    plan = planned(discovery="peers", peers=network.addresses)
    uri = file_uri(tmp_path, plan["cyclonedds"]["11"])
    here, there = network.hosts
    with (
        machine_settings(kernel_settings(plan, "net.core.")),
        cyclone(here, uri, reliable=False) as sender,
        cyclone(there, uri, reliable=False) as receiver,
    ):
        find(sender, receiver)
        assert [stall(sender, receiver) for _round in range(5)] == [STALL_SAMPLES] * 5


def test_without_the_role_lost_packets_end_a_stream_of_large_messages(network: Network) -> None:
    here, there = network.hosts
    for name, value in COMMON_FRAGMENTS.items():
        there.set_kernel(name, value)
    with cyclone(here, LARGE_MESSAGES) as sender, cyclone(there, LARGE_MESSAGES) as receiver:
        find(sender, receiver)
        arrived, late = send_with_loss(sender, receiver, there)
    assert arrived < LOSS_SAMPLES // 2
    assert late == 0
    assert there.counters()["Ip.ReasmFails"] > 0


def test_with_the_roles_message_size_every_message_arrives_and_the_kernel_has_nothing_to_put_together(
    network: Network, tmp_path: Path
) -> None:
    plan = planned(discovery="peers", peers=network.addresses)
    uri = file_uri(tmp_path, plan["cyclonedds"]["11"])
    here, there = network.hosts
    with cyclone(here, uri) as sender, cyclone(there, uri) as receiver:
        find(sender, receiver)
        arrived, _lost = send_with_loss(sender, receiver, there)
    assert arrived == LOSS_SAMPLES
    assert here.counters()["Ip.FragCreates"] == 0


def test_with_the_roles_kernel_settings_even_messages_that_are_too_large_arrive(network: Network) -> None:
    here, there = network.hosts
    for name, value in kernel_settings(planned(), "net.ipv4.").items():
        there.set_kernel(name, value)
    with cyclone(here, LARGE_MESSAGES) as sender, cyclone(there, LARGE_MESSAGES) as receiver:
        find(sender, receiver)
        arrived, _lost = send_with_loss(sender, receiver, there)
    assert arrived == LOSS_SAMPLES
    assert here.counters()["Ip.FragCreates"] > 0
