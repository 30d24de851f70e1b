# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is found wrong with a host's ROS 2 traffic, and what is not."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.ros2_network_mismatches import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils import _dds_host
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._dds_diagnosis import diagnose
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._dds_host import (
    Process,
    Seen,
    Socket,
    ask_peers,
    parse_counters,
    parse_environment,
    parse_sockets,
    read_host,
    read_processes,
    read_written,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._dds_request import read

PEERS = ["10.0.1.10", "10.0.1.11"]
DESCRIPTION: dict[str, Any] = {"discovery": "peers", "peers": PEERS, "firewall_ports": "7400-7500"}
ENVIRONMENT = {
    "ROS_DOMAIN_ID": "0",
    "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
    "CYCLONEDDS_URI": "file:///etc/ros2-networking/cyclonedds-0.10.xml",
}
UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  117: 00000000:1CF3 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 17
  901: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
  902: 0100007F:9C40 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 4713 2 0000000000000000 0
"""
SNMP = """\
Ip: Forwarding DefaultTTL ReasmTimeout ReasmReqds ReasmOKs ReasmFails
Ip: 1 64 2 90 40 5
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
Udp: 1000 3 8 900 7 0
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
UdpLite: 0 0 0 0 9 0
"""


def process(*ports: int, drops: int = 0, **environment: str) -> Process:
    """Return a process that listens at ports, whose environment is the role's but for what is given."""
    sockets = tuple(Socket("net:[1]", 100 + index, port, drops) for index, port in enumerate(ports))
    values = {name: value for name, value in {**ENVIRONMENT, **environment}.items() if value}
    return Process(812, "listener", values, sockets)


def find(seen: Seen, **given: Any) -> list[str]:
    """Return the findings, each as one line."""
    network, problems = read({**DESCRIPTION, **given})
    assert problems == []
    return [f"{finding.symptom}: {finding.cause}: {finding.remedy}" for finding in diagnose(network, seen)]


def test_nothing_is_wrong_where_nothing_is() -> None:
    others = Process(1, "resolved", {}, (Socket("net:[1]", 1, 53, 99), Socket("net:[1]", 2, 18000, 0)))
    # Counted before, and not any more: what was wrong may be mended, and the counters stay until the next boot.
    counters = {"RcvbufErrors": 17, "ReasmFails": 5}
    seen = Seen(
        processes=[process(7400, 7410, 7411), process(7498, 7499), others],
        counters=counters,
        growth=dict.fromkeys(counters, 0),
        receive_limit=33554432,
        machine_id="a1",
        peers=dict.fromkeys(PEERS, ""),
        written=ENVIRONMENT,
    )
    assert find(seen) == []


@pytest.mark.parametrize(
    ("seen", "given", "expected"),
    [
        (Seen([process(7500, 7501)]), {}, "participant index is 45 with UDP 7500-7501, .*firewall_ports is 7400-7500"),
        (Seen([process(7450, 7451)]), {"participants": 20}, "participant index is 20, and its peers ask for 20 from 0"),
        (Seen([process(41000, 41001)]), {}, "it listens at 41000, 41001, random ports"),
        (
            Seen([process(17910, 17911, ROS_DOMAIN_ID="42")]),
            {},
            "ROS_DOMAIN_ID is 42, and ros2_networking_domain_id is 0",
        ),
        (Seen([process(7910, ROS_DOMAIN_ID="")]), {"domain_id": 2, "firewall_ports": ""}, "ROS_DOMAIN_ID is 0, and"),
        (Seen([process(17910, 17911)]), {}, "it listens in the ports of domain 42, which it chose by itself"),
        (
            Seen([process(7410, RMW_IMPLEMENTATION="rmw_fastrtps_cpp")]),
            {},
            "RMW_IMPLEMENTATION is rmw_fastrtps_cpp, and",
        ),
        (Seen([process(7410, CYCLONEDDS_URI="")]), {}, "CYCLONEDDS_URI is not set"),
        (Seen([process(7410, drops=17)]), {}, "has lost 17 packets at UDP 7410 since .*receive_buffer.* start it anew"),
        (Seen(written={}), {}, "/etc/ros2-networking/ros2.env is not there: apply the role"),
        (
            Seen(written=ENVIRONMENT),
            {"domain_id": 42, "firewall_ports": ""},
            "ros2.env says ROS_DOMAIN_ID=0, and ros2_networking_domain_id is 42: apply the role",
        ),
        (
            Seen(written={**ENVIRONMENT, "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}),
            {},
            "ros2.env says RMW_IMPLEMENTATION=rmw_fastrtps_cpp, and ros2_networking_rmw is rmw_cyclonedds_cpp",
        ),
        (Seen(receive_limit=212992), {}, "a socket gets 212992 bytes, and asks for 33554432"),
        (
            Seen(counters={"RcvbufErrors": 24}, growth={"RcvbufErrors": 7}),
            {},
            "RcvbufErrors grew by 7 while this host was looked at: .*: see which: .*; raise .*receive_buffer where",
        ),
        (
            Seen(counters={"ReasmFails": 10}, growth={"ReasmFails": 5}),
            {},
            "ReasmFails grew by 5 while this host was looked at: .*: set .*path_mtu to what the path takes",
        ),
        (
            Seen(silent=["10.0.1.11"]),
            {},
            "no participant of peer 10.0.1.11 answers: .* drops UDP 7400",
        ),
        (
            Seen(peers={"10.0.1.11": "No route to host"}, silent=["10.0.1.11"]),
            {},
            "peer 10.0.1.11 cannot be reached: .* No route to host",
        ),
    ],
)
def test_what_is_wrong_is_told(seen: Seen, given: dict[str, Any], expected: str) -> None:
    findings = find(seen, **given)
    assert len(findings) == 1
    assert re.search(expected, findings[0])


def test_sockets_are_read_with_what_they_lost() -> None:
    assert list(parse_sockets("net:[1]", UDP)) == [Socket("net:[1]", 4711, 7411, 17), Socket("net:[1]", 4712, 53, 0)]


def test_counters_are_those_of_udp_and_ip() -> None:
    assert parse_counters(SNMP) == {"ReasmTimeout": 2, "ReasmFails": 5, "InErrors": 8, "RcvbufErrors": 7}


def test_a_counter_is_watched_while_the_host_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = tmp_path / "proc/self/net/snmp"
    counted.parent.mkdir(parents=True)
    counted.write_text(SNMP)
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        counted.write_text(SNMP.replace("900 7 0", "900 9 0"))

    monkeypatch.setattr("time.sleep", sleep)
    seen = read_host(tmp_path, "/etc/ros2-networking", [], 7410)
    assert waited == [pytest.approx(_dds_host.WATCH_SECONDS, abs=1)]
    assert seen.counters == {"ReasmTimeout": 2, "ReasmFails": 5, "InErrors": 8, "RcvbufErrors": 9}
    assert seen.growth == {"ReasmTimeout": 0, "ReasmFails": 0, "InErrors": 0, "RcvbufErrors": 2}


def test_nothing_else_of_an_environment_is_kept() -> None:
    data = b"ROS_DISTRO=jazzy\0ROS_DOMAIN_ID=7\0AWS_SECRET_ACCESS_KEY=canary-aws-51be\0"
    assert parse_environment(data) == {"ROS_DISTRO": "", "ROS_DOMAIN_ID": "7"}


def test_the_environment_file_is_read_as_shells_do(tmp_path: Path) -> None:
    file = tmp_path / "ros2.env"
    assert read_written(file) == {}
    file.write_text('# ROS_DOMAIN_ID=1\nROS_DOMAIN_ID=42\nCYCLONEDDS_URI="file:///a;b"\nPATH=/bin\n')
    assert read_written(file) == {"ROS_DOMAIN_ID": "42", "CYCLONEDDS_URI": "file:///a;b"}


def test_a_socket_of_this_process_is_seen() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        (own,) = [found for found in read_processes(Path("/")) if found.pid == os.getpid()]
        assert port in [entry.port for entry in own.sockets]


def test_a_peer_without_a_listener_is_reached() -> None:
    assert ask_peers(["127.0.0.1", "127.0.0.2"], 9) == {"127.0.0.1": "", "127.0.0.2": ""}


def test_hosts_that_differ_are_named() -> None:
    same = {"rmw": "rmw_fastrtps_cpp", "discovery": "peers", "domain_id": 0}
    mismatches = FilterModule().filters()["ros2_network_mismatches"]
    hosts = {
        "one": {**same, "machine_id": "a"},
        "two": {**same, "machine_id": "b"},
        "three": {**same, "machine_id": "c"},
    }
    assert mismatches(hosts) == []
    hosts["three"] |= {"domain_id": 42, "machine_id": "a"}
    domain, machine = mismatches(hosts)
    assert domain["cause"] == "ros2_networking_domain_id is 0 on one, two; 42 on three"
    assert "such as 0," in domain["remedy"]
    assert machine["symptom"] == "one, three do not hear one another"
    # Only Fast DDS goes by it.
    assert (
        mismatches({name: {**host, "rmw": "rmw_cyclonedds_cpp", "domain_id": 0} for name, host in hosts.items()}) == []
    )
    assert mismatches({name: {**host, "discovery": "host"} for name, host in hosts.items()}) == []
