# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the guard: what it found, the last stop, and until when the user keeps the host awake."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from .._files import replace_file
from .._lab.last_action import read_time
from .decide import LONGEST_AWAKE

AWAKE_FILE, STATUS_FILE, STOP_FILE = "awake_until", "status.json", "last_stop.json"
BOOT_ID = "sys/kernel/random/boot_id"


class AwakeUnreadableError(Exception):
    """The file is there and holds no time that can be used."""


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document in place of another, so that it survives a power failure.

    Raises:
        OSError: it cannot be written.
    """

    def prepare(scratch: Path) -> None:
        scratch.chmod(0o644)
        descriptor = os.open(scratch, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    replace_file(path, f"{json.dumps(document, indent=2)}\n", prepare)


def read_document(path: Path) -> dict[str, Any]:
    """Return a JSON document; an empty one where there is none, or none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def read_awake(folder: Path, now: datetime) -> datetime | None:
    """Return until when the user keeps the host awake; None without such a wish.

    Raises:
        AwakeUnreadableError: the file holds another text, or a time that is too far away.
    """
    path = folder / AWAKE_FILE
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise AwakeUnreadableError(f"{path} cannot be read: {error}") from None
    until = read_time(text)
    if until is None:
        allowed = "a time such as 2026-11-30T19:30:00Z"
        raise AwakeUnreadableError(f"{path} holds {text[:60]!r}. Allowed: {allowed}. Correct it, or remove the file")
    if until - now > LONGEST_AWAKE:
        allowed = f"at most {LONGEST_AWAKE.days} days from now"
        raise AwakeUnreadableError(f"{path} holds {text}. Allowed: {allowed}. Correct it, or remove the file")
    return until


def started_at(proc: Path) -> float:
    """Return when the first process of this host began, in seconds since the boot of the machine.

    Both are the same, except in a container.

    Raises:
        OSError: it cannot be read.
    """
    # Field 22 of proc(5), after the name in parentheses.
    fields = (proc / "1/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def boot_of(proc: Path) -> str:
    """Return what distinguishes this boot from any other.

    Raises:
        OSError: it cannot be read.
    """
    return f"{(proc / BOOT_ID).read_text(encoding='ascii').strip()} {started_at(proc):g}"


def uptime() -> float:
    """Return the seconds since the boot, which a change of the clock does not affect."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def present() -> datetime:
    """Return the time in UTC."""
    return datetime.fromtimestamp(time.time(), timezone.utc)


def when(moment: float) -> datetime:
    """Return the time when the host had run for so many seconds, as the clock shows it now."""
    return present() - timedelta(seconds=uptime() - moment)
