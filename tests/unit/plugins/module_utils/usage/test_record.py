# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of a lab's usage: merged in any order, written within the limit of a parameter, read again."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.entries import ENDS, KINDS, Entry, merge
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.record import (
    RecordError,
    bounds,
    month_of,
    read_month,
    write_month,
)

HOUR = 3600
NOVEMBER, DECEMBER = bounds("2026-11")
RUN = Entry("instance", "i-1", "g5.xlarge/on-demand", NOVEMBER + 8 * HOUR, NOVEMBER + 9 * HOUR)


def any_entry(chance: random.SystemRandom, exact: bool | None = None) -> Entry:
    """Return an entry of a small world, so that many describe the same thing."""
    start = NOVEMBER + chance.randrange(-2, 6) * HOUR
    return Entry(
        chance.choice(KINDS[:2]),
        chance.choice(["i-1", "i-2"]),
        chance.choice(["g5.xlarge/on-demand", "g6.xlarge/on-demand"]),
        start,
        start + chance.randrange(0, 5) * HOUR,
        chance.choice(ENDS),
        chance.choice(["", "Client.UserInitiatedShutdown"]),
        chance.random() < 0.5 if exact is None else exact,
    )


@pytest.mark.parametrize("exact", [True, None], ids=["reported by EC2", "some from metrics"])
def test_two_writers_converge(exact: bool | None) -> None:
    chance = random.SystemRandom()
    changed = 0
    for _round in range(2000):
        one, two, three = ([any_entry(chance, exact) for _entry in range(chance.randrange(5))] for _record in range(3))
        both = merge(one, two)
        assert both == merge(two, one) == merge(both, one) == merge(both, two) == merge(both)
        if exact:
            assert merge(both, three) == merge(one, merge(two, three))
        changed += both != sorted(one, key=lambda entry: entry.key)
    assert changed > 1000


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(RUN, replace(RUN, seen=RUN.seen + 60), replace(RUN, seen=RUN.seen + 60), id="seen later"),
        pytest.param(
            replace(RUN, seen=RUN.seen + HOUR, end="metrics"),
            RUN.ended(RUN.seen, "ec2", "x"),
            RUN.ended(RUN.seen, "ec2", "x"),
            id="EC2's end is right, even if metrics go on",
        ),
        pytest.param(
            RUN.ended(RUN.seen, "seen"),
            replace(RUN, seen=RUN.seen + 60),
            replace(RUN, seen=RUN.seen + 60),
            id="it runs",
        ),
        pytest.param(RUN, RUN.ended(RUN.seen, "seen"), RUN.ended(RUN.seen, "seen"), id="not described any more"),
    ],
)
def test_descriptions_of_one_run(first: Entry, second: Entry, expected: Entry) -> None:
    assert merge([first], [second]) == merge([second], [first]) == [expected]


def test_one_run_has_one_start() -> None:
    """Metrics in periods of five minutes show an earlier start than those of one minute, and EC2 knows the second."""
    coarse = replace(RUN, start=RUN.start - 300, end="metrics", exact=False)
    fine = replace(RUN, start=RUN.start - 60, end="metrics", exact=False)
    assert merge([coarse], [fine]) == merge([fine], [coarse]) == [fine]
    assert merge([coarse], [RUN], [fine]) == merge([fine, coarse], [RUN]) == [RUN]
    # Datapoints from the middle of a run on are of that run, those after it are not.
    later = replace(fine, start=RUN.start + HOUR // 2)
    assert merge([later], [RUN]) == merge([RUN], [later]) == [RUN]
    after = replace(fine, start=RUN.seen, seen=RUN.seen + HOUR)
    assert merge([after], [RUN]) == [RUN, after]
    # Another instance has runs of its own.
    other = replace(fine, identifier="i-2")
    assert merge([fine], [other]) == [fine, other]


def test_a_record_is_read_as_it_was_written() -> None:
    chance = random.SystemRandom()
    for _round in range(300):
        entries = merge(any_entry(chance) for _entry in range(12))
        inside = [entry for entry in entries if entry.end == "open" or entry.seen > NOVEMBER]
        parts = write_month(entries, "2026-11", longest=200)
        assert merge(*map(read_month, parts)) == inside
        assert all(len(part.encode()) <= 200 for part in parts)


def test_a_month_holds_what_overlaps_it() -> None:
    october, _november = bounds("2026-10")
    over = Entry("instance", "i-1", "g5.xlarge/on-demand", NOVEMBER - HOUR, NOVEMBER + HOUR, "ec2")
    before = Entry("instance", "i-1", "g5.xlarge/on-demand", october, NOVEMBER, "ec2")
    open_ = Entry("volume", "vol-1", "gp3/200/3000/125", october, october + HOUR)
    after = Entry("instance", "i-1", "g5.xlarge/on-demand", DECEMBER, DECEMBER + HOUR, "ec2")
    (part,) = write_month([over, before, open_, after], "2026-11")
    assert read_month(part) == [over, open_]
    assert write_month([before], "2026-11") == []


def test_a_standard_parameter_holds_a_busy_month() -> None:
    """Ten starts a day, for a month, of one host: an identifier is written once."""
    runs = [
        Entry("instance", f"i-{0:017x}", "g4dn.2xlarge/on-demand", start, start + HOUR, "ec2")
        for start in range(NOVEMBER, DECEMBER, 24 * HOUR // 10)
    ]
    assert len(runs) == 300
    (part,) = write_month(runs, "2026-11")
    assert len(part.encode()) <= 4096
    assert read_month(part) == runs
    # A month with reasons and several hosts has parts.
    many = [
        replace(run, identifier=f"i-{host:017x}", reason="Client.UserInitiatedShutdown")
        for run in runs
        for host in range(4)
    ]
    parts = write_month(many, "2026-11")
    assert len(parts) > 4
    assert all(len(part.encode()) <= 4096 for part in parts)
    assert merge(*map(read_month, parts)) == merge(many)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a record of usage"),
        ("hello", "is not a record of usage"),
        ("2 2026-11\ni i-1 g5", "is of another release; this release reads format 1"),
        ("1 2026-13", '"2026-13" is not a month'),
        ("1 2026-11\n+1~2e", "line 2 of the record of 2026-11, '+1~2e', is neither a thing nor a run"),
        ("1 2026-11\ni i-1 g5/spot\n+1~2x", "line 3"),
        ("1 2026-11\nz i-1 g5/spot", "line 2"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        read_month(text)
    assert message in str(caught.value)


def test_months() -> None:
    for month, following in itertools.pairwise(["2026-11", "2026-12", "2027-01", "2027-02", "2027-03"]):
        start, end = bounds(month)
        assert (month_of(start), month_of(end - 1), month_of(end)) == (month, month, following)
