# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of ROS 2 with Fast DDS exchange data: by lists of peers, and by a discovery server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.diagnosis import diagnose
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.host import HostTraffic, read_processes
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.request import read

from tests.support.dds import find, planned, receives_all, ros2_environment, ros2_node, unit_command
from tests.support.host_processes import ServiceProcess
from tests.support.network import INTERFACE, Host, Network, udp
from tests.support.ros2 import ROS2

RMW = "rmw_fastrtps_cpp"
FILTER = "7400-7499"


def peer_environment(folder: Path, host: Host, peers: list[str]) -> dict[str, str]:
    """Return the environment of a node that lists these peers, on a host with a filter."""
    own = folder / host.name
    own.mkdir()
    plan = planned(
        rmw=RMW,
        discovery="peers",
        peers=peers,
        interface=INTERFACE,
        interface_address=host.address,
        firewall_ports=FILTER,
        directory=str(own),
    )
    # No name of an interface, which Fast DDS of ROS 2 Humble would not know.
    assert f"<address>{host.address}</address>" in plan["fastdds"]
    assert "<interface>" not in plan["fastdds"]
    host.pass_only(udp(plan["ports"]["range"]))
    return ros2_environment(plan, own)


@pytest.mark.parametrize("listing", ["both", "the first", "the second"])
def test_mode_peers(ros2: None, network: Network, tmp_path: Path, listing: str) -> None:
    """It is enough that one of two lists the other, whichever starts first."""
    first, second = network.hosts
    environments = [
        peer_environment(tmp_path, host, network.addresses if listing in ("both", which) else [host.address])
        for host, which in ((first, "the first"), (second, "the second"))
    ]
    with ros2_node(first, environments[0]) as one, ros2_node(second, environments[1]) as other:
        find(one, other)
        assert receives_all(other, one, count=10)
        assert receives_all(one, other, count=10)
        assert {7410, 7411} <= first.udp_ports(first.address)


def test_a_variable_that_keeps_a_node_to_its_host_is_found_and_taken_back(
    ros2: None, network: Network, tmp_path: Path
) -> None:
    hostile = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF", "ROS_STATIC_PEERS": "10.77.0.250"}
    here, there = network.hosts
    first, second = (peer_environment(tmp_path, host, network.addresses) for host in network.hosts)
    with ros2_node(here, {**first, **hostile}) as one, ros2_node(there, second):
        assert one.request("find", seconds=5, count=1) == {"peers": 0}
        assert named_variables(network.addresses, hostile) == set(hostile)
    # What a shell has set is overridden by the environment file.
    with ros2_node(here, {**hostile, **first}) as one, ros2_node(there, second) as other:
        find(one, other)
        assert named_variables(network.addresses, hostile) == set()


@pytest.mark.parametrize(("own", "warns"), [({}, False), ({"ROS_LOCALHOST_ONLY": "0"}, True)])
def test_ros2_prints_no_warning_about_its_environment(
    ros2: None, tmp_path: Path, own: dict[str, str], warns: bool
) -> None:
    """The start-up file of a shell sets the deprecated variable, and the environment file clears it."""
    environment = ros2_environment(planned(rmw=RMW, directory=str(tmp_path)), tmp_path)
    started = subprocess.run(
        [str(ROS2 / "bin" / "python"), "-c", "import rclpy; rclpy.init()"],
        env={"ROS_LOCALHOST_ONLY": "1", **environment, **own},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ("ROS_LOCALHOST_ONLY is deprecated" in started.stderr) == warns
    assert bool(started.stderr) == warns


def named_variables(peers: list[str], variables: dict[str, str]) -> set[str]:
    """Return those of some variables that are found to contradict the network in a process of this machine."""
    declared, problems = read({"rmw": RMW, "discovery": "peers", "peers": peers})
    assert not problems
    causes = [finding.cause for finding in diagnose(declared, HostTraffic(read_processes(Path("/"))))]
    return {name for name, value in variables.items() if any(f"its {name} is {value}," in cause for cause in causes)}


def test_mode_discovery_server(ros2: None, possible: None, tmp_path: Path) -> None:
    with Network(3) as network:
        here, there, server = network.hosts
        # The first one does not run. Clients know the second by its place.
        description = {
            "rmw": RMW,
            "discovery": "discovery_server",
            "discovery_servers": ["10.77.0.250", server.address],
            "firewall_ports": FILTER,
        }
        # The distribution's server.
        serve = unit_command(server, "ros2-discovery-server.service", tmp_path, **description, serve=True)
        assert serve[:3] == ["/usr/bin/fast-discovery-server", "-i", "1"]
        plan = planned(**description, directory=str(tmp_path))
        environment = ros2_environment(plan, tmp_path)
        for host in (here, there):
            host.pass_only(udp(plan["ports"]["range"]))
        server.pass_only(udp("11811"))
        with ros2_node(here, environment) as one, ros2_node(there, environment) as other:
            assert one.request("find", seconds=3, count=1) == {"peers": 0}
            with ServiceProcess(server, serve):
                find(one, other)
                assert receives_all(other, one, count=10)
                assert receives_all(one, other, count=10)
