# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decides whether a file system may be created on a disk, and creates it.

A run that is killed must neither leave a disk that every later run refuses, nor let a later run take a damaged file
system for one that was never completed. A UUID alone cannot distinguish these: the backups of a damaged ext4 have it
too. So a marker is written behind the new file system before it is created, and erased after it is complete and before
it is mounted. mke2fs writes the superblock last, and mkfs.xfs first, with a flag that it clears last.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .content import BLOCK, MIB, Content, Marker, Run, ext_was_mounted, filesystem_size, read_probe, xfs_in_progress
from .disk import Disk, same_serial

NAMESPACE = uuid.UUID("1f0b7c1e-0c7e-5a54-9d5b-52f1c0a9a6c3")
# The least size of the disk, and the longest label. xfsprogs 5.19 and later refuse less than 300 MiB.
LEAST = {"ext4": 64 * MIB, "xfs": 320 * MIB}
LABEL = {"ext4": 16, "xfs": 12}
NEW_UUID = {"ext4": "tune2fs -U random {path}", "xfs": "xfs_admin -U generate {path}"}


class CreationError(Exception):
    """Why a file system was not created, or not completely, in one line without full stop."""


@dataclass(frozen=True)
class Wanted:
    """The file system that the caller wants; an empty `uuid` is any.

    Attributes:
        created: The caller vouches that the disk is new and empty.
    """

    serial: str
    fstype: str
    label: str
    uuid: str
    created: bool


def find_wanted_problem(wanted: Wanted) -> str:
    """Return what is wrong with the options, or nothing."""
    longest = LABEL[wanted.fstype]
    if not re.fullmatch(f"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{longest - 1}}}", wanted.label):
        return (
            f"label is {wanted.label!r}. Allowed with {wanted.fstype}: 1 to {longest} of A-Z a-z 0-9 _ . -, beginning "
            "with a letter or a digit. Correct label"
        )
    if wanted.uuid and wanted.uuid != _normal_uuid(wanted.uuid):
        return f"uuid is {wanted.uuid!r}. Allowed: a UUID in lower case. Correct uuid"
    return ""


def _normal_uuid(text: str) -> str:
    """Return a UUID as blkid prints it, or an empty text for something else."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""


def choose_uuid(wanted: Wanted, disk: Disk) -> str:
    """Return the UUID of a new file system: that of the options, or one by the serial number, or a new one."""
    serial = wanted.serial or disk.serial
    if wanted.uuid or not serial:
        return wanted.uuid or str(uuid.uuid4())
    return str(uuid.uuid5(NAMESPACE, serial.replace("-", "").lower()))


def is_wanted(content: Content, wanted: Wanted, superblock: bytes) -> bool:
    """Return whether a disk contains exactly the file system that the caller wants, and nothing else."""
    return (
        not content.ambivalent
        and not content.value("PTTYPE")
        and content.value("TYPE") == wanted.fstype
        and content.value("LABEL") == wanted.label
        and wanted.uuid in ("", content.value("UUID"))
        and all(one.kind == wanted.fstype for one in content.signatures)
        and not xfs_in_progress(superblock)
    )


def find_twin_problem(disk: Disk, content: Content, twins: list[str]) -> str:
    """Return a message if other disks have the same UUID, such as a volume and the one restored from its snapshot."""
    if not twins:
        return ""
    remedy = NEW_UUID[content.value("TYPE")].format(path=disk.path)
    return (
        f"the UUID {content.value('UUID')} of {disk.path} is also that of {', '.join(twins)}, as after restoring a "
        f"snapshot. Allowed: one file system with that UUID on a host. Detach one of them, or run `{remedy}`"
    )


def find_use_problem(disk: Disk, content: Content, wanted: Wanted) -> str:
    """Return what uses a disk, or nothing."""
    uses = []
    if disk.mounts:
        uses.append(f"is mounted at {', '.join(disk.mounts)}")
    if disk.swap:
        uses.append("is in use as swap")
    if disk.holders:
        uses.append(f"is part of {', '.join(disk.holders)}")
    if disk.parts:
        uses.append(f"has the partitions {', '.join(disk.parts)}")
    if disk.read_only:
        uses.append("is read-only")
    if not uses:
        return ""
    if content.signatures:
        uses.append(f"holds {', '.join(map(str, content.signatures))}")
    allowed = f"an empty disk that nothing uses, or {wanted.fstype} with the label {wanted.label}"
    return f"{disk.path} {' and '.join(uses)}. Allowed: {allowed}. Correct device, fstype or label"


def find_content_problem(disk: Disk, content: Content, wanted: Wanted, superblock: bytes) -> str:
    """Return what a disk without a valid marker contains, or nothing for an empty one."""
    allowed = f"Allowed: an empty disk, or {wanted.fstype} with the label {wanted.label}"
    if wanted.uuid:
        allowed += f" and the UUID {wanted.uuid}"
    keep = "Set device to another disk, or if its content is not needed, create a new volume"
    if content.ambivalent:
        return f"{disk.path} has the signatures of several formats{_listed(content)}. {allowed}. {keep}"
    if content.value("TYPE") == wanted.fstype == "xfs" and xfs_in_progress(superblock):
        return f"{disk.path} holds an xfs whose creation has not been completed. {allowed}. {keep}"
    if content.value("TYPE") in LEAST and len(content.signatures) == 1:
        label, found = content.value("LABEL"), content.value("TYPE")
        remedy = f"To use it, set fstype to {found}" + (
            f" and label to {label}" if label else " and give it that label"
        )
        return f"{disk.path} holds {content.signatures[0]}. {allowed}. {remedy}; otherwise set device to another disk"
    if content.signatures or content.probe:
        found = _listed(content) or f": {content.value('TYPE') or content.value('PTTYPE') or 'unknown to wipefs'}"
        return f"{disk.path} has the signatures of a format{found}. {allowed}. {keep}"
    if content.used >= 0:
        return (
            f"{disk.path} has no signature and is not empty: byte {content.used} is not zero, as on a damaged disk. "
            f"{allowed}. Examine it, and restore its backup. If its content is not needed, create a new volume"
        )
    return ""


def _listed(content: Content) -> str:
    """Return the signatures of a disk as the continuation of a sentence."""
    return ": " + ", ".join(map(str, content.signatures)) if content.signatures else ""


def find_marker_problem(disk: Disk, content: Content, marker: Marker, wanted: Wanted, superblock: bytes) -> str:
    """Return why a marked disk is not the unfinished file system that its marker describes; empty if it is."""
    begun = f"{disk.path} has the marker of an unfinished {marker.fstype} with the UUID {marker.uuid}"
    keep = "Allowed: the remains of that file system. If its content is not needed, create a new volume"
    serial = wanted.serial or disk.serial
    if not same_serial(marker.serial, serial) or marker.size != disk.size:
        return (
            f"{begun}, of a disk with the serial number {marker.serial or 'none'} and {marker.size} bytes, and this "
            f"one has {serial or 'none'} and {disk.size}. {keep}"
        )
    others = [one for one in content.signatures if one.kind != marker.fstype or one.uuid not in ("", marker.uuid)]
    if others or content.ambivalent or content.value("PTTYPE"):
        return f"{begun}, and it contains something else{_listed(content)}. {keep}"
    if content.beyond >= 0:
        return f"{begun}, and byte {content.beyond} behind its end is not zero. {keep}"
    if not content.signatures and (content.crowded or 0 <= content.used < BLOCK):
        return f"{begun}, and it contains more than that, as when it was completed and damaged. {keep}"
    if content.signatures and _was_completed(marker, superblock):
        return f"{begun}, and it was completed and is damaged. {keep}"
    return ""


def _was_completed(marker: Marker, superblock: bytes) -> bool:
    """Return whether a file system with errors may have been in use."""
    return not xfs_in_progress(superblock) if marker.fstype == "xfs" else ext_was_mounted(superblock)


def find_vouch_problem(disk: Disk, wanted: Wanted) -> str:
    """Return a message if the caller has not vouched for an empty disk, or if it is too small."""
    least = LEAST[wanted.fstype]
    if disk.size < least:
        allowed = f"Allowed for {wanted.fstype}: at least {least // MIB} MiB"
        return f"{disk.path} has {disk.size} bytes. {allowed}. Use a larger disk"
    if not wanted.created:
        return (
            f"{disk.path} seems empty, and created is false. Allowed: a disk that was created empty. Set created to "
            "true if it was, and if nothing has written to it since"
        )
    return ""


def is_complete(marker: Marker, path: str, superblock: bytes, run: Run) -> bool:
    """Return whether the file system that a marker announces is complete and without errors."""
    if marker.fstype == "xfs":
        return not xfs_in_progress(superblock) and run(["xfs_repair", "-n", path])[0] == 0
    return run(["e2fsck", "-f", "-n", path])[0] == 0


def make_command(wanted: Wanted, chosen: str, disk: Disk) -> list[str]:
    """Return the command that creates a file system.

    It has no option that overrides a check. The disk is not discarded, which would erase the marker, as it is empty.
    """
    size = filesystem_size(disk.size)
    path = os.path.realpath(disk.path)
    if wanted.fstype == "xfs":
        return ["mkfs.xfs", "-q", "-K", "-m", f"uuid={chosen}", "-L", wanted.label, "-d", f"size={size}", path]
    blocks = str(size // BLOCK)
    return ["mkfs.ext4", "-q", "-b", str(BLOCK), "-E", "nodiscard", "-U", chosen, "-L", wanted.label, path, blocks]


@contextmanager
def opened(disk: Disk, flags: int) -> Iterator[int]:
    """Open a disk that must still be the same one.

    Raises:
        CreationError: It is another, or something else uses it.
    """
    try:
        descriptor = os.open(disk.path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise CreationError(
            f"{disk.path} is in use or cannot be opened: {error.strerror}. Allowed: a disk that no "
            "program uses, also in containers. Unmount it, or stop the program that uses it"
        ) from error
    try:
        rdev = os.fstat(descriptor).st_rdev
        if f"{os.major(rdev)}:{os.minor(rdev)}" != disk.number:
            raise CreationError(f"{disk.path} leads to another disk now. Allowed: device {disk.number}. Run this again")
        yield descriptor
    finally:
        os.close(descriptor)


def write_marker(disk: Disk, marker: Marker, *, restart: bool) -> None:
    """Write the marker, and erase the superblock of a file system that was not completed."""
    with opened(disk, os.O_RDWR | os.O_EXCL) as descriptor:
        if restart:
            _write(descriptor, bytes(MIB), 0)
        _write(descriptor, marker.encode(), filesystem_size(disk.size))


def erase_marker(disk: Disk) -> None:
    """Erase the marker."""
    with opened(disk, os.O_RDWR | os.O_EXCL) as descriptor:
        _write(descriptor, bytes(BLOCK), filesystem_size(disk.size))


def _write(descriptor: int, block: bytes, place: int) -> None:
    """Write to a disk, and wait until it is written.

    Raises:
        CreationError: Less was written.
    """
    if os.pwrite(descriptor, block, place) != len(block):
        raise CreationError(f"byte {place} cannot be written. Check the disk with `dmesg`")
    os.fsync(descriptor)


def create(wanted: Wanted, chosen: str, disk: Disk, run: Run) -> None:
    """Create a file system on a disk that has a marker.

    Raises:
        CreationError: It was not created, or not completely. Another run can continue.
    """
    command = make_command(wanted, chosen, disk)
    status, out, err = run(command)
    if status != 0:
        words = " ".join((err or out).split())
        raise CreationError(
            f"{command[0]} ended with status {status} on {disk.path}{words and f': {words}'}. Run this again"
        )
    probe, ambivalent = read_probe(disk.path, run)
    if ambivalent or (probe.get("TYPE"), probe.get("UUID")) != (wanted.fstype, chosen):
        raise CreationError(
            f"{command[0]} has ended, and blkid finds {probe} on {disk.path}. Check the disk with `dmesg`"
        )
