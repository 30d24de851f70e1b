# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Samples on disk until CloudWatch has them: a folder of segments, one for each time that they are sent.

A segment is a file to which each sample is appended as soon as it is taken, so that a process that is killed loses
none that it had finished. A line is a checksum and a JSON document; one that was cut short, or that a disk has spoilt,
is left out and counted. The folder has a bound: the oldest segments make room, and are counted. A segment that the disk
does not take is kept in memory, which has a bound of its own, and offered to the disk again. One that the disk does not
give back now is kept until it does.

What the kernel had not yet written when the power failed is lost: nothing here waits for the disk.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .sampler import Sample

SUFFIX = ".samples"
# Bytes of lines: those that the disk did not take, the segment that is being written among them. About five days of one
# GPU's default set, and in Python's hands a quarter more: the unit may have 128 MiB in all.
MAX_IN_MEMORY = 16 * 2**20
# Of one segment, which is kept in memory as long as it is written, in case that the disk does not take all of it.
MAX_SEGMENT = 2**20


@dataclass(slots=True)
class Segment:
    """Samples that are sent together.

    Attributes:
        number: later segments have higher ones.
        instance_id: whose they are; empty while nobody knows.
        size: bytes on disk.
        lines: the samples, while the disk does not hold them all; None when it does.
        sent: how many of its datums CloudWatch has already.
        spoilt: how many of its lines cannot be read; None before anybody tried.
    """

    number: int
    instance_id: str = ""
    size: int = 0
    lines: list[bytes] | None = None
    sent: int = 0
    spoilt: int | None = None


@dataclass
class Counts:
    """What was lost since the process started, in samples where nothing else is said.

    Attributes:
        spoilt: lines that could not be read back.
        crowded: samples that made room for newer ones.
        missing: segments whose file was gone, or could not be read when they had to make room.
    """

    spoilt: int = 0
    crowded: int = 0
    missing: int = 0


@dataclass
class Writing:
    """The segment to which samples are appended now, and the bytes of its lines."""

    segment: Segment
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    stream: IO[bytes] | None = None


class Spool:
    """The folder. One thread appends, another sends; both may call everything here.

    Args:
        folder: where the segments lie; it is made when it is not there.
        max_bytes: bound for all segments together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._writing: Writing | None = None
        self.counts = Counts()
        # Why the disk does not take segments; empty when it does.
        self.trouble = ""
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        self._closed = {segment.number: segment for segment in self._found()}
        self._next = max(self._closed, default=0) + 1

    def _found(self) -> Iterator[Segment]:
        """Yield the segments that an earlier process left."""
        with contextlib.suppress(OSError):
            for path in sorted(self._folder.glob(f"*{SUFFIX}")):
                number, _dot, instance_id = path.name[: -len(SUFFIX)].partition("@")
                if number.isdigit():
                    yield Segment(int(number), instance_id, path.stat().st_size)

    def _path(self, segment: Segment) -> Path:
        return self._folder / f"{segment.number:010d}@{segment.instance_id}{SUFFIX}"

    def append(self, sample: Sample, instance_id: str) -> None:
        """Add a sample to the open segment; one is opened when there is none, or it is full or another instance's."""
        line = encode(sample)
        with self._lock:
            if self._writing is not None and (
                self._writing.segment.instance_id != instance_id or self._writing.size + len(line) > MAX_SEGMENT
            ):
                self._close()
            if self._writing is None:
                self._writing = Writing(Segment(self._next, instance_id))
                self._next += 1
            writing = self._writing
            writing.lines.append(line)
            writing.size += len(line)
            if writing.segment.lines is None:
                self._write(writing, line)

    def _write(self, writing: Writing, line: bytes) -> None:
        """Append to the file; what the disk does not take stays in memory as a whole segment."""
        segment = writing.segment
        try:
            if writing.stream is None:
                writing.stream = self._path(segment).open("ab", buffering=0)
            written = writing.stream.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            segment.size += len(line)
        except OSError as error:
            self.trouble = f"{self._folder}: {error.strerror or error}"
            segment.lines = writing.lines

    def close(self) -> None:
        """End the open segment, so that it can be sent."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        if writing.stream is not None:
            with contextlib.suppress(OSError):
                writing.stream.close()
        self._closed[writing.segment.number] = writing.segment
        self._rescue()
        self._make_room()

    def _rescue(self) -> None:
        """Offer the disk again what it did not take."""
        for segment in [entry for entry in self._closed.values() if entry.lines is not None]:
            path, scratch = self._path(segment), self._folder / f"{segment.number}.new"
            data = b"".join(segment.lines or [])
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                scratch.write_bytes(data)
                scratch.replace(path)
            except OSError as error:
                self.trouble = f"{self._folder}: {error.strerror or error}"
                with contextlib.suppress(OSError):
                    scratch.unlink()
                return
            segment.lines, segment.size = None, len(data)
        self.trouble = ""

    def _make_room(self) -> None:
        """Let the oldest go until the rest is within the bounds of memory and disk."""
        in_memory = {
            number: sum(map(len, segment.lines))
            for number, segment in self._closed.items()
            if segment.lines is not None
        }
        # The rest is for the segment that is written next.
        self._crowd_out_beyond(MAX_IN_MEMORY - MAX_SEGMENT, in_memory)
        self._crowd_out_beyond(self._max_bytes, {number: segment.size for number, segment in self._closed.items()})

    def _crowd_out_beyond(self, bound: int, sizes: Mapping[int, int]) -> None:
        """Let the oldest of some segments go until the rest has no more bytes than a bound."""
        excess = sum(sizes.values()) - bound
        for number in sorted(sizes):
            if excess <= 0:
                return
            excess -= sizes[number]
            self._crowd_out(number)

    def _crowd_out(self, number: int) -> None:
        segment = self._closed[number]
        try:
            self.counts.crowded += len(self._lines(segment))
        except OSError:
            self.counts.missing += 1
        self._remove(segment)

    def waiting(self) -> list[Segment]:
        """Return the closed segments, newest first: what is new matters most to whoever watches."""
        with self._lock:
            return [self._closed[number] for number in sorted(self._closed, reverse=True)]

    def read(self, segment: Segment) -> list[Sample]:
        """Return a segment's samples; lines that cannot be read are counted and left out.

        Raises:
            OSError: the disk does not give it back now; it is kept.
        """
        with self._lock:
            try:
                lines = self._lines(segment)
            except FileNotFoundError:
                lines = []
                # Not again for whoever still has it in hand.
                self.counts.missing += self._closed.pop(segment.number, None) is not None
        samples = [decode(line) for line in lines]
        good = [sample for sample in samples if sample is not None]
        if segment.spoilt is None:
            segment.spoilt = len(samples) - len(good)
            self.counts.spoilt += segment.spoilt
        return good

    def _lines(self, segment: Segment) -> list[bytes]:
        """Return a segment's lines.

        Raises:
            OSError: they cannot be read.
        """
        if segment.lines is not None:
            return segment.lines
        return self._path(segment).read_bytes().splitlines(keepends=True)

    def remove(self, segment: Segment) -> None:
        """Forget a segment."""
        with self._lock:
            self._remove(segment)

    def _remove(self, segment: Segment) -> None:
        self._closed.pop(segment.number, None)
        with contextlib.suppress(OSError):
            self._path(segment).unlink(missing_ok=True)


def encode(sample: Sample) -> bytes:
    """Return a sample as a line."""
    document = {"time": sample.time, "healthy": sample.healthy, "gpus": sample.gpus}
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> Sample | None:
    """Return a line's sample; None when it is not whole."""
    checksum, _space, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    document = json.loads(text)
    return Sample(document["time"], document["healthy"], document["gpus"])
