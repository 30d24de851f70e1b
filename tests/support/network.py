# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as network namespaces of this machine: they share a switch, and each has its own packet filter."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

INTERFACE = "eth0"
SUBNET = "10.77.0"
COMMAND_SECONDS = 30
# One test at a time may change settings of the whole machine, across all checkouts.
LOCK = Path("/run/lock/digital-twin-kernel.lock")


def why_impossible() -> str | None:
    """Return why no such network can be created here; None if one can."""
    if os.geteuid() != 0:
        return "These tests create network namespaces, which needs root. Run them as root."
    needed = ("ip", "iptables", "ddsperf", "fast-discovery-server")
    missing = [command for command in needed if not shutil.which(command)]
    if missing:
        return f"These tests need {' and '.join(missing)}: run `make tools`."
    name = f"dt{os.getpid()}-probe"
    try:
        command("ip", "netns", "add", name)
    except RuntimeError as error:
        return f"These tests create network namespaces, which this machine refuses: {error}"
    command("ip", "netns", "delete", name)
    return None


def command(*words: str) -> str:
    """Run a command that must succeed and return its output.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def machine_settings(settings: Mapping[str, int]) -> Iterator[None]:
    """Change kernel settings of the whole machine, and restore them.

    Other processes that change them wait until the block ends.

    Raises:
        RuntimeError: this machine does not allow it.
    """
    files = {Path("/proc/sys", *name.split(".")): value for name, value in settings.items()}
    with LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = {file: file.read_text(encoding="ascii") for file in files}
        try:
            for file, value in files.items():
                file.write_text(str(value), encoding="ascii")
                if int(file.read_text(encoding="ascii")) != value:
                    raise RuntimeError(f"{file} does not accept {value}: the stall test needs a kernel that does.")
            yield
        except PermissionError as error:
            raise RuntimeError(
                f"{error.filename} is read-only here: the stall test needs a machine whose kernel it may set."
            ) from error
        finally:
            for file, text in before.items():
                # If no setting could be changed, none needs to be restored.
                if file.read_text(encoding="ascii") != text:
                    file.write_text(text, encoding="ascii")


def udp(ports: str) -> list[str]:
    """Return the condition that a packet is UDP to a range of ports such as ``7400-7499``."""
    return ["-p", "udp", "--dport", ports.replace("-", ":")]


class Host:
    """A network namespace with one address.

    Args:
        name: the name of the namespace.
        address: its IPv4 address.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def inside(self, *words: str) -> list[str]:
        """Return the prefix that runs a command on this host."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str) -> str:
        """Run a command on this host that must succeed and return its output."""
        return command(*self.inside(*words))

    def set_kernel(self, setting: str, value: int) -> None:
        """Change a kernel setting of this host only."""
        self.run("sh", "-c", 'echo "$2" > "$1"', "sh", f"/proc/sys/{setting.replace('.', '/')}", str(value))

    def lose(self, share: float) -> None:
        """Drop a share of all incoming packets, before the kernel reassembles fragments."""
        by_chance = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        self.run("iptables", "-t", "raw", "-A", "PREROUTING", "-i", INTERFACE, *by_chance, "-j", "DROP")

    def pass_only(self, *allowed: Sequence[str]) -> None:
        """Accept only packets that match one of these iptables conditions, and no multicast, as in a VPC."""
        self._input("-d", "224.0.0.0/4", "-j", "DROP")
        for conditions in allowed:
            self._input(*conditions, "-j", "ACCEPT")
        self._input("-j", "DROP")

    def refused(self) -> int:
        """Return how many packets the filter's last rule has dropped."""
        return int(self.run("iptables", "-L", "INPUT", "-n", "-v", "-x").splitlines()[-1].split()[0])

    def pass_all(self) -> None:
        """Remove the filter."""
        self.run("iptables", "-F", "INPUT")

    def _input(self, *words: str) -> None:
        self.run("iptables", "-A", "INPUT", "-i", INTERFACE, *words)

    def counters(self) -> dict[str, int]:
        """Return a kernel counter of this host, such as ``Ip.FragCreates``."""
        lines = [line.split() for line in self.run("cat", "/proc/net/snmp").splitlines()]
        return {
            f"{names[0].rstrip(':')}.{name}": int(value)
            for names, values in zip(lines[::2], lines[1::2], strict=True)
            for name, value in zip(names[1:], values[1:], strict=True)
        }

    def udp_ports(self, at: str = "0.0.0.0") -> set[int]:
        """Return the UDP ports on which this host listens, at one address or at all addresses."""
        written = socket.inet_aton(at)[:: 1 if sys.byteorder == "big" else -1].hex().upper()
        return {port for address, port, _state in self._sockets("udp") if address == written}

    def tcp_ports(self) -> set[int]:
        """Return the TCP ports on which this host listens."""
        return {port for _address, port, state in self._sockets("tcp") if state == "0A"}

    def _sockets(self, protocol: str) -> list[tuple[str, int, str]]:
        """Return address, port and state of each socket; address and state in the kernel's notation."""
        rows = [line.split() for line in self.run("cat", f"/proc/net/{protocol}").splitlines()[1:]]
        return [(address, int(port, 16), row[3]) for row in rows for address, port in [row[1].split(":")]]


def make_namespace(stack: ExitStack, host: Host) -> None:
    """Create the namespace of a host, and remove it when the exit stack closes."""
    command("ip", "netns", "add", host.name)
    stack.callback(command, "ip", "netns", "delete", host.name)
    command("ip", "-n", host.name, "link", "set", "lo", "up")


@contextmanager
def translated(router: Host, address: str) -> Iterator[Host]:
    """Return a host behind a router that translates its address, as for an Elastic IP.

    No other host has a route to the host's own address.

    Args:
        router: a host of a network, whose address is the external one.
        address: the host's own, in a network in which the router has the first address.
    """
    host, gateway = Host(f"{router.name}-inside", address), f"{address.rpartition('.')[0]}.1"
    with ExitStack() as stack:
        make_namespace(stack, host)
        peer = ("peer", "name", "inside", "netns", router.name)
        command("ip", "link", "add", INTERFACE, "netns", host.name, "type", "veth", *peer)
        for end, device, own in ((host, INTERFACE, address), (router, "inside", gateway)):
            command("ip", "-n", end.name, "address", "add", f"{own}/24", "dev", device)
            command("ip", "-n", end.name, "link", "set", device, "up")
        command("ip", "-n", host.name, "route", "add", "default", "via", gateway)
        router.set_kernel("net.ipv4.ip_forward", 1)
        nat = ("iptables", "-t", "nat", "-A")
        router.run(*nat, "PREROUTING", "-d", router.address, "-j", "DNAT", "--to-destination", address)
        router.run(*nat, "POSTROUTING", "-s", address, "-j", "SNAT", "--to-source", router.address)
        yield host


class Network:
    """Hosts on one switch; a context manager that removes them at the end.

    Args:
        size: the number of hosts.
        mtu: of every interface, in bytes.
    """

    _made = 0

    def __init__(self, size: int = 2, mtu: int = 1500) -> None:
        Network._made += 1
        self._prefix = f"dt{os.getpid()}-{Network._made}"
        self._mtu = mtu
        self._stack = ExitStack()
        self.hosts = [Host(f"{self._prefix}-{number}", f"{SUBNET}.{number}") for number in range(1, size + 1)]
        self.addresses = [host.address for host in self.hosts]

    def __enter__(self) -> Network:
        """Make it."""
        with ExitStack() as stack:
            switch = Host(f"{self._prefix}-switch", "")
            make_namespace(stack, switch)
            command("ip", "-n", switch.name, "link", "add", "switch", "mtu", str(self._mtu), "type", "bridge")
            command("ip", "-n", switch.name, "link", "set", "switch", "up")
            for number, host in enumerate(self.hosts, 1):
                make_namespace(stack, host)
                self._plug(host, switch, f"port{number}")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        self._stack.close()

    def _plug(self, host: Host, switch: Host, port: str) -> None:
        mtu = ("mtu", str(self._mtu))
        peer = ("peer", "name", port, *mtu, "netns", switch.name)
        command("ip", "link", "add", INTERFACE, *mtu, "netns", host.name, "type", "veth", *peer)
        command("ip", "-n", switch.name, "link", "set", port, "master", "switch", "up")
        command("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", INTERFACE)
        command("ip", "-n", host.name, "link", "set", INTERFACE, "up")
