# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab's record of usage in the SSM Parameter Store: which parts change, and how they are read and written.

A part is a standard parameter, such as /digital-twin/warehouse/usage/2026-11-1, with the lab's tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .._lab.record import MANAGED_BY
from .entries import OPEN, Entry, merge
from .record import RecordError, bounds, month_of, read_month, write_month

PART = re.compile(r"([0-9]{4}-[0-9]{2})-([0-9]{1,3})")
# How old the last known time of an open entry may become, in seconds: its end is known that well if AWS forgets it.
OLDEST = 86400
# Parameters in one request of DeleteParameters, at most.
BATCH = 10


@dataclass(frozen=True)
class Stored:
    """A lab's record in the account.

    Attributes:
        parts: The texts of the readable parts, by the names of their parameters.
        foreign: Parameters in their place that are not parts of a record, with the reasons.
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)

    def entries(self) -> list[Entry]:
        """Return all entries."""
        return merge(*(read_month(text) for text in self.parts.values()))

    def of_month(self, month: str) -> dict[str, str]:
        """Return the parts of a month by their names."""
        return {name: text for name, text in self.parts.items() if name.rpartition("/")[2].startswith(f"{month}-")}


@dataclass(frozen=True)
class Change:
    """What to write: texts by the names of their parameters, and the names of parameters to delete."""

    write: Mapping[str, str] = field(default_factory=dict)
    delete: Sequence[str] = ()


def path_of(lab: str) -> str:
    """Return the path of a lab's record."""
    return f"/digital-twin/{lab}/usage"


def read(client: Any, lab: str) -> Stored:
    """Return a lab's record."""
    pages = client.get_paginator("get_parameters_by_path").paginate(Path=path_of(lab))
    parts, foreign = {}, {}
    for parameter in (parameter for page in pages for parameter in page["Parameters"]):
        name, text = parameter["Name"], parameter["Value"]
        try:
            if not PART.fullmatch(name.rpartition("/")[2]):
                raise RecordError("its name is not a month and a number")
            read_month(text)
            parts[name] = text
        except RecordError as error:
            foreign[name] = str(error)
    return Stored(parts, foreign)


def plan(stored: Stored, entries: Sequence[Entry], lab: str, now: int) -> Change:
    """Return how a record changes.

    The last known time of what goes on is not written again each time, so a run that finds nothing new writes nothing.

    Args:
        stored: The record as it is.
        entries: The usage as it is known now.
        lab: The lab's name.
        now: The time.
    """
    write: dict[str, str] = {}
    delete: list[str] = []
    for month in months(entries, now):
        known = stored.of_month(month)
        old = merge(*(read_month(text) for text in known.values()))
        texts = write_month(entries, month)
        new = merge(*(read_month(text) for text in texts))
        if same(old, new) and not (month == month_of(now) and stale(old, now)):
            continue
        parts = {f"{path_of(lab)}/{month}-{number}": text for number, text in enumerate(texts, 1)}
        if taken := sorted(stored.foreign.keys() & parts.keys()):
            raise RecordError(f"the parameter {taken[0]} is not part of a record: {stored.foreign[taken[0]]}")
        write.update({name: text for name, text in parts.items() if known.get(name) != text})
        delete += [name for name in known if name not in parts]
    return Change(write, delete)


def months(entries: Iterable[Entry], now: int) -> list[str]:
    """Return the months from the first entry until now."""
    found = []
    when = min((entry.start for entry in entries), default=now + 1)
    while when <= now:
        found.append(month_of(when))
        when = bounds(found[-1])[1]
    return found


def same(old: Iterable[Entry], new: Iterable[Entry]) -> bool:
    """Return whether two records differ only in the last known times of what goes on."""
    return [_settled(entry) for entry in old] == [_settled(entry) for entry in new]


def _settled(entry: Entry) -> Entry:
    """Return an entry without what changes while it goes on."""
    return replace(entry, seen=entry.start) if entry.end == OPEN else entry


def stale(record: Iterable[Entry], now: int) -> bool:
    """Return whether the last known time of what goes on is too old."""
    return any(entry.end == OPEN and now - entry.seen > OLDEST for entry in record)


def apply(client: Any, stored: Stored, change: Change, lab: str) -> None:
    """Write what has changed. A new parameter gets the lab's tags, which SSM does not accept for an existing one."""
    tags = [{"Key": "digital_twin_lab", "Value": lab}, {"Key": "managed_by", "Value": MANAGED_BY}]
    for name, text in change.write.items():
        more: dict[str, Any] = {"Overwrite": True} if name in stored.parts else {"Tags": tags}
        description = f"Usage of the lab {lab}"
        client.put_parameter(Name=name, Value=text, Type="String", Tier="Standard", Description=description, **more)
    delete(client, change.delete)


def delete(client: Any, names: Sequence[str]) -> None:
    """Delete parameters."""
    for first in range(0, len(names), BATCH):
        client.delete_parameters(Names=list(names[first : first + BATCH]))
