# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a pull is, by what the engine says of each layer, and in words for people.

Engines say it in two ways. With a graph driver a layer is downloaded, then extracted, both in bytes. With containerd's
image store it is downloaded in bytes, and extracted without a word or in seconds; what stands still is said again and
again, so that a message alone is no progress.

Nothing of Ansible is imported here.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import collections
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PULLING, EXTRACTING, DONE, FAILED, WAITING = "pulling", "extracting", "done", "failed", "waiting"
# What the engine says of a layer, and how far it is then.
LAYER_WAITS, LAYER_QUEUES, LAYER_LOADS, LAYER_IS_LOADED, LAYER_UNPACKS, LAYER_IS_DONE, LAYER_WAS_THERE = range(7)
LAYER_STATES = {
    "Pulling fs layer": LAYER_WAITS,
    # For its turn: an engine loads few layers at a time, of all images together.
    "Waiting": LAYER_QUEUES,
    "Downloading": LAYER_LOADS,
    "Verifying Checksum": LAYER_IS_LOADED,
    "Download complete": LAYER_IS_LOADED,
    "Extracting": LAYER_UNPACKS,
    "Pull complete": LAYER_IS_DONE,
    "Already exists": LAYER_WAS_THERE,
}
# The time over which a rate is measured, and after which it is worth a word that nothing comes.
RATE_SECONDS = 10.0
QUIET_SECONDS = 10.0


@dataclass
class Layer:
    """One layer, in bytes as they are sent.

    Attributes:
        total: its size; -1 while nobody has said it.
        loaded: what of it has come.
        unpacked: what of it is unpacked.
    """

    state: int = LAYER_WAITS
    total: int = -1
    loaded: int = 0
    unpacked: int = 0

    def take(self, state: int, detail: dict[str, Any]) -> None:
        """Take note of what the engine says of it."""
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
            # The smallest are there before anybody said how large they are.
            self.total = self.loaded = max(self.total, self.loaded)
        if state == LAYER_UNPACKS and in_bytes:
            self.unpacked = current
        elif state == LAYER_IS_DONE:
            self.unpacked = self.total


@dataclass(frozen=True)
class Snapshot:
    """How far one image is at one moment.

    Attributes:
        loaded: bytes that have come, of those of this attempt.
        total: bytes that are to come, as far as the layers are known.
        total_known: whether all of them are.
        unpacked: what of that is unpacked, in percent; -1 where the engine does not say.
        queued: whether all that is missing waits for its turn.
        quiet: for how many seconds nothing has happened.
        note: what happens, or happened, in words; may be empty.
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
    """How far one image is; written by who pulls it, read by who tells.

    Args:
        name: the image.
        now: the time, in seconds from anywhere.
    """

    def __init__(self, name: str, now: float = 0.0) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._state, self._attempt, self._note = WAITING, 0, ""
        self._layers: dict[str, Layer] = {}
        self._said: dict[str, tuple[Any, ...]] = {}
        self._moved = now

    def begin(self, now: float) -> None:
        """Begin an attempt, which knows nothing of the one before."""
        with self._lock:
            self._state, self._note = PULLING, ""
            self._attempt += 1
            self._layers, self._said, self._moved = {}, {}, now

    def say(self, note: str) -> None:
        """Tell in words what happens between two attempts."""
        with self._lock:
            self._note = note

    def end(self, state: str, note: str = "") -> None:
        """End it, as done or failed."""
        with self._lock:
            self._state, self._note = state, note

    def take(self, message: dict[str, Any], now: float) -> None:
        """Take note of a message of the engine."""
        status, layer = str(message.get("status", "")), str(message.get("id", ""))
        detail = message.get("progressDetail")
        detail = detail if isinstance(detail, dict) else {}
        said = (status, detail.get("current"), detail.get("total"))
        with self._lock:
            if self._said.get(layer) == said:
                return
            self._said[layer] = said
            self._moved = now
            state = LAYER_WAITS if status.startswith("Retrying in") else LAYER_STATES.get(status)
            # What has another status, such as the image itself, is no layer.
            if layer and state is not None:
                self._layers.setdefault(layer, Layer()).take(state, detail)
            self._state = EXTRACTING if self._loaded() else PULLING

    @property
    def moved(self) -> float:
        """When something last happened."""
        with self._lock:
            return self._moved

    @property
    def may_be_silent(self) -> bool:
        """Whether the engine has reason to say nothing: other images have their turn, or it unpacks without a word."""
        with self._lock:
            states = {layer.state for layer in self._layers.values()}
            return self._queued() or (self._loaded() and not states & {LAYER_UNPACKS, LAYER_IS_DONE})

    def _queued(self) -> bool:
        """Say whether all that is missing waits for its turn."""
        missing = {layer.state for layer in self._layers.values()} - {LAYER_IS_LOADED, LAYER_IS_DONE, LAYER_WAS_THERE}
        return missing == {LAYER_QUEUES}

    def _loaded(self) -> bool:
        """Say whether all layers have come, or some are there anyhow."""
        return bool(self._layers) and all(layer.state >= LAYER_IS_LOADED for layer in self._layers.values())

    def snapshot(self, now: float) -> Snapshot:
        """Return how far it is."""
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


class Rates:
    """How fast images come."""

    def __init__(self) -> None:
        self._samples: dict[str, collections.deque[tuple[float, int]]] = {}

    def rate(self, image: Snapshot, now: float) -> int:
        """Return bytes per second, over the last seconds in which it was asked."""
        samples = self._samples.setdefault(f"{image.name} {image.attempt}", collections.deque())
        samples.append((now, image.loaded))
        while now - samples[0][0] > RATE_SECONDS:
            samples.popleft()
        seconds = now - samples[0][0]
        return max(0, int((image.loaded - samples[0][1]) / seconds)) if seconds > 0 else 0


def whole(value: object) -> int:
    """Return a number of bytes; 0 for what is none."""
    return value if isinstance(value, int) and value > 0 else 0


def short(name: str) -> str:
    """Return an image's name as people say it: without registry, and without the digest where there is a tag."""
    first, slash, others = name.partition("/")
    if slash and (re.search(r"[.:]", first) or first == "localhost"):
        name = others
    name, at, digest = name.partition("@")
    if not at or ":" in name:
        return name
    return f"{name}@{digest[:19]}"


def size(count: int, largest: int) -> tuple[str, str]:
    """Return a number of bytes and its unit, which is that of another number."""
    unit, factor = next(
        ((unit, factor) for unit, factor in (("GB", 10**9), ("MB", 10**6)) if largest >= factor), ("kB", 10**3)
    )
    return f"{count / factor:.1f}", unit


def amount(image: Snapshot) -> str:
    """Return how much of an image has come: 3.2 of 9.8 GB."""
    largest = max(image.loaded, image.total)
    (loaded, unit), (total, _unit) = size(image.loaded, largest), size(image.total, largest)
    return f"{loaded} of {'' if image.total_known else 'at least '}{total} {unit}"


def described(image: Snapshot, rate: int) -> str:
    """Return how far an image is, as one phrase."""
    if image.note:
        return image.note
    if image.state == EXTRACTING:
        percent = f" {image.unpacked} %" if image.unpacked >= 0 else ""
        return f"{amount(image)}, unpacking{percent}" if image.total else "unpacking"
    if image.queued:
        return f"{amount(image)}, waiting for its turn" if image.total else "waiting for its turn"
    if not image.total:
        phrase = "asking the registry"
    else:
        speed, unit = size(rate, rate)
        phrase = f"{amount(image)}, {speed} {unit}/s"
    return f"{phrase}, nothing new for {image.quiet:.0f} s" if image.quiet >= QUIET_SECONDS else phrase


def told(images: Sequence[tuple[Snapshot, int]]) -> str:
    """Return how far all images are, as one line: those that are on their way, then how many are there.

    Args:
        images: each with the bytes per second in which it comes.
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


def reported(images: Sequence[tuple[Snapshot, int]]) -> dict[str, Any]:
    """Return how far all images are, for the file."""
    return {
        "text": told(images),
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
