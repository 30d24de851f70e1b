# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests which services of a running lab each place can reach, and writes the results as a table."""

from __future__ import annotations

import base64
import ipaddress
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.lab import Cloud, LabHost
from tests.support.project import run

PROBE = Path(__file__).with_name("reach.pl")
ON_HOST = "/run/reach.pl"
STRANGER = "reach-test"
SECRETS = "/opt/digital-twin/secrets"
SOCKET_VOLUME = "/var/lib/docker/volumes/digital-twin_redis-socket/_data"
# A marker in a process's environment, which only its owner may read.
SECRET_VARIABLES = "NGC_API_KEY=|PASSWORD=|TOKEN="
# sshd throttles many connections without a login.
WORKERS = 3
# From the least to the most.
ANSWERS = ("no", "refused", "key", "password", "token", "yes")
NOT_TRIED = "-"
FILTERED = " †"
BEGIN, END = "<!-- begin: written by tests/e2e/test_3_reach.py -->", "<!-- end -->"

# Column, kind of probe in reach.pl, target. The name after a kind's colon is the answer.
Try = tuple[str, str, str]
Table = dict[str, dict[str, str]]


class Service(NamedTuple):
    """A service on a port of a container or of the host."""

    kind: str
    port: int
    container: str = ""
    protocol: str = "tcp"


COLUMNS: dict[str, tuple[Service, ...]] = {
    "SSH": (Service("ssh", 22),),
    "metadata service": (),
    "Redis": (Service("redis", 6379, "redis"),),
    "cognitive": (Service("intent", 8001, "cognitive"),),
    "DDS": (Service("dds", 7410, protocol="udp"),),
    "viewer page": (Service("http", 8080, "foxglove"),),
    "bridge": (Service("bridge", 8765),),
    "Isaac stream": (Service("http", 49100),),
    "Docker socket": (),
    "secrets": (),
    "Riva": (Service("grpc", 50051, "riva"), Service("ready", 9000, "riva")),
    "NIM": (Service("ready", 8000, "nim"),),
}


class Place(NamedTuple):
    """The source of connections.

    Attributes:
        ask: runs the probe there, with its arguments, and returns its output.
        fixed: the answers of columns that are not probed from there.
    """

    name: str
    tries: list[Try]
    ask: Callable[[list[str]], str]
    fixed: Mapping[str, str]


def services(addresses: Callable[[Service], Iterable[str]]) -> list[Try]:
    """Return the probes of all services, each at all its possible addresses."""
    return [
        (column, service.kind, f"{address}:{service.port}")
        for column, found in COLUMNS.items()
        for service in found
        for address in addresses(service)
    ]


def admits(rules: Iterable[dict[str, Any]], service: Service, source: str) -> bool:
    """Return whether a security group's rules admit a network, or a part of it, to a service."""
    network = ipaddress.ip_network(source)
    return any(
        rule["IpProtocol"] in ("-1", service.protocol)
        and rule.get("FromPort", 0) <= service.port <= rule.get("ToPort", 65535)
        and any(network.overlaps(ipaddress.ip_network(entry["CidrIp"])) for entry in rule["IpRanges"])
        for rule in rules
    )


def admits_members(rules: Iterable[dict[str, Any]], service: Service) -> bool:
    """Return whether a security group's rules admit its own hosts to a service."""
    return any(
        rule["IpProtocol"] in ("-1", service.protocol)
        and rule.get("FromPort", 0) <= service.port <= rule.get("ToPort", 65535)
        and rule["UserIdGroupPairs"]
        for rule in rules
    )


def containers(host: LabHost) -> dict[str, tuple[str, list[str]]]:
    """Return the stack's running containers on a host, by their service: the name, and the addresses on bridges."""
    label = "com.docker.compose.service"
    rows = json.loads(host.shell(f"docker inspect $(docker ps --quiet --filter label={label})"))
    return {
        row["Config"]["Labels"][label]: (
            row["Name"].strip("/"),
            [network["IPAddress"] for network in row["NetworkSettings"]["Networks"].values() if network["IPAddress"]],
        )
        for row in rows
    }


def on(host: LabHost, *prefix: str) -> Callable[[list[str]], str]:
    """Return a function that runs the probe on a host, after a prefix such as one that enters a container."""
    return lambda words: host.shell(f"cd / && {shlex.join([*prefix, 'perl', '-', *words])} < {ON_HOST}")


def places(first: LabHost, second: LabHost, private: str) -> list[Place]:
    """Return the places of a lab of two hosts, the first of which runs every service.

    Args:
        private: the first host's address in the VPC.
    """
    running = containers(first)
    secrets = first.shell(f"ls {SECRETS}").split()

    def as_user(service: Service) -> list[str]:
        if service.kind == "ssh":
            return [private]
        return ["127.0.0.1", private, *(running[service.container][1] if service.container else [])]

    def in_container(service: Service) -> list[str]:
        return [*as_user(service), *([service.container] if service.container else [])]

    def from_afar(address: str) -> list[Try]:
        return [*services(lambda _service: [address]), ("Docker socket", "docker_tcp", f"{address}:2375")]

    local: list[Try] = [("metadata service", "metadata", "169.254.169.254:80")]
    local += [("Docker socket", "docker", path) for path in ("/run/docker.sock", "/var/run/docker.sock")]
    inside = [*services(in_container), *local, ("Redis", "redis_socket", "/run/redis/redis.sock")]
    inside += [("secrets", f"file:{name}", f"/run/secrets/{name}") for name in secrets]
    user = [*services(as_user), *local, ("Redis", "redis_socket", f"{SOCKET_VOLUME}/redis.sock")]
    user += [("secrets", f"file:{name}", f"{SECRETS}/{name}") for name in secrets]
    user += [("secrets", "processes:of processes", SECRET_VARIABLES)]
    afar = {"metadata service": NOT_TRIED, "secrets": NOT_TRIED}
    return [
        Place("outside", from_afar(first.address), lambda words: run(["perl", str(PROBE), *words]), afar),
        Place("a neighbour", from_afar(private), on(second), afar),
        *(
            Place(service, inside, on(first, "docker", "exec", "-i", name), {})
            for service, (name, _own) in sorted(running.items())
        ),
        Place(
            "the login user", user, lambda words: first.login(f"{shlex.join(['perl', '-', *words])} < {ON_HOST}"), {}
        ),
        Place("another user", user, on(first, "runuser", "-u", STRANGER, "--", "env", "-i"), {}),
    ]


@contextmanager
def prepared(first: LabHost, second: LabHost) -> Iterator[None]:
    """Copy the probe to the hosts, create another user on the first, and remove both afterwards."""
    text = base64.b64encode(PROBE.read_bytes()).decode("ascii")
    try:
        for host in (first, second):
            host.shell(f"echo {text} | base64 -d > {ON_HOST} && chmod 0644 {ON_HOST}")
        first.shell(f"useradd --no-create-home --shell /usr/sbin/nologin {STRANGER}")
        yield
    finally:
        for host in (first, second):
            host.shell(f"rm -f {ON_HOST}")
        first.shell(f"userdel {STRANGER} 2>/dev/null || true")


def try_all(place: Place) -> dict[str, str]:
    """Return the answers at a place by column; if there are several addresses, the answer with the most access."""
    words = [word for column, kind, asked in place.tries for word in (f"{column}|{kind}", kind.split(":")[0], asked)]
    best: dict[str, str] = {}
    found: set[str] = set()
    for line in place.ask(words).splitlines():
        tried, _blank, answer = line.rpartition(" ")
        column, _bar, kind = tried.partition("|")
        name = kind.partition(":")[2]
        if name and answer == "yes":
            found.add(name)
        best[column] = max(answer, best.get(column, "no"), key=ANSWERS.index)
    assert set(best) == {column for column, _kind, _asked in place.tries}, f"{place.name}: {best}"
    if found:
        best["secrets"] = ", ".join(sorted(found))
    return {**best, **place.fixed}


def reach(cloud: Cloud, first: LabHost, second: LabHost) -> Table:
    """Probe all services from all places and return the answers by place and column."""
    ec2 = cloud.client("ec2")
    row = ec2.describe_instances(InstanceIds=[first.id])["Reservations"][0]["Instances"][0]
    groups = [group["GroupId"] for group in row["SecurityGroups"]]
    rules = [
        rule
        for group in ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]
        for rule in group["IpPermissions"]
    ]
    with prepared(first, second), ThreadPoolExecutor(max_workers=WORKERS) as pool:
        everywhere = places(first, second, row["PrivateIpAddress"])
        table = dict(zip((place.name for place in everywhere), pool.map(try_all, everywhere), strict=True))
    # The sandbox forwards TCP only from outside; the rules show what AWS would forward.
    (dds,) = COLUMNS["DDS"]
    table["outside"]["DDS"] = "yes" if admits(rules, dds, "0.0.0.0/0") else "no"
    # The sandbox does not filter between the hosts of a VPC.
    neighbour = table["a neighbour"]
    for column, found in COLUMNS.items():
        if found and neighbour[column] != "no" and not any(admits_members(rules, service) for service in found):
            neighbour[column] += FILTERED
    return table


def markdown(table: Table) -> str:
    """Return the table in the documentation's format."""
    rows = [["from", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    rows += [[name, *(answers[column] for column in COLUMNS)] for name, answers in table.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def split(page: str) -> tuple[str, str, str]:
    """Return a page's text before its table, the table, and the text after it."""
    before, _mark, rest = page.partition(f"{BEGIN}\n")
    table, _mark, after = rest.partition(END)
    return f"{before}{BEGIN}\n", table, f"{END}{after}"
