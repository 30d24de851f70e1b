# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mode peers: hosts without multicast find one another through a filter that passes nothing but the computed ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.support.dds import cyclone, distribution_exchanges, file_uri, find, planned, receives_all, refused
from tests.support.host_processes import NodeProcess
from tests.support.network import INTERFACE, Host, Network, translated, udp

FILTER = "7400-7499"
# Cyclone DDS 11 calls every 30 s, and drops a listed peer that has not answered within 30 s by default.
LATE_SECONDS, CALL_SECONDS = 40, 40


def at_index(xml: str, index: int) -> str:
    """Return a configuration that takes the ports of one index, instead of the first ones that are free."""
    automatic = "<ParticipantIndex>auto</ParticipantIndex>"
    assert automatic in xml
    return xml.replace(automatic, f"<ParticipantIndex>{index}</ParticipantIndex>")


def test_hosts_exchange_data_through_the_filter(network: Network, tmp_path: Path) -> None:
    plan = planned(discovery="peers", peers=network.addresses, firewall_ports=FILTER)
    uri = file_uri(tmp_path, plan["cyclonedds"]["11"])
    for host in network.hosts:
        host.pass_only(udp(plan["ports"]["range"]))
    here, there = network.hosts
    with cyclone(here, uri) as one, cyclone(there, uri) as other:
        find(one, other)
        assert receives_all(other, one)
        assert receives_all(one, other)


def test_a_host_that_others_leave_out_finds_those_that_it_lists(network: Network, tmp_path: Path) -> None:
    """The other way round, where who is listed starts last, is the last test of this file: it takes half a minute."""
    here, there = network.hosts
    complete = planned(discovery="peers", peers=network.addresses)["cyclonedds"]["11"]
    alone = planned(discovery="peers", peers=[there.address])["cyclonedds"]["11"]
    with cyclone(there, file_uri(tmp_path, alone)) as other, cyclone(here, file_uri(tmp_path, complete)) as one:
        find(one, other)
        assert receives_all(other, one)
        assert receives_all(one, other)


@pytest.mark.parametrize("first_lists", [True, False])
def test_so_does_one_with_the_distributions_cyclone_dds(network: Network, tmp_path: Path, first_lists: bool) -> None:
    lists = [[address] for address in network.addresses]
    lists[0 if first_lists else 1] = network.addresses
    uris = [file_uri(tmp_path, planned(discovery="peers", peers=peers)["cyclonedds"]["0.10"]) for peers in lists]
    assert distribution_exchanges(network.hosts, uris)


def test_those_with_the_distributions_cyclone_dds_do_so_too(network: Network, tmp_path: Path) -> None:
    plan = planned(discovery="peers", peers=network.addresses, firewall_ports=FILTER)
    for host in network.hosts:
        host.pass_only(udp(plan["ports"]["range"]))
    assert distribution_exchanges(network.hosts, [file_uri(tmp_path, plan["cyclonedds"]["0.10"])] * 2)


def test_the_last_participant_of_the_filter_works_and_the_next_one_stays_silent(possible: None, tmp_path: Path) -> None:
    with Network(3) as network:
        plan = planned(discovery="peers", peers=network.addresses, firewall_ports=FILTER)
        xml = plan["cyclonedds"]["11"]
        last = plan["ports"]["participants_within"] - 1
        assert last == 44
        here, there, beyond = network.hosts
        for host in (there, beyond):
            host.pass_only(udp(plan["ports"]["range"]))
        with (
            cyclone(here, file_uri(tmp_path, xml)) as sender,
            cyclone(there, file_uri(tmp_path, at_index(xml, last))) as inside,
            cyclone(beyond, file_uri(tmp_path, at_index(xml, last + 1))) as outside,
        ):
            find(sender, inside)
            assert receives_all(inside, sender)
            assert not receives_all(outside, sender)
            assert beyond.refused() > 0
            beyond.pass_all()
            there.pass_all()
            find(sender, inside, outside)
            assert receives_all(outside, sender)


def test_more_participants_than_the_filter_passes_are_refused_beforehand() -> None:
    (problem,) = refused(discovery="peers", peers=["10.77.0.1"], firewall_ports=FILTER, participants=46)
    assert problem.startswith("ros2_networking_firewall_ports: ")
    assert "ros2_networking_participants is 46" in problem


def test_a_host_has_as_many_participants_as_planned_and_no_more(network: Network, tmp_path: Path) -> None:
    plan = planned(discovery="peers", peers=network.addresses, participants=2)
    uri = file_uri(tmp_path, plan["cyclonedds"]["11"])
    here, _there = network.hosts
    with cyclone(here, uri) as first, cyclone(here, uri) as second:
        find(first, second)
        assert here.udp_ports() == {7410, 7411, 7412, 7413}
        with pytest.raises(AssertionError, match="Failed to find a free participant index"), cyclone(here, uri):
            pass


@pytest.fixture
def behind_routers(network: Network) -> Iterator[list[Host]]:
    """Return a host behind each of those of the network."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(translated(router, f"192.168.{number}.2"))
            for number, router in enumerate(network.hosts, 1)
        ]


def translated_uris(folder: Path, routers: Network, version: str, *, known: bool = True) -> list[str]:
    """Return the configurations of hosts behind routers, which list one another by their external addresses."""
    given = {"discovery": "peers", "peers": routers.addresses, "interface": INTERFACE}
    plans = [planned(**given, external_address=address if known else "") for address in routers.addresses]
    return [file_uri(folder, plan["cyclonedds"][version]) for plan in plans]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_hosts_behind_routers_hear_one_another_where_their_external_addresses_are_told(
    network: Network, behind_routers: list[Host], tmp_path: Path, known: bool
) -> None:
    here, there = behind_routers
    uris = translated_uris(tmp_path, network, "11", known=known)
    with cyclone(here, uris[0]) as one, cyclone(there, uris[1]) as other:
        if known:
            find(one, other)
            assert receives_all(other, one)
            assert receives_all(one, other)
        else:
            assert one.request("find", seconds=5, count=1) == {"peers": 0}


def test_so_do_those_with_the_distributions_cyclone_dds(
    network: Network, behind_routers: list[Host], tmp_path: Path
) -> None:
    assert distribution_exchanges(behind_routers, translated_uris(tmp_path, network, "0.10"))


def test_domain_42_uses_its_own_ports(network: Network, tmp_path: Path) -> None:
    plan = planned(discovery="peers", peers=network.addresses, domain_id=42, firewall_ports="17900-17999")
    uri = file_uri(tmp_path, plan["cyclonedds"]["11"])
    for host in network.hosts:
        host.pass_only(udp(plan["ports"]["range"]))
    here, there = network.hosts
    with cyclone(here, uri, domain=42) as one, cyclone(there, uri, domain=42) as other:
        find(one, other)
        assert receives_all(other, one)
        assert here.udp_ports() == {17910, 17911}
    assert refused(discovery="peers", peers=network.addresses, domain_id=42, firewall_ports=FILTER)


@pytest.fixture(scope="module")
def waiting(
    possible: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Network, str, NodeProcess, float]]:
    """Return two hosts of which one has been looking for the other since the first test of this file."""
    with ExitStack() as stack:
        network = stack.enter_context(Network(2))
        plan = planned(discovery="peers", peers=network.addresses, firewall_ports=FILTER)
        uri = file_uri(tmp_path_factory.mktemp("late"), plan["cyclonedds"]["11"])
        yield network, uri, stack.enter_context(cyclone(network.hosts[0], uri)), monotonic()


@pytest.fixture(scope="module", autouse=True)
def start_waiting(waiting: object) -> None:
    """Let the early host wait while the other tests run."""


def test_a_host_that_joins_late_is_found(waiting: tuple[Network, str, NodeProcess, float]) -> None:
    network, uri, early, since = waiting
    sleep(max(0, since + LATE_SECONDS - monotonic()))
    with cyclone(network.hosts[1], uri) as late:
        find(early, late)
        assert receives_all(late, early)
        assert receives_all(early, late)


@pytest.mark.full
def test_a_late_host_that_lists_nobody_is_found_by_who_never_forgets_it(possible: None, tmp_path: Path) -> None:
    forever = ' PruneDelay="inf"'
    with ExitStack() as stack:
        pairs: list[tuple[NodeProcess, Host, str]] = []
        for forgets in (False, True):
            here, there = stack.enter_context(Network(2)).hosts
            listed = planned(discovery="peers", peers=[here.address, there.address])["cyclonedds"]["11"]
            alone = planned(discovery="peers", peers=[there.address])["cyclonedds"]["11"]
            assert forever in listed
            uri = file_uri(tmp_path, listed.replace(forever, "") if forgets else listed)
            pairs.append((stack.enter_context(cyclone(here, uri)), there, file_uri(tmp_path, alone)))
        sleep(LATE_SECONDS)
        for early, there, uri in pairs:
            stack.enter_context(cyclone(there, uri))
            early.order("find", seconds=CALL_SECONDS, count=1)
        assert [early.answer()["peers"] for early, _late, _host in pairs] == [1, 0]
