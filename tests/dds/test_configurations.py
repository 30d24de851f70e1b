# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role renders is taken by the libraries themselves: Cyclone DDS 0.10 and 11, and Fast DDS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.dds import cyclone, cyclone_errors, fast_dds_errors, file_uri, find, planned
from tests.support.network import INTERFACE, Network

CYCLONE, FAST = "rmw_cyclonedds_cpp", "rmw_fastrtps_cpp"
OWN, OTHER = "10.77.0.1", "10.77.0.2"
PEERS: dict[str, Any] = {"discovery": "peers", "peers": [OWN, OTHER]}
# Of what is rendered, each element at least once, and the ends of the ranges.
SHARED: list[dict[str, Any]] = [
    {},
    {"multicast": True},
    {"discovery": "bridge"},
    {**PEERS, "interface": INTERFACE, "interface_address": OWN, "path_mtu": 9001},
    {**PEERS, "participants": 120, "path_mtu": 1280, "receive_buffer": 2147483647, "send_buffer": 65536},
    {**PEERS, "domain_id": 101, "participants": 54},
]
ONLY_CYCLONE: list[dict[str, Any]] = [{**PEERS, "external_address": "203.0.113.7"}]
ONLY_FAST: list[dict[str, Any]] = [{"discovery": "discovery_server", "discovery_servers": [OTHER]}]


@pytest.mark.parametrize("description", SHARED + ONLY_CYCLONE, ids=str)
def test_cyclone_dds_takes_it(network: Network, tmp_path: Path, description: dict[str, Any]) -> None:
    documents = planned(rmw=CYCLONE, **description)["cyclonedds"]
    host = network.hosts[0]
    assert cyclone_errors(host, file_uri(tmp_path, documents["0.10"])) == ""
    with cyclone(host, file_uri(tmp_path, documents["11"])):
        pass


def test_an_interface_that_gets_another_name_is_found_by_its_address(network: Network, tmp_path: Path) -> None:
    """As when an instance gets another type: ens5 becomes enp39s0."""
    here, there = network.hosts
    named = planned(**PEERS, interface=INTERFACE)["cyclonedds"]
    addressed = planned(**PEERS, interface=INTERFACE, interface_address=OWN)["cyclonedds"]
    for words in (("down",), ("name", "enp39s0")):
        here.run("ip", "link", "set", "dev", INTERFACE, *words)
    here.run("ip", "link", "set", "dev", "enp39s0", "up")
    error = cyclone_errors(here, file_uri(tmp_path, named["0.10"]))
    assert f"{INTERFACE}: does not match an available interface" in error
    assert cyclone_errors(here, file_uri(tmp_path, addressed["0.10"])) == ""
    with (
        cyclone(here, file_uri(tmp_path, addressed["11"])) as one,
        cyclone(there, file_uri(tmp_path, named["11"])) as other,
    ):
        find(one, other)


@pytest.mark.parametrize("description", SHARED + ONLY_FAST, ids=str)
def test_fast_dds_takes_it(ros2: None, tmp_path: Path, description: dict[str, Any]) -> None:
    assert fast_dds_errors(tmp_path, planned(rmw=FAST, **description)["fastdds"]) == ""


def test_they_do_not_take_everything(ros2: None, network: Network, tmp_path: Path) -> None:
    plan = planned(**PEERS)
    spoilt = plan["cyclonedds"]["0.10"].replace("ParticipantIndex>", "ParticipantNumber>")
    assert "ParticipantNumber: unknown element" in cyclone_errors(network.hosts[0], file_uri(tmp_path, spoilt))
    spoilt = plan["fastdds"].replace("maxMessageSize>", "largestMessage>")
    assert "Invalid element found" in fast_dds_errors(tmp_path, spoilt)
