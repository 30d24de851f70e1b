# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/verify.yml checks from outside only hosts that this machine reaches, and only the lab's own services."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from playbooks.files.udp_probe import probe
from tests.support.ansible_programs import execute
from tests.support.project import ROOT, load_yaml

PORTS = load_yaml(ROOT / "playbooks/tasks/verify_ports.yml")
TASKS = {task["name"].removeprefix("verify_ports | "): task for task in PORTS}
SSH_CONFIG = """\
Host alias
  HostName 198.51.100.7
  Port 2200
Host inner
  ProxyJump bastion
Host other
  ProxyCommand nc -X connect %h %p
"""
# Variables of a host, the address and port of SSH, and the reason why the checks from outside are skipped.
REACHED: dict[str, tuple[dict[str, str], str, int, str]] = {
    "192.0.2.1": ({}, "192.0.2.1", 22, ""),
    "port": ({"ansible_host": "192.0.2.1", "ansible_port": "2222", "ansible_user": "me"}, "192.0.2.1", 2222, ""),
    "alias": ({"ansible_ssh_common_args": "-F {config}"}, "198.51.100.7", 2200, ""),
    "jump-in-config": (
        {"ansible_ssh_common_args": "-F {config}", "ansible_host": "inner"},
        "inner",
        22,
        "SSH goes through bastion",
    ),
    "command-in-config": (
        {"ansible_ssh_common_args": "-F {config}", "ansible_host": "other"},
        "other",
        22,
        "SSH goes through nc -X connect %h %p",
    ),
    "common": (
        {"ansible_ssh_common_args": "-o ProxyJump=me@bastion:2222"},
        "common",
        22,
        "SSH goes through me@bastion:2222",
    ),
    "extra": ({"ansible_ssh_extra_args": "-J bastion"}, "extra", 22, "SSH goes through bastion"),
    "args": (
        {"ansible_ssh_args": "-o ProxyCommand='ssh -W %h:%p -q bastion'"},
        "args",
        22,
        "SSH goes through ssh -W %h:%p -q bastion",
    ),
    "none": ({"ansible_ssh_common_args": "-o ProxyCommand=none"}, "none", 22, ""),
    "no-ssh": (
        {"ansible_ssh_executable": "/nowhere/ssh", "ansible_ssh_common_args": "-J bastion"},
        "no-ssh",
        22,
        "SSH goes through -J bastion",
    ),
    "session-manager": (
        {"ansible_connection": "community.aws.aws_ssm"},
        "session-manager",
        22,
        "Ansible connects to it by aws_ssm",
    ),
    "container": (
        {"ansible_connection": "community.docker.docker"},
        "container",
        22,
        "Ansible connects to it by docker",
    ),
    "here": ({"ansible_connection": "local"}, "here", 22, "Ansible connects to it by local"),
}


def play(folder: Path, hosts: dict[str, dict[str, Any]], tasks: list[dict[str, Any]], **fields: Any) -> tuple[int, str]:
    """Run tasks on hosts and return exit status and output."""
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    book = folder / "play.json"
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks, **fields}]))
    done = execute(["ansible-playbook", "--inventory", str(inventory), str(book)])
    return done.returncode, done.stdout + done.stderr


def save(folder: Path, expression: str) -> list[dict[str, Any]]:
    """Return tasks that write the value of an expression on each host into a file."""
    values = "ansible_play_hosts | map('extract', hostvars, 'saved')"
    return [
        {"ansible.builtin.set_fact": {"saved": "{{ " + expression + " }}"}},
        {
            "ansible.builtin.copy": {
                "content": "{{ dict(ansible_play_hosts | zip(" + values + ")) | to_json }}\n",
                "dest": f"{folder}/saved.json",
                "mode": "0600",
            },
            "delegate_to": "localhost",
            "run_once": True,
        },
    ]


def saved(folder: Path) -> dict[str, Any]:
    """Return the written values by host."""
    return dict(json.loads((folder / "saved.json").read_text()))


def test_only_a_connection_without_a_jump_host_is_direct(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(SSH_CONFIG)
    hosts = {
        name: {key: value.format(config=config) if "{config}" in value else value for key, value in given.items()}
        for name, (given, *_expected) in REACHED.items()
    }
    outside = TASKS["Get the SSH address of the host"]
    status, output = play(tmp_path, hosts, [outside, *save(tmp_path, "[verify_outside, verify_indirect]")], become=True)
    assert status == 0, output
    found = saved(tmp_path)
    for name, (_given, host, port, reason) in REACHED.items():
        assert found[name] == [{"host": host, "port": port}, reason], name


DOCKER = """\
#!/bin/sh
case "$1" in
  ps) [ "$4" = label=com.docker.compose.project=digital-twin ] && printf 'aaa\\nbbb\\n' ;;
  inspect) printf '\\n127.0.0.1|8001|cognitive\\n\\n0.0.0.0|8080|foxglove\\n::|8080|foxglove\\n[::1]|9000|riva\\n' ;;
esac
"""
SOCKETS = """\
#!/bin/sh
echo 'LISTEN 0 4096 0.0.0.0:8080 0.0.0.0:* users:(("docker-proxy",pid=10,fd=4))'
echo 'LISTEN 0 4096 0.0.0.0:8000 0.0.0.0:* users:(("docker-proxy",pid=11,fd=4))'
echo 'LISTEN 0 511 *:6379 *:* users:(("redis-server",pid=12,fd=6))'
echo 'LISTEN 0 4096 127.0.0.1:2376 0.0.0.0:* users:(("dockerd",pid=13,fd=4))'
echo 'LISTEN 0 4096 *:2375 *:* users:(("dockerd",pid=13,fd=5))'
"""


@pytest.mark.parametrize("there", [True, False], ids=["with Docker", "without"])
def test_offered_ports_are_those_of_the_labs_services(tmp_path: Path, there: bool) -> None:
    for name, text in (("docker", DOCKER), ("ss", SOCKETS)):
        if there:
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
    offered = {
        "ansible.builtin.include_tasks": {
            "file": str(ROOT / "playbooks/tasks/verify_offered.yml"),
            "apply": {
                "environment": {"PATH": f"{tmp_path}:/nowhere" if not there else f"{tmp_path}:{os.environ['PATH']}"}
            },
        }
    }
    hosts = {"here": {"ansible_connection": "local", "offered_format": "{}", "verify_project": "digital-twin"}}
    status, output = play(tmp_path, hosts, [offered, *save(tmp_path, "verify_offered")])
    assert status == 0, output
    assert saved(tmp_path)["here"] == (
        {"8080": "published by service foxglove of this stack", "2375": "the API of Docker"} if there else {}
    )


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Run a program that answers connections, and yield its port."""

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


def closed_port() -> int:
    """Return a port on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


CHECKS = ["Verify that SSH answers from outside", "Verify that internal ports are closed from outside"]


def checked(folder: Path, ssh: int, taken: int, **variables: Any) -> tuple[int, str]:
    """Run the checks from outside against this machine."""
    host = {
        "ansible_host": "127.0.0.1",
        "verify_timeout": 2,
        "verify_outside": {"host": "127.0.0.1", "port": ssh},
        "verify_indirect": "",
        "verify_closed_ports": [taken],
        "verify_offered": {},
        **variables,
    }
    return play(folder, {"workstation": host}, [TASKS[name] for name in CHECKS])


def test_only_published_services_must_be_closed_from_outside(tmp_path: Path) -> None:
    with listening(b"SSH-2.0-dropbear\r\n") as ssh, listening(b"hello") as taken:
        status, output = checked(tmp_path, ssh, taken)
        assert status == 0, output
        offered = {str(taken): "published by service redis of this stack"}
        status, output = checked(tmp_path, ssh, taken, verify_offered=offered)
        assert status == 2
        assert f"Port {taken} of workstation answers from outside" in " ".join(output.split())
        assert "published by service redis of this stack" in " ".join(output.split())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "Check the firewalls on the way. If only another machine reaches the host, name it as ProxyJump"),
        ({"lab_instance_id": "i-1"}, "still among aws_infrastructure_admin_cidrs."),
    ],
)
def test_the_remedy_for_a_silent_host_depends_on_where_it_is(
    tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    status, output = checked(tmp_path, closed_port(), closed_port(), **variables)
    assert status == 2
    output = " ".join(output.split())
    assert message in output
    assert ("admin_cidrs" in output) == bool(variables)
    status, output = checked(tmp_path, closed_port(), closed_port(), verify_indirect="SSH goes through bastion")
    assert status == 0, output


def test_a_udp_port_answers_refuses_or_is_silent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 0))
        number = port.getsockname()[1]
        port.settimeout(30)

        def answer() -> None:
            request, sender = port.recvfrom(100)
            assert request[4:8] == b"\x21\x12\xa4\x42"
            port.sendto(b"\x01\x01" + request[2:], sender)

        thread = threading.Thread(target=answer)
        thread.start()
        assert probe("127.0.0.1", number) == "answered"
        thread.join()
        assert probe("127.0.0.1", number) == "silent"
    assert probe("127.0.0.1", number) == "refused"
