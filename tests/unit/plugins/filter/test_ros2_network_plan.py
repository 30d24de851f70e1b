# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What follows from how ROS 2 hosts are to speak with one another, and what is refused."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.filter import ros2_network_plan as plugin
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._ros2.request import Network

from tests.support.dds import rendered

CYCLONE, FAST, ZENOH = "rmw_cyclonedds_cpp", "rmw_fastrtps_cpp", "rmw_zenoh_cpp"
PEERS: dict[str, Any] = {"discovery": "peers", "peers": ["10.0.1.10", "10.0.1.11"]}
SERVER: dict[str, Any] = {"discovery": "discovery_server", "rmw": FAST, "discovery_servers": ["10.0.1.10"]}
ROUTER: dict[str, Any] = {"discovery": "zenoh", "rmw": ZENOH, "zenoh_routers": ["10.0.1.10"]}
SPACES = {"c": "https://cdds.io/config", "f": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}


def ask(**given: Any) -> dict[str, Any]:
    """Return all that follows, or why nothing does."""
    told: dict[str, Any] = plugin.FilterModule().filters()["ros2_network_plan"](given)
    return told


def plan(**given: Any) -> dict[str, Any]:
    """Return the plan, and the documents that the role's templates make of it."""
    told = ask(**given)
    assert told["problems"] == []
    return {**told, **rendered(told)}


def tree(document: str) -> ET.Element:
    """Return the root of a document."""
    parser: Any = ET.XMLPullParser()
    parser.feed(document)
    parser.close()
    elements: list[ET.Element] = [element for _event, element in parser.read_events()]
    return elements[-1]


def text(document: str, path: str) -> str | None:
    """Return the text of an element of a document of Cyclone DDS or Fast DDS, or None where it has no such element."""
    space = "c" if "CycloneDDS" in document else "f"
    return tree(document).findtext("./" + "/".join(f"{space}:{name}" for name in path.split("/")), None, SPACES)


def attributes(document: str, name: str) -> list[dict[str, str]]:
    """Return the attributes of all elements of a name."""
    return [dict(element.attrib) for element in tree(document).iter(f"{{{SPACES['c']}}}{name}")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "7400-7499"),
        ({"participants": 44}, "7400-7497"),
        ({"participants": 120}, "7400-7649"),
        ({"domain_id": 42}, "17900-17999"),
        ({"domain_id": "42", "participants": "1"}, "17900-17911"),
        ({"domain_id": 101, "participants": 54}, "32650-32767"),
    ],
)
def test_ports_follow_from_the_domain(given: dict[str, Any], expected: str) -> None:
    assert plan(**given)["ports"]["range"] == expected


def test_the_hundred_ports_of_the_guide_carry_45_participants() -> None:
    assert plan(**PEERS, firewall_ports="7400-7500")["ports"]["participants_within"] == 45
    assert plan(**PEERS, firewall_ports="7400-7649")["ports"]["participants_within"] == 120
    assert plan(**PEERS, firewall_ports="1-65535", domain_id=42)["ports"]["participants_within"] == 120
    assert plan()["ports"]["most_participants"] == 120


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (65536, 65500, 65372)),
        ({"discovery": "bridge"}, (1500, 1472, 1344)),
        ({"discovery": "bridge", "path_mtu": 1400}, (1400, 1372, 1244)),
        (PEERS, (1500, 1472, 1344)),
        ({**PEERS, "path_mtu": 9001}, (9001, 8973, 8845)),
        ({"path_mtu": "1500"}, (1500, 1472, 1344)),
    ],
)
def test_a_message_fits_the_path(given: dict[str, Any], expected: tuple[int, int, int]) -> None:
    told = plan(**given)
    assert tuple(told["message"].values()) == expected
    for document in told["cyclonedds"].values():
        assert text(document, "Domain/General/MaxMessageSize") == f"{expected[1]}B"
        assert text(document, "Domain/General/FragmentSize") == f"{expected[2]}B"
    path = "profiles/transport_descriptors/transport_descriptor/maxMessageSize"
    assert text(told["fastdds"], path) == str(expected[1])


def test_cyclone_asks_for_what_the_kernel_grants_and_starts_without_it() -> None:
    told = plan(receive_buffer=16777216, send_buffer=8388608)
    for document in told["cyclonedds"].values():
        assert attributes(document, "SocketReceiveBufferSize") == [{"max": "16777216B"}]
        assert attributes(document, "SocketSendBufferSize") == [{"max": "8388608B"}]
    assert told["kernel"]["at_least"]["net.core.rmem_max"] == 16777216
    assert told["kernel"]["at_least"]["net.core.wmem_max"] == 8388608


@pytest.mark.parametrize("version", ["0.10", "11"])
def test_peers_of_cyclone_are_asked_for_as_long_as_it_takes(version: str) -> None:
    document = plan(**PEERS, interface="ens5")["cyclonedds"][version]
    peers = attributes(document, "Peer")
    assert [peer["Address"] for peer in peers] == ["127.0.0.1", "10.0.1.10", "10.0.1.11"]
    # The word stops Cyclone DDS 0.10.
    assert {peer.get("PruneDelay") for peer in peers} == {None if version == "0.10" else "inf"}
    assert text(document, "Domain/Discovery/ParticipantIndex") == "auto"
    assert text(document, "Domain/Discovery/MaxAutoParticipantIndex") == "45"
    assert text(document, "Domain/General/AllowMulticast") == "false"
    assert attributes(document, "NetworkInterface") == [{"name": "ens5", "multicast": "false"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # The name changes with the type of an instance, as from ens5 to enp39s0; the address stays.
        ({**PEERS, "interface": "ens5", "interface_address": "10.0.1.10"}, {"address": "10.0.1.10"}),
        ({**PEERS, "interface": "ens5"}, {"name": "ens5"}),
        # The address is the host's, and the interface that of a container.
        ({"discovery": "bridge", "interface": "eth0", "interface_address": "10.0.1.10"}, {"name": "eth0"}),
        ({"interface_address": "127.0.0.1"}, {"name": "lo"}),
    ],
)
def test_cyclone_knows_an_interface_by_its_address(given: dict[str, Any], expected: dict[str, str]) -> None:
    for document in plan(**given)["cyclonedds"].values():
        (interface,) = attributes(document, "NetworkInterface")
        assert {name: interface[name] for name in ("name", "address") if name in interface} == expected


def test_on_one_host_nothing_leaves_the_loopback_interface() -> None:
    for document in plan()["cyclonedds"].values():
        assert attributes(document, "NetworkInterface") == [{"name": "lo", "multicast": "false"}]
        assert [peer["Address"] for peer in attributes(document, "Peer")] == ["127.0.0.1"]
    assert plan()["loopback_multicast"] is False
    with_multicast = plan(multicast=True)
    assert with_multicast["loopback_multicast"] is True
    assert attributes(with_multicast["cyclonedds"]["11"], "NetworkInterface") == [{"name": "lo", "multicast": "true"}]
    assert attributes(with_multicast["cyclonedds"]["11"], "Peer") == []


def test_a_bridge_carries_multicast() -> None:
    told = plan(discovery="bridge")
    assert text(told["cyclonedds"]["0.10"], "Domain/General/AllowMulticast") == "spdp"
    assert attributes(told["cyclonedds"]["0.10"], "Peer") == attributes(told["cyclonedds"]["0.10"], "NetworkInterface")
    assert "initialPeersList" not in told["fastdds"]
    assert told["compose_sysctls"] == {
        "net.ipv4.ipfrag_high_thresh": "134217728",
        "net.ipv4.ipfrag_time": "3",
    }


@pytest.mark.parametrize("given", [{}, PEERS, SERVER, ROUTER])
def test_host_networking_takes_no_sysctls(given: dict[str, Any]) -> None:
    assert plan(**given)["compose_sysctls"] == {}


def test_an_external_address_is_told_to_others() -> None:
    told = plan(**PEERS, external_address="203.0.113.7")
    assert text(told["cyclonedds"]["11"], "Domain/General/ExternalNetworkAddress") == "203.0.113.7"
    # The library refuses a profile that has it without a port, and each participant has its own.
    assert "203.0.113.7" not in told["fastdds"]
    assert "203.0.113.7" not in plan(**PEERS)["cyclonedds"]["11"]


def test_fast_asks_every_participant_of_a_peer() -> None:
    document = plan(**PEERS, rmw=FAST, participants=20)["fastdds"]
    assert text(document, "profiles/transport_descriptors/transport_descriptor/maxInitialPeersRange") == "20"
    assert re.findall("<address>(.*)</address>", document) == ["127.0.0.1", "10.0.1.10", "10.0.1.11"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [("address", "127.0.0.1")]),
        (
            {**PEERS, "interface": "ens5", "interface_address": "10.0.1.10"},
            [("address", "10.0.1.10"), ("address", "127.0.0.1")],
        ),
        ({**PEERS, "interface": "ens5"}, [("interface", "ens5"), ("address", "127.0.0.1")]),
        (PEERS, []),
    ],
)
def test_fast_knows_interfaces_by_their_addresses(given: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    # Names, and the element for them, are unknown to Fast DDS before 2.13.
    allowed = re.search("<interfaceWhiteList>.*</interfaceWhiteList>", plan(**given)["fastdds"], re.DOTALL)
    assert (re.findall(r"<(\w+)>(.+)</", allowed[0]) if allowed else []) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"domain_id": 7},
            {
                "RMW_IMPLEMENTATION": CYCLONE,
                "ROS_DOMAIN_ID": "7",
                "CYCLONEDDS_URI": "file:///etc/ros2-networking/cyclonedds-0.10.xml",
            },
        ),
        (
            {"cyclonedds_version": "11", "directory": "/srv/ros2"},
            {
                "RMW_IMPLEMENTATION": CYCLONE,
                "ROS_DOMAIN_ID": "0",
                "CYCLONEDDS_URI": "file:///srv/ros2/cyclonedds-11.xml",
            },
        ),
        (
            {**SERVER, "discovery_servers": ["10.0.1.10", "10.0.1.11:11888"]},
            {
                "RMW_IMPLEMENTATION": FAST,
                "ROS_DOMAIN_ID": "0",
                "FASTDDS_DEFAULT_PROFILES_FILE": "/etc/ros2-networking/fastdds.xml",
                "FASTRTPS_DEFAULT_PROFILES_FILE": "/etc/ros2-networking/fastdds.xml",
                "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
                "ROS_DISCOVERY_SERVER": "10.0.1.10:11811;10.0.1.11:11888",
            },
        ),
        (
            ROUTER,
            {
                "RMW_IMPLEMENTATION": ZENOH,
                "ROS_DOMAIN_ID": "0",
                "ZENOH_SESSION_CONFIG_URI": "/etc/ros2-networking/zenoh-session.json5",
                "ZENOH_ROUTER_CONFIG_URI": "/etc/ros2-networking/zenoh-router.json5",
                "ZENOH_CONFIG_OVERRIDE": "",
            },
        ),
    ],
)
def test_environment(given: dict[str, Any], expected: dict[str, str]) -> None:
    always = {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
        # What a start-up file of a shell or an image may set, and what would keep a process to its host.
        "ROS_LOCALHOST_ONLY": "",
        "ROS_STATIC_PEERS": "",
    }
    assert plan(**given)["environment"] == {**expected, **always}


def test_a_session_of_zenoh_asks_every_router() -> None:
    told = plan(**{**ROUTER, "zenoh_routers": ["10.0.1.10:7500", "10.0.1.11"]})["zenoh"]
    session = json.loads(told["session"])
    assert session["connect"]["endpoints"] == ["tcp/10.0.1.10:7500", "tcp/10.0.1.11:7447"]
    assert session["mode"] == "client"
    assert plan()["zenoh"] == {}


@pytest.mark.parametrize(
    ("address", "port", "others"),
    [
        ("10.0.1.10", 7500, ["tcp/10.0.1.11:7447", "tcp/10.0.1.12:7447"]),
        ("10.0.1.12", 7447, ["tcp/10.0.1.10:7500", "tcp/10.0.1.11:7447"]),
    ],
)
def test_a_router_of_zenoh_listens_at_its_own_port_and_asks_the_others(
    address: str, port: int, others: list[str]
) -> None:
    routers = ["10.0.1.10:7500", "10.0.1.11", "10.0.1.12"]
    told = plan(**{**ROUTER, "zenoh_routers": routers, "own_addresses": ["192.168.7.7", address]})
    router = json.loads(told["zenoh"]["router"])
    assert router["mode"] == "router"
    assert router["listen"]["endpoints"] == [f"tcp/0.0.0.0:{port}"]
    assert router["connect"]["endpoints"] == others


@pytest.mark.parametrize("name", ["session", "router"])
def test_zenoh_stamps_samples_as_the_file_of_ros_2_does(name: str) -> None:
    assert json.loads(plan(**ROUTER)["zenoh"][name])["timestamping"] == {"enabled": True}


def test_the_kernel_is_asked_for_nothing_that_nobody_wants() -> None:
    assert plan()["kernel"] == {
        "at_least": {
            "net.core.rmem_max": 33554432,
            "net.core.wmem_max": 33554432,
            "net.ipv4.ipfrag_high_thresh": 134217728,
        },
        "exactly": {"net.ipv4.ipfrag_time": 3},
    }
    told = plan(netdev_max_backlog=5000, default_receive_buffer=1048576)
    assert told["kernel"]["at_least"]["net.core.netdev_max_backlog"] == 5000
    assert told["kernel"]["at_least"]["net.core.rmem_default"] == 1048576
    assert [warning.split(":")[0] for warning in told["warnings"]] == ["ros2_networking_default_receive_buffer"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"receive_buffer": 2147483647}, r"receive_buffer: 2147483647 lets every socket .* hold up to 2047 MiB"),
        (
            {"discovery": "peers", "peers": ["203.0.113.7"], "path_mtu": 9001, "external_address": "203.0.113.7"},
            "path_mtu: 9001 is more than the internet",
        ),
        (
            {**PEERS, "external_address": "203.0.113.7"},
            "external_address: 203.0.113.7 is what this host tells everybody",
        ),
        (ROUTER, "zenoh_routers: a router asks nobody who they are"),
        ({"discovery": "peers", "peers": ["127.0.0.1", "10.0.1.10"]}, "peers: 127.0.0.1 is every host's"),
    ],
)
def test_what_is_accepted_with_a_warning(given: dict[str, Any], expected: str) -> None:
    (warning,) = plan(**given)["warnings"]
    assert re.match(f"ros2_networking_{expected}", warning)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"domain_id": 233}, "domain_id: 233 is too large. Allowed: 0 to 101. Choose another domain"),
    ({"domain_id": -1}, "domain_id: -1 is too small. Allowed: 0 to 101"),
    ({"domain_id": "lab"}, 'domain_id: "lab" is not a whole number'),
    ({"path_mtu": 100}, "path_mtu: 100 is too small. Allowed: 0, or 1280 to 65536 bytes. Use 1500 for Ethernet"),
    ({"path_mtu": 70000}, "path_mtu: 70000 is too large"),
    ({"receive_buffer": 2147483648}, "receive_buffer: 2147483648 is too large. Allowed: 65536 to 2147483647 bytes"),
    ({"send_buffer": 0}, "send_buffer: 0 is too small"),
    ({"discovery": "magic"}, 'discovery: "magic" is unknown. Allowed: host, bridge, peers, discovery_server, zenoh'),
    ({"rmw": "cyclone"}, 'rmw: "cyclone" is unknown. Allowed: rmw_cyclonedds_cpp, rmw_fastrtps_cpp, rmw_zenoh_cpp'),
    ({"other_rmws": ["rmw_none"]}, 'other_rmws: "rmw_none" is unknown. Allowed: a list of rmw_cyclonedds_cpp,'),
    ({"other_rmws": ZENOH}, 'other_rmws: "rmw_zenoh_cpp" is not a list'),
    ({"other_rmws": [ZENOH]}, 'other_rmws: "rmw_zenoh_cpp" does not understand rmw_cyclonedds_cpp. Allowed: rmw_cycl'),
    (
        {"cyclonedds_version": 0.10},
        'cyclonedds_version: 0.1 is a number, as the quotes are missing, .* 0.10: .* Allowed: "0.10", "11". Write',
    ),
    ({"cyclonedds_version": 11.0}, "cyclonedds_version: 11.0 is a number, as the quotes are missing"),
    ({"cyclonedds_version": "0.1"}, 'cyclonedds_version: "0.1" is unknown. Allowed: 0.10, 11'),
    ({"cyclonedds_version": "9"}, 'cyclonedds_version: "9" is unknown. Allowed: 0.10, 11'),
    ({**PEERS, "peers": ["robot-1"]}, 'peers: "robot-1" is no address of a host'),
    ({**PEERS, "peers": ["10.0.1.300"]}, 'peers: "10.0.1.300" is no address of a host'),
    ({**PEERS, "peers": ["fd00::1"]}, 'peers: "fd00::1" is no address of a host'),
    ({**PEERS, "peers": ["239.255.0.1"]}, 'peers: "239.255.0.1" is no address of a host'),
    ({**PEERS, "peers": "10.0.1.10"}, 'peers: "10.0.1.10" is not a list'),
    ({**PEERS, "peers": []}, r"peers: \[\] names nobody, and discovery is peers. .* the same list on each"),
    ({**PEERS, "multicast": True}, "multicast: true does not go with discovery peers"),
    ({"multicast": "perhaps"}, 'multicast: "perhaps" is neither true nor false'),
    ({"external_address": "203.0.113.7"}, 'external_address: "203.0.113.7" is of no use to participants that stay'),
    (
        {**PEERS, "rmw": FAST, "external_address": "203.0.113.7"},
        'external_address: "203.0.113.7" is nothing that rmw_fastrtps_cpp can tell for all participants of a host',
    ),
    ({**PEERS, "external_address": "lab.example.com"}, 'external_address: "lab.example.com" is no address of a host'),
    ({**SERVER, "rmw": CYCLONE}, 'discovery: "discovery_server" is nothing that rmw_cyclonedds_cpp has. .* Set'),
    ({"rmw": ZENOH}, 'discovery: "host" is nothing that rmw_zenoh_cpp has'),
    ({**SERVER, "discovery_servers": []}, r"discovery_servers: \[\] names nobody"),
    ({**SERVER, "discovery_servers": ["10.0.1.10:0"]}, 'discovery_servers: "10.0.1.10:0" is no address'),
    ({**ROUTER, "zenoh_routers": ["tcp/10.0.1.10:7447"]}, 'zenoh_routers: "tcp/10.0.1.10:7447" is no address'),
    ({"interface": "no/such"}, 'interface: "no/such" is no interface\'s name'),
    ({"directory": "/etc"}, 'directory: "/etc" is no such path'),
    ({"firewall_ports": "7500-7400"}, 'firewall_ports: "7500-7400" is no range of ports'),
    ({"participants": 121}, "participants: 121 is too large. Allowed: 1 to 120 participants on each host"),
    ({"domain_id": 101, "participants": 55}, "participants: 55 are more than domain 101 has ports for .* 1 to 54"),
    (
        {**PEERS, "participants": 46, "firewall_ports": "7400-7500"},
        r'firewall_ports: "7400-7500" lets 45 participants of domain 0 through on each host, and .* is 46. '
        r"Allowed: a range that holds 7400-7501. Set ros2_networking_participants to 45 or less",
    ),
    (
        {**PEERS, "domain_id": 42, "firewall_ports": "7400-7500"},
        'firewall_ports: "7400-7500" lets no participant of domain 42 through: its ports begin at 17900',
    ),
    ({"fragment_seconds": 0}, "fragment_seconds: 0 is too small"),
    ({"fragment_memory": 1}, "fragment_memory: 1 is too small"),
    ({"netdev_max_backlog": 1}, "netdev_max_backlog: 1 is too small. Allowed: 0, or 1000 to"),
    ({"mtu": 1500}, "mtu: 1500 is no option"),
]


@pytest.mark.parametrize(("given", "expected"), REFUSED)
def test_what_cannot_work_is_refused_in_one_line(given: dict[str, Any], expected: str) -> None:
    told = ask(**given)
    (problem,) = told.pop("problems")
    assert re.match(f"ros2_networking_{expected}", problem)
    assert "\n" not in problem
    assert not any(told.values()), "nothing follows from what cannot work"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = ask(domain_id=233, path_mtu=100, peers=["robot-1"], discovery="magic", receive_buffer=2147483648)
    options = [problem.split(":")[0].removeprefix("ros2_networking_") for problem in told["problems"]]
    assert sorted(options) == ["discovery", "domain_id", "path_mtu", "peers", "receive_buffer"]


def test_it_documents_what_it_takes_and_tells() -> None:
    documented = yaml.safe_load(plugin.DOCUMENTATION)["options"]["_input"]["suboptions"]
    defaults = {name: value.get("default") for name, value in documented.items()}
    network = Network()
    assert defaults == {name: getattr(network, name) for name in vars(network)}
    assert ask().keys() == yaml.safe_load(plugin.RETURN)["_value"]["contains"].keys()
