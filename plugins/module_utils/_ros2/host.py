# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ROS 2 traffic of a host: sockets, their processes, and the packets that the kernel dropped."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import select
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

# The variables that are read of a process' environment. A process with one of them uses ROS 2.
VARIABLES = (
    "ROS_DOMAIN_ID",
    "RMW_IMPLEMENTATION",
    "ROS_LOCALHOST_ONLY",
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_STATIC_PEERS",
    "CYCLONEDDS_URI",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
    "FASTDDS_ENVIRONMENT_FILE",
    "ROS_DISCOVERY_SERVER",
    "ROS_SUPER_CLIENT",
    "ROS2_EASY_MODE",
    "ZENOH_SESSION_CONFIG_URI",
    "ZENOH_ROUTER_CONFIG_URI",
    "ZENOH_CONFIG_OVERRIDE",
)
# Of the last one, only whether it is set.
MARKS = (*VARIABLES, "ROS_DISTRO")
LONGEST_VALUE = 120
# Libraries of participants without a UDP socket, such as those of Zenoh or of shared memory.
MIDDLEWARE = re.compile(r"/lib(rmw_|ddsc|fastrtps|fastdds|zenoh)[^/]*\.so|/zenoh[^/]*\.so")
CONTAINER = re.compile(r"(?:docker|libpod|cri-containerd)[-/]([0-9a-f]{12})[0-9a-f]{52}")
# By protocol, the counters of /proc/net/snmp.
COUNTERS = {"Udp": ("InErrors", "RcvbufErrors"), "Ip": ("ReasmTimeout", "ReasmFails")}
# How long the kernel's counters are watched, and how long it may take to report an unreachable peer. Linux needs so
# long to find out that an address does not exist on its own link.
WATCH_SECONDS = 4.0
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


@dataclass(frozen=True)
class Socket:
    """A UDP socket that is bound to a port.

    Attributes:
        namespace: The network namespace that it is in.
        inode: How processes refer to it.
        drops: How many packets it dropped because it was full, since it was opened.
        growth: How many of these came while the host was watched; None for a socket that was not watched.
    """

    namespace: str
    inode: int
    port: int
    drops: int
    growth: int | None = None


@dataclass(frozen=True)
class Process:
    """A process that has UDP sockets, or a library of ROS 2's middleware.

    Attributes:
        pid: Its id, as the host counts it.
        sockets: Its UDP sockets that are bound to a port.
        container: The beginning of the id of its container; empty outside of one.
        middleware: Whether it has loaded such a library; None where that is not known.
    """

    pid: int
    name: str
    environment: Mapping[str, str]
    sockets: tuple[Socket, ...]
    container: str = ""
    middleware: bool | None = None

    @property
    def is_ros(self) -> bool:
        """Whether its environment is one for ROS 2."""
        return any(name in self.environment for name in MARKS)

    def __str__(self) -> str:
        """Return its name, id and container, for messages."""
        place = f" in container {self.container}" if self.container else ""
        return f"{self.name} (process {self.pid}{place})"


@dataclass(frozen=True)
class Interface:
    """A network interface.

    Attributes:
        addresses: Its IPv4 addresses.
    """

    name: str
    up: bool
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        """Return it with its addresses."""
        return f"{self.name} ({', '.join(self.addresses) or 'no IPv4 address'}{'' if self.up else ', down'})"


@dataclass
class HostTraffic:
    """The observed ROS 2 traffic of a host.

    Attributes:
        processes: Processes with UDP sockets that are bound to a port.
        counters: Counters of the kernel since it started, by name.
        growth: Their increase while the host was watched.
        receive_limit: The largest receive buffer that a socket may have, in bytes; None where it cannot be read.
        limit_is_fixed: Whether that limit cannot be changed from here, as in a container.
        interfaces: The network interfaces; None where they were not read.
        configured: Files that name an interface or its address, each with that name.
        machine_id: The id by which Fast DDS distinguishes hosts.
        peers: The obstacle on the way to each peer; empty when none is known.
        silent: Peers without a participant that answered; empty when it was not checked.
        written: Variables of the environment file; empty without a file, None when it was not read.
    """

    processes: list[Process] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    growth: dict[str, int] = field(default_factory=dict)
    receive_limit: int | None = None
    limit_is_fixed: bool = False
    interfaces: list[Interface] | None = None
    configured: list[tuple[str, str]] = field(default_factory=list)
    machine_id: str = ""
    peers: dict[str, str] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    written: dict[str, str] | None = None


def parse_sockets(namespace: str, text: str) -> Iterator[Socket]:
    """Return the sockets of /proc/net/udp that listen; those of clients, such as DNS', have an address of another."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 13 and words[2].endswith(":0000"):
            port = int(words[1].rpartition(":")[2], 16)
            yield Socket(namespace, int(words[9]), port, int(words[12]))


def parse_counters(text: str) -> dict[str, int]:
    """Return the counters of lost packets in /proc/net/snmp."""
    names: dict[str, list[str]] = {}
    found = {}
    for line in text.splitlines():
        protocol, _colon, rest = line.partition(":")
        if protocol not in names:
            names[protocol] = rest.split()
            continue
        values = dict(zip(names[protocol], rest.split(), strict=False))
        found.update({name: int(values[name]) for name in COUNTERS.get(protocol, ()) if name in values})
    return found


def read_counters(root: Path) -> dict[str, int]:
    """Return the present counters of lost packets."""
    return parse_counters((root / "proc/self/net/snmp").read_text("ascii"))


def parse_environment(data: bytes) -> dict[str, str]:
    """Return the ROS 2 variables of a process, and of other marks only their names."""
    entries = (entry.partition("=") for entry in data.decode("utf-8", errors="replace").split("\0"))
    return {name: value if name in VARIABLES else "" for name, _equals, value in entries if name in MARKS}


def printable(name: str, value: str) -> str:
    """Return the value of a variable on one line, without the inline text that may hold keys and passwords."""
    if name == "ZENOH_CONFIG_OVERRIDE":
        keys = re.findall(r"(?:^|;)\s*([\w/.-]+)\s*=", re.sub(r"\"[^\"]*\"|'[^']*'", "", value))
        text = f"an override of {', '.join(keys) or 'unknown settings'}"
    else:
        text = re.sub(r"<.*", "<inline XML>", value, flags=re.DOTALL)
        text = re.sub(r"//[^/@\s]*@", "//...@", text)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def read_written(file: Path) -> dict[str, str]:
    """Return the ROS 2 variables of an environment file; none without a file."""
    lines = file.read_text("utf-8", errors="replace").splitlines() if file.is_file() else []
    entries = (line.partition("=") for line in lines)
    return {name: value.strip('"') for name, _equals, value in entries if name in VARIABLES}


def parse_interfaces(text: str) -> list[Interface]:
    """Return the interfaces of `ip -json address show`."""
    found = []
    for entry in json.loads(text or "[]"):
        if not entry.get("ifname"):
            continue
        up = "UP" in entry.get("flags", []) and entry.get("operstate") not in ("DOWN", "LOWERLAYERDOWN")
        addresses = [address["local"] for address in entry.get("addr_info", []) if address.get("family") == "inet"]
        found.append(Interface(entry["ifname"], up, tuple(addresses)))
    return found


def parse_configured(text: str) -> list[str]:
    """Return the names and addresses of interfaces in a configuration of Cyclone DDS or a profile of Fast DDS."""
    found = re.findall(r'<NetworkInterface\b[^>]*?\b(?:name|address)="([^"]+)"', text)
    for whitelist in re.findall(r"<interfaceWhiteList>(.*?)</interfaceWhiteList>", text, re.DOTALL):
        found += re.findall(r"<(?:address|interface)>([^<]+)<", whitelist)
    return found


def read_configured(folder: Path) -> list[tuple[str, str]]:
    """Return which file of a folder names which interface or address."""
    return [
        (str(file.name), name)
        for file in sorted(folder.glob("*.xml"))
        for name in parse_configured(file.read_text("utf-8", errors="replace"))
    ]


def read_processes(root: Path) -> list[Process]:
    """Return the processes of every network namespace that have bound UDP sockets or loaded ROS 2's middleware."""
    sockets: dict[str, dict[int, Socket]] = {}
    outer = set(read_containers(root / "proc/self"))
    processes = []
    for folder in sorted((root / "proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        # A process may end while it is read.
        try:
            namespace = str((folder / "ns/net").readlink())
            if namespace not in sockets:
                found = [
                    entry
                    for name in ("udp", "udp6")
                    if (folder / "net" / name).exists()
                    for entry in parse_sockets(namespace, (folder / "net" / name).read_text("ascii"))
                ]
                sockets[namespace] = {entry.inode: entry for entry in found}
            inodes = read_inodes(folder)
            own = tuple(sockets[namespace][inode] for inode in sorted(inodes & sockets[namespace].keys()))
            environment = parse_environment((folder / "environ").read_bytes())
            middleware = has_middleware(folder) if environment else None
            if own or middleware:
                name = (folder / "comm").read_text("utf-8", errors="replace").strip()
                container = next((found for found in reversed(read_containers(folder)) if found not in outer), "")
                processes.append(Process(int(folder.name), name, environment, own, container, middleware))
        except OSError:
            continue
    return processes


def has_middleware(folder: Path) -> bool | None:
    """Return whether a process has loaded a library of ROS 2's middleware; None where that cannot be read."""
    try:
        return MIDDLEWARE.search((folder / "maps").read_text("utf-8", errors="replace")) is not None
    except OSError:
        return None


def read_containers(folder: Path) -> list[str]:
    """Return the ids of the containers that a process is in, the innermost last."""
    file = folder / "cgroup"
    return CONTAINER.findall(file.read_text("utf-8", errors="replace")) if file.exists() else []


def read_inodes(folder: Path) -> set[int]:
    """Return the inodes of a process' sockets."""
    links: Iterable[str] = (str(path.readlink()) for path in (folder / "fd").iterdir() if path.is_symlink())
    return {int(link[8:-1]) for link in links if link.startswith("socket:[")}


def probe_peers(addresses: Iterable[str], port: int, seconds: float = WATCH_SECONDS) -> dict[str, str]:
    """Send an empty packet to a port of each peer, and return the obstacles, empty when none is known.

    Neither a participant nor a firewall answers, but a network without a route reports an error.
    """
    with contextlib.ExitStack() as stack:
        obstacles, waiting = {}, {}
        for address in addresses:
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            probe.setblocking(False)
            obstacles[address] = _name(_try(probe, address, port))
            if not obstacles[address]:
                waiting[probe] = address
        until = time.monotonic() + seconds
        while waiting and (left := until - time.monotonic()) > 0:
            for probe in select.select(list(waiting), [], [], left)[0]:
                obstacles[waiting.pop(probe)] = _name(probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        return obstacles


def is_own(address: str) -> bool:
    """Return whether an address belongs to this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _try(probe: socket.socket, address: str, port: int) -> int:
    """Send an empty packet, and return the number of the error; 0 for none."""
    try:
        probe.connect((address, port))
        probe.send(b"")
    except OSError as error:
        return error.errno or 0
    return 0


def _name(error: int) -> str:
    """Return the text of an error that means an unreachable host. A closed port is reachable."""
    return os.strerror(error) if error in UNREACHABLE else ""


def read_host(root: Path, directory: str, peers: Iterable[str], port: int) -> HostTraffic:
    """Return the traffic of the host, the content of its directory, and the obstacles to its peers.

    It takes the time for which the counters are watched.
    """
    limit, identity = root / "proc/sys/net/core/rmem_max", root / "etc/machine-id"
    folder = root / directory.lstrip("/")
    before, until = read_counters(root), time.monotonic() + WATCH_SECONDS
    drops = {
        (entry.namespace, entry.inode): entry.drops for process in read_processes(root) for entry in process.sockets
    }
    obstacles = probe_peers(peers, port)
    # The peers may have answered earlier.
    time.sleep(max(0, until - time.monotonic()))
    counters = read_counters(root)
    return HostTraffic(
        processes=[watched(process, drops) for process in read_processes(root)],
        counters=counters,
        growth={name: value - before.get(name, 0) for name, value in counters.items()},
        receive_limit=int(limit.read_text("ascii")) if limit.exists() else None,
        limit_is_fixed=not os.access(limit, os.W_OK),
        configured=read_configured(folder),
        machine_id=identity.read_text("ascii").strip() if identity.exists() else "",
        peers=obstacles,
        written=read_written(folder / "ros2.env"),
    )


def watched(process: Process, before: Mapping[tuple[str, int], int]) -> Process:
    """Return a process with the losses of its sockets since then; all of them for a socket that was opened since."""
    sockets = (
        replace(entry, growth=entry.drops - before.get((entry.namespace, entry.inode), 0)) for entry in process.sockets
    )
    return replace(process, sockets=tuple(sockets))
