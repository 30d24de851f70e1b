# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Identifies a disk: which one it is, and what on this host uses it. Opens nothing for writing."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
SYS_BLOCK = Path("/sys/dev/block")
BY_ID = Path("/dev/disk/by-id")
MOUNTINFO = Path("/proc/self/mountinfo")
SWAPS = Path("/proc/swaps")
# Files in /sys that contain a serial number: of NVMe, of virtio, and of SCSI, which has a header of four bytes.
SERIALS = (("device/serial", 0), ("serial", 0), ("device/vpd_pg80", 4))
# AWS's model of an instance store, as /sys and as the links in /dev/disk/by-id spell it.
INSTANCE_STORE = re.compile(r"Amazon[ _]EC2[ _]NVMe[ _]Instance[ _]Storage")
MAPPINGS = {"dm": "a device-mapper device (LVM, LUKS)", "md": "a RAID", "bcache": "a cache"}


@dataclass(frozen=True)
class Disk:
    """A block device as this host knows it.

    Attributes:
        kind: disk, partition, or what else it is as the end of a sentence.
        number: Major and minor number, such as 259:1.
        serials: Serial numbers in /sys.
        links: Names in /dev/disk/by-id that lead to it.
        parts: Its partitions.
        holders: Devices that are built on it.
    """

    path: str
    kind: str = "missing"
    name: str = ""
    number: str = ""
    size: int = 0
    read_only: bool = False
    serials: tuple[str, ...] = ()
    model: str = ""
    links: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    swap: bool = False

    @property
    def is_instance_store(self) -> bool:
        """Whether AWS erases it when the instance stops."""
        return any(INSTANCE_STORE.search(text) for text in (self.model, *self.links))

    @property
    def serial(self) -> str:
        """The serial number, or an empty text."""
        return next((serial for serial in self.serials if serial), "")


def read_disk(path: str) -> Disk:
    """Return what a path leads to."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return Disk(path)
    if not stat.S_ISBLK(status.st_mode):
        kinds = ((stat.S_ISREG, "a file"), (stat.S_ISDIR, "a folder"), (stat.S_ISCHR, "a character device"))
        return Disk(path, next((kind for is_kind, kind in kinds if is_kind(status.st_mode)), "not a block device"))
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    home = (SYS_BLOCK / number).resolve()
    if not home.is_dir():
        return Disk(path, number=number)
    kind = "partition" if (home / "partition").exists() else "disk"
    kind = next((title for entry, title in MAPPINGS.items() if (home / entry).is_dir()), kind)
    return Disk(
        path=path,
        kind=kind,
        name=home.name,
        number=number,
        size=int(_text(home / "size") or 0) * SECTOR,
        read_only=_text(home / "ro") == "1",
        serials=tuple(filter(None, (_text(home / name, skip) for name, skip in SERIALS))),
        model=_text(home / "device" / "model"),
        links=_links(status.st_rdev),
        parts=tuple(sorted(entry.parent.name for entry in home.glob("*/partition"))),
        holders=tuple(sorted(entry.name for entry in home.glob("holders/*"))),
        mounts=tuple(_mounts(number)),
        swap=_is_swap(status.st_rdev),
    )


def _text(path: Path, skip: int = 0) -> str:
    """Return the text of a file in /sys, or an empty one."""
    try:
        return path.read_bytes()[skip:].decode("ascii", "replace").strip("\0 \n")
    except OSError:
        return ""


def _leads_to(path: Path, rdev: int) -> bool:
    """Return whether a path leads to a block device."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISBLK(status.st_mode) and status.st_rdev == rdev


def _links(rdev: int) -> tuple[str, ...]:
    """Return the names in /dev/disk/by-id that lead to a block device."""
    if not BY_ID.is_dir():
        return ()
    return tuple(sorted(path.name for path in BY_ID.iterdir() if _leads_to(path, rdev)))


def _mounts(number: str) -> list[str]:
    """Return where a block device is mounted."""
    found = []
    for line in MOUNTINFO.read_text("utf-8").splitlines():
        _id, _parent, device, _root, point, *_more = line.split()
        if device == number:
            found.append(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point))
    return found


def _is_swap(rdev: int) -> bool:
    """Return whether the kernel swaps to a block device."""
    try:
        lines = SWAPS.read_text("utf-8").splitlines()[1:]
    except FileNotFoundError:
        return False
    return any(_leads_to(Path(line.split()[0]), rdev) for line in lines)


def same_serial(wanted: str, serial: str) -> bool:
    """Return whether two texts are the same serial number; an EBS volume's has no dash, its id has one."""
    return wanted.replace("-", "").lower() == serial.replace("-", "").lower()


def find_identity_problem(disk: Disk, serial: str, *, scratch: bool) -> str:
    """Return why a path does not lead to the disk that the caller means, or nothing."""
    where = disk.path
    kinds = {
        "missing": f"{where} does not exist. Allowed: a disk that is attached. Attach it, or correct device",
        "partition": f"{where} is a partition. Allowed: a whole disk. Set device to the disk, or mount it yourself",
        "disk": "",
    }
    problem = kinds.get(disk.kind, f"{where} is {disk.kind}. Allowed: a whole disk. Correct device")
    if not problem and disk.size == 0:
        problem = f"{where} has 0 bytes. Allowed: a disk that is attached. Attach it, or correct device"
    problem = problem or _find_other_serial(disk, serial)
    if not problem and disk.is_instance_store and not scratch:
        problem = (
            f"{where} is an instance store ({disk.model or disk.links[0]}), which loses its content when the instance "
            "stops. Allowed: a volume that persists. Set device to one, or scratch to true if the data may be lost"
        )
    return problem


def _find_other_serial(disk: Disk, serial: str) -> str:
    """Return how the serial number of a disk differs from the expected one, or nothing."""
    # A link ends in the serial number, or in it and the number of the namespace.
    known = disk.serials or tuple(part for link in disk.links for part in link.split("_")[-2:])
    if not serial or any(same_serial(serial, one) for one in known):
        return ""
    found = ", ".join(disk.serials or disk.links) or "none"
    return (
        f"{disk.path} has the serial number {found}, and {serial} is expected. Allowed: the disk with that serial "
        "number. Correct device or serial"
    )
