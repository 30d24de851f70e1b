# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sources that apt reads: which files, what each entry means, and which entries contradict each other.

Follows sources.list(5) and apt's own reader. Lines that apt cannot read are left out here: apt itself reports them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
# A word ends at white space, except within quotes or brackets: cdrom:[Debian 13]/ is one word.
WORD = re.compile(r' *((?:"[^"]*"|\[[^]]*\]|[^\s"\[])+)\s*')
FILE_NAME = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9_.:-]*\.(list|sources)", re.ASCII)
# Options of the one-line form by their name as a field, where that is another.
OPTIONS = {"architectures": "arch", "languages": "lang", "targets": "target"}
FIELDS = {option: field for field, option in OPTIONS.items()}
# Options that all entries of one repository must share, or apt reads none of its sources. Of these, the first kind may
# still be set by a later entry where the earlier ones leave it out.
SET_LATER = ("signed-by", "valid-until-min", "valid-until-max", "date-max-future")
SHARED = (
    *SET_LATER,
    "trusted",
    "check-valid-until",
    "check-date",
    "allow-insecure",
    "allow-weak",
    "allow-downgrade-to-insecure",
    "inrelease-path",
)


def truth(text: str) -> bool | None:
    """Return how apt reads a word; None when it is neither yes nor no."""
    word = text.strip().lower()
    if word in ("yes", "true", "with", "on", "enable", "1"):
        return True
    if word in ("no", "false", "without", "off", "disable", "0"):
        return False
    return None


def normal_key(value: str) -> str:
    """Return a value of Signed-By as apt compares it."""
    if ARMOR in value:
        lines = (line.strip() for line in value.strip().splitlines())
        return "\n".join("" if line == "." else line for line in lines)
    words = [word for word in re.split(r"[\s,]+", value) if word]
    return ",".join(word if word.startswith("/") else word.upper() for word in words)


def without_scheme(uri: str) -> str:
    """Return a URI without its scheme, user and password, which apt ignores when it compares two."""
    rest = uri.partition(":")[2]
    if not rest.startswith("//"):
        return rest
    host, slash, path = rest[2:].partition("/")
    return host.rpartition("@")[2] + slash + path


def release_of(uri: str, suite: str) -> str:
    """Return the folder of a repository's Release file, by which apt distinguishes repositories."""
    base = without_scheme(uri if uri.endswith("/") else uri + "/")
    if suite == "/":
        return base
    return f"{base}{suite}" if suite.endswith("/") else f"{base}dists/{suite}/"


def repository_of(uri: str, suite: str) -> str:
    """Return the repository in one spelling. apt reads some spellings of one repository as two."""
    # apt-cacher-ng fetches http://HTTPS///host over HTTPS.
    place = re.sub(r"^https///", "", unquote(release_of(uri, suite)), flags=re.IGNORECASE)
    host, _slash, path = place.partition("/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/".join([re.sub(r":(80|443)$", "", host.lower()), *parts])


@dataclass(frozen=True)
class Entry:
    """One repository as one entry of a file names it.

    Attributes:
        file: Path of the file.
        line: The line on which the entry begins.
        kind: deb or deb-src.
        uri: With a slash at its end, and the architecture in place of $(ARCH).
        suite: The suite, or a path that ends with a slash.
        components: None for a path.
        options: By their names in the one-line form.
    """

    file: str
    line: int
    kind: str
    uri: str
    suite: str
    components: tuple[str, ...]
    options: Mapping[str, str]

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    @property
    def release(self) -> str:
        """The folder of the Release file, as apt compares it."""
        return release_of(self.uri, self.suite)

    @property
    def repository(self) -> str:
        """The repository in one spelling."""
        return repository_of(self.uri, self.suite)

    def shared(self, option: str) -> str:
        """Return an option that all entries of one repository must share, as apt compares it."""
        value = self.options.get(option, "")
        if option == "signed-by":
            return normal_key(value)
        if option in SET_LATER:
            return value if value != "0" else ""
        answer = truth(value)
        return value if answer is None else str(answer)

    def serves(self, architecture: str) -> bool:
        """Return whether apt gets packages of an architecture from here."""
        # apt waits until the user inserts the disc, which a module cannot do.
        if self.kind != "deb" or self.uri.startswith("cdrom:"):
            return False
        parts = {sign: set(self.options.get(f"arch{sign}", "").split(",")) - {""} for sign in ("", "+", "-")}
        return architecture in (parts[""] or {architecture}) | parts["+"] and architecture not in parts["-"]


def split_words(text: str) -> Iterator[str]:
    """Yield the words of a line as apt splits it. A word that is not closed ends the line."""
    position = 0
    while match := WORD.match(text, position):
        position = match.end()
        yield re.sub(r"%([0-9A-Fa-f]{2})", lambda code: chr(int(code[1], 16)), match[1].replace('"', ""))


def without_comment(line: str) -> str:
    """Return a line without its comment. A # among the options does not start one."""
    for position, character in enumerate(line):
        if character == "#" and line.count("[", 0, position) <= line.count("]", 0, position):
            return line[:position].strip()
    return line.strip()


def with_slash(uri: str, architecture: str) -> str:
    """Return a URI as apt completes it."""
    uri = uri.replace("$(ARCH)", architecture)
    return uri if uri.endswith("/") else uri + "/"


def read_lines(text: str, file: str, architecture: str) -> Iterator[Entry]:
    """Yield the entries of a file in the one-line form."""
    for number, line in enumerate(text.split("\n"), 1):
        kind, _blank, rest = without_comment(line).replace("\t", " ").partition(" ")
        if kind not in ("deb", "deb-src"):
            continue
        rest = rest.strip()
        options: dict[str, str] = {}
        if rest.startswith("["):
            inside, _bracket, rest = rest[1:].partition("]")
            options = {
                key: value for key, _sign, value in (word.partition("=") for word in split_words(inside.strip()))
            }
        words = list(split_words(rest.strip()))
        if len(words) < 2 or ":" not in words[0]:
            continue
        uri, suite, *components = words
        suite = suite.replace("$(ARCH)", architecture) if suite.endswith("/") else suite
        yield Entry(file, number, kind, with_slash(uri, architecture), suite, tuple(components), options)


def stanzas(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each stanza of a file in deb822's form: its first line, and its fields by their names in small letters."""
    fields: dict[str, str] = {}
    first, field = 0, ""
    for number, ended in enumerate([*text.split("\n"), ""], 1):
        line = ended.rstrip("\r")
        if line.startswith("#"):
            continue
        if not line:
            if fields:
                yield first, fields
            fields, field = {}, ""
        elif line[0] in " \t":
            if field:
                fields[field] += f"\n{line.strip()}"
        else:
            name, colon, value = line.partition(":")
            if colon:
                first = first if fields else number
                field = name.strip().lower()
                fields[field] = value.strip()


def read_stanzas(text: str, file: str, architecture: str) -> Iterator[Entry]:
    """Yield the entries of a file in deb822's form."""
    for first, fields in stanzas(text):
        if truth(fields.get("enabled", "")) is False:
            continue
        options: dict[str, str] = {}
        for name, value in fields.items():
            base, sign = name, ""
            for suffix, mark in (("-add", "+"), ("-remove", "-")):
                if name.endswith(suffix):
                    base, sign = name.removesuffix(suffix), mark
            option = OPTIONS.get(base)
            options[option + sign if option else name] = ",".join(value.split()) if option else value.strip()
        for name in ("types", "uris", "suites", "components", "enabled"):
            options.pop(name, None)
        components = tuple(fields.get("components", "").split())
        for kind in fields.get("types", "").split():
            for uri in fields.get("uris", "").split():
                for suite in fields.get("suites", "").split():
                    place = (with_slash(uri, architecture), suite.replace("$(ARCH)", architecture))
                    yield Entry(file, first, kind, *place, components, options)


def is_read(name: str) -> bool:
    """Return whether apt reads a file of that name in its folder of sources."""
    return FILE_NAME.fullmatch(name) is not None


def read_sources(main: str, folder: str, architecture: str) -> list[Entry]:
    """Return what apt reads, in its order.

    Args:
        main: Path of the one file, such as /etc/apt/sources.list; empty for none.
        folder: Path of the folder, such as /etc/apt/sources.list.d; empty for none.
        architecture: The host's own.
    """
    files = [Path(main)] if main else []
    if folder and Path(folder).is_dir():
        files += sorted(path for path in Path(folder).iterdir() if is_read(path.name))
    entries: list[Entry] = []
    for path in files:
        if path.is_file():
            read = read_stanzas if path.suffix == ".sources" else read_lines
            entries += read(path.read_text("utf-8", "surrogateescape"), str(path), architecture)
    return entries


@dataclass(frozen=True)
class Conflict:
    """Two entries of one repository that apt refuses to read together."""

    option: str
    first: Entry
    second: Entry


def conflicts(entries: Iterable[Entry]) -> list[Conflict]:
    """Return the entries that contradict each other, given in apt's order."""
    found: list[Conflict] = []
    known: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        for option in SHARED:
            key = (entry.release, option)
            earlier = known.setdefault(key, entry)
            if entry.shared(option) == earlier.shared(option):
                continue
            if option in SET_LATER and not earlier.shared(option):
                known[key] = entry
            else:
                found.append(Conflict(option, earlier, entry))
    return found
