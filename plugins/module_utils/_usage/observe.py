# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Correct a lab's usage by what AWS reports now.

The idle alarm, the console, a schedule and an interruption start and stop instances without a run of the collection.
EC2's description of the current run of an instance is exact. For earlier ones there are CloudWatch's datapoints.
AWS/EC2 has one of StatusCheckFailed for each minute in which an instance runs, also after the instance has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .._lab.last_action import stopped_at
from .entries import EC2, INSTANCE, METRICS, OPEN, SEEN, Entry, merge

RUNS = ("pending", "running")
# Periods without a datapoint that do not count as a stop.
MISSING_PERIODS = 1
# Seconds after EC2's time of a stop in which an instance may still have datapoints, while it shuts down.
STOPPING = 300


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 describes it.

    Attributes:
        identifier: Its id.
        what: Its type and market, as `machine` returns them.
        launched: When EC2 started it last.
        state: The name of its state.
        transition: Its StateTransitionReason.
        reason: The code of its StateReason.
    """

    identifier: str
    what: str
    launched: int
    state: str
    transition: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Thing:
    """Anything else that costs money while it exists.

    Attributes:
        created: When it was created; None for what has no such time in AWS.
    """

    kind: str
    identifier: str
    what: str
    created: int | None = None


@dataclass(frozen=True)
class Datapoints:
    """The beginnings of the periods in which an instance ran.

    Attributes:
        period: The seconds of a period: 60, or 300 for times more than 15 days ago.
    """

    starts: Sequence[int]
    period: int = 60

    def intervals(self) -> list[tuple[int, int]]:
        """Return from when to when an instance ran. Single missing datapoints do not matter."""
        found: list[tuple[int, int]] = []
        for start in sorted(set(self.starts)):
            if found and start - found[-1][1] <= MISSING_PERIODS * self.period:
                found[-1] = (found[-1][0], start + self.period)
            else:
                found.append((start, start + self.period))
        return found


def update(
    record: Iterable[Entry],
    instances: Sequence[Instance],
    things: Sequence[Thing],
    datapoints: Mapping[str, Datapoints],
    now: int,
) -> list[Entry]:
    """Return a lab's usage, corrected.

    Args:
        record: The entries so far.
        instances: All instances of the lab that EC2 describes.
        things: All its other things.
        datapoints: By id, also of instances that EC2 no longer describes.
        now: The time.
    """
    entries = merge(record)
    # A stopped instance can get another type, and EC2 then describes its last run with that. A run has one type only.
    known = {entry.key: entry.what for entry in entries if entry.kind == INSTANCE}
    current = [_current_run(instance, now) for instance in instances]
    current = [replace(run, what=known.get(run.key, run.what)) for run in current]
    runs = merge([entry for entry in entries if entry.kind == INSTANCE], current)
    closed = [_close(run, runs, current, datapoints.get(run.identifier, Datapoints(())), now) for run in runs]
    others = [entry for entry in entries if entry.kind != INSTANCE]
    return merge(closed, _unrecorded(closed, datapoints), _update_things(others, things, now))


def _current_run(instance: Instance, now: int) -> Entry:
    """Return the run that EC2 describes: the current one, or the last one of an instance that is stopped."""
    run = Entry(INSTANCE, instance.identifier, instance.what, instance.launched, min(instance.launched, now))
    if instance.state in RUNS:
        return replace(run, seen=max(now, run.start))
    # The stop was requested then. EC2 charges nothing from the state stopping on.
    if (when := stopped_at(instance.transition)) and instance.launched <= when.timestamp() <= now:
        return run.ended(int(when.timestamp()), EC2, instance.reason)
    return replace(run, end=SEEN, reason=instance.reason)


def _close(run: Entry, runs: Sequence[Entry], current: Sequence[Entry], points: Datapoints, now: int) -> Entry:
    """Return a run with its end, if it has ended, as well as it is known."""
    described = next((other for other in current if other.key == run.key), None)
    if run.end == EC2 or (described and described.end == OPEN):
        return run
    run = replace(run, reason=(described and described.reason) or run.reason)
    same = [other.start for other in runs if other.identifier == run.identifier]
    # Its last period may still go on. The end of that is right later as well, so that it is written once.
    limit = min((start for start in same if start > run.start), default=now + points.period)
    ends = [
        min(end, limit)
        for start, end in points.intervals()
        # The datapoint of the minute in which a run began may have begun before it.
        if start < limit and end > run.start and start - points.period <= max(run.seen, run.start)
    ]
    if ends and max(ends) >= run.seen:
        return run.ended(max(ends), METRICS)
    return run if run.end == METRICS else replace(run, end=SEEN)


def _unrecorded(runs: Sequence[Entry], datapoints: Mapping[str, Datapoints]) -> list[Entry]:
    """Return the runs that only datapoints show, of instances that are known."""
    found = []
    for identifier, points in datapoints.items():
        known = [run for run in runs if run.identifier == identifier]
        taken = [
            (run.start - points.period, run.seen + (STOPPING if run.end == EC2 else points.period)) for run in known
        ]
        left = [start for start in points.starts if not any(first < start < last for first, last in taken)]
        for start, end in Datapoints(left, points.period).intervals() if known else ():
            # The machine is that of the run before, else of the first one.
            nearest = max((run for run in known if run.start <= start), key=lambda run: run.start, default=known[0])
            found.append(Entry(INSTANCE, identifier, nearest.what, start, end, METRICS, exact=False))
    return found


def _update_things(entries: Sequence[Entry], things: Sequence[Thing], now: int) -> list[Entry]:
    """Return the entries of all other things. What has changed, such as a grown volume, gets a new entry."""
    found = []
    present = {(thing.kind, thing.identifier): thing for thing in things}
    for entry in entries:
        thing = present.get((entry.kind, entry.identifier))
        if entry.end == EC2:
            found.append(entry)
        elif thing and thing.what == entry.what:
            found.append(replace(entry, seen=max(now, entry.seen), end=OPEN))
            del present[thing.kind, thing.identifier]
        elif thing:
            # From when it was last seen as it was, it counts as what it is now.
            found.append(entry.ended(entry.seen, EC2))
            begin = max(entry.seen, entry.start + 1)
            found.append(Entry(thing.kind, thing.identifier, thing.what, begin, max(now, begin)))
            del present[thing.kind, thing.identifier]
        else:
            found.append(replace(entry, end=SEEN))
    for thing in present.values():
        created = now if thing.created is None else min(thing.created, now)
        found.append(Entry(thing.kind, thing.identifier, thing.what, created, now, exact=thing.created is not None))
    return found
