# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads what a disk contains: signatures, and whether it is empty at the places where data and its backups are.

A disk is not read completely. An empty one reads zeros at its first and last 16 MiB, at every place where a known
format has a copy of its header, and in up to 4096 places at equal distances.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = 4096
# The headers of most formats are at the front; those of RAID 0.90 and 1.0, and the backups of GPT and ZFS, at the end.
EDGE = 16 * MIB
SPREAD = 4096
# Groups of ext2, ext3 and ext4 with a backup of the superblock: 1 and the powers of 3, 5 and 7.
EXT_GROUPS = sorted({1} | {base**power for base in (3, 5, 7) for power in range(1, 12)})
# Sizes of an ext file system's group, by its block size: 8 blocks for each byte of a block, and the place of block 0.
EXT_LAYOUTS = ((8 * MIB, 1024), (32 * MIB, 0), (128 * MIB, 0))
XFS_GROUPS = (2, 4, 8, 16, 32, 64)
BTRFS_MIRRORS = (64 * MIB, 256 * GIB)
# A new ext4 or xfs writes to fewer places than this share of those at equal distances.
LARGEST_SHARE = 16
MARKER_TITLE = b"digital_twin.robotics_lab: a file system is being created here\n"

Run = Callable[[list[str]], tuple[int, str, str]]


class ContentError(Exception):
    """Why the content of a disk cannot be known, in one line without full stop."""


@dataclass(frozen=True)
class Signature:
    """A signature of a format."""

    offset: int
    kind: str
    uuid: str = ""
    label: str = ""

    def __str__(self) -> str:
        """Return it as a phrase."""
        names = ", ".join(filter(None, [self.label and f"label {self.label}", self.uuid and f"UUID {self.uuid}"]))
        return f"{self.kind}{names and f' ({names})'} at byte {self.offset}"


@dataclass(frozen=True)
class Marker:
    """The marker at the end of a disk, written before mkfs and erased when the file system is complete."""

    serial: str
    fstype: str
    uuid: str
    size: int

    def encode(self) -> bytes:
        """Return the block of the disk that contains it."""
        text = json.dumps(asdict(self), sort_keys=True).encode("utf-8")
        digest = hashlib.sha256(text).hexdigest().encode("ascii")
        return (MARKER_TITLE + text + b"\n" + digest + b"\n").ljust(BLOCK, b"\0")


@dataclass(frozen=True)
class Content:
    """What a disk contains.

    Attributes:
        signatures: What wipefs finds.
        probe: What blkid finds, by its names.
        ambivalent: Whether blkid finds several formats that exclude each other.
        used: The offset of the first byte that is not zero at the places read, or -1.
        crowded: Whether more places are in use than a new file system writes to.
        marker: The marker of a file system that has not been completed.
        beyond: The offset of the first byte after the new file system that is not zero, without the marker, or -1.
    """

    signatures: tuple[Signature, ...] = ()
    probe: tuple[tuple[str, str], ...] = ()
    ambivalent: bool = False
    used: int = -1
    crowded: bool = False
    marker: Marker | None = None
    beyond: int = -1

    def value(self, name: str) -> str:
        """Return one of blkid's values."""
        return dict(self.probe).get(name, "")


def filesystem_size(size: int) -> int:
    """Return the size of a new file system: the last whole MiB of the disk, and the rest, are for the marker."""
    return (size // MIB - 1) * MIB


def decode_marker(block: bytes) -> Marker | None:
    """Return the marker that a block contains, or nothing."""
    if not block.startswith(MARKER_TITLE):
        return None
    text, _separator, rest = block[len(MARKER_TITLE) :].partition(b"\n")
    if rest.rstrip(b"\0") != hashlib.sha256(text).hexdigest().encode("ascii") + b"\n":
        return None
    return Marker(**json.loads(text))


def places(size: int) -> list[int]:
    """Return the places of a disk that are read between its edges: of backups of headers, and at equal distances."""
    found = set(BTRFS_MIRRORS)
    for group, first in EXT_LAYOUTS:
        found.update(number * group + first for number in EXT_GROUPS)
        # sparse_super2 has one backup, in the last group.
        found.add(size // group * group + first)
    for count in XFS_GROUPS:
        # The blocks of a group are rounded up, and sometimes aligned to a stripe.
        each = -(-size // BLOCK // count) * BLOCK
        found.update(each * number for number in range(1, count))
        found.update(size // count // BLOCK * BLOCK * number for number in range(1, count))
    found.update(spread(size))
    return sorted(place for place in found if EDGE <= place <= size - EDGE)


def spread(size: int) -> range:
    """Return places at equal distances."""
    step = max(MIB, -(-size // SPREAD // BLOCK) * BLOCK)
    return range(0, size, step)


def first_used(block: bytes) -> int:
    """Return the position of the first byte that is not zero, or -1."""
    return len(block) - len(block.lstrip(b"\0")) if block.strip(b"\0") else -1


def _blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Return where to read, and how much, from start to end."""
    for place in range(start, end, MIB):
        yield place, min(MIB, end - place)


def read_content(descriptor: int, size: int, path: str, run: Run) -> Content:
    """Return what a disk contains.

    Args:
        descriptor: The open disk.
        size: Its size in bytes.
        path: Its path, for the commands.
        run: Runs a command.

    Raises:
        ContentError: A command does not answer, or the disk cannot be read.
    """
    tail = filesystem_size(size)
    marker = decode_marker(_read(descriptor, tail, BLOCK)) if tail > 0 else None
    used = beyond = -1
    # From a whole MiB, so that the marker is in one block.
    ends = [*_blocks(0, min(EDGE, size)), *_blocks(max(size - EDGE, 0) // MIB * MIB, size)]
    for place, length in [*ends, *((place, BLOCK) for place in places(size))]:
        block = _read(descriptor, place, length)
        if marker and place <= tail < place + length:
            block = block[: tail - place] + bytes(BLOCK) + block[tail - place + BLOCK :]
        position = first_used(block)
        if position >= 0 and (used < 0 or place + position < used):
            used = place + position
    for place, length in _blocks(tail, size) if tail > 0 else ():
        block = _read(descriptor, place, length)
        if marker and place == tail:
            block = bytes(BLOCK) + block[BLOCK:]
        position = first_used(block)
        if position >= 0 and beyond < 0:
            beyond = place + position
    points = [place for place in spread(size) if EDGE <= place < tail]
    busy = sum(1 for place in points if first_used(_read(descriptor, place, BLOCK)) >= 0) if marker else 0
    probe, ambivalent = read_probe(path, run)
    return Content(
        signatures=tuple(read_signatures(path, run)),
        probe=tuple(sorted(probe.items())),
        ambivalent=ambivalent,
        used=used,
        crowded=busy * LARGEST_SHARE > len(points),
        marker=marker,
        beyond=beyond,
    )


def _read(descriptor: int, place: int, length: int) -> bytes:
    """Return a part of a disk.

    Raises:
        ContentError: The disk does not return it, such as one that has just been detached.
    """
    try:
        block = os.pread(descriptor, length, place)
    except OSError as error:
        raise ContentError(f"byte {place} cannot be read: {error.strerror}. Check the disk with `dmesg`") from error
    if len(block) != length:
        raise ContentError(f"the disk ends before byte {place + length}. Check whether it is still attached")
    return block


def read_probe(path: str, run: Run) -> tuple[dict[str, str], bool]:
    """Return what blkid finds on a disk, and whether it is ambivalent.

    Raises:
        ContentError: blkid does not answer.
    """
    status, out, err = run(["blkid", "-p", "-o", "export", path])
    if status not in (0, 2, 8):
        raise ContentError(
            f"blkid ended with status {status}: {' '.join((err or out).split())}. Check the disk with `dmesg`"
        )
    pairs = (line.partition("=") for line in out.splitlines())
    # blkid escapes blanks and other characters for a shell.
    return {name: value.replace("\\", "") for name, _sign, value in pairs if name != "DEVNAME"}, status == 8


def read_signatures(path: str, run: Run) -> list[Signature]:
    """Return what wipefs finds on a disk; it erases nothing.

    Raises:
        ContentError: wipefs does not answer.
    """
    status, out, err = run(["wipefs", "--no-act", "--json", "--output", "OFFSET,TYPE,UUID,LABEL", path])
    if status != 0:
        raise ContentError(
            f"wipefs ended with status {status}: {' '.join((err or out).split())}. Check it with `dmesg`"
        )
    found = json.loads(out)["signatures"] if out.strip() else []
    return [Signature(int(one["offset"], 16), one["type"], one["uuid"] or "", one["label"] or "") for one in found]


def xfs_in_progress(superblock: bytes) -> bool:
    """Return whether mkfs.xfs has not come to its end, by the superblock."""
    return superblock[:4] == b"XFSB" and superblock[126] != 0


def ext_was_mounted(superblock: bytes) -> bool:
    """Return whether an ext file system was mounted since it was created, by its superblock."""
    mounted_at, _written_at, mounts = struct.unpack_from("<IIH", superblock, 0x2C)
    return bool(mounted_at or mounts)
