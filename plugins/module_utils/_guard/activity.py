# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what uses a host now. What cannot be read holds a stop as a use does.

Nothing of Ansible is imported in this folder, so that a service can run the same code.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .._gpu.metrics import UTILIZATION
from .._gpu_publisher.sampler import Sample, Sampler
from .settings import GuardSettings

# As sshd titles the process of a session, also of one that only forwards ports; before 9.8 its name is sshd. What is
# not authenticated yet ends in [priv], [net] or [accepted], and the listener begins with a path.
SSH_SESSION = re.compile(rb"sshd(?:-session)?: (?!/)[^\s\[\]]+")
# Ansible names its modules so, in the command line of a module, its folder, or of the sudo above a piped module.
# A shell by Session Manager, which neither logind nor sshd knows.
MANAGED_SESSION = re.compile(rb"(?:\S*/)?ssm-session-worker\0")
ANSIBLE = re.compile(rb"AnsiballZ_|/ansible-tmp-|BECOME-SUCCESS-")
PULL = re.compile(rb"(?:\S*/)?docker(?:-compose)?\0(?:.*\0)?(?:pull|build)(?:\0|$)", re.DOTALL)
# logind's own files, where sd_session_is_remote(3) and sd_session_get_state(3) look.
SESSIONS = "run/systemd/sessions"
LOCKS = (
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/apt/lists/lock",
    "var/cache/apt/archives/lock",
)
# Parts of layers while they arrive: of Docker's own store, and of containerd's.
LAYERS = ("var/lib/docker/tmp/GetImageBlob*", "var/lib/containerd/io.containerd.content.v1.content/ingest/*/data")
# containerd leaves parts of an aborted pull for a day.
LAYER_SECONDS = 900
ESTABLISHED = "01"
# NVML's reasons on a host that has no driver, which may have no GPU either.
WITHOUT_DRIVER = frozenset({"not_installed", "not_loaded"})
NVIDIA, DISPLAY_CLASS = "0x10de", "0x03"

Check = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Uses:
    """What uses a host, as phrases.

    Attributes:
        users: sessions and clients of users.
        work: what goes on without a user, too.
        unreadable: what cannot be read.
    """

    users: tuple[str, ...] = ()
    work: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class Activity:
    """Look for activity again and again."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._sampler = Sampler([UTILIZATION])

    def read(self) -> Uses:
        """Return what is in use now."""
        settings, root, proc = self._settings, Path(self._settings.root), Path(self._settings.proc)
        sample = self._sampler.sample()
        unreadable: list[str] = []
        users: dict[str, Check] = {
            "processes": lambda: users_in(command_lines(proc)),
            "sessions": lambda: remote_sessions(root),
            "TCP connections": lambda: clients(proc, settings.client_ports),
        }
        work: dict[str, Check] = {
            "GPUs": lambda: busy_gpus(sample, settings.gpu_threshold),
            "processes": lambda: pulls_in(command_lines(proc)),
            "locks of apt": lambda: package_locks(root),
            "parts of images": lambda: layers(root, time.time()),
        }
        found = Uses(read_all(users, unreadable), read_all(work, unreadable))
        unreadable += read_all({"devices": lambda: unread_gpus(sample, root)}, unreadable)
        return replace(found, unreadable=tuple(dict.fromkeys(unreadable)))


def read_all(checks: Mapping[str, Check], unreadable: list[str]) -> tuple[str, ...]:
    """Return what the checks find, once each, and add those that fail to a list."""
    found: list[str] = []
    for name, read in checks.items():
        try:
            found += read()
        except (OSError, ValueError) as error:
            unreadable.append(f"the {name} cannot be read: {error}")
    return tuple(dict.fromkeys(found))


def unread_gpus(sample: Sample, root: Path) -> Iterable[str]:
    """Return why GPUs cannot be read; nothing where there is neither a driver nor a GPU."""
    return () if sample.reason in WITHOUT_DRIVER and not has_nvidia_gpu(root) else sample.problems


def busy_gpus(sample: Sample, threshold: float) -> Iterator[str]:
    """Yield the GPUs that are in use, or do not report it."""
    for index, readings in sample.gpus.items():
        if UTILIZATION not in readings:
            yield f"GPU {index}, which does not report its utilization"
        elif readings[UTILIZATION] > threshold:
            yield f"GPU {index}"


def has_nvidia_gpu(root: Path) -> bool:
    """Return whether the PCI bus has a GPU of NVIDIA, with or without a driver."""
    devices = (root / "sys/bus/pci/devices").glob("*")
    return any(
        (device / "vendor").read_text().strip() == NVIDIA and (device / "class").read_text().startswith(DISPLAY_CLASS)
        for device in devices
    )


def command_lines(proc: Path) -> Iterator[bytes]:
    """Yield the command line of each process."""
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                yield (folder / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue


def users_in(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield the SSH sessions and runs of Ansible among command lines."""
    for line in lines:
        if SSH_SESSION.fullmatch(line.rstrip(b"\0 ")):
            yield "an SSH session"
        if MANAGED_SESSION.match(line):
            yield "a Session Manager session"
        if ANSIBLE.search(line):
            yield "a run of Ansible"


def pulls_in(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield the pulls and builds of images among command lines."""
    yield from ("an image pull" for line in lines if PULL.match(line))


def remote_sessions(root: Path) -> Iterator[str]:
    """Yield the sessions from other machines that logind knows. Processes left after a logout do not count."""
    folder = root / SESSIONS
    for path in folder.iterdir() if folder.is_dir() else ():
        # A pipe shows systemd whether the session still exists.
        if not path.is_file():
            continue
        try:
            lines = dict(line.split("=", 1) for line in path.read_text("utf-8").splitlines() if "=" in line)
        except FileNotFoundError:
            continue
        if lines.get("REMOTE") == "1" and lines.get("STATE") in ("active", "online", "opening"):
            yield "an SSH session"


def clients(proc: Path, ports: Iterable[int]) -> Iterator[str]:
    """Yield the listed local ports that have clients on other machines.

    Clients on this host are health checks, or come through SSH, whose session counts.
    """
    wanted = set(ports)
    for name in ("tcp", "tcp6") if wanted else ():
        table = proc / "net" / name
        # A kernel without IPv6 has no such table.
        lines = table.read_text("ascii").splitlines()[1:] if name == "tcp" or table.exists() else []
        for line in lines:
            _number, local, remote, state = line.split()[:4]
            address, port = endpoint_of(local)
            other, _port = endpoint_of(remote)
            if state == ESTABLISHED and port in wanted and not other.is_loopback and other != address:
                yield f"a client of port {port}"


def endpoint_of(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Return the address and port in a table of the kernel: words of 32 bits in the order of the processor."""
    words, _colon, port = text.partition(":")
    count = len(words) // 8
    packed = struct.pack(f"={count}I", *(int(words[8 * index : 8 * index + 8], 16) for index in range(count)))
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address, int(port, 16)


def package_locks(root: Path) -> Iterator[str]:
    """Yield whether a process has locked apt or dpkg."""
    for name in LOCKS:
        try:
            descriptor = os.open(root / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            # struct flock of fcntl_locking(2) on 64 bits: the answer is F_UNLCK where the lock could be had.
            asked = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            if struct.unpack_from("h", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK:
                yield "apt or dpkg"
        finally:
            os.close(descriptor)


def layers(root: Path, now: float) -> Iterator[str]:
    """Yield whether parts of images arrive."""
    for pattern in LAYERS:
        for path in root.glob(pattern):
            try:
                changed = path.stat().st_mtime
            except FileNotFoundError:
                continue
            if abs(now - changed) < LAYER_SECONDS:
                yield "an image pull"
