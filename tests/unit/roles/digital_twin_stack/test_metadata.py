# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No container of the stack reaches the instance metadata service: the role's rules on hosts in network namespaces."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.network import Host, command, make_namespace
from tests.support.project import FQCN, ROOT, load_yaml

ROLE = ROOT / "roles" / "digital_twin_stack"
COMPOSE = load_yaml(PurePosixPath("compose/compose.yaml"))
ON_THE_HOST = {name: service["user"] for name, service in COMPOSE["services"].items() if "network_mode" in service}
PROJECT = "digital-twin"
TABLE = f"metadata-{PROJECT}"
PREFIX = "dt" + hashlib.sha256(PROJECT.encode()).hexdigest()[:6]
METADATA = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23")
# Root, a system service, the login user, and a dynamic user of systemd, as for gpu-metrics.
OTHERS = (0, 110, 1000, 61200)
FILTER = ("iptables", "-A", "FORWARD", "-j", "ACCEPT"), ("iptables", "-A", "OUTPUT", "-j", "ACCEPT")
SERVER = """
import socket
import sys
server = socket.create_server(("", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""
# The path of an interpreter that every user may run.
PYTHON = "/usr/bin/python3"
MULTIPATH = """
import socket, sys
try:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect((sys.argv[1], 80))
    print("reached")
except OSError as error:
    print(error)
"""
DOCKER = """#!/bin/sh
case "$1" in
  ps) echo "$CONTAINERS" ;;
  inspect) echo "$CONTAINERS" ;;
esac
"""


# The read of host.yml, as far as the removal of the rules needs it.
READ: dict[str, Any] = {
    f"{FQCN}.host_info": {"content": "{{ __digital_twin_stack_metadata_files }}"},
    "register": "__digital_twin_stack_host",
}
# The check of the metadata service in entry point verify.
VERIFY: list[dict[str, Any]] = [
    {
        f"{FQCN}.host_info": {"commands": {"metadata": "{{ __digital_twin_stack_verify_commands.metadata }}"}},
        "register": "__digital_twin_stack_project_state",
    },
    {
        "ansible.builtin.assert": {
            "that": "__digital_twin_stack_metadata_problems[0].ok",
            "fail_msg": "{{ __digital_twin_stack_metadata_problems[0].message }}",
        }
    },
]


@dataclass(frozen=True)
class Machine:
    """A host, containers of the stack and of another project, and the metadata service one hop from the host.

    Args:
        host: the host, and the network of containers that share it.
        bridges: a container behind each of these bridges of the host.
        folder: the folder for the test's files.
    """

    host: Host
    bridges: dict[str, Host]
    folder: Path

    def connect(self, host: Host, user: int, address: str, protocol: str = "tcp") -> str:
        """Return the result of sending to port 80: ``reached``, ``refused`` at once, or ``silent``."""
        sent = f"echo >/dev/{protocol}/{address}/80"
        inside = f"if timeout 5 bash -c '{sent}' 2>/dev/null; then echo reached; else echo $?; fi"
        entered = ["nsenter", f"--net=/run/netns/{host.name}", "--setuid", str(user), "--setgid", str(user)]
        return {"124": "silent", "1": "refused"}.get(answer := command(*entered, "bash", "-c", inside).strip(), answer)

    def play(self, *tasks: dict[str, Any], **variables: Any) -> None:
        """Run tasks as Ansible on the host, with its files below the folder and without systemd."""
        python, stand_in = self.folder / "python", self.folder / "docker"
        python.write_text(f'#!/bin/sh\nexec ip netns exec {self.host.name} {sys.executable} "$@"\n', "utf-8")
        stand_in.write_text(DOCKER, "utf-8")
        for program in (python, stand_in):
            program.chmod(0o755)
        given = {
            "ansible_python_interpreter": str(python),
            "digital_twin_stack_state": "present",
            "__digital_twin_stack_metadata_rules": str(self.folder / "rules.nft"),
            "__digital_twin_stack_metadata_unit_path": str(self.folder / "unit"),
            "__digital_twin_stack_metadata_drop_in": str(self.folder / "drop-in"),
            "__digital_twin_stack_has_systemd": False,
            **variables,
        }
        files = [ROLE / "defaults/main.yml", *sorted(ROLE.glob("vars/main/*.yml"))]
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "CONTAINERS": variables.get("containers", "")}
        plays = [{"hosts": "localhost", "gather_facts": False, "environment": environment, "tasks": tasks}]
        plays[0]["vars_files"] = [str(file) for file in files]
        plays[0]["vars"] = {"role_path": str(ROLE)}
        (self.folder / "plays.json").write_text(json.dumps(plays), "utf-8")
        words = ["--inventory=localhost,", "--connection=local", "--extra-vars", json.dumps(given)]
        run(["ansible-playbook", *words, str(self.folder / "plays.json")])


def role(entry: str) -> dict[str, Any]:
    """Return the task that runs one file of the role."""
    return {"ansible.builtin.include_role": {"name": f"{FQCN}.digital_twin_stack", "tasks_from": entry}}


def on_host(*words: str) -> dict[str, Any]:
    """Return the task that runs a command on the host."""
    return {"ansible.builtin.command": {"argv": list(words)}}


def join(host: Host, other: Host, end: str, addresses: Sequence[str], peer: str) -> None:
    """Connect two hosts by a veth pair, and assign addresses to the end of the first one."""
    command("ip", "link", "add", end, "netns", host.name, "type", "veth", "peer", "name", peer, "netns", other.name)
    for address in addresses:
        command("ip", "-n", host.name, "address", "add", address, "dev", end, *(["nodad"] if ":" in address else []))
    command("ip", "-n", host.name, "link", "set", end, "up")
    command("ip", "-n", other.name, "link", "set", peer, "up")


def serve(stack: ExitStack, host: Host, port: int) -> None:
    """Listen on a TCP port of every address of a host, until the exit stack closes."""
    server = subprocess.Popen(host.inside(sys.executable, "-c", SERVER, str(port)), stdout=-1, text=True)
    stack.callback(server.wait)
    stack.callback(server.kill)
    assert server.stdout and server.stdout.readline() == "ready\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A host without rules, with containers behind bridges of the stack and of others."""
    name = f"dtm{os.getpid()}"
    host, service = Host(name, ""), Host(f"{name}-imds", "")
    bridges = {bridge: Host(f"{name}-{bridge[:5]}", "") for bridge in (f"{PREFIX}-edge", "other-edge", "docker0")}
    with ExitStack() as stack:
        for namespace in (host, service, *bridges.values()):
            make_namespace(stack, namespace)
        join(service, host, "eth0", [f"{address}/{128 if ':' in address else 32}" for address in METADATA], "eth0")
        for address in METADATA:
            command("ip", "-n", host.name, "route", "add", address, "dev", "eth0")
        for number, (bridge, container) in enumerate(bridges.items()):
            command("ip", "-n", host.name, "link", "add", bridge, "type", "bridge")
            command("ip", "-n", host.name, "link", "set", bridge, "up")
            own, gateway = [f"10.78.{number}.2/24", f"fd78:{number}::2/64"], [f"10.78.{number}.1", f"fd78:{number}::1"]
            join(container, host, "eth0", own, f"veth{number}")
            command("ip", "-n", host.name, "link", "set", f"veth{number}", "master", bridge)
            for address, length in zip(gateway, (24, 64), strict=True):
                nodad = ["nodad"] if ":" in address else []
                command("ip", "-n", host.name, "address", "add", f"{address}/{length}", "dev", bridge, *nodad)
                command("ip", "-n", container.name, "route", "add", "default", "via", address)
        for address, behind in (("10.78.255.1", "10.78.0.0/16"), ("fd78:ffff::1", "fd78::/16")):
            nodad = ["nodad"] if ":" in address else []
            command("ip", "-n", host.name, "address", "add", address, "dev", "eth0", *nodad)
            command("ip", "-n", service.name, "route", "add", address, "dev", "eth0")
            command("ip", "-n", service.name, "route", "add", behind, "via", address)
        host.set_kernel("net.ipv4.ip_forward", 1)
        host.set_kernel("net.ipv6.conf.all.forwarding", 1)
        serve(stack, service, 80)
        yield Machine(host, bridges, tmp_path_factory.mktemp("machine"))


def reaching(machine: Machine, address: str) -> set[str]:
    """Return which users of the host, and containers of which bridges, reach an address; others are refused at once."""
    users = [int(user.partition(":")[0]) for user in ON_THE_HOST.values()]
    answers = {str(user): machine.connect(machine.host, user, address) for user in (*users, *OTHERS)}
    answers |= {bridge: machine.connect(box, 0, address) for bridge, box in machine.bridges.items()}
    assert set(answers.values()) <= {"reached", "refused"}, answers
    return {who for who, answer in answers.items() if answer == "reached"}


def test_every_container_has_an_attribute_that_the_rules_match() -> None:
    assert set(ON_THE_HOST) == {"ros2", "isaac_sim"}
    for service, user in ON_THE_HOST.items():
        assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), f"{service}: a number that no user of the host needs"
    for network, described in COMPOSE["networks"].items():
        bridge = described["driver_opts"]["com.docker.network.bridge.name"]
        name = re.fullmatch(r"\$\{BRIDGE_PREFIX:-dt\}(-\w+)", bridge)
        assert name, f"network {network}: the rules find its bridge by the prefix"
        assert len(PREFIX + name[1]) <= 15, f"network {network}: Linux allows 15 characters for {PREFIX}{name[1]}"


def test_containers_are_refused_and_the_rest_of_the_host_is_not(machine: Machine) -> None:
    everyone = {user.partition(":")[0] for user in ON_THE_HOST.values()} | set(map(str, OTHERS)) | set(machine.bridges)
    # Without the rules all users and containers reach it.
    assert reaching(machine, METADATA[0]) == everyone

    kept = [machine.folder / f"listed-{number}" for number in range(3)]
    listing = [on_host("sh", "-c", f'nft --handle list table inet {TABLE} > "$0"', str(file)) for file in kept]
    damage = on_host("nft", "flush", "chain", "inet", TABLE, "forward_filter")
    machine.play(role("metadata"), listing[0], damage, role("metadata"), listing[1], role("metadata"), listing[2])
    made, mended, left_alone = [file.read_text("utf-8") for file in kept]
    assert made.count("goto refuse") == mended.count("goto refuse") == 6
    # Handles increase with each load.
    assert mended == left_alone

    # nftables.service flushes all tables and then runs our command. A second run changes nothing.
    machine.host.run("nft", "flush", "ruleset")
    assert reaching(machine, METADATA[0]) == everyone
    for words in FILTER:
        machine.host.run(*words)
    foreign = machine.host.run("iptables", "-S")
    for _time in range(2):
        machine.host.run("nft", "--file", str(machine.folder / "rules.nft"))
    assert machine.host.run("nft", "list", "table", "inet", TABLE).count("goto refuse") == 6
    assert machine.host.run("iptables", "-S") == foreign

    allowed = set(map(str, OTHERS)) | {"other-edge", "docker0"}
    for address in METADATA:
        assert reaching(machine, address) == allowed, address
    # IPv4 through an IPv6 socket and other protocols are refused as well.
    assert machine.connect(machine.host, 10002, f"::ffff:{METADATA[0]}") == "refused"
    assert machine.connect(machine.host, 10002, METADATA[0], "udp") == "refused"
    assert machine.connect(machine.host, 0, METADATA[0], "udp") == "reached"
    for user, answer in ((10002, "Connection refused"), (0, "reached")):
        said = machine.host.run("setpriv", "--reuid", str(user), "--clear-groups", PYTHON, "-c", MULTIPATH, METADATA[0])
        assert answer in said, user

    # An address of an agent on the host, as for ECS, and one that is translated to the metadata service.
    with ExitStack() as stack:
        serve(stack, machine.host, 51679)
        for chain in ("OUTPUT", "PREROUTING"):
            nat = ("iptables", "-t", "nat", "-A", chain, "-p", "tcp", "--dport", "80", "-d")
            machine.host.run(*nat, METADATA[1], "-j", "REDIRECT", "--to-ports", "51679")
            machine.host.run(*nat, "192.0.2.1", "-j", "DNAT", "--to-destination", METADATA[0])
        machine.host.run("ip", "route", "add", "192.0.2.1", "dev", "eth0")
        assert reaching(machine, METADATA[1]) == allowed
        assert machine.connect(machine.host, 10002, "192.0.2.1") == "refused"
        # The answer to a container comes from the other address.
        answers = {bridge: machine.connect(box, 0, "192.0.2.1") for bridge, box in machine.bridges.items()}
        assert answers == {f"{PREFIX}-edge": "silent", "other-edge": "reached", "docker0": "reached"}


def test_verify_checks_from_each_running_container(machine: Machine) -> None:
    """It passes with the rules, and without them reports each container that reaches the service."""
    boxes = {
        "ros2": (machine.host, 10002),
        "isaac_sim": (machine.host, 1234),
        "foxglove": (machine.bridges[f"{PREFIX}-edge"], 0),
    }
    broken = machine.folder / "nft"
    broken.write_text("#!/bin/sh\necho 'Error: Could not process rule: Operation not supported' >&2\nexit 1\n", "utf-8")
    broken.chmod(0o755)

    def keep(name: str) -> dict[str, Any]:
        """Return the task that saves the error of the last one."""
        file = {"content": "{{ ansible_failed_result.msg }}", "dest": str(machine.folder / name), "mode": "0600"}
        return {"ansible.builtin.copy": file}

    with ExitStack() as stack:
        running = []
        for service, (host, user) in boxes.items():
            words = ["nsenter", f"--net=/run/netns/{host.name}", "--setuid", str(user), "--setgid", str(user)]
            process = subprocess.Popen([*words, "bash", "-c", "echo ready; read"], stdin=-1, stdout=-1, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout and process.stdout.readline() == "ready\n"
            running.append(f"{service}={process.pid}")
        machine.play(
            role("metadata"),
            *VERIFY,
            {
                "block": [{**role("metadata"), "vars": {"__digital_twin_stack_nft": str(broken)}}],
                "rescue": [keep("refused")],
            },
            READ,
            {**role("remove"), "vars": {"__digital_twin_stack_removed": ["metadata"]}},
            {
                "block": VERIFY,
                "rescue": [keep("found")],
            },
            containers="\n".join(running),
        )
    found = (machine.folder / "found").read_text("utf-8")
    assert found.startswith("foxglove, isaac_sim, ros2 can connect to the instance metadata service (169.254.169.254)")
    assert (machine.folder / "refused").read_text("utf-8") == (
        "This host cannot block the containers' access to the instance metadata service; "
        "'Get the declared rules in the format of the kernel' "
        "failed: Error: Could not process rule: Operation not supported. Install nftables and load the kernel module "
        "nf_tables, or, to run the services without these rules, set digital_twin_stack_block_metadata=false."
    )
    # No rules remain.
    assert TABLE not in machine.host.run("nft", "list", "ruleset")
    assert not (machine.folder / "rules.nft").exists()
