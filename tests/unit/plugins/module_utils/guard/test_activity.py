# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What uses a host: real locks, real TCP connections, files and command lines as the programs write them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.sampler import Sample
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard import activity
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.activity import Activity, Uses
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.settings import GuardSettings

from tests.support.project import ROOT, clean_environment, run

SSH, RUN, PULL = "an SSH session", "a run of Ansible", "an image pull"
SHELL = "a Session Manager session"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"sshd: op@pts/0\0", [SSH]),
        (b"sshd: op@notty\0\0\0", [SSH]),
        # It only forwards ports.
        (b"sshd: op\0", [SSH]),
        (b"sshd-session: op@pts/3", [SSH]),
        (b"/usr/bin/ssm-session-worker\0op-0123456789abcdef0\0i-0123456789abcdef0\0", [SHELL]),
        (b"sshd: op [priv]\0", []),
        (b"sshd-session: op [net]", []),
        (b"sshd: [accepted]", []),
        (b"sshd: unknown [preauth]", []),
        (b"sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", []),
        (b"/usr/sbin/sshd\0-D\0", []),
        (b"vi\0sshd: op\0", []),
        (b"/usr/bin/python3\0/root/.ansible/tmp/ansible-tmp-1.2-3/AnsiballZ_apt.py\0", [RUN]),
        (b"python3\0/root/.ansible/tmp/ansible-tmp-1.2-3/async_wrapper.py\0j1\0", [RUN]),
        (b"sudo\0-H\0-S\0-n\0-u\0root\0/bin/sh\0-c\0echo BECOME-SUCCESS-abc ; /usr/bin/python3\0", [RUN]),
        (b"python3\0-m\0ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.service\0", []),
        (b"", []),
    ],
)
def test_users_among_processes(line: bytes, found: list[str]) -> None:
    assert list(activity.users_in([line])) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"docker\0pull\0redis:7\0", True),
        (b"/usr/bin/docker\0compose\0--file\0compose.yaml\0pull\0", True),
        (b"docker-compose\0build\0", True),
        (b"docker\0compose\0up\0", False),
        (b"docker\0logs\0--follow\0pull-server\0", False),
        (b"/usr/bin/dockerd\0--pull\0", False),
        (b"git\0pull\0", False),
    ],
)
def test_pulls_among_processes(line: bytes, found: bool) -> None:
    assert list(activity.pulls_in([line])) == [PULL] * found


def test_processes_that_end_meanwhile_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "12").mkdir()
    (tmp_path / "12/cmdline").write_bytes(b"sshd: op@pts/0\0")
    (tmp_path / "net").mkdir()
    assert list(activity.command_lines(tmp_path)) == [b"sshd: op@pts/0\0"]
    assert any(b"pytest" in line for line in activity.command_lines(Path("/proc")))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("UID=1000\nREMOTE=1\nSTATE=active\nREMOTE_HOST=203.0.113.7\n", True),
        ("REMOTE=1\nSTATE=online\n", True),
        # Logged out; a program of the user goes on.
        ("REMOTE=1\nSTATE=closing\n", False),
        ("REMOTE=0\nSTATE=active\nTTY=tty1\n", False),
    ],
)
def test_sessions_of_logind(tmp_path: Path, text: str, found: bool) -> None:
    assert list(activity.remote_sessions(tmp_path)) == []
    folder = tmp_path / "run/systemd/sessions"
    folder.mkdir(parents=True)
    (folder / "7").write_text(text)
    os.mkfifo(folder / "7.ref")
    assert list(activity.remote_sessions(tmp_path)) == [SSH] * found


CLIENTS = """
import ipaddress, socket, subprocess, sys
from pathlib import Path
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard.activity import clients
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for address in ("10.9.9.1/32", "10.9.9.2/32", "fd09::1/128", "fd09::2/128"):
    subprocess.run(["ip", "addr", "add", address, "dev", "lo", "nodad"], check=True)
def found(): return ",".join(clients(Path("/proc"), [8765])) or "-"
def meet(family, host, source, listen):
    server = socket.socket(family); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((listen, 8765)); server.listen()
    print(found())
    client = socket.create_connection((host, 8765), source_address=(source, 0), timeout=10)
    accepted = server.accept()[0]
    print(found())
    client.close(); accepted.close(); server.close()
    print(found())
meet(socket.AF_INET, "10.9.9.1", "10.9.9.2", "10.9.9.1")
meet(socket.AF_INET6, "fd09::1", "fd09::2", "::")
meet(socket.AF_INET6, "10.9.9.1", "10.9.9.2", "::")
meet(socket.AF_INET, "127.0.0.1", "127.0.0.1", "0.0.0.0")
meet(socket.AF_INET, "10.9.9.1", "10.9.9.1", "0.0.0.0")
"""


def test_clients_are_established_connections_from_other_machines() -> None:
    """Real connections in a network of their own: IPv4, IPv6, IPv4 at a socket of IPv6, and two of this host."""
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT / ".collections")}
    output = run(["unshare", "--net", sys.executable, "-c", CLIENTS], env=environment)
    client = ["-", "a client of port 8765", "-"]
    assert output.split("\n")[:-1] == [*client * 3, *["-"] * 6]


def test_clients_need_no_table_of_ipv6_and_a_listed_port(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    with pytest.raises(FileNotFoundError):
        list(activity.clients(tmp_path, [8765]))
    row = "0: 0200000A:223D 0107000A:D431 01 00000000:00000000 00:00000000 00000000 0 0 1 1 0 20 4 30 10 -1"
    (tmp_path / "net/tcp").write_text(f"header\n   {row}\n   {row.replace(' 01 ', ' 06 ')}\n")
    assert list(activity.clients(tmp_path, [8765, 8766])) == ["a client of port 8765"]
    assert list(activity.clients(tmp_path, [])) == []


LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["var/lib/dpkg/lock-frontend", "var/lib/apt/lists/lock"])
def test_a_lock_of_apt_is_seen_and_not_taken(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert list(activity.package_locks(tmp_path)) == []
    path.parent.mkdir(parents=True)
    path.touch()
    assert list(activity.package_locks(tmp_path)) == []
    words = [sys.executable, "-c", LOCK, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert list(activity.package_locks(tmp_path)) == ["apt or dpkg"]
        holder.communicate(timeout=20)
    assert list(activity.package_locks(tmp_path)) == []


@pytest.mark.parametrize(
    "name",
    ["docker/tmp/GetImageBlob123", "containerd/io.containerd.content.v1.content/ingest/0a1b/data"],
)
def test_a_layer_that_arrives(tmp_path: Path, name: str) -> None:
    path = tmp_path / "var/lib" / name
    path.parent.mkdir(parents=True)
    assert list(activity.layers(tmp_path, 1000)) == []
    path.touch()
    os.utime(path, (1000, 1000))
    assert list(activity.layers(tmp_path, 1100)) == [PULL]
    # containerd keeps what an aborted pull has left.
    assert list(activity.layers(tmp_path, 3000)) == []


@pytest.mark.parametrize(
    ("sample", "threshold", "found"),
    [
        (Sample(0, True, {"0": {"GPUUtilization": 5}, "1": {"GPUUtilization": 0}}), 5, []),
        (Sample(0, True, {"0": {"GPUUtilization": 5.1}, "1": {"GPUUtilization": 90}}), 5, ["GPU 0", "GPU 1"]),
        (Sample(0, True, {"0": {}}), 5, ["GPU 0, which does not report its utilization"]),
    ],
)
def test_busy_gpus(sample: Sample, threshold: float, found: list[str]) -> None:
    assert list(activity.busy_gpus(sample, threshold)) == found


@pytest.fixture
def pci(tmp_path: Path) -> Iterator[Path]:
    device = tmp_path / "sys/bus/pci/devices/0000:00:1e.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    yield device


@pytest.mark.parametrize(
    ("reason", "kind", "held"),
    [
        ("not_installed", "0x030200", True),
        ("not_loaded", "0x030200", True),
        # A sound device of the same vendor.
        ("not_loaded", "0x040300", False),
        ("version_mismatch", "0x040300", True),
        ("other", "0x040300", True),
    ],
)
def test_gpus_that_cannot_be_read_hold_a_stop(tmp_path: Path, pci: Path, reason: str, kind: str, held: bool) -> None:
    (pci / "class").write_text(f"{kind}\n")
    sample = Sample(0, False, problems=("NVML cannot be used",), reason=reason)
    assert list(activity.unread_gpus(sample, tmp_path)) == ["NVML cannot be used"] * held


def test_what_cannot_be_read_holds_a_stop_and_stops_no_other_check(tmp_path: Path, pci: Path) -> None:
    """A host whose tables, devices and processes cannot be read, and that has a session."""
    folder = tmp_path / "run/systemd/sessions"
    folder.mkdir(parents=True)
    (folder / "7").write_text("REMOTE=1\nSTATE=active\n")
    (pci / "class").mkdir()
    settings = GuardSettings(str(tmp_path), client_ports=[8765], root=str(tmp_path), proc=str(tmp_path / "proc"))
    found = Activity(settings).read()
    assert (found.users, found.work) == ((SSH,), ())
    text = "\n".join(found.unreadable)
    for name in ("the processes cannot be read: ", "the TCP connections cannot be read: ", "the devices cannot be"):
        assert name in text


def test_an_unused_host_is_not_in_use(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    settings = GuardSettings(str(tmp_path), root=str(tmp_path), proc=str(tmp_path / "proc"))
    assert Activity(settings).read() == Uses()


def test_this_host_can_be_read() -> None:
    """The kernel's own tables, with a client of this process."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        found = Activity(GuardSettings("/nonexistent", client_ports=[server.getsockname()[1]])).read()
    assert not any("TCP" in text or "processes" in text for text in found.unreadable)
