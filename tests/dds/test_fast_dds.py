# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of ROS 2 with Fast DDS exchange data: by lists of peers, and by a discovery server."""

from __future__ import annotations

from pathlib import Path

from tests.support.dds import discovery_server, find, hears, planned, ros2_environment, ros2_node
from tests.support.network import INTERFACE, Network, udp
from tests.support.worker import Service

RMW = "rmw_fastrtps_cpp"
FILTER = "7400-7499"


def test_mode_peers(ros2: None, network: Network, tmp_path: Path) -> None:
    environments = []
    for host in network.hosts:
        folder = tmp_path / host.name
        folder.mkdir()
        plan = planned(
            rmw=RMW,
            discovery="peers",
            peers=network.addresses,
            interface=INTERFACE,
            interface_address=host.address,
            firewall_ports=FILTER,
            directory=str(folder),
        )
        # No name of an interface, which Fast DDS of ROS 2 Humble would not know.
        assert f"<address>{host.address}</address>" in plan["fastdds"]
        assert "<interface>" not in plan["fastdds"]
        host.pass_only(udp(plan["ports"]["range"]))
        environments.append(ros2_environment(plan, folder))
    here, there = network.hosts
    with ros2_node(here, environments[0]) as one, ros2_node(there, environments[1]) as other:
        find(one, other)
        assert hears(other, one, count=10)
        assert hears(one, other, count=10)
        assert {7410, 7411} <= here.udp_ports(here.address)


def test_mode_discovery_server(ros2: None, possible: None, tmp_path: Path) -> None:
    with Network(3) as network:
        here, there, server = network.hosts
        plan = planned(
            rmw=RMW,
            discovery="discovery_server",
            discovery_servers=[server.address],
            firewall_ports=FILTER,
            directory=str(tmp_path),
        )
        environment = ros2_environment(plan, tmp_path)
        for host in (here, there):
            host.pass_only(udp(plan["ports"]["range"]))
        server.pass_only(udp("11811"))
        with ros2_node(here, environment) as one, ros2_node(there, environment) as other:
            assert one.ask("find", seconds=3, count=1) == {"peers": 0}
            with Service(server, *discovery_server(server, 11811)):
                find(one, other)
                assert hears(other, one, count=10)
                assert hears(one, other, count=10)
