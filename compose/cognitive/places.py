# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The places that a robot knows: names, aliases and coordinates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .words import normalise, stops

# Beyond a thousand kilometres a map's coordinates are a mistake.
FARTHEST = 1e6


class PlacesError(ValueError):
    """The places cannot be used; the message names the place and what is wrong with it."""


@dataclass(frozen=True)
class Place:
    """One place.

    :param coordinates: x and y in the map frame, in metres.
    """

    name: str
    coordinates: tuple[float, float]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mention:
    """A place as it occurs in normalised text, from ``start`` up to but not including ``end``."""

    place: Place
    start: int
    end: int


def point(value: object) -> tuple[float, float] | None:
    """Return a pair of finite numbers from ``[x, y]`` or ``{"x": x, "y": y}``; ``None`` for anything else."""
    if isinstance(value, dict) and value.keys() <= {"x", "y", "z"}:
        value = [value.get("x"), value.get("y")]
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = value
    for number in (x, y):
        if isinstance(number, bool) or not isinstance(number, int | float) or not -FARTHEST <= number <= FARTHEST:
            return None
    return float(x), float(y)


class Places:
    """All known places, found by name or alias."""

    def __init__(self, places: Iterable[Place]) -> None:
        """Index the places.

        :raises PlacesError: the list is empty, two places share a name, or a name is a word that stops the robot.
        """
        self._by_words: dict[str, Place] = {}
        self._all = tuple(places)
        if not self._all:
            raise PlacesError("the list is empty; at least one place is needed")
        for place in self._all:
            for name in (place.name, *place.aliases):
                words = normalise(name)
                if not words:
                    raise PlacesError(f"place {place.name!r} has an empty name or alias")
                if stops(words):
                    raise PlacesError(f"{name!r} cannot be the name of a place: the word stops the robot")
                other = self._by_words.setdefault(words, place)
                if other is not place:
                    raise PlacesError(f"{name!r} names both {other.name} and {place.name}")
        # Longest first, so that "south loading dock" is not read as "loading dock".
        phrases = sorted(self._by_words, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, phrases))})(?!\S)")

    @property
    def names(self) -> list[str]:
        """The names in the order of the file."""
        return [place.name for place in self._all]

    def __iter__(self) -> Iterator[Place]:
        """Iterate over the places in the order of the file."""
        return iter(self._all)

    def find(self, name: str) -> Place | None:
        """Return the place that has this name or alias."""
        return self._by_words.get(normalise(name))

    def at(self, coordinates: tuple[float, float]) -> Place | None:
        """Return the first place at these coordinates."""
        return next((place for place in self._all if math.dist(place.coordinates, coordinates) < 1e-6), None)

    def mentioned(self, words: str) -> list[Mention]:
        """Return every place in a normalised text, in the order of the text."""
        found = self._pattern.finditer(words)
        return [Mention(self._by_words[match.group()], match.start(), match.end()) for match in found]


def parse(document: str) -> Places:
    """Read places from JSON: a list of ``{"name": ..., "coordinates": [x, y], "aliases": [...]}``.

    :raises PlacesError: the document does not have that form.
    """
    try:
        entries = json.loads(document)
    except ValueError as error:
        raise PlacesError(f"not JSON: {error}") from None
    if not isinstance(entries, list):
        raise PlacesError("not a list of places")
    return Places(_place(entry) for entry in entries)


def read(path: Path) -> Places:
    """Read places from a file.

    :raises PlacesError: the file cannot be read or is not valid.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlacesError(f"{path}: {error.strerror}") from None
    except (PlacesError, UnicodeDecodeError) as error:
        raise PlacesError(f"{path}: {error}") from None


def _place(entry: object) -> Place:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise PlacesError(f"{entry!r} has no name")
    name = entry["name"]
    coordinates = point(entry.get("coordinates"))
    if coordinates is None:
        raise PlacesError(f"place {name!r} has coordinates {entry.get('coordinates')!r}; needed: two finite numbers")
    aliases = entry.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise PlacesError(f"place {name!r} has aliases {aliases!r}; needed: a list of texts")
    return Place(name, coordinates, tuple(aliases))
