# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the SSH host keys that cloud-init writes to the console of an EC2 instance at its first boot.

Only root of the instance writes to its console, and only AWS passes it on: a key that is read there is the key of that
instance, regardless of the host at its address.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .errors import DENIED, ReadError, translated

ACTION = "ec2:GetConsoleOutput"
POLL_SECONDS = 5
# EC2's answer for instance types without the Nitro hypervisor, which have the buffered output only.
NOT_NITRO = "UnsupportedOperation"

ED25519_BYTES = 32
# Length of an uncompressed point, by curve.
POINT_BYTES = {b"nistp256": 65, b"nistp384": 97, b"nistp521": 133}
# ssh also refuses shorter ones.
RSA_FEWEST_BYTES = 128

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x00")
# The prefixes of lines from cloud-init itself, from syslog and from the journal.
WRITER = re.compile(
    r"\[ *\d+\.\d+\] cloud-init\[\d+\]: "
    r"|(?:<\d+>)?(?:[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d )?(?:ec2|ci-info|cloud-init)(?:\[\d+\])?: ?"
)
MARK = re.compile(r"-----(BEGIN|END) SSH HOST KEY (KEYS|FINGERPRINTS)-----")
KEY = re.compile(r"([a-z0-9-]+) ([A-Za-z0-9+/]+={0,2})(?: .*)?")
FINGERPRINT = re.compile(r"\d+ (SHA256:[A-Za-z0-9+/]{43})(?: .*)?")
FINISHED = re.compile(r"Cloud-init v\. \S+ finished at ")


@dataclass(frozen=True)
class Console:
    """The host keys in a console output.

    Attributes:
        keys: Those of the last complete block, each a type and a key in base64.
        fingerprints: Those of the last complete block, as `ssh-keygen -l` prints them.
        unfinished: Whether a newer block has begun, so that the keys may be those of an earlier boot.
        booted: Whether cloud-init has finished, so that no more keys will follow.
    """

    keys: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    unfinished: bool = False
    booted: bool = False


@dataclass(frozen=True)
class Answer:
    """The host keys of an instance, or the reason why there are none."""

    keys: list[str]
    reason: str = ""


def parse(output: str) -> Console:
    """Return the host keys in a console output.

    Args:
        output: The text, or its base64 if the client did not decode it.
    """
    text = ESCAPES.sub("", _decoded(output))
    complete: dict[str, list[str]] = {}
    begun: dict[str, list[str]] = {}
    for line in re.split(r"[\r\n]+", text):
        words = WRITER.sub("", line, count=1) if WRITER.match(line) else line
        mark = MARK.fullmatch(words.strip())
        if mark and mark[1] == "BEGIN":
            begun[mark[2]] = []
        elif mark and begun.get(mark[2]):
            # An end without an entry belongs to another writer or to a damaged block.
            complete[mark[2]] = begun.pop(mark[2])
        elif mark is None:
            for kind, block in begun.items():
                block.extend(_entries(kind, words.strip()))
    unfinished = "KEYS" in begun
    return Console(
        keys=[] if unfinished else list(dict.fromkeys(complete.get("KEYS", []))),
        fingerprints=list(dict.fromkeys(complete.get("FINGERPRINTS", []))),
        unfinished=unfinished,
        booted=bool(FINISHED.search(text)),
    )


def _decoded(output: str) -> str:
    """Return a console output as text."""
    try:
        return base64.b64decode("".join(output.split()), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return output


def _entries(kind: str, words: str) -> Iterable[str]:
    """Return the entry in a line of a block, or nothing if the line is noise or damaged."""
    if kind == "FINGERPRINTS":
        found = FINGERPRINT.fullmatch(words)
        return [found[1]] if found else []
    key = KEY.fullmatch(words)
    return [f"{key[1]} {key[2]}"] if key and is_host_key(key[1], key[2]) else []


def is_host_key(kind: str, encoded: str) -> bool:
    """Return whether a text is a complete public key of a type; a kernel message may have cut the line.

    Args:
        kind: The type, such as ssh-ed25519.
        encoded: The key in base64.
    """
    try:
        name, *parts = _strings(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return False
    if name != kind.encode():
        return False
    if kind == "ssh-ed25519":
        return [len(part) for part in parts] == [ED25519_BYTES]
    if kind == "ssh-rsa":
        return len(parts) == 2 and len(parts[1]) >= RSA_FEWEST_BYTES
    if kind.startswith("ecdsa-sha2-") and len(parts) == 2:
        curve, point = parts
        return curve == kind.removeprefix("ecdsa-sha2-").encode() and len(point) == POINT_BYTES.get(curve)
    return False


def _strings(blob: bytes) -> list[bytes]:
    """Return the strings in a public key.

    Raises:
        ValueError: The key is cut, or has no string.
    """
    strings = []
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if end > len(blob):
            raise ValueError("cut")
        strings.append(blob[4:end])
        blob = blob[end:]
    if not strings:
        raise ValueError("empty")
    return strings


def read(client: Any, instance_id: str, region: str) -> Console:
    """Return the host keys in the console output of an instance.

    The latest output may no longer contain the first boot. The buffered one, which EC2 stores after a boot, may do so.

    Raises:
        ReadError: EC2 refuses, or does not answer.
    """
    latest = Console()
    try:
        latest = parse(_output(client, instance_id, region, Latest=True))
    except ReadError as error:
        if error.code != NOT_NITRO:
            raise
    if latest.keys or latest.unfinished:
        return latest
    buffered = parse(_output(client, instance_id, region))
    return Console(
        keys=buffered.keys,
        fingerprints=latest.fingerprints or buffered.fingerprints,
        unfinished=buffered.unfinished,
        booted=latest.booted or buffered.booted,
    )


def _output(client: Any, instance_id: str, region: str, **options: bool) -> str:
    """Return the console output, or nothing if the instance has none yet."""
    with translated(ACTION, region):
        return str(client.get_console_output(InstanceId=instance_id, **options).get("Output") or "")


def wait(
    client: Any,
    instance_ids: list[str],
    region: str,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Answer]:
    """Return the host keys of instances by their ids, or the reason why an instance has none.

    Args:
        client: A boto3 client of EC2.
        instance_ids: The instances.
        region: Their region.
        seconds: How long to wait for keys of instances that still boot.
        clock: Returns the time in seconds.
        sleep: Waits for a number of seconds.

    Raises:
        ReadError: EC2 does not answer, or refuses for another reason than a missing permission.
    """
    deadline = clock() + seconds
    answers: dict[str, Answer] = {}
    last: dict[str, Console] = {}
    while True:
        for instance_id in [name for name in instance_ids if name not in answers]:
            try:
                console = read(client, instance_id, region)
            except ReadError as error:
                if error.kind != DENIED:
                    raise
                return {name: Answer([], f"{ACTION} is denied in {region}") for name in instance_ids}
            # Earlier output of cloud-init may arrive after its last line.
            over = console.booted and last.get(instance_id, Console()).booted and not console.unfinished
            last[instance_id] = console
            if console.keys or over:
                answers[instance_id] = Answer(console.keys, "" if console.keys else _reason(console))
        if len(answers) == len(set(instance_ids)) or clock() >= deadline:
            break
        sleep(min(POLL_SECONDS, max(deadline - clock(), 0)))
    return {name: answers.get(name) or Answer([], _reason(last[name])) for name in instance_ids}


def _reason(console: Console) -> str:
    """Return why a console output without keys has none."""
    if console.unfinished:
        return "the keys in its console output are incomplete"
    if console.fingerprints:
        return f"its console output has fingerprints only: {', '.join(console.fingerprints)}"
    if console.booted:
        return "its console output no longer has the keys of the first boot"
    return "its console output has no host keys yet"
