# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of disk formats whose tools the tests do not install, as their documentation describes them."""

from __future__ import annotations

import struct
import zlib
from uuid import UUID

SOME = UUID("6c1f6a57-3f54-4b6b-9f58-0d0b6a7c1a11")
KIB = 1024


def lvm() -> bytes:
    """Return sector 1 of a physical volume of LVM2: lib/format_text/layout.h of LVM2."""
    body = struct.pack("<I", 32) + b"LVM2 001" + b"A" * 32
    body = body.ljust(512 - 20, b"\0")
    checksum = zlib.crc32(body, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    return b"LABELONE" + struct.pack("<QI", 1, checksum) + body


def md_1(sector: int) -> bytes:
    """Return the superblock of a RAID member, version 1.x, by its sector: linux/raid/md_p.h, mdp_superblock_1."""
    head = struct.pack("<IIII", 0xA92B4EFC, 1, 0, 0) + SOME.bytes + b"host:0".ljust(32, b"\0")
    head += struct.pack("<QIIQII", 0, 1, 0, 2048, 0, 2)
    head = head.ljust(128, b"\0") + struct.pack("<QQQ", 2048, 2048, sector)
    head = head.ljust(256, b"\0")
    words = struct.unpack("<64I", head)
    total = sum(words)
    checksum = (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF
    return head[:216] + struct.pack("<I", checksum) + head[220:]


def md_0() -> bytes:
    """Return the superblock of a RAID member, version 0.90: linux/raid/md_p.h, mdp_superblock_t."""
    parts = struct.unpack("<4I", SOME.bytes)
    words = [0xA92B4EFC, 0, 90, 0, 0, parts[0], 1, 1, 1024, 2, 2, 0, 0, *parts[1:]]
    return struct.pack(f"<{len(words)}I", *words).ljust(4096, b"\0")


def luks_1() -> bytes:
    """Return the header of LUKS1: on-disk format 1.2.3, section 2."""
    head = b"LUKS\xba\xbe" + struct.pack(">H", 1) + b"aes".ljust(32, b"\0") + b"xts-plain64".ljust(32, b"\0")
    head += b"sha256".ljust(32, b"\0") + struct.pack(">II", 4096, 32)
    return head.ljust(168, b"\0") + str(SOME).encode().ljust(40, b"\0")


def luks_2(*, secondary: bool = False) -> bytes:
    """Return a binary header of LUKS2: on-disk format 1.1.1, section 2.1."""
    magic = b"SKUL\xba\xbe" if secondary else b"LUKS\xba\xbe"
    head = magic + struct.pack(">HQQ", 2, 16384, 1) + b"vault".ljust(48, b"\0") + b"sha256".ljust(32, b"\0")
    head += bytes(64) + str(SOME).encode().ljust(40, b"\0") + bytes(48)
    return head + struct.pack(">Q", 16384 if secondary else 0) + bytes(184) + bytes(64)


def zfs() -> bytes:
    """Return the uberblocks of a label of ZFS, which begin at its 128th KiB: on-disk specification, section 1.3."""
    return b"".join(struct.pack("<QQQ", 0x00BAB10C, 5000, number).ljust(KIB, b"\0") for number in range(1, 9))


def btrfs(place: int) -> bytes:
    """Return the superblock of btrfs at 64 KiB, 64 MiB or 256 GiB: btrfs documentation, on-disk format, superblock."""
    body = SOME.bytes + struct.pack("<QQ", place, 1) + b"_BHRfS_M"
    body = body.ljust(112 - 32, b"\0") + struct.pack("<QQ", 400 * KIB * KIB, 0)
    body = body.ljust(144 - 32, b"\0") + struct.pack("<II", 4096, 16384)
    body = body.ljust(4096 - 32, b"\0")
    return struct.pack("<I", crc32c(body)).ljust(32, b"\0") + body


def crc32c(data: bytes) -> int:
    """Return the CRC32C, by Castagnoli's polynomial, of RFC 3720."""
    value = 0xFFFFFFFF
    for octet in data:
        value ^= octet
        for _bit in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def fat() -> bytes:
    """Return the boot sector of FAT16: Microsoft's FAT specification 1.03, boot sector and BPB."""
    head = b"\xeb\x3c\x90MSDOS5.0" + struct.pack("<HBHBHHBHHHII", 512, 16, 1, 2, 512, 0, 0xF8, 200, 63, 255, 0, 800000)
    head += struct.pack("<BBBI", 0x80, 0, 0x29, 0x1234ABCD) + b"STICK      FAT16   "
    return head.ljust(510, b"\0") + b"\x55\xaa"


def iso() -> bytes:
    """Return the primary volume descriptor of ISO 9660 in sector 16: ECMA-119, section 8.4."""
    head = b"\x01CD001\x01\0" + b"LINUX".ljust(32) + b"DISC".ljust(32)
    return head.ljust(2048, b"\0") + b"\xffCD001\x01".ljust(2048, b"\0")
