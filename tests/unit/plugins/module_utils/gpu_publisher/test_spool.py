# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The samples that the spool returns, in the process that filled it and in the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.sampler import Sample
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.spool import (
    Counts,
    Spool,
    encode,
)

LARGE = 10**9


def sample(number: float) -> Sample:
    return Sample(1_796_000_000.25 + number, True, {"0": {"GPUTemperature": 40.0 + number}})


def fill(spool: Spool, *segments: list[int], instance_id: str = "i-1") -> None:
    """Append samples of these numbers, in segments."""
    for numbers in segments:
        for number in numbers:
            spool.append(sample(number), instance_id)
        spool.close()


def large(number: int) -> Sample:
    """Return a sample whose line has about a tenth of what a segment may take."""
    return Sample(1_796_000_000.25 + number, True, {"0": {f"Reading{index:04}": index for index in range(5200)}})


def in_memory(spool: Spool) -> int:
    """Return the bytes of all lines that a spool keeps from the disk's part."""
    writing = [spool._writing.size] if spool._writing else []
    return sum([*writing, *(len(line) for segment in spool.waiting() for line in segment.lines or [])])


def held(spool: Spool) -> list[list[Sample]]:
    """Return the samples of all segments, oldest first."""
    return [spool.read(segment) for segment in reversed(spool.waiting())]


def test_the_next_process_finds_what_this_one_left(tmp_path: Path) -> None:
    first = Spool(tmp_path, LARGE)
    fill(first, [1, 2], [3])
    first.append(sample(4), "i-1")
    again = Spool(tmp_path, LARGE)
    assert held(again) == [[sample(1), sample(2)], [sample(3)], [sample(4)]]
    fill(again, [5])
    assert held(again)[-1] == [sample(5)], "it writes over nothing"


def test_what_is_removed_is_gone_for_good(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LARGE)
    fill(spool, [1], [2])
    spool.remove(spool.waiting()[0])
    assert held(spool) == held(Spool(tmp_path, LARGE)) == [[sample(1)]]


def test_samples_stay_with_their_instance(tmp_path: Path) -> None:
    """An image is made of a host while something waits, and another instance starts from it."""
    fill(Spool(tmp_path, LARGE), [1], instance_id="i-old")
    spool = Spool(tmp_path, LARGE)
    spool.append(sample(2), "")
    spool.append(sample(3), "i-new")
    spool.close()
    assert [(segment.instance_id, len(spool.read(segment))) for segment in spool.waiting()] == [
        ("i-new", 1),
        ("", 1),
        ("i-old", 1),
    ]


@pytest.mark.parametrize("keep", range(0, 200, 7))
def test_a_line_cut_anywhere_costs_only_itself(tmp_path: Path, keep: int) -> None:
    fill(Spool(tmp_path, LARGE), [1])
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: min(keep, len(whole) - 1)])
    spool = Spool(tmp_path, LARGE)
    assert held(spool) == [[sample(1)]]
    held(spool)
    assert spool.counts.damaged == int(keep > 0), "counted once, however often it is read"


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.samples").write_text("mine")
    (tmp_path / "0000000007.txt").write_text("mine")
    spool = Spool(tmp_path, LARGE)
    fill(spool, [1])
    assert len(spool.waiting()) == 1
    assert (tmp_path / "notes.samples").read_text() == "mine"


def test_the_oldest_makes_room(tmp_path: Path) -> None:
    fill(Spool(tmp_path / "one", LARGE), [1])
    (one,) = (tmp_path / "one").iterdir()
    spool = Spool(tmp_path / "many", 3 * one.stat().st_size)
    fill(spool, [1], [2], [3], [4], [5])
    assert held(spool) == [[sample(3)], [sample(4)], [sample(5)]]
    assert spool.counts.dropped == 2
    assert len(list((tmp_path / "many").iterdir())) == 3


def test_what_the_disk_does_not_take_is_written_as_soon_as_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.write_text("in the way")
    spool = Spool(folder, LARGE)
    fill(spool, [1], [2, 3])
    assert spool.trouble.startswith(f"{folder}: ")
    assert held(spool) == [[sample(1)], [sample(2), sample(3)]]
    folder.unlink()
    fill(spool, [4])
    assert spool.trouble == ""
    assert held(Spool(folder, LARGE)) == [[sample(1)], [sample(2), sample(3)], [sample(4)]]


@pytest.mark.parametrize("samples", [1, 7, 1000], ids=["sent each", "sent by sevens", "never sent"])
def test_memory_has_a_bound_as_well(tmp_path: Path, samples: int) -> None:
    """Of bytes: segments are small or large, as the interval and the GPUs are few or many."""
    folder = tmp_path / "spool"
    folder.write_text("in the way")
    spool = Spool(folder, LARGE)
    rows = [large(number) for number in range(230)]
    assert sum(map(len, map(encode, rows))) > 20 * 2**20
    for number, row in enumerate(rows, start=1):
        spool.append(row, "i-1")
        if number % samples == 0:
            spool.close()
        assert in_memory(spool) <= 16 * 2**20
    spool.close()
    # What one segment may take is left free for the next.
    assert 14 * 2**20 < in_memory(spool) <= 15 * 2**20
    kept = [row for segment in held(spool) for row in segment]
    assert kept == rows[-len(kept) :]
    assert spool.counts == Counts(dropped=len(rows) - len(kept))


def test_a_segment_that_the_disk_takes_has_a_bound_as_well(tmp_path: Path) -> None:
    """Its lines are in memory while it is written."""
    spool = Spool(tmp_path, LARGE)
    for number in range(12):
        spool.append(large(number), "i-1")
    spool.close()
    assert [len(segment) for segment in held(spool)] == [10, 2]
    assert spool.counts == Counts()


def test_a_segment_that_the_disk_does_not_give_back_is_kept_until_it_does(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LARGE)
    fill(spool, [1])
    (path,) = tmp_path.iterdir()
    away = path.rename(tmp_path / "away")
    path.mkdir()
    (segment,) = spool.waiting()
    with pytest.raises(IsADirectoryError):
        spool.read(segment)
    path.rmdir()
    away.rename(path)
    assert held(spool) == [[sample(1)]]
    assert spool.counts == Counts()


def test_a_segment_that_is_gone_is_counted_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LARGE)
    fill(spool, [1], [2])
    gone, _other = spool.waiting()
    next(tmp_path.glob(f"{gone.number:010d}@*")).unlink()
    assert held(spool) == [[sample(1)], []]
    assert spool.read(gone) == []
    assert spool.counts == Counts(missing=1)
    assert held(spool) == [[sample(1)]]


def test_one_that_cannot_be_read_makes_room_as_well(tmp_path: Path) -> None:
    (tmp_path / "0000000001@i-1.samples").mkdir()
    fill(Spool(tmp_path, LARGE), [1])
    spool = Spool(tmp_path, 1)
    fill(spool, [2])
    assert spool.waiting() == []
    assert spool.counts == Counts(dropped=2, missing=1)
