# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modes host and bridge: processes find one another on one host, or on one network that carries multicast."""

from __future__ import annotations

from pathlib import Path

from tests.support.dds import cyclone, file_uri, find, planned, receives_all
from tests.support.network import Network


def test_mode_host_keeps_to_the_host(network: Network, tmp_path: Path) -> None:
    uri = file_uri(tmp_path, planned(discovery="host")["cyclonedds"]["11"])
    asking = file_uri(tmp_path, planned(discovery="peers", peers=network.addresses)["cyclonedds"]["11"])
    here, there = network.hosts
    with cyclone(here, uri) as one, cyclone(here, uri) as other, cyclone(there, asking) as stranger:
        find(one, other)
        assert receives_all(other, one)
        assert stranger.request("find", seconds=3, count=1) == {"peers": 0}
        # It does contact this host: a participant that is not limited to it is found.
        with cyclone(here, asking):
            assert stranger.request("find", seconds=10, count=1) == {"peers": 1}


def test_mode_bridge_reaches_the_network_without_a_list(network: Network, tmp_path: Path) -> None:
    uri = file_uri(tmp_path, planned(discovery="bridge")["cyclonedds"]["11"])
    here, there = network.hosts
    with cyclone(here, uri) as one, cyclone(there, uri) as other:
        find(one, other)
        assert receives_all(other, one)
