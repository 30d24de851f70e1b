# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loop devices of sparse files as disks."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1024 * 1024
CLONE_NEWNS = 0x20000
CHUNK = 4096


def command(*words: str, text: str = "") -> str:
    """Run a command that must succeed and return what it prints."""
    return subprocess.run(words, input=text, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@contextmanager
def own_mounts() -> Iterator[None]:
    """Give this process a mount namespace of its own.

    A container that starts meanwhile would copy the test's mount, and its device would stay in use after `umount`.
    """
    with Path("/proc/thread-self/ns/mnt").open("rb") as before:
        _in_namespace("unshare", CLONE_NEWNS)
        command("mount", "--make-rprivate", "/")
        yield
        _in_namespace("setns", before.fileno(), CLONE_NEWNS)


def _in_namespace(call: str, *arguments: int) -> None:
    """Call unshare or setns of the C library, which Python has only since 3.12."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, call)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")


def may_resize_ext() -> bool:
    """Return whether the kernel lets this process grow a mounted ext4: CAP_SYS_RESOURCE, which containers lack."""
    held = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    return held is not None and bool(int(held[1], 16) >> 24 & 1)


def write_resize2fs(folder: Path, mounted: Path) -> None:
    """Write a resize2fs that grows an ext4 while it is not mounted."""
    lines = [
        "#!/bin/sh -eu",
        f'umount "{mounted}"',
        'e2fsck -f -y "$1" >/dev/null',
        f'{shutil.which("resize2fs")} "$1"',
        f'mount "$1" "{mounted}"',
    ]
    folder.mkdir(exist_ok=True)
    script = folder / "resize2fs"
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)


class LoopDisk:
    """A sparse file that is a disk."""

    def __init__(self, file: Path, size: int) -> None:
        """Create the file, without the device."""
        self.file = file
        self.device = ""
        # What leads to the device.
        self.link = Path()
        with file.open("wb") as stream:
            stream.truncate(size)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.file.stat().st_size

    def attach(self) -> str:
        """Make it a block device, and return its path."""
        self.device = command("losetup", "--find", "--show", str(self.file))
        return self.device

    def enlarge(self, octets: int) -> None:
        """Make it larger, as AWS does to a volume."""
        os.truncate(self.file, self.size + octets)
        command("losetup", "--set-capacity", self.device)

    def write(self, place: int, data: bytes) -> None:
        """Write to the file; a negative place counts from the end."""
        with self.file.open("r+b") as stream:
            stream.seek(place, os.SEEK_END if place < 0 else os.SEEK_SET)
            stream.write(data)

    def checksum(self) -> str:
        """Return a checksum of every byte that is not zero and of its place."""
        found = hashlib.sha256(str(self.size).encode())
        with self.file.open("rb") as stream:
            place = 0
            while (place := self._next_data(stream.fileno(), place)) >= 0:
                stream.seek(place)
                block = stream.read(CHUNK)
                if block.strip(b"\0"):
                    found.update(f"{place}:".encode() + block)
                place += len(block)
        return found.hexdigest()

    @staticmethod
    def _next_data(descriptor: int, place: int) -> int:
        """Return where the next data of a sparse file begins, or -1."""
        try:
            return os.lseek(descriptor, place, os.SEEK_DATA)
        except OSError:
            return -1

    def detach(self) -> None:
        """Remove the block device, if it still has this file."""
        if self.device and str(self.file) in command("losetup", "--list", "--noheadings", "--output", "BACK-FILE"):
            subprocess.run(["partx", "--delete", self.device], capture_output=True, check=False)
            command("losetup", "--detach", self.device)
