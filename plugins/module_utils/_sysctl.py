# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel settings as files of sysctl.d say them and as they are: which file wins, what is to be set, what cannot be.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# A file hides those of the same name in the folders after its own. Whatever their folder, names are read in order.
FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")
# Read by `sysctl --system`, after all others, and never at boot: there systemd only reads it where a link in sysctl.d
# names it, in that link's place.
LAST = "etc/sysctl.conf"
HEADING = "# Written by Ansible: changes here are lost.\n"


@dataclass(frozen=True)
class Wanted:
    """What settings are wanted.

    Attributes:
        at_least: Smallest value by name; a larger one that the kernel has is left alone, and one that another file says
            stays.
        exactly: Value by name.
    """

    at_least: Mapping[str, int]
    exactly: Mapping[str, int]

    @property
    def values(self) -> dict[str, int]:
        """Value by name, in the order of names."""
        return dict(sorted({**self.at_least, **self.exactly}.items()))

    def met(self, name: str, value: int | None) -> bool:
        """Tell whether a value is as wanted."""
        if value is None:
            return False
        return value >= self.at_least[name] if name in self.at_least else value == self.exactly[name]


@dataclass(frozen=True)
class Setting:
    """A line of a file of sysctl.d."""

    file: str
    name: str
    value: str


@dataclass
class Outcome:
    """What was found, and what is to be done or was.

    Attributes:
        before: Values before, None for a setting that this kernel or network namespace does not have.
        after: Values after.
        persisted: What the file says from now on.
        text_before: What the file held; empty when it was not there.
        text_after: What it holds from now on.
        written: Values that the kernel was given, or would be.
        unmet: Why a setting is not as wanted now, by name.
        lowering: What the kernel has beyond all files, by name: it is left alone, and the next boot lowers it.
        overriding: Lines of other files that undo ours at the next boot.
        undoing: Lines that undo it whenever somebody runs `sysctl --system`, and at no boot.
    """

    before: dict[str, int | None]
    after: dict[str, int | None]
    persisted: dict[str, int]
    text_before: str
    text_after: str
    written: dict[str, int] = field(default_factory=dict)
    unmet: dict[str, str] = field(default_factory=dict)
    lowering: dict[str, int] = field(default_factory=dict)
    overriding: list[Setting] = field(default_factory=list)
    undoing: list[Setting] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything is, or would be, changed."""
        return bool(self.written) or self.text_before != self.text_after


class SettingsError(Exception):
    """A setting cannot be had."""


def parse(file: str, text: str) -> list[Setting]:
    """Return the settings of a file. Patterns are left out: a plain name wins over them, wherever it stands."""
    found = []
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        name = name.strip().removeprefix("-")
        if not equals or name.startswith(("#", ";")) or set(name) & set("*?["):
            continue
        found.append(Setting(file, plain(name), " ".join(value.split())))
    return found


def plain(name: str) -> str:
    """Return a setting's name with dots, where the first separator may be a slash."""
    slash, dot = name.find("/"), name.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name.translate(str.maketrans("/.", "./"))
    return name


def in_order(files: Mapping[str, str]) -> list[Setting]:
    """Return the settings of all files that are read at boot, the one that wins last.

    Args:
        files: Text by path, relative to the root.
    """
    seen: dict[str, str] = {}
    for folder in FOLDERS:
        for path in files:
            head, _slash, name = path.rpartition("/")
            if head == folder:
                seen.setdefault(name, path)
    return [setting for name in sorted(seen) for setting in parse(f"/{seen[name]}", files[seen[name]])]


def persist(wanted: Wanted, others: list[Setting]) -> dict[str, int]:
    """Return what our file is to say: at least what others say, where more is as good.

    Not what the kernel has: that may be what our file said at the last boot, and could never be lowered again.
    """
    values = wanted.values
    for name in wanted.at_least:
        said = [int(setting.value) for setting in others if setting.name == name and setting.value.isdigit()]
        values[name] = max([values[name], *said[-1:]])
    return values


def find_overriding(wanted: Wanted, settings: list[Setting], ours: str) -> list[Setting]:
    """Return the settings that are read after ours and are not as wanted; only the one that wins for each name."""
    winning = {setting.name: setting for setting in settings}
    return [
        winner
        for name in wanted.values
        if (winner := winning.get(name)) is not None
        and winner.file != ours
        and not wanted.met(name, int(winner.value) if winner.value.isdigit() else None)
    ]


def render(values: Mapping[str, int]) -> str:
    """Return the text of our file."""
    return HEADING + "".join(f"{name} = {value}\n" for name, value in values.items())


class Host:
    """The files and the kernel of the host, below a root."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Look below a root."""
        self.root = root

    def read_files(self) -> dict[str, str]:
        """Return the text of each file of sysctl.d, by path."""
        paths = [path for folder in FOLDERS for path in sorted((self.root / folder).glob("*.conf"))]
        paths += [self.root / LAST] if (self.root / LAST).is_file() else []
        texts = {}
        for path in paths:
            # A link to /dev/null hides a file, and any other that leads nowhere says nothing.
            text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
            texts[str(path.relative_to(self.root))] = text
        return texts

    def place(self, name: str) -> Path:
        """Return where the kernel shows a setting."""
        return self.root / "proc/sys" / name.translate(str.maketrans("/.", "./"))

    def read(self, name: str) -> int | None:
        """Return a setting's value, or None where there is no such setting.

        Raises:
            SettingsError: its value is no whole number.
        """
        try:
            text = self.place(name).read_text("ascii").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{name} cannot be read: {error.strerror}") from error
        if not text.lstrip("-").isdigit():
            raise SettingsError(f"{name} is {text!r}, no whole number. Leave it to another tool")
        return int(text)

    def writable(self, name: str) -> bool:
        """Tell whether a setting can be changed from here."""
        return os.access(self.place(name), os.W_OK)

    def write(self, name: str, value: int) -> None:
        """Set a setting.

        Raises:
            SettingsError: the kernel did not take it.
        """
        try:
            self.place(name).write_text(f"{value}\n", "ascii")
        except OSError as error:
            raise SettingsError(f"{name} could not be set to {value}: {error.strerror}") from error


def compare(host: Host, wanted: Wanted, path: str) -> Outcome:
    """Return what would be done, and why some of it cannot be."""
    files = host.read_files()
    ours = path.lstrip("/")
    text_before = files.pop(ours, "")
    before = {name: host.read(name) for name in wanted.values}
    persisted = persist(wanted, in_order(files))
    text_after = render(persisted)
    outcome = Outcome(before, dict(before), persisted, text_before, text_after)
    outcome.overriding = find_overriding(wanted, in_order({**files, ours: text_after}), path)
    outcome.undoing = find_overriding(wanted, parse(f"/{LAST}", files.get(LAST, "")), path)
    for name, value in before.items():
        if wanted.met(name, value):
            # What cannot be set from here is no boot of this host's to lower.
            if value is not None and value > persisted[name] and host.writable(name):
                outcome.lowering[name] = value
            continue
        if value is None:
            outcome.unmet[name] = "this kernel, or this network namespace, does not have it"
        elif not host.writable(name):
            outcome.unmet[name] = "it is read-only here, as the machine around this host alone may set it"
        else:
            outcome.written[name] = wanted.values[name]
            outcome.after[name] = wanted.values[name]
    return outcome


def apply(host: Host, wanted: Wanted, outcome: Outcome, save: Callable[[str], None]) -> None:
    """Do what `compare` has found, and read back what came of it.

    Raises:
        SettingsError: the kernel did not take a value.
    """
    if outcome.text_after != outcome.text_before:
        save(outcome.text_after)
    for name, value in outcome.written.items():
        host.write(name, value)
    for name in outcome.written:
        outcome.after[name] = host.read(name)
        if not wanted.met(name, outcome.after[name]):
            outcome.unmet[name] = "the kernel did not take the value"
