# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""apt with the configuration of this host: its sources, whether it accepts a source, and how it downloads a key."""

from __future__ import annotations

import contextlib
import re
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .plan import entry_text
from .sources import Entry, read_sources

# Runs a command and returns its status, output and errors.
Run = Callable[[Sequence[str]], tuple[int, str, str]]

SETTINGS = {
    "main": "Dir::Etc::sourcelist/f",
    "folder": "Dir::Etc::sourceparts/d",
    "etc": "Dir::Etc/d",
    "lists": "Dir::State::lists/d",
    "architecture": "APT::Architecture",
}
QUOTED = '\\|{}[]<>"^~_=!@#$%^&*'
TARGETS = ("deb::Packages", "deb-src::Sources")
# Not on PATH.
HELPER = "/usr/lib/apt/apt-helper"
UNSPECIFIC = (
    "list of sources could not be read",
    "Some index files failed to download",
    "is performed unsandboxed",
)
# Warnings with which apt succeeds, although it gets nothing from the source.
USELESS = re.compile(r"^W: (Skipping acquire .* doesn't have the component .*)$", re.MULTILINE)


class AptError(Exception):
    """An error of apt; the text is its error message."""


def error_of(output: str) -> str:
    """Return the errors and warnings of apt, in one line without a full stop."""
    lines = [line[2:].strip().rstrip(".;") for line in output.splitlines() if line.startswith(("E:", "W:"))]
    specific = [line for line in lines if not any(phrase in line for phrase in UNSPECIFIC)]
    return "; ".join(dict.fromkeys(specific or lines)) or output.strip() or "nothing"


def file_name(place: str) -> str:
    """Return the name of the file that apt downloads a place to."""
    quoted = (f"%{ord(letter):02x}" if letter in QUOTED or not "!" <= letter <= "~" else letter for letter in place)
    return "".join(quoted).replace("/", "_")


@dataclass(frozen=True)
class Apt:
    """apt of this host.

    Attributes:
        run: Runs a command.
        main: The one file of sources; empty when none is configured.
        folder: The folder of sources.
        etc: The folder of apt's configuration.
        lists: The folder of downloaded lists.
        architecture: The host's own.
    """

    run: Run
    main: str
    folder: str
    etc: str
    lists: str
    architecture: str

    def entries(self) -> list[Entry]:
        """Return what apt reads."""
        return read_sources(self.main, self.folder, self.architecture)

    def check_sources(self) -> None:
        """Check that apt can read all its sources.

        Raises:
            AptError: it cannot.
        """
        status, out, err = self.run(["apt-get", "indextargets", "--format", "$(SITE)"])
        if status:
            raise AptError(error_of(err or out))

    def has_lists(self, entry: Entry) -> bool:
        """Return whether apt has downloaded an entry's repository before."""
        return self.release_file(entry) is not None

    def release_file(self, entry: Entry) -> Path | None:
        """Return the Release file that apt has downloaded for an entry."""
        paths = (Path(self.lists, file_name(entry.release + name)) for name in ("InRelease", "Release"))
        return next((path for path in paths if path.exists()), None)

    def origin(self, entry: Entry, download: bool) -> str:
        """Return the Origin in an entry's Release file; empty where it has none or cannot be read.

        Args:
            entry: The entry.
            download: Whether to download the file where apt has not done so before.
        """
        file = self.release_file(entry)
        text = file.read_text("utf-8", "replace") if file else ""
        if not file and download:
            # A faulty entry is reported only if it is used.
            with contextlib.suppress(AptError):
                text = self.try_source(entry_text(entry), lists=False)
        found = re.search(r"^Origin: *(.*\S)", text, re.MULTILINE)
        return found[1] if found else ""

    def try_source(self, text: str, lists: bool = True) -> str:
        """Download a source and its signatures with apt, into a temporary folder.

        Args:
            text: The source, in deb822's form.
            lists: Whether to download the lists of packages as well, and not only the signed file that names them.

        Returns:
            The text of that signed file.

        Raises:
            AptError: it cannot be used.
        """
        with tempfile.TemporaryDirectory(prefix="apt-source-") as name:
            folder = Path(name)
            # apt downloads as a user of its own.
            folder.chmod(0o755)
            (folder / "lists" / "partial").mkdir(parents=True)
            source = folder / "trial.sources"
            source.write_text(text, "utf-8")
            source.chmod(0o644)
            options = {
                "Dir::Etc::sourcelist": str(source),
                "Dir::Etc::sourceparts": "/dev/null",
                "Dir::State::lists": str(folder / "lists"),
                "Dir::Cache::pkgcache": "",
                "Dir::Cache::srcpkgcache": "",
                "Acquire::Languages": "none",
            }
            if not lists:
                options |= {f"Acquire::IndexTargets::{name}::DefaultEnabled": "false" for name in TARGETS}
            words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
            status, out, err = self.run(["apt-get", "update", "--error-on=any", *words])
            useless = USELESS.search(err + out)
            if status or useless:
                reason = useless[1] if useless and not status else error_of(err or out)
                raise AptError(reason.replace(str(folder / "trial.sources"), "the source"))
            files = (folder / "lists").glob("*Release")
            return next((file.read_text("utf-8", "replace") for file in files), "")

    def download(self, url: str) -> bytes:
        """Return a file that apt itself downloads, with its own proxy, certificates and logins.

        Raises:
            AptError: the download failed.
        """
        with tempfile.TemporaryDirectory(prefix="apt-source-") as name:
            folder = Path(name)
            folder.chmod(0o755)
            target = folder / "key"
            status, out, err = self.run([HELPER, "download-file", url, str(target)])
            if status or not target.is_file():
                raise AptError(error_of(err or out))
            return target.read_bytes()


def find_apt(run: Run) -> Apt:
    """Return apt as this host has it configured.

    Raises:
        AptError: its configuration cannot be read.
    """
    words = [word for name, setting in SETTINGS.items() for word in (name, setting)]
    status, out, err = run(["apt-config", "shell", *words])
    if status:
        raise AptError(error_of(err or out))
    values = dict(word.partition("=")[::2] for word in shlex.split(out))
    settings = {name: values.get(name, "") for name in SETTINGS}
    for name in ("folder", "etc", "lists"):
        settings[name] = settings[name].rstrip("/")
    return Apt(run, **settings)
