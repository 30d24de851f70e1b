# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress of a pull, from the engine's messages about each layer, as numbers and as text.

Engines report it in two ways. With a graph driver a layer is downloaded, then extracted, both in bytes. With
containerd's image store it is downloaded in bytes, and extracted without messages or in seconds; the same state is sent
repeatedly, so a message alone is not progress.
"""

from __future__ import annotations

import collections
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PULLING, EXTRACTING, DONE, FAILED, WAITING = "pulling", "extracting", "done", "failed", "waiting"
# The states of a layer, in order, by the engine's status text.
LAYER_WAITS, LAYER_QUEUES, LAYER_LOADS, LAYER_IS_LOADED, LAYER_UNPACKS, LAYER_IS_DONE, LAYER_WAS_THERE = range(7)
LAYER_STATES = {
    "Pulling fs layer": LAYER_WAITS,
    # An engine downloads few layers at a time, of all images together.
    "Waiting": LAYER_QUEUES,
    "Downloading": LAYER_LOADS,
    "Verifying Checksum": LAYER_IS_LOADED,
    "Download complete": LAYER_IS_LOADED,
    "Extracting": LAYER_UNPACKS,
    "Pull complete": LAYER_IS_DONE,
    "Already exists": LAYER_WAS_THERE,
}
# The time over which a rate is measured, and after which a missing message is reported.
RATE_SECONDS = 10.0
QUIET_SECONDS = 10.0


@dataclass
class Layer:
    """One layer, in compressed bytes.

    Attributes:
        total: its size; -1 while it is unknown.
        loaded: how much is downloaded.
        unpacked: how much is unpacked.
    """

    state: int = LAYER_WAITS
    total: int = -1
    loaded: int = 0
    unpacked: int = 0

    def update(self, state: int, detail: dict[str, Any]) -> None:
        """Apply a message of the engine."""
        self.state = state
        in_bytes = not detail.get("units")
        current, total = (whole(detail.get(name)) for name in ("current", "total"))
        if in_bytes and total > 0:
            self.total = total
        if state == LAYER_LOADS:
            self.loaded = current
        elif state == LAYER_WAS_THERE:
            self.total = self.loaded = self.unpacked = 0
        elif state >= LAYER_IS_LOADED:
            # The smallest layers are complete before their size was reported.
            self.total = self.loaded = max(self.total, self.loaded)
        if state == LAYER_UNPACKS and in_bytes:
            self.unpacked = current
        elif state == LAYER_IS_DONE:
            self.unpacked = self.total


@dataclass(frozen=True)
class Snapshot:
    """The progress of one image at one moment.

    Attributes:
        loaded: bytes downloaded in this attempt.
        total: bytes to download, as far as the sizes of the layers are known.
        total_known: whether the sizes of all layers are known.
        unpacked: how much of that is unpacked, in percent; -1 where the engine does not report it.
        queued: whether all missing layers are queued in the engine.
        quiet: seconds since the last progress.
        note: the present event or the error; may be empty.
    """

    name: str
    state: str
    attempt: int
    loaded: int
    total: int
    total_known: bool
    unpacked: int
    queued: bool
    quiet: float
    note: str


class Progress:
    """The progress of one image; written by the thread that pulls it, read by the one that writes the file.

    Args:
        name: the image.
        now: the time in seconds, from any origin.
    """

    def __init__(self, name: str, now: float = 0.0) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._state, self._attempt, self._note = WAITING, 0, ""
        self._layers: dict[str, Layer] = {}
        self._reported: dict[str, tuple[Any, ...]] = {}
        self._moved = now

    def begin(self, now: float) -> None:
        """Begin an attempt, with empty progress."""
        with self._lock:
            self._state, self._note = PULLING, ""
            self._attempt += 1
            self._layers, self._reported, self._moved = {}, {}, now

    def set_note(self, note: str) -> None:
        """Set the text for the time between two attempts."""
        with self._lock:
            self._note = note

    def end(self, state: str, note: str = "") -> None:
        """Set the final state, done or failed."""
        with self._lock:
            self._state, self._note = state, note

    def update(self, message: dict[str, Any], now: float) -> None:
        """Apply a message of the engine."""
        status, layer = str(message.get("status", "")), str(message.get("id", ""))
        detail = message.get("progressDetail")
        detail = detail if isinstance(detail, dict) else {}
        report = (status, detail.get("current"), detail.get("total"))
        with self._lock:
            if self._reported.get(layer) == report:
                return
            self._reported[layer] = report
            self._moved = now
            state = LAYER_WAITS if status.startswith("Retrying in") else LAYER_STATES.get(status)
            # Other statuses, such as that of the image itself, are not about a layer.
            if layer and state is not None:
                self._layers.setdefault(layer, Layer()).update(state, detail)
            self._state = EXTRACTING if self._loaded() else PULLING

    @property
    def moved(self) -> float:
        """The time of the last progress."""
        with self._lock:
            return self._moved

    @property
    def may_be_silent(self) -> bool:
        """Whether no message is expected: all layers are queued, or the engine unpacks without messages."""
        with self._lock:
            states = {layer.state for layer in self._layers.values()}
            return self._queued() or (self._loaded() and not states & {LAYER_UNPACKS, LAYER_IS_DONE})

    def _queued(self) -> bool:
        """Return whether all missing layers are queued in the engine."""
        missing = {layer.state for layer in self._layers.values()} - {LAYER_IS_LOADED, LAYER_IS_DONE, LAYER_WAS_THERE}
        return missing == {LAYER_QUEUES}

    def _loaded(self) -> bool:
        """Return whether all layers are downloaded or were present."""
        return bool(self._layers) and all(layer.state >= LAYER_IS_LOADED for layer in self._layers.values())

    def snapshot(self, now: float) -> Snapshot:
        """Return the present progress."""
        with self._lock:
            layers = list(self._layers.values())
            total = sum(max(0, layer.total) for layer in layers)
            unpacked = sum(max(0, layer.unpacked) for layer in layers)
            return Snapshot(
                self.name,
                self._state,
                self._attempt,
                loaded=sum(layer.loaded for layer in layers),
                total=total,
                total_known=bool(layers) and all(layer.total >= 0 for layer in layers),
                unpacked=unpacked * 100 // total if unpacked else -1,
                queued=self._queued(),
                quiet=now - self._moved,
                note=self._note,
            )


def in_final_state(names: Iterable[str], state: str, note: str = "") -> list[Progress]:
    """Return the progress of images that are done or have failed."""
    images = [Progress(name) for name in names]
    for image in images:
        image.end(state, note)
    return images


class Rates:
    """The download rates of images."""

    def __init__(self) -> None:
        self._samples: dict[str, collections.deque[tuple[float, int]]] = {}

    def rate(self, image: Snapshot, now: float) -> int:
        """Return bytes per second, over the calls of the last seconds."""
        samples = self._samples.setdefault(f"{image.name} {image.attempt}", collections.deque())
        samples.append((now, image.loaded))
        while now - samples[0][0] > RATE_SECONDS:
            samples.popleft()
        seconds = now - samples[0][0]
        return max(0, int((image.loaded - samples[0][1]) / seconds)) if seconds > 0 else 0


def whole(value: object) -> int:
    """Return a number of bytes; 0 for any other value."""
    return value if isinstance(value, int) and value > 0 else 0


def short(name: str) -> str:
    """Return an image's short name: without registry, and without the digest where there is a tag."""
    first, slash, others = name.partition("/")
    if slash and (re.search(r"[.:]", first) or first == "localhost"):
        name = others
    name, at, digest = name.partition("@")
    if not at or ":" in name:
        return name
    return f"{name}@{digest[:19]}"


def size(count: int, largest: int) -> tuple[str, str]:
    """Return a number of bytes in the unit that suits another number, and that unit."""
    unit, factor = next(
        ((unit, factor) for unit, factor in (("GB", 10**9), ("MB", 10**6)) if largest >= factor), ("kB", 10**3)
    )
    return f"{count / factor:.1f}", unit


def amount(image: Snapshot) -> str:
    """Return how much of an image is downloaded: 3.2 of 9.8 GB."""
    largest = max(image.loaded, image.total)
    (loaded, unit), (total, _unit) = size(image.loaded, largest), size(image.total, largest)
    return f"{loaded} of {'' if image.total_known else 'at least '}{total} {unit}"


def described(image: Snapshot, rate: int) -> str:
    """Return the progress of an image as one phrase."""
    if image.note:
        return image.note.removesuffix(".")
    if image.state == EXTRACTING:
        percent = f" {image.unpacked} %" if image.unpacked >= 0 else ""
        return f"{amount(image)}, unpacking{percent}" if image.total else "unpacking"
    if image.queued:
        return f"{amount(image)}, queued in the engine" if image.total else "queued in the engine"
    if not image.total:
        phrase = "contacting the registry"
    else:
        speed, unit = size(rate, rate)
        phrase = f"{amount(image)}, {speed} {unit}/s"
    return f"{phrase}, nothing new for {image.quiet:.0f} s" if image.quiet >= QUIET_SECONDS else phrase


def summary(images: Sequence[tuple[Snapshot, int]]) -> str:
    """Return the progress of all images as one line: those in progress or failed, then how many are done.

    Args:
        images: each with its bytes per second.
    """
    parts = [
        f"{short(image.name)}: {described(image, rate)}"
        for image, rate in images
        if image.state in (PULLING, EXTRACTING, FAILED)
    ]
    states = [image.state for image, _rate in images]
    if WAITING in states:
        parts.append(f"{states.count(WAITING)} waiting")
    return "; ".join([*parts, f"{states.count(DONE)} of {len(images)} done"])


def report_of(images: Sequence[tuple[Snapshot, int]]) -> dict[str, Any]:
    """Return the progress of all images, for the file."""
    return {
        "text": summary(images),
        "finished": all(image.state in (DONE, FAILED) for image, _rate in images),
        "images": [
            {
                "name": image.name,
                "state": image.state,
                "attempt": image.attempt,
                "bytes_done": image.loaded,
                "bytes_total": image.total,
                "bytes_total_known": image.total_known,
                "bytes_per_second": rate if image.state == PULLING else 0,
                "unpacked_percent": image.unpacked if image.unpacked >= 0 else None,
                "note": image.note,
            }
            for image, rate in images
        ],
    }
