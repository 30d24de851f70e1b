# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that sign repositories, as files that apt accepts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from .sources import ARMOR, Entry, truth

END = "-----END PGP PUBLIC KEY BLOCK-----"
# The first octet of a public key, in both of OpenPGP's formats of a packet.
PUBLIC_KEY = (0x98, 0x99, 0x9A, 0xC6)
PRIMARY = 6
# An exported key (RFC 9580, 5): signatures, the key, marker, trust, user id, subkey, attribute and padding.
PARTS = (2, PRIMARY, 10, 12, 13, 14, 17, 21)
# Options of an entry with which apt does not insist on a signature, or on one that cannot be forged.
UNSIGNED = ("trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure")
FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")


class AptKeyError(Exception):
    """apt cannot use a key; the text is the reason."""


def checksum(data: bytes) -> bytes:
    """Return the CRC-24 of OpenPGP's armor."""
    crc = 0xB704CE
    for octet in data:
        crc ^= octet << 16
        for _bit in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc.to_bytes(3, "big")


def packets(block: str) -> bytes:
    """Return the data in an armored block.

    Raises:
        AptKeyError: it is damaged.
    """
    lines = [line.strip() for line in block.strip().splitlines()]
    body = lines[lines.index("") + 1 :] if "" in lines else lines[1:]
    text = "".join(line for line in body if line and not line.startswith(("=", "-", ".")) and ":" not in line)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise AptKeyError("is a damaged OpenPGP key") from None


def armored(data: bytes) -> str:
    """Return a key as text that apt accepts in a file of the suffix .asc.

    Raises:
        AptKeyError: it is not a public key.
    """
    if data[8:12] == b"KBXf":
        raise AptKeyError("is a keybox of GnuPG, which apt cannot read. Export the key with `gpg --export`")
    # A user id in a binary key can contain the words of an armor.
    if ARMOR.encode() in data and data[0] not in PUBLIC_KEY:
        text = data.decode("utf-8", "replace").replace("\r\n", "\n")
        start = text.index(ARMOR)
        if END not in text[start:]:
            raise AptKeyError("is a damaged OpenPGP key: its last lines are missing")
        blocks = text[start:].split(ARMOR)[1:]
        for block in blocks:
            if packets(ARMOR + block.split(END)[0])[:1] not in [bytes([first]) for first in PUBLIC_KEY]:
                raise AptKeyError("is not an OpenPGP public key")
        return text[start:].strip() + "\n"
    if not data:
        raise AptKeyError("is empty")
    if data[0] not in PUBLIC_KEY:
        start_of_it = data[:40].decode("utf-8", "replace").split("\n")[0]
        raise AptKeyError(f"is not an OpenPGP public key: it begins with {start_of_it!r}")
    body = base64.b64encode(data).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    check = base64.b64encode(checksum(data)).decode()
    return "\n".join([ARMOR, "", *lines, f"={check}", END]) + "\n"


def binary(data: bytes) -> bytes:
    """Return a key without its armor.

    Raises:
        AptKeyError: it is not a public key.
    """
    text = armored(data)
    return b"".join(packets(ARMOR + block.split(END)[0]) for block in text.split(ARMOR)[1:])


def parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the body of each packet of a binary key.

    Raises:
        AptKeyError: it has a packet that an exported key does not have, or one of an unknown length.
    """
    at = 0
    while at < len(data):
        first = data[at]
        kind = first & 0x3F if first & 0x40 else first >> 2 & 0x0F
        if first & 0x40:
            second = data[at + 1] if at + 1 < len(data) else 0
            # 1, 2 or 5 octets; 224 to 254 begin a packet in pieces.
            size = 1 if second < 192 else 2 if second < 224 else 5 if second == 255 else 0
            octets = data[at + 1 : at + 1 + size]
            length = int.from_bytes(octets if size == 1 else octets[1:], "big")
            if size == 2:
                length = ((octets[0] - 192) << 8) + octets[-1] + 192
        else:
            size = (1, 2, 4, 0)[first & 3]
            octets = data[at + 1 : at + 1 + size]
            length = int.from_bytes(octets, "big")
        begin = at + 1 + size
        at = begin + length
        if not first & 0x80 or not size or len(octets) < size or at > len(data):
            raise AptKeyError("is a damaged OpenPGP key")
        if kind not in PARTS:
            raise AptKeyError(f"has an OpenPGP packet of type {kind}, which a public key does not have")
        yield kind, data[begin:at]


def fingerprint(body: bytes) -> str:
    """Return the fingerprint of a public key's packet.

    Raises:
        AptKeyError: it is a key of a version without a safe fingerprint.
    """
    version = body[0] if body else 0
    if version == 4 and len(body) < 0x10000:
        # OpenPGP defines it so.
        digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
        return digest.hexdigest().upper()
    if version == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise AptKeyError(f"is an OpenPGP key of version {version}. Use a key of version 4 or 6")


def fingerprints(data: bytes) -> list[str]:
    """Return the fingerprints of the primary keys in a key file.

    apt itself checks that a subkey is signed by its primary key.

    Raises:
        AptKeyError: it is not a public key.
    """
    return list(dict.fromkeys(fingerprint(body) for kind, body in parts(binary(data)) if kind == PRIMARY))


def normal_fingerprint(text: str) -> str:
    """Return a fingerprint as it is compared; vendors print it in groups."""
    return re.sub(r"[\s:]", "", text).upper().removeprefix("0X")


def check_fingerprints(found: Collection[str], expected: Collection[str]) -> None:
    """Check that all keys are expected. Without expected keys, every key is accepted.

    Raises:
        AptKeyError: one is not.
    """
    foreign = [key for key in found if key not in expected]
    if expected and foreign:
        raise AptKeyError(f"has the key {', '.join(foreign)}, but expected is {' or '.join(expected)}")


def checked(data: bytes, expected: Collection[str]) -> str:
    """Return a key as text, made only of the packets that were checked.

    Raises:
        AptKeyError: it is not a public key, or not the expected one.
    """
    if not expected:
        return armored(data)
    check_fingerprints(fingerprints(data), expected)
    return armored(binary(data))


def check_file(path: str) -> None:
    """Check that apt can read a key file, which runs as a user of its own.

    Raises:
        AptKeyError: it cannot.
    """
    file = Path(path)
    if not file.is_file():
        raise AptKeyError("does not exist")
    real = file.resolve()
    if not real.stat().st_mode & stat.S_IROTH:
        raise AptKeyError(f"cannot be read by apt's user _apt. Run `chmod a+r {path}`")
    for folder in real.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise AptKeyError(f"is in {folder}, which apt's user _apt may not enter. Run `chmod a+x {folder}`")
    armored(file.read_bytes())


def check_entry(entry: Entry) -> None:
    """Check that the key files which an entry names can be used.

    Raises:
        AptKeyError: one of them cannot.
    """
    signed_by = entry.options.get("signed-by", "")
    if ARMOR in signed_by:
        return
    for path in signed_by.replace(",", " ").split():
        if path.startswith("/"):
            try:
                check_file(path)
            except AptKeyError as problem:
                raise AptKeyError(f"{path} {problem}") from None


def check_entry_keys(entry: Entry, expected: Collection[str]) -> None:
    """Check that only expected keys sign what an entry names.

    Raises:
        AptKeyError: another key does, or none has to.
    """
    signed_by = entry.options.get("signed-by", "")
    for option in UNSIGNED:
        if truth(entry.options.get(option, "")):
            raise AptKeyError(f"has {option}=yes, with which apt accepts unsigned packages")
    if not signed_by:
        raise AptKeyError("has no Signed-By, so that every key in apt's trusted.gpg.d is accepted")
    if ARMOR in signed_by:
        text = "\n".join("" if line.strip() == "." else line.strip() for line in signed_by.splitlines())
        check_fingerprints(fingerprints(text.encode()), expected)
        return
    for word in signed_by.replace(",", " ").split():
        if word.startswith("/"):
            check_fingerprints(fingerprints(Path(word).read_bytes()), expected)
        else:
            check_fingerprints([normal_fingerprint(word.rstrip("!"))], expected)
