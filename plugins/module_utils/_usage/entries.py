# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a lab used and from when to when: runs of its instances, and its volumes, snapshots, addresses and alarms.

An entry outlives the thing that it describes: EC2 describes a terminated instance for about an hour only.
Times are seconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

INSTANCE, VOLUME, SNAPSHOT, ADDRESS, ALARM = "instance", "volume", "snapshot", "address", "alarm"
KINDS = (INSTANCE, VOLUME, SNAPSHOT, ADDRESS, ALARM)
ON_DEMAND, SPOT = "on-demand", "spot"

# How the end of an entry is known, the least certain first.
OPEN, SEEN, METRICS, EC2 = "open", "seen", "metrics", "ec2"
ENDS = (OPEN, SEEN, METRICS, EC2)


@dataclass(frozen=True)
class Entry:
    """One thing, or one run of an instance.

    Attributes:
        kind: One of KINDS.
        identifier: Its identifier in AWS.
        what: What it is, as far as its price depends on it: "g5.xlarge/on-demand" (`machine`), "gp3/200/3000/125"
            (type, GiB, IOPS, MiB/s), the GiB of a snapshot, the number of alarms.
        start: When it began.
        seen: The last time that it is known to have existed or run.
        end: How its end is known: while it is not, OPEN. SEEN: it ended at `seen` or later.
        reason: Why an instance ended, if EC2 reported it: a code such as "Client.UserInitiatedShutdown".
        exact: Whether EC2 reported the start. Otherwise it comes from metrics.
    """

    kind: str
    identifier: str
    what: str
    start: int
    seen: int
    end: str = OPEN
    reason: str = ""
    exact: bool = True

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes two entries descriptions of the same thing."""
        return self.kind, self.identifier, self.start

    @property
    def certainty(self) -> tuple[bool, int, int, str, str, bool]:
        """Of two descriptions of the same thing, the one with the higher value is right: EC2's end, else the latest."""
        return self.end == EC2, self.seen, ENDS.index(self.end), self.reason, self.what, self.exact

    def ended(self, when: int, how: str, reason: str = "") -> Entry:
        """Return this entry with its end."""
        return replace(self, seen=max(when, self.start), end=how, reason=reason or self.reason)


def machine(instance_type: str, market: str) -> str:
    """Return what an instance is."""
    return f"{instance_type}/{market}"


def merge(*records: Iterable[Entry]) -> list[Entry]:
    """Return the entries of several records, each once.

    Two runs of the collection may write at the same time. In whatever order their records are merged, and however
    often, the result is the same, so that a lost update is repaired by the next.
    """
    best: dict[tuple[str, str, int], Entry] = {}
    for record in records:
        for entry in record:
            other = best.get(entry.key)
            if other is None or entry.certainty > other.certainty:
                best[entry.key] = entry
    # Metrics of several periods give several starts of one run. One that EC2 reported is right, else the latest.
    kept: list[Entry] = []
    for entry in sorted(best.values(), key=lambda item: (not item.exact, -item.start, -item.seen)):
        if entry.exact or not any(_overlap(entry, other) for other in kept):
            kept.append(entry)
    return sorted(kept, key=lambda item: item.key)


def _overlap(one: Entry, other: Entry) -> bool:
    """Return whether two entries describe the same thing at the same time."""
    same = (one.kind, one.identifier) == (other.kind, other.identifier)
    return same and one.start < max(other.seen, other.start + 1) and other.start < max(one.seen, one.start + 1)
