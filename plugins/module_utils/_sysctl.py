# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel settings in the files of sysctl.d and in the kernel: which file takes precedence, and what to set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# A file hides files of the same name in later folders. Files are read in the order of their names, whatever the folder.
FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d")
# `sysctl --system` reads it after all others. At boot, systemd reads it only where a link in sysctl.d points to it.
LAST = "etc/sysctl.conf"
HEADING = "# Written by Ansible: changes here are lost.\n"


@dataclass(frozen=True)
class SysctlRequest:
    """The settings that a task declares.

    Attributes:
        at_least: Smallest value by name. A larger one of the kernel or of another file is preserved.
        exactly: Value by name.
    """

    at_least: Mapping[str, int]
    exactly: Mapping[str, int]

    @property
    def values(self) -> dict[str, int]:
        """Value by name, in the order of names."""
        return dict(sorted({**self.at_least, **self.exactly}.items()))

    def met(self, name: str, value: int | None) -> bool:
        """Return whether a value is as declared."""
        if value is None:
            return False
        return value >= self.at_least[name] if name in self.at_least else value == self.exactly[name]


@dataclass(frozen=True)
class SysctlLine:
    """A line of a file of sysctl.d."""

    file: str
    name: str
    value: str


@dataclass
class SysctlPlan:
    """The present state, and the changes to make or made.

    Attributes:
        before: Values before, None for a setting that this kernel or network namespace does not have.
        after: Values after.
        persisted: Values in the new file.
        text_before: The present file; empty when it does not exist.
        text_after: The new file.
        written: Values that the kernel was given, or would be.
        unmet: Why a setting differs and cannot be set, by name.
        lowering: Values of the kernel beyond all files, by name. They are preserved until the next boot.
        overriding: Lines of other files that override ours at the next boot.
        undoing: Lines that override ours whenever `sysctl --system` runs, but not at boot.
    """

    before: dict[str, int | None]
    after: dict[str, int | None]
    persisted: dict[str, int]
    text_before: str
    text_after: str
    written: dict[str, int] = field(default_factory=dict)
    unmet: dict[str, str] = field(default_factory=dict)
    lowering: dict[str, int] = field(default_factory=dict)
    overriding: list[SysctlLine] = field(default_factory=list)
    undoing: list[SysctlLine] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything is, or would be, changed."""
        return bool(self.written) or self.text_before != self.text_after


class SysctlError(Exception):
    """A setting cannot be read or set."""


def parse(file: str, text: str) -> list[SysctlLine]:
    """Return the settings of a file, without patterns: a plain name always takes precedence over them."""
    found = []
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        name = name.strip().removeprefix("-")
        if not equals or name.startswith(("#", ";")) or set(name) & set("*?["):
            continue
        found.append(SysctlLine(file, plain(name), " ".join(value.split())))
    return found


def plain(name: str) -> str:
    """Return a setting's name with dots. The first separator may be a slash."""
    slash, dot = name.find("/"), name.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name.translate(str.maketrans("/.", "./"))
    return name


def in_order(files: Mapping[str, str]) -> list[SysctlLine]:
    """Return the settings of all files that are read at boot, by increasing precedence.

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


def persist(wanted: SysctlRequest, others: list[SysctlLine]) -> dict[str, int]:
    """Return the values for our file, no lower than those of others.

    The kernel's value does not count: it may come from our own file at the last boot, and could never be lowered again.
    """
    values = wanted.values
    for name in wanted.at_least:
        others_have = [int(setting.value) for setting in others if setting.name == name and setting.value.isdigit()]
        values[name] = max([values[name], *others_have[-1:]])
    return values


def find_overriding(wanted: SysctlRequest, settings: list[SysctlLine], ours: str) -> list[SysctlLine]:
    """Return the settings that are read after ours and differ, only the effective one for each name."""
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


class SysctlHost:
    """The files and the kernel of a host, below a root folder."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Set the root folder."""
        self.root = root

    def read_files(self) -> dict[str, str]:
        """Return the text of each file of sysctl.d, by path."""
        paths = [path for folder in FOLDERS for path in sorted((self.root / folder).glob("*.conf"))]
        paths += [self.root / LAST] if (self.root / LAST).is_file() else []
        texts = {}
        for path in paths:
            # A link to /dev/null hides a file. A broken link has no settings.
            text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
            texts[str(path.relative_to(self.root))] = text
        return texts

    def place(self, name: str) -> Path:
        """Return the path of a setting below /proc/sys."""
        return self.root / "proc/sys" / name.translate(str.maketrans("/.", "./"))

    def read(self, name: str) -> int | None:
        """Return a setting's value, or None when it does not exist.

        Raises:
            SysctlError: its value is not a whole number.
        """
        try:
            text = self.place(name).read_text("ascii").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SysctlError(f"{name} cannot be read: {error.strerror}") from error
        if not text.lstrip("-").isdigit():
            raise SysctlError(f"{name} is {text!r}, which is not a whole number. Use another tool for it")
        return int(text)

    def writable(self, name: str) -> bool:
        """Return whether a setting can be changed from here."""
        return os.access(self.place(name), os.W_OK)

    def write(self, name: str, value: int) -> None:
        """Write a setting.

        Raises:
            SysctlError: the kernel rejected it.
        """
        try:
            self.place(name).write_text(f"{value}\n", "ascii")
        except OSError as error:
            raise SysctlError(f"{name} could not be set to {value}: {error.strerror}") from error


def compare(host: SysctlHost, wanted: SysctlRequest, path: str) -> SysctlPlan:
    """Return the plan."""
    files = host.read_files()
    ours = path.lstrip("/")
    text_before = files.pop(ours, "")
    before = {name: host.read(name) for name in wanted.values}
    persisted = persist(wanted, in_order(files))
    text_after = render(persisted)
    plan = SysctlPlan(before, dict(before), persisted, text_before, text_after)
    plan.overriding = find_overriding(wanted, in_order({**files, ours: text_after}), path)
    plan.undoing = find_overriding(wanted, parse(f"/{LAST}", files.get(LAST, "")), path)
    for name, value in before.items():
        if wanted.met(name, value):
            # A boot of this host does not lower a setting of another machine's kernel.
            if value is not None and value > persisted[name] and host.writable(name):
                plan.lowering[name] = value
            continue
        if value is None:
            plan.unmet[name] = "this kernel, or this network namespace, does not have it"
        elif not host.writable(name):
            plan.unmet[name] = "it is read-only here, as only the machine that runs this host can set it"
        else:
            plan.written[name] = wanted.values[name]
            plan.after[name] = wanted.values[name]
    return plan


def apply(host: SysctlHost, wanted: SysctlRequest, plan: SysctlPlan, save: Callable[[str], None]) -> None:
    """Apply a plan, and read the values back.

    Raises:
        SysctlError: the kernel rejected a value.
    """
    if plan.text_after != plan.text_before:
        save(plan.text_after)
    for name, value in plan.written.items():
        host.write(name, value)
    for name in plan.written:
        plan.after[name] = host.read(name)
        if not wanted.met(name, plan.after[name]):
            plan.unmet[name] = "the kernel did not accept the value"
