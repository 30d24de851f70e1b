# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows what the services of a Compose project write, into one file for each, of bounded size.

Ends when there is nothing left to follow; started again, it goes on after the last line that each file has.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LIMIT_BYTES = 10_000_000
# Lines of several services do not arrive in the order of their times.
OVERLAP = datetime.timedelta(minutes=1)
FIRST_LINES = 1000
STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"
# service-1  | 2026-01-01T00:00:00.000000000Z text
LINE = re.compile(rb"(?:\x1b\[2K)?(?P<service>[A-Za-z0-9._-]+?)-\d+ +\| (?P<stamp>" + STAMP + rb") ?(?P<text>.*)")


class Record:
    """A service's file and the one before it."""

    def __init__(self, path: Path) -> None:
        """Find out where it ends."""
        self.path = path
        self.last = last_stamp(path)
        self.stream = path.open("ab")
        # A line that was cut short ends here; it comes again as a whole.
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self.stream.write(b"\n")

    def write(self, stamp: bytes, text: bytes) -> None:
        """Add a line, unless it is there already."""
        if stamp <= self.last:
            return
        if self.stream.tell() + len(stamp) + len(text) + 2 > LIMIT_BYTES:
            self.stream.close()
            self.path.replace(self.path.with_suffix(".log.1"))
            self.stream = self.path.open("ab")
        self.stream.write(stamp + b" " + text + b"\n")
        self.stream.flush()
        self.last = stamp


def last_stamp(path: Path) -> bytes:
    """Return the time of the last whole line of a file, or of the one before it."""
    for candidate in (path, path.with_suffix(".log.1")):
        if not candidate.is_file():
            continue
        with candidate.open("rb") as stream:
            stream.seek(max(0, candidate.stat().st_size - 65536))
            lines = stream.readlines()
        for line in reversed(lines):
            if line.endswith(b"\n") and (found := re.match(STAMP, line)):
                return found[0]
    return b""


def where_to_begin(folder: Path) -> list[str]:
    """Return the arguments that leave out what the files have."""
    newest = max((last_stamp(path) for path in folder.glob("*.log")), default=b"").decode()
    if not newest:
        return [f"--tail={FIRST_LINES}"]
    since = datetime.datetime.fromisoformat(newest[:19] + "+00:00") - OVERLAP
    return [f"--since={since.isoformat()}"]


def main(arguments: Sequence[str]) -> int:
    """Follow the project that the first argument names, into the folder that the second names."""
    project, folder = arguments[0], Path(arguments[1])
    command = ["docker", "compose", f"--project-name={project}", "logs", "--follow", "--no-color", "--timestamps"]
    records: dict[str, Record] = {}
    with subprocess.Popen([*command, *where_to_begin(folder)], cwd="/", stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            if found := LINE.match(line):
                service = found["service"].decode()
                if service not in records:
                    records[service] = Record(folder / f"{service}.log")
                records[service].write(found["stamp"], found["text"].rstrip(b"\r"))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
