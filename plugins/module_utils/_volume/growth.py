# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grows a mounted file system into a disk that has grown: reads the state, plans, and applies the plan.

Where it is not certain that growing is safe, nothing is done, and the reason is returned.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
MIB = 1024 * 1024
# Partition tables and resize2fs, whose last group must have room for its own tables, leave less than this unused.
SLACK = 16 * MIB
# The backup of a GPT, at the end of the disk.
GPT_BACKUP = 33 * SECTOR
# A sector number of an MBR has 32 bits.
LARGEST_MBR_SECTORS = 2**32 - 1
FIRST_LOGICAL = 5

EXT = ("ext2", "ext3", "ext4")
XFS = "xfs"
EXT_MAGIC = 0xEF53
# The commands for a file system that the module does not grow.
OTHERS = {
    "btrfs": "Run `growpart` for its partition, then `btrfs filesystem resize max {path}`",
    "zfs": "Run `growpart` for its partition, then `zpool online -e` for its pool and device",
    "overlay": "Grow the disk of the container's host",
}
# Devices that have to be grown before the file system on them, by their directory in /sys, and what to run.
HOLDERS = {
    "dm": (
        "LVM, LUKS or another mapping",
        "Run `growpart` for the partition, for LUKS `cryptsetup resize`, for LVM `pvresize` and `lvextend --resizefs`",
    ),
    "md": ("a RAID", "Run `growpart` for each member's partition, then `mdadm --grow --size=max`"),
    "bcache": ("a cache", "Grow its backing device, then reboot"),
}

Run = Callable[[list[str]], tuple[int, str, str]]


class GrowthError(Exception):
    """Why growing failed, in one line."""


@dataclass(frozen=True)
class Mount:
    """A mounted file system; `root` is which part of it is mounted, / for all of it."""

    path: str
    filesystem: str
    number: str
    root: str
    read_only: bool


@dataclass(frozen=True)
class Part:
    """A partition: its number, and where it starts and ends on the disk, in bytes."""

    name: str
    number: int
    start: int
    end: int


@dataclass(frozen=True)
class Disk:
    """A disk and its partitions.

    Attributes:
        table: gpt, dos, or empty without a partition table.
        sector: Size of a sector of its partition table in bytes.
    """

    name: str
    size: int
    table: str
    parts: tuple[Part, ...] = ()
    sector: int = SECTOR


@dataclass(frozen=True)
class FilesystemState:
    """A file system, its size in bytes, and its partition; None on a whole disk.

    Attributes:
        node: Path of the block device, if it does not have the kernel's name.
    """

    mount: Mount
    size: int
    disk: Disk
    part: Part | None
    node: str = ""


@dataclass(frozen=True)
class GrowthPlan:
    """The steps to grow a file system.

    Attributes:
        partition: Whether the partition grows.
        filesystem: Whether the file system grows.
        size: Size in bytes of what holds the file system, once that is done.
        reason: Why a part of the disk stays unused, or why nothing can be known; else empty.
    """

    partition: bool = False
    filesystem: bool = False
    size: int = 0
    reason: str = ""


def read_mount(path: str, mountinfo: str) -> Mount | None:
    """Return what is mounted at a path, the last of several, from the text of /proc/self/mountinfo."""
    found = None
    for line in mountinfo.splitlines():
        before, _dash, after = line.partition(" - ")
        _id, _parent, number, root, point, options, *_more = before.split()
        if _unescape(point) == path:
            filesystem, _source, of_all = after.split(" ", 2)
            read_only = "ro" in options.split(",") or "ro" in of_all.split(",")
            found = Mount(path, filesystem, number, _unescape(root), read_only)
    return found


def _unescape(text: str) -> str:
    """Return a path of mountinfo with its blanks."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def find_reason(mount: Mount, device: Path) -> str:
    """Return why a file system cannot be grown from here, or nothing.

    Args:
        mount: The file system.
        device: The directory in /sys of the block device that it is on.
    """
    if mount.filesystem not in (*EXT, XFS):
        # A major number of 0 stands for a file system without a disk, such as proc.
        has_disk = not mount.number.startswith("0:")
        other = "Run `growpart` for its partition, then the file system's own tool" if has_disk else ""
        remedy = OTHERS.get(mount.filesystem, other).format(path=mount.path)
        return f"the file system is {mount.filesystem}, and only ext4 and xfs can be grown{remedy and '. '}{remedy}"
    if mount.root != "/":
        return f"only a part of the file system ({mount.root}) is mounted here. Set path to where / of it is mounted"
    if mount.read_only:
        return f"the file system is mounted read-only. Run `mount -o remount,rw {mount.path}`"
    if not device.is_dir():
        return f"its block device ({mount.number}) is not visible from here. Run this outside the container"
    for kind, (title, remedy) in HOLDERS.items():
        if (device / kind).exists():
            return f"it is on {title} ({device.resolve().name}), which has to be grown first. {remedy}"
    return ""


def read_disk(device: Path, table: str) -> tuple[Disk, Part | None]:
    """Return the disk of a block device, and the device itself where it is a partition.

    Args:
        device: The directory in /sys of the block device.
        table: The kind of the disk's partition table.
    """
    here = device.resolve()
    home = here.parent if (here / "partition").exists() else here
    parts = tuple(sorted((_read_part(entry.parent) for entry in home.glob("*/partition")), key=lambda part: part.start))
    sector = int((home / "queue" / "logical_block_size").read_text("ascii"))
    disk = Disk(home.name, int((home / "size").read_text("ascii")) * SECTOR, table, parts, sector)
    return disk, next((part for part in parts if part.name == here.name), None)


def disk_of(device: Path) -> str:
    """Return the name of the disk that a block device is, or is a partition of."""
    here = device.resolve()
    return here.parent.name if (here / "partition").exists() else here.name


def find_node(device: Path, folder: Path = Path("/dev")) -> str:
    """Return the path of a block device, or nothing. In a container it may have another name than the kernel's.

    Args:
        device: The directory in /sys of the block device.
        folder: Where the devices are.
    """
    named = folder / device.resolve().name
    if named.is_block_device():
        return str(named)
    nodes = (node for node in sorted(folder.iterdir()) if node.is_block_device())
    return next((str(node) for node in nodes if _number_of(node) == device.name), "")


def _number_of(node: Path) -> str:
    """Return the major and minor number of a device."""
    rdev = node.stat().st_rdev
    return f"{os.major(rdev)}:{os.minor(rdev)}"


def _read_part(entry: Path) -> Part:
    """Return a partition by its directory in /sys, which counts in 512 bytes whatever the disk's sectors are."""
    start, size = (int((entry / name).read_text("ascii")) * SECTOR for name in ("start", "size"))
    return Part(entry.name, int((entry / "partition").read_text("ascii")), start, start + size)


def ext_size(superblock: bytes) -> int:
    """Return the size in bytes of an ext file system by its superblock."""
    (magic,) = struct.unpack_from("<H", superblock, 56)
    if magic != EXT_MAGIC:
        raise GrowthError("the device holds no ext file system, though one is mounted")
    low, (shift,), (high,) = (
        struct.unpack_from("<I", superblock, 4)[0],
        struct.unpack_from("<I", superblock, 24),
        struct.unpack_from("<I", superblock, 0x150),
    )
    (features,) = struct.unpack_from("<I", superblock, 0x60)
    # The upper half exists only with 64-bit block numbers.
    blocks = low | (high << 32 if features & 0x80 else 0)
    return int(blocks * (1024 << shift))


def xfs_size(geometry: str) -> int:
    """Return the size in bytes of an xfs file system from what xfs_growfs -n prints."""
    match = re.search(r"^data\s.*bsize=(\d+)\s+blocks=(\d+)", geometry, re.MULTILINE)
    if not match:
        raise GrowthError("xfs_growfs -n prints no size of the file system")
    return int(match[1]) * int(match[2])


def make_plan(state: FilesystemState) -> GrowthPlan:
    """Return what to do so that a file system fills its disk."""
    disk, part = state.disk, state.part
    if part is None:
        if disk.parts:
            return GrowthPlan(size=state.size, reason=f"{disk.name} holds a file system and partitions")
        return GrowthPlan(filesystem=disk.size - state.size >= SLACK, size=disk.size)
    end, reason = _usable_end(disk, part)
    grows = end - part.end >= SLACK
    size = (end if grows else part.end) - part.start
    return GrowthPlan(partition=grows, filesystem=size - state.size >= SLACK, size=size, reason=reason)


def _usable_end(disk: Disk, part: Part) -> tuple[int, str]:
    """Return up to where a partition can grow, and why not further."""
    end = disk.size - (GPT_BACKUP if disk.table == "gpt" else 0)
    behind = [other for other in disk.parts if other.start > part.start]
    if behind:
        unused = end - max(other.end for other in behind)
        reason = f"{unused // MIB} MiB of {disk.name} are behind {behind[-1].name}, which is behind {part.name}. "
        reason += f"Use them for {behind[-1].name} or a new partition"
        return part.end, reason if unused >= SLACK else ""
    if end - part.end < SLACK:
        return end, ""
    if disk.table not in ("gpt", "dos"):
        return (
            part.end,
            f"the partition table of {disk.name} is {disk.table or 'not known'}, and only gpt and dos can be grown. "
            "Grow the partition with `parted`",
        )
    if disk.table == "dos" and part.number >= FIRST_LOGICAL:
        return part.end, f"{part.name} is a logical partition. Grow the extended partition and it with `parted`"
    largest = LARGEST_MBR_SECTORS * disk.sector
    if disk.table == "dos" and end > largest:
        reason = f"an MBR ends at {largest // MIB} MiB, and {disk.name} has {disk.size // MIB}. Use a GPT for more"
        return largest, reason
    return end, ""


def grow(plan: GrowthPlan, state: FilesystemState, run: Run) -> None:
    """Apply a plan.

    Raises:
        GrowthError: A command failed. The remaining steps were not done.
    """
    if plan.partition and state.part:
        status, out, err = run(["growpart", f"/dev/{state.disk.name}", str(state.part.number)])
        # Its exit status is 1 also when there is nothing to do.
        if status != 0 and "NOCHANGE" not in out:
            raise GrowthError(f"growpart could not grow {state.part.name}: {' '.join((out + err).split())}")
    if plan.filesystem:
        device = state.node or f"/dev/{state.part.name if state.part else state.disk.name}"
        command = ["xfs_growfs", "-d", state.mount.path] if state.mount.filesystem == XFS else ["resize2fs", device]
        status, out, err = run(command)
        if status != 0:
            raise GrowthError(f"{command[0]} could not grow {state.mount.path}: {' '.join((err or out).split())}")
