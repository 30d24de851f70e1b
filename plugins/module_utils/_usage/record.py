# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write a lab's usage of one month as text, and read it.

The text is for a standard parameter of the SSM Parameter Store, which costs nothing and holds 4 KB. It outlives every
instance. A month that needs more has several parts. Tags cannot hold it: those of an instance end with it, and a caller
that may only tag EC2 resources must not be able to change what a lab is reported to have cost.

    1 2026-11
    i i-0123456789abcdef0 g5.xlarge/on-demand
    +2gw0~uk0e Client.UserInitiatedShutdown

A thing, then its runs: the start in seconds after the beginning of the month, the duration, both in base 36, how the
end is known, and why the instance ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from .entries import KINDS, Entry

FORMAT = 1
LONGEST = 4096
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
LETTERS = {kind[0]: kind for kind in KINDS if kind != "alarm"} | {"m": "alarm"}
END_LETTERS = {"o": "open", "s": "seen", "m": "metrics", "e": "ec2"}
RUN = re.compile(r"([+-])([0-9a-z]+)~([0-9a-z]+)([OSMEosme])(?: (\S+))?")
THING = re.compile(rf"([{''.join(LETTERS)}]) (\S+) (\S+)")
MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


class RecordError(Exception):
    """A text that is not a record of this release."""


def month_of(when: int) -> str:
    """Return the month of a time."""
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m")


def bounds(month: str) -> tuple[int, int]:
    """Return when a month begins and when the next one does.

    Raises:
        RecordError: The month is not one.
    """
    if not MONTH.fullmatch(month):
        raise RecordError(f'"{month}" is not a month. Allowed: a year and a month, such as 2026-11.')
    year, number = int(month[:4]), int(month[5:])
    start = datetime(year, number, 1, tzinfo=timezone.utc)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=timezone.utc)
    return int(start.timestamp()), int(end.timestamp())


def write_month(entries: Iterable[Entry], month: str, longest: int = LONGEST) -> list[str]:
    """Return the parts of a month's record: of all entries that began before its end and had not ended at its start.

    Args:
        entries: The entries, of any time.
        month: The month.
        longest: The bytes of a part.
    """
    first, last = bounds(month)
    inside = [entry for entry in entries if entry.start < last and (entry.end == "open" or entry.seen > first)]
    head = f"{FORMAT} {month}"
    parts: list[list[str]] = []
    thing = ""
    for entry in sorted(inside, key=lambda item: (item.kind, item.identifier, item.what, item.start)):
        letter = next(letter for letter, kind in LETTERS.items() if kind == entry.kind)
        title, run = f"{letter} {entry.identifier} {entry.what}", _write_run(entry, first)
        lines = [run] if parts and title == thing else [title, run]
        if not parts or _size([*parts[-1], *lines]) > longest:
            parts.append([head])
            lines = [title, run]
        parts[-1] += lines
        thing = title
    return ["\n".join(lines) for lines in parts]


def _size(lines: Sequence[str]) -> int:
    """Return the bytes of some lines."""
    return len("\n".join(lines).encode())


def _write_run(entry: Entry, first: int) -> str:
    """Return the line of an entry. An upper-case letter: the start comes from metrics."""
    letter = next(letter for letter, end in END_LETTERS.items() if end == entry.end)
    offset = entry.start - first
    text = f"{'-' if offset < 0 else '+'}{_base36(abs(offset))}~{_base36(entry.seen - entry.start)}"
    return text + (letter if entry.exact else letter.upper()) + (f" {entry.reason}" if entry.reason else "")


def _base36(number: int) -> str:
    """Return a number in base 36."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
        if not number:
            return text


def read_month(text: str) -> list[Entry]:
    """Return the entries of one part of a record.

    Raises:
        RecordError: The text is not a record, or one of a later release.
    """
    head, *lines = text.split("\n")
    version, _space, month = head.partition(" ")
    if version != str(FORMAT):
        reason = "is of another release" if version.isdigit() else "is not a record of usage"
        raise RecordError(f"the text that begins with {head[:40]!r} {reason}; this release reads format {FORMAT}")
    first, _last = bounds(month)
    found: list[Entry] = []
    thing: re.Match[str] | None = None
    for number, line in enumerate(lines, 2):
        if match := THING.fullmatch(line):
            thing = match
        elif thing and (match := RUN.fullmatch(line)):
            sign, offset, duration, letter, reason = match.groups()
            start = first + int(offset, 36) * (-1 if sign == "-" else 1)
            end = END_LETTERS[letter.lower()]
            kind = LETTERS[thing[1]]
            exact = letter.islower()
            seen = start + int(duration, 36)
            found.append(Entry(kind, thing[2], thing[3], start, seen, end, reason or "", exact))
        else:
            raise RecordError(f"line {number} of the record of {month}, {line[:40]!r}, is neither a thing nor a run")
    return found
