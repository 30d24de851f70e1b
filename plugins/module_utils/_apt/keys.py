# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that sign repositories, as files that apt takes.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import base64
import binascii
import stat
from pathlib import Path

from .sources import ARMOR, Entry

END = "-----END PGP PUBLIC KEY BLOCK-----"
# The first octet of a public key, in both of OpenPGP's formats of a packet.
PUBLIC_KEY = (0x98, 0x99, 0x9A, 0xC6)


class KeyProblem(Exception):
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
    """Return what is inside an armored block.

    Raises:
        KeyProblem: it is damaged.
    """
    lines = [line.strip() for line in block.strip().splitlines()]
    body = lines[lines.index("") + 1 :] if "" in lines else lines[1:]
    text = "".join(line for line in body if line and not line.startswith(("=", "-", ".")) and ":" not in line)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise KeyProblem("is a damaged OpenPGP key") from None


def armored(data: bytes) -> str:
    """Return a key as text that apt takes in a file of the suffix .asc.

    Raises:
        KeyProblem: it is not a public key.
    """
    if data[8:12] == b"KBXf":
        raise KeyProblem("is a keybox of GnuPG, which apt cannot read. Export the key with `gpg --export`")
    if ARMOR.encode() in data:
        text = data.decode("utf-8", "replace").replace("\r\n", "\n")
        start = text.index(ARMOR)
        if END not in text[start:]:
            raise KeyProblem("is a damaged OpenPGP key: its last lines are missing")
        blocks = text[start:].split(ARMOR)[1:]
        for block in blocks:
            if packets(ARMOR + block.split(END)[0])[:1] not in [bytes([first]) for first in PUBLIC_KEY]:
                raise KeyProblem("is not an OpenPGP public key")
        return text[start:].strip() + "\n"
    if not data:
        raise KeyProblem("is empty")
    if data[0] not in PUBLIC_KEY:
        start_of_it = data[:40].decode("utf-8", "replace").split("\n")[0]
        raise KeyProblem(f"is not an OpenPGP public key: it begins with {start_of_it!r}")
    body = base64.b64encode(data).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    check = base64.b64encode(checksum(data)).decode()
    return "\n".join([ARMOR, "", *lines, f"={check}", END]) + "\n"


def check_file(path: str) -> None:
    """Check that apt can read a key file, which it does as a user of its own.

    Raises:
        KeyProblem: it cannot.
    """
    file = Path(path)
    if not file.is_file():
        raise KeyProblem("does not exist")
    real = file.resolve()
    if not real.stat().st_mode & stat.S_IROTH:
        raise KeyProblem(f"cannot be read by apt's user _apt. Run `chmod a+r {path}`")
    for folder in real.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise KeyProblem(f"is in {folder}, which apt's user _apt may not enter. Run `chmod a+x {folder}`")
    armored(file.read_bytes())


def check_entry(entry: Entry) -> None:
    """Check that the key files which an entry names can be used.

    Raises:
        KeyProblem: one of them cannot.
    """
    signed_by = entry.options.get("signed-by", "")
    if ARMOR in signed_by:
        return
    for path in signed_by.replace(",", " ").split():
        if path.startswith("/"):
            try:
                check_file(path)
            except KeyProblem as problem:
                raise KeyProblem(f"{path} {problem}") from None
