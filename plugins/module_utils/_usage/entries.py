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
# CloudWatch's periods of datapoints that are 15 to 63 days old, in seconds.
LONGEST_PERIOD = 300


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
    def certainty(self) -> tuple[bool, int, int, str, str]:
        """Of two descriptions of the same thing, the one with the higher value is right: EC2's end, else the latest."""
        return self.end == EC2, self.seen, ENDS.index(self.end), self.reason, self.what

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
            other = best.get(entry.key, entry)
            exact = entry.exact or other.exact
            best[entry.key] = replace(max(entry, other, key=lambda item: item.certainty), exact=exact)
    # Metrics of several periods give several starts of one run. One that EC2 reported is right, else the latest.
    kept: list[Entry] = []
    for entry in sorted(best.values(), key=lambda item: (not item.exact, -item.start)):
        if entry.exact or not any(_begins_within(entry, other) for other in kept):
            kept.append(entry)
    return sorted(kept, key=lambda item: item.key)


def _begins_within(one: Entry, other: Entry) -> bool:
    """Return whether an entry begins while another one lasts, or up to a period of metrics before it.

    How long the entry itself lasts does not count: an older description of it must give the same result.
    """
    same = (one.kind, one.identifier) == (other.kind, other.identifier)
    return same and (abs(one.start - other.start) <= LONGEST_PERIOD or other.start <= one.start < other.seen)
