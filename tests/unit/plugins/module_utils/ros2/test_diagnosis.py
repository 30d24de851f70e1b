# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The findings about a host's ROS 2 traffic."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.ros2_network_mismatches import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2 import host
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.diagnosis import assess_traffic, diagnose
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.environment import Ros2Finding
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.host import (
    HostTraffic,
    Interface,
    Process,
    Socket,
    parse_configured,
    parse_counters,
    parse_environment,
    parse_interfaces,
    parse_sockets,
    printable,
    probe_peers,
    read_containers,
    read_host,
    read_processes,
    read_written,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.plan import (
    environment as declared_environment,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.request import read

from tests.support.dds import planned

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


def find(seen: HostTraffic, **given: Any) -> list[str]:
    """Return the findings, each as one line."""
    network, problems = read({**DESCRIPTION, **given})
    assert problems == []
    return lines(diagnose(network, seen))


def notice(seen: HostTraffic, **given: Any) -> list[str]:
    """Return the notices, each as one line."""
    network, problems = read({**DESCRIPTION, **given})
    assert problems == []
    return lines(assess_traffic(network, seen).notices)


def lines(findings: list[Ros2Finding]) -> list[str]:
    """Return findings, each as one line."""
    return [f"{finding.symptom}: {finding.cause}: {finding.remedy}" for finding in findings]


def test_an_empty_host_has_no_findings() -> None:
    others = Process(1, "resolved", {}, (Socket("net:[1]", 1, 53, 99), Socket("net:[1]", 2, 18000, 0)))
    # Counted earlier: the cause may be repaired, and the counters stay until the next boot.
    counters = {"RcvbufErrors": 17, "ReasmFails": 5}
    seen = HostTraffic(
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
        (
            HostTraffic([process(7500, 7501)]),
            {},
            "participant index is 45 with UDP 7500-7501, .*firewall_ports is 7400-7500",
        ),
        (
            HostTraffic([process(7450, 7451)]),
            {"participants": 20},
            "participant index is 20, and its peers contact 20 from 0",
        ),
        (HostTraffic([process(41000, 41001)]), {}, "it listens on 41000, 41001, random ports"),
        (
            HostTraffic([process(17910, 17911, ROS_DOMAIN_ID="42")]),
            {},
            "ROS_DOMAIN_ID is 42, and ros2_networking_domain_id is 0",
        ),
        (
            HostTraffic([process(7910, ROS_DOMAIN_ID="")]),
            {"domain_id": 2, "firewall_ports": ""},
            "ROS_DOMAIN_ID is 0, and",
        ),
        (HostTraffic([process(17910, 17911)]), {}, "it listens on the ports of domain 42, which it chose by itself"),
        (
            HostTraffic([process(7410, RMW_IMPLEMENTATION="rmw_fastrtps_cpp")]),
            {},
            "RMW_IMPLEMENTATION is rmw_fastrtps_cpp, and",
        ),
        (HostTraffic([process(7410, CYCLONEDDS_URI="")]), {}, "CYCLONEDDS_URI is not set"),
        (
            HostTraffic([process(7410, drops=17)]),
            {},
            "has lost 17 packets at UDP 7410 since .*receive_buffer.* restart it",
        ),
        (HostTraffic(written={}), {}, "/etc/ros2-networking/ros2.env is missing: apply the role"),
        (
            HostTraffic(written=ENVIRONMENT),
            {"domain_id": 42, "firewall_ports": ""},
            "ros2.env has ROS_DOMAIN_ID=0, and ros2_networking_domain_id is 42: apply the role",
        ),
        (
            HostTraffic(written={**ENVIRONMENT, "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}),
            {},
            "ros2.env has RMW_IMPLEMENTATION=rmw_fastrtps_cpp, and ros2_networking_rmw is rmw_cyclonedds_cpp",
        ),
        (HostTraffic(receive_limit=212992), {}, "a socket gets 212992 bytes, and requests 33554432"),
        (
            HostTraffic(counters={"RcvbufErrors": 24}, growth={"RcvbufErrors": 7}),
            {},
            "RcvbufErrors grew by 7 while this host was watched: .*: find the socket .*Raise .*receive_buffer if",
        ),
        (
            HostTraffic(counters={"ReasmFails": 10}, growth={"ReasmFails": 5}),
            {},
            "ReasmFails grew by 5 while this host was watched: .*: set .*path_mtu to the MTU of the path",
        ),
        (
            HostTraffic(silent=["10.0.1.11"]),
            {},
            "no participant of peer 10.0.1.11 answers: .* drops UDP 7400",
        ),
        (
            HostTraffic(peers={"10.0.1.11": "No route to host"}, silent=["10.0.1.11"]),
            {},
            "peer 10.0.1.11 cannot be reached: .* No route to host",
        ),
    ],
)
def test_problems_are_found(seen: HostTraffic, given: dict[str, Any], expected: str) -> None:
    findings = find(seen, **given)
    assert len(findings) == 1
    assert re.search(expected, findings[0])


CYCLONE, FAST, ZENOH = "rmw_cyclonedds_cpp", "rmw_fastrtps_cpp", "rmw_zenoh_cpp"
HOST: dict[str, Any] = {"discovery": "host", "peers": [], "firewall_ports": ""}
SERVER: dict[str, Any] = {"rmw": FAST, "discovery": "discovery_server", "discovery_servers": ["10.0.1.10"]}
ROUTER: dict[str, Any] = {"rmw": ZENOH, "discovery": "zenoh", "zenoh_routers": ["10.0.1.10"]}


def started_with(given: dict[str, Any], **environment: str) -> Process:
    """Return a process that was started with the role's environment, and then with these variables."""
    network, problems = read({**DESCRIPTION, **given})
    assert problems == []
    values = {**declared_environment(network), **environment}
    return Process(812, "listener", values, (Socket("net:[1]", 1, 7410, 0),))


@pytest.mark.parametrize("given", [{}, HOST, {"rmw": FAST}, {**HOST, "rmw": FAST}, SERVER, ROUTER])
def test_a_process_with_the_environment_file_is_not_a_finding(given: dict[str, Any]) -> None:
    assert find(HostTraffic([started_with(given)]), **given) == []


@pytest.mark.parametrize(
    ("given", "name", "value", "finding"),
    [
        # In every mode of discovery that DDS has, on one host as well.
        ({}, "ROS_LOCALHOST_ONLY", "1", "may start no participant, or receive nothing from other"),
        (HOST, "ROS_LOCALHOST_ONLY", "1", "may start no participant"),
        ({"rmw": FAST}, "ROS_LOCALHOST_ONLY", "1", "may start no participant, or receive nothing from other"),
        (SERVER, "ROS_LOCALHOST_ONLY", "1", "may start no participant, or receive nothing from other"),
        ({}, "ROS_LOCALHOST_ONLY", "0", ""),
        # ROS 2 only accepts 1 as yes.
        ({}, "ROS_LOCALHOST_ONLY", "true", ""),
        ({}, "ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST", "may start no participant, or receive nothing from other"),
        ({}, "ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF", "may start no participant, or receive nothing from other"),
        (HOST, "ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF", "not find the others on this host"),
        # ROS 2 treats an unknown word as LOCALHOST.
        ({}, "ROS_AUTOMATIC_DISCOVERY_RANGE", "everywhere", "may start no participant, or receive nothing from other"),
        ({}, "ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET", ""),
        (HOST, "ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST", ""),
        ({}, "ROS_STATIC_PEERS", "10.0.1.99", "contacts hosts that are not declared"),
        (HOST, "ROS_STATIC_PEERS", "10.0.1.10;robot-2", "contacts hosts that are not declared"),
        ({}, "ROS_STATIC_PEERS", "10.0.1.10; 127.0.0.1;localhost;", ""),
        ({}, "RMW_IMPLEMENTATION", FAST, "may receive samples that it cannot read"),
        (HOST, "RMW_IMPLEMENTATION", ZENOH, "may receive samples that it cannot read"),
        # Such as Isaac Sim, which has no other.
        ({"other_rmws": [FAST]}, "RMW_IMPLEMENTATION", FAST, ""),
        ({}, "ROS_DOMAIN_ID", "7", "receives nothing in domain 0"),
        ({**HOST, "domain_id": 2}, "ROS_DOMAIN_ID", "", "its ROS_DOMAIN_ID is 0"),
        ({}, "CYCLONEDDS_URI", "file:///home/me/cyclonedds.xml", "loses large messages"),
        (HOST, "CYCLONEDDS_URI", "", "its CYCLONEDDS_URI is not set"),
        ({"rmw": FAST}, "CYCLONEDDS_URI", "file:///home/me/cyclonedds.xml", ""),
        ({"rmw": FAST}, "FASTDDS_DEFAULT_PROFILES_FILE", "/home/me/profile.xml", "loses large messages"),
        ({"rmw": FAST}, "FASTRTPS_DEFAULT_PROFILES_FILE", "/home/me/profile.xml", "loses large messages"),
        ({}, "FASTRTPS_DEFAULT_PROFILES_FILE", "/home/me/profile.xml", ""),
        # One of both names is enough.
        ({"rmw": FAST}, "FASTDDS_DEFAULT_PROFILES_FILE", "", ""),
        ({"rmw": FAST}, "FASTDDS_BUILTIN_TRANSPORTS", "SHM", "may use transports that"),
        ({"rmw": FAST}, "FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA?max_msg_size=1MB", "may use transports that"),
        ({"rmw": FAST}, "FASTDDS_BUILTIN_TRANSPORTS", "UDPv4", ""),
        ({"rmw": FAST}, "FASTDDS_ENVIRONMENT_FILE", "/home/me/env.json", "may take its discovery servers"),
        ({"rmw": FAST}, "ROS_DISCOVERY_SERVER", "10.0.1.10:11811", "is found only by processes with the same"),
        (SERVER, "ROS_DISCOVERY_SERVER", ";10.0.1.11:11811", "is found only by processes with the same"),
        (SERVER, "ROS_DISCOVERY_SERVER", "", "its ROS_DISCOVERY_SERVER is not set"),
        (SERVER, "ROS_DISCOVERY_SERVER", "10.0.1.10", ""),
        ({}, "ROS_DISCOVERY_SERVER", "10.0.1.10:11811", ""),
        ({"rmw": FAST}, "ROS_SUPER_CLIENT", "TRUE", "may wait for a discovery server"),
        # It receives more, and loses nothing.
        (SERVER, "ROS_SUPER_CLIENT", "TRUE", ""),
        ({"rmw": FAST}, "ROS_SUPER_CLIENT", "FALSE", ""),
        ({"rmw": FAST}, "ROS2_EASY_MODE", "10.0.1.10", "is found only by processes with the same value"),
        (ROUTER, "ZENOH_SESSION_CONFIG_URI", "/home/me/session.json5", "may not reach the declared routers"),
        (ROUTER, "ZENOH_SESSION_CONFIG_URI", "", "its ZENOH_SESSION_CONFIG_URI is not set"),
        (ROUTER, "ZENOH_ROUTER_CONFIG_URI", "/home/me/router.json5", "may not reach the other routers"),
        (ROUTER, "ZENOH_CONFIG_OVERRIDE", 'mode="client"', "may not reach the declared routers"),
        (ROUTER, "ROS_LOCALHOST_ONLY", "1", ""),
        ({}, "ZENOH_CONFIG_OVERRIDE", 'mode="client"', ""),
    ],
)
def test_a_variable_that_overrides_the_network_is_named(
    given: dict[str, Any], name: str, value: str, finding: str
) -> None:
    findings = find(HostTraffic([started_with(given, **{name: value})]), **given)
    assert len(findings) == bool(finding)
    for told in findings:
        assert told.startswith("listener (process 812) ")
        assert finding in told
        assert name in told
        symptom, cause, remedy = told.split(": ", 2)
        assert symptom
        assert cause
        assert re.match("start it with /etc/ros2-networking/ros2.env|unset it|set it to ", remedy)


@pytest.mark.parametrize(
    ("given", "names"), [({}, "ROS_LOCALHOST_ONLY ROS_STATIC_PEERS"), (ROUTER, "ZENOH_CONFIG_OVERRIDE")]
)
def test_the_environment_file_overrides_other_values(given: dict[str, Any], names: str) -> None:
    hostile = {"ROS_LOCALHOST_ONLY": "1", "ROS_STATIC_PEERS": "10.0.1.99", "ZENOH_CONFIG_OVERRIDE": "mode=client"}
    network, _problems = read({**DESCRIPTION, **given})
    for name in names.split():
        process = Process(812, "listener", {**hostile, **declared_environment(network)}, ())
        assert name in declared_environment(network)
        assert find(HostTraffic([process]), **given) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ROS_STATIC_PEERS", "10.0.1.10\n10.0.1.11", "10.0.1.10 10.0.1.11"),
        (
            "ZENOH_CONFIG_OVERRIDE",
            'transport/auth/usrpwd/password="canary";mode="client";connect/endpoints=["tls/10.0.1.1:7447"]',
            "an override of transport/auth/usrpwd/password, mode, connect/endpoints",
        ),
        ("ZENOH_CONFIG_OVERRIDE", "secret", "an override of unknown settings"),
        ("ZENOH_CONFIG_OVERRIDE", "mode='client';password='a;secret=b'", "an override of mode, password"),
        (
            "CYCLONEDDS_URI",
            "file:///etc/x.xml,<CycloneDDS><PrivateKey>data:,secret</PrivateKey></CycloneDDS>",
            "file:///etc/x.xml,<inline XML>",
        ),
        ("CYCLONEDDS_URI", "<CycloneDDS><PrivateKey>\nsecret", "<inline XML>"),
        ("ZENOH_SESSION_CONFIG_URI", "https://me:secret@example.com/x", "https://...@example.com/x"),
        ("ROS_DISCOVERY_SERVER", "1" * 200, "1" * 117 + "..."),
    ],
)
def test_a_value_is_shown_on_one_line_and_without_its_secrets(name: str, value: str, told: str) -> None:
    assert printable(name, value) == told


SMALL = 4194304


@pytest.mark.parametrize("limit", [212992, SMALL])
def test_a_limit_that_a_container_cannot_change_is_a_notice(limit: int) -> None:
    # With all that it leads to.
    lossy = replace(process(7410), sockets=(Socket("net:[1]", 1, 7410, 9, growth=4),))
    seen = HostTraffic([lossy], receive_limit=limit, limit_is_fixed=True, growth={"RcvbufErrors": 4})
    assert find(seen) == []
    lost, grew, asks = notice(seen)
    assert "has lost 4 packets at UDP 7410 while this host was watched" in lost
    assert "RcvbufErrors grew by 4" in grew
    assert f"net.core.rmem_max is {limit}" in asks
    # Where it can be changed, and where the declared buffer is as small, it is what it was.
    assert len(find(replace(seen, limit_is_fixed=False))) == 3
    assert len(find(replace(seen, receive_limit=33554432))) == 2
    assert notice(HostTraffic(receive_limit=limit, limit_is_fixed=True), receive_buffer=65536) == []


@pytest.mark.parametrize("limit", [33554432, 2147483647, None])
def test_a_limit_that_is_enough_is_not_mentioned(limit: int | None) -> None:
    seen = HostTraffic(receive_limit=limit, limit_is_fixed=True)
    assert find(seen) == notice(seen) == []


def test_what_a_socket_lost_before_it_was_watched_is_a_notice() -> None:
    old = HostTraffic([replace(process(7410), sockets=(Socket("net:[1]", 1, 7410, 9, growth=0),))])
    assert find(old) == []
    assert re.search("has lost 9 packets at UDP 7410 since .*, and none while", notice(old)[0])
    new = HostTraffic([replace(process(7410), sockets=(Socket("net:[1]", 1, 7410, 9, growth=2),))])
    assert re.search("has lost 2 packets at UDP 7410 while", find(new)[0])
    assert notice(new) == []


LOOPBACK = Interface("lo", up=True, addresses=("127.0.0.1",))
OLD = Interface("ens5", up=True, addresses=("10.0.1.10",))
# After the instance has got another type.
NEW = Interface("enp39s0", up=True, addresses=("10.0.1.10",))
BRIDGE = Interface("docker0", up=False, addresses=("172.17.0.1",))


@pytest.mark.parametrize(
    ("interfaces", "configured", "given", "expected"),
    [
        ([LOOPBACK, OLD], [("cyclonedds-11.xml", "ens5")], {"interface": "ens5"}, ""),
        ([LOOPBACK, NEW, BRIDGE], [("cyclonedds-11.xml", "10.0.1.10")], {"interface": "enp39s0"}, ""),
        (
            [LOOPBACK, NEW],
            [("cyclonedds-0.10.xml", "ens5"), ("cyclonedds-11.xml", "ens5")],
            {"interface": "enp39s0"},
            "no participant starts .*/cyclonedds-0.10.xml names the network interface ens5, and this host has "
            r"lo \(127.0.0.1\), enp39s0 \(10.0.1.10\): apply the role, with ros2_networking_interface empty",
        ),
        ([LOOPBACK, NEW], [], {"interface": "ens5"}, "ros2_networking_interface names the network interface ens5, and"),
        (
            [LOOPBACK, replace(OLD, addresses=("10.0.1.99",))],
            [("cyclonedds-11.xml", "10.0.1.10")],
            {"interface": "ens5"},
            r"names the address 10.0.1.10, and this host has .*ens5 \(10.0.1.99\).*; correct ros2_networking_peers",
        ),
        (
            [LOOPBACK, replace(OLD, addresses=("10.0.1.99",))],
            [("fastdds.xml", "10.0.1.10"), ("fastdds.xml", "127.0.0.1"), ("cyclonedds-11.xml", "eth7")],
            {"interface": "ens5", "rmw": FAST},
            "fastdds.xml names the address 10.0.1.10",
        ),
        (
            [LOOPBACK, replace(OLD, up=False)],
            [("cyclonedds-11.xml", "10.0.1.10")],
            {"interface": "ens5"},
            r"no participant reaches another host: interface ens5 \(10.0.1.10, down\) is down: run `ip link set dev",
        ),
        (
            [LOOPBACK, replace(OLD, addresses=())],
            [],
            {"interface": "ens5"},
            r"no participant starts on this host: interface ens5 has no IPv4 address",
        ),
        ([replace(LOOPBACK, up=False)], [], HOST, r"interface lo \(127.0.0.1, down\) is down"),
        # Containers on a bridge have interfaces of their own.
        ([LOOPBACK], [("cyclonedds-11.xml", "eth0")], {**HOST, "discovery": "bridge", "interface": "eth0"}, ""),
        ([LOOPBACK], [("cyclonedds-11.xml", "ens5")], ROUTER, ""),
        ([LOOPBACK, NEW], [("cyclonedds-11.xml", "lo")], HOST, ""),
    ],
)
def test_a_missing_or_down_interface_is_named_with_the_present_ones(
    interfaces: list[Interface], configured: list[tuple[str, str]], given: dict[str, Any], expected: str
) -> None:
    found = find(HostTraffic(interfaces=interfaces, configured=configured), **given)
    assert [bool(re.search(expected, line)) for line in found] == ([True] if expected else [])


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"interface": "ens5"},
        {"interface": "ens5", "interface_address": "10.0.1.10"},
        {"rmw": FAST, "interface": "ens5", "interface_address": "10.0.1.10"},
        {"rmw": FAST, "interface": "ens5"},
        HOST,
    ],
)
def test_interfaces_in_the_rendered_files_are_found(given: dict[str, Any]) -> None:
    network, _problems = read({**DESCRIPTION, **given})
    wanted = {network.device_address or network.device} - {""}
    documents = planned(**{**DESCRIPTION, **given})
    assert set(parse_configured(documents["cyclonedds"]["11"])) == wanted
    # The profile for Fast DDS names its loopback interface as well.
    assert set(parse_configured(documents["fastdds"])) == (wanted | {"127.0.0.1"} if wanted else set()) - {"lo"}


def test_interfaces_are_read_with_their_state_and_addresses() -> None:
    text = """[{"ifname": "lo", "flags": ["LOOPBACK", "UP", "LOWER_UP"], "operstate": "UNKNOWN",
                "addr_info": [{"family": "inet", "local": "127.0.0.1"}, {"family": "inet6", "local": "::1"}]},
               {}, {"ifname": "ens5", "flags": ["BROADCAST", "UP"], "operstate": "DOWN", "addr_info": []},
               {"ifname": "ens6", "flags": ["BROADCAST"], "operstate": "UNKNOWN"}]"""
    assert parse_interfaces(text) == [
        LOOPBACK,
        Interface("ens5", up=False, addresses=()),
        Interface("ens6", up=False, addresses=()),
    ]


def test_sockets_are_read_with_their_losses() -> None:
    assert list(parse_sockets("net:[1]", UDP)) == [Socket("net:[1]", 4711, 7411, 17), Socket("net:[1]", 4712, 53, 0)]


def test_counters_are_those_of_udp_and_ip() -> None:
    assert parse_counters(SNMP) == {"ReasmTimeout": 2, "ReasmFails": 5, "InErrors": 8, "RcvbufErrors": 7}


def test_counters_are_watched_during_the_diagnosis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = tmp_path / "proc/self/net/snmp"
    counted.parent.mkdir(parents=True)
    counted.write_text(SNMP)
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        counted.write_text(SNMP.replace("900 7 0", "900 9 0"))

    monkeypatch.setattr("time.sleep", sleep)
    seen = read_host(tmp_path, "/etc/ros2-networking", [], 7410)
    assert waited == [pytest.approx(host.WATCH_SECONDS, abs=1)]
    assert seen.counters == {"ReasmTimeout": 2, "ReasmFails": 5, "InErrors": 8, "RcvbufErrors": 9}
    assert seen.growth == {"ReasmTimeout": 0, "ReasmFails": 0, "InErrors": 0, "RcvbufErrors": 2}


def test_other_variables_of_an_environment_are_dropped() -> None:
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


def started(code: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a process of Python that writes a line once it is ready, and wait for that."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_process_is_named_with_the_variable_that_limits_it_to_its_host() -> None:
    code = (
        "import socket; probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); probe.bind(('127.0.0.1', 0)); "
        "print('ready', flush=True); input()"
    )
    with started(code, **{**ENVIRONMENT, "ROS_LOCALHOST_ONLY": "1", "API_KEY": "canary"}) as process:
        found = [entry for entry in read_processes(Path("/")) if entry.pid == process.pid]
        process.kill()
    told = [line for line in find(HostTraffic(found)) if "ROS_LOCALHOST_ONLY" in line]
    assert len(told) == 1
    assert re.match(
        rf"\S+ \(process {process.pid}[^)]*\) may start no participant.*: its ROS_LOCALHOST_ONLY is 1, ", told[0]
    )
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("library", "expected"), [("libddsc.so.0", True), ("librmw_zenoh_cpp.so", True), ("libm.so", False)]
)
def test_a_process_without_udp_counts_where_it_has_loaded_middleware(
    tmp_path: Path, library: str, *, expected: bool
) -> None:
    file = tmp_path / library
    file.write_bytes(b"\0" * 4096)
    code = (
        f"import mmap; file = open({str(file)!r}, 'r+b'); area = mmap.mmap(file.fileno(), 0); "
        "print('ready', flush=True); input()"
    )
    with started(code, ROS_DISTRO="jazzy") as process:
        found = [entry.middleware for entry in read_processes(Path("/")) if entry.pid == process.pid]
        process.kill()
    assert found == ([True] if expected else [])


def test_a_program_that_only_inherits_the_environment_is_not_a_participant() -> None:
    network, _problems = read(DESCRIPTION)
    sockets = (Socket("net:[1]", 1, 41000, 0),)
    inherits = Process(812, "mosh-server", declared_environment(network), sockets, middleware=False)
    assert find(HostTraffic([inherits])) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"0::/system.slice/docker-{'ab' * 32}.scope", ["abababababab"]),
        (f"12:pids:/docker/{'ab' * 32}/docker/{'cd' * 32}", ["abababababab", "cdcdcdcdcdcd"]),
        ("0::/user.slice/user-1000.slice/session-1.scope", []),
    ],
)
def test_a_process_is_named_with_its_container(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "cgroup").write_text(text)
    assert read_containers(tmp_path) == expected
    assert str(Process(812, "listener", {}, (), container=(expected or [""])[-1])).endswith(
        f" in container {expected[-1]})" if expected else "(process 812)"
    )


def test_a_peer_without_a_listener_is_reached() -> None:
    assert probe_peers(["127.0.0.1", "127.0.0.2"], 9) == {"127.0.0.1": "", "127.0.0.2": ""}


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
    assert machine["symptom"] == "one, three do not receive each other's samples"
    # Only Fast DDS goes by it.
    assert (
        mismatches({name: {**host, "rmw": "rmw_cyclonedds_cpp", "domain_id": 0} for name, host in hosts.items()}) == []
    )
    assert mismatches({name: {**host, "discovery": "host"} for name, host in hosts.items()}) == []
