# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares apt's sources with the declared repository, tries what is new in apt, and writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from .._files import replace_file
from .host import Apt, AptError
from .keys import AptKeyError, check_entry, check_entry_keys, check_file, check_fingerprints, checked, fingerprints
from .plan import HEADING, SourcePlan, entry_text, plan, render
from .request import AptSourceError, WantedRepository
from .sources import ARMOR, Entry, conflicts

UNCHANGED = "Nothing was changed."
Contents: TypeAlias = "dict[Path, str | None]"


class SourceFiles:
    """The source and the key that the module writes.

    Attributes:
        source: Path of the source.
        key: Path of the key.
        before: The text of each, None where it does not exist.
    """

    def __init__(self, apt: Apt, name: str) -> None:
        """Read them."""
        self.source = Path(apt.folder, f"{name}.sources")
        self.key = Path(apt.etc, "keyrings", f"{name}.asc")
        self.before: Contents = {
            path: path.read_text("utf-8", "surrogateescape") if path.exists() else None
            for path in (self.key, self.source)
        }

    @property
    def foreign(self) -> bool:
        """Whether something else has written the source."""
        text = self.before[self.source]
        return text is not None and not text.startswith(HEADING)

    def write(self, path: Path, text: str | None) -> None:
        """Write a file that everyone can read, or remove it."""
        if text is None:
            path.unlink(missing_ok=True)
            return
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)
        replace_file(path, text)

    def put(self, wanted: Contents, apt: Apt) -> None:
        """Write what is wanted; restore everything when apt cannot read its sources with it.

        Raises:
            AptSourceError: apt cannot.
        """
        try:
            for path, text in wanted.items():
                if text != self.before[path]:
                    self.write(path, text)
            apt.check_sources()
        except BaseException as problem:
            for path, text in reversed(self.before.items()):
                self.write(path, text)
            if not isinstance(problem, AptError):
                raise
            raise AptSourceError(
                f"With {self.source} apt could not read its sources: {problem}. {UNCHANGED} Correct uri, suites, "
                "components or signed_by, then run again."
            ) from None


def compare(
    apt: Apt, files: SourceFiles, wanted: WantedRepository | None, check_mode: bool
) -> tuple[Contents, SourcePlan]:
    """Return the content that the files must have, tried by apt unless this is a check.

    Args:
        wanted: The repository; None to remove what the module has written.

    Raises:
        AptSourceError: the repository cannot be used.
    """
    if files.foreign and wanted is None:
        return dict(files.before), SourcePlan()
    entries = apt.entries()
    others = [entry for entry in entries if files.foreign or entry.file != str(files.source)]
    check_host(apt, entries, others)
    planned = SourcePlan()
    if wanted is not None:
        planned = plan(others, wanted, apt.architecture, lambda entry: apt.origin(entry, not check_mode))
    for entry in planned.used:
        check_used(apt, entry, check_mode)
    if wanted is None or not planned.stanzas:
        if files.foreign:
            return dict(files.before), planned
        named = any(str(files.key) in entry.options.get("signed-by", "") for entry in others)
        return {files.source: None, files.key: files.before[files.key] if named else None}, planned
    if files.foreign:
        raise AptSourceError(
            f"{files.source} was not written by this module, and lacks the repository. {UNCHANGED} Move it away, or "
            "set name to another value, then run again."
        )
    key_path, key = get_key(apt, wanted, files.key, check_mode) if planned.own_key else ("", files.before[files.key])
    text = render(planned.stanzas, wanted.uri, apt.architecture, key_path)
    contents = {files.key: key if key_path == str(files.key) else None, files.source: text}
    if not check_mode and contents != files.before:
        try_new(apt, text, files, key, planned)
    return contents, planned


def check_host(apt: Apt, entries: Sequence[Entry], others: Sequence[Entry]) -> None:
    """Check that apt can read the host's sources, apart from conflicts of our own file.

    Raises:
        AptSourceError: it cannot.
    """
    pairs = [
        f"{conflict.second.where} and {conflict.first.where} name the same repository with different values of "
        f"{conflict.option.title()}"
        for conflict in conflicts(others)
    ]
    if pairs:
        raise AptSourceError(
            f"apt cannot read its sources: {'; '.join(dict.fromkeys(pairs))}. {UNCHANGED} Remove one entry of each "
            "pair, or give both the same value, then run again."
        )
    try:
        apt.check_sources()
    except AptError as problem:
        # Replacing our own file ends its conflict with an entry that came later.
        if not conflicts(entries):
            raise AptSourceError(
                f"apt cannot read its sources: {problem}. {UNCHANGED} Correct that entry, then run again."
            ) from None


def check_used(apt: Apt, entry: Entry, check_mode: bool) -> None:
    """Check that an entry of the host can be used.

    Raises:
        AptSourceError: it cannot.
    """
    try:
        check_entry(entry)
        if not check_mode and not apt.has_lists(entry):
            apt.try_source(entry_text(entry), lists=False)
    except (AptKeyError, AptError) as problem:
        reason = f"its key {problem}" if isinstance(problem, AptKeyError) else f"apt cannot use it: {problem}"
        raise AptSourceError(
            f"{entry.where} has the repository {entry.uri} {entry.suite}, but {reason}. {UNCHANGED} Correct or remove "
            "that entry, then run again."
        ) from None


def get_key(apt: Apt, wanted: WantedRepository, key_file: Path, check_mode: bool) -> tuple[str, str | None]:
    """Return the path of the key file to name, and its content where it is ours to write.

    Raises:
        AptSourceError: apt cannot use the key.
    """
    signed_by, expected = wanted.signed_by, wanted.fingerprints
    if not signed_by:
        raise AptSourceError("signed_by is empty. Set it to the URL, the path or the text of the repository's key.")
    remedy = "Correct signed_by"
    if expected:
        remedy += ", or compare the key with the fingerprint that the vendor publishes and correct fingerprints"
    if signed_by.startswith("/"):
        try:
            check_file(signed_by)
            if expected:
                check_fingerprints(fingerprints(Path(signed_by).read_bytes()), expected)
        except AptKeyError as problem:
            raise AptSourceError(
                f"signed_by is {signed_by}, which {problem}. {UNCHANGED} {remedy}, then run again."
            ) from None
        return signed_by, None
    present = key_file.read_text("utf-8") if key_file.is_file() else None
    try:
        if ARMOR in signed_by:
            return str(key_file), checked(signed_by.encode(), expected)
        if not re.match(r"https?://\S+$", signed_by):
            raise AptSourceError(
                f"signed_by is {signed_by[:60]!r}. Set it to a URL, an absolute path or an armored key."
            )
        if check_mode:
            return str(key_file), present or ""
        return str(key_file), checked(apt.download(signed_by), expected)
    except AptKeyError as problem:
        what = "signed_by" if ARMOR in signed_by else f"What {signed_by} returned"
        raise AptSourceError(f"{what} {problem}. {UNCHANGED} {remedy}, then run again.") from None
    except AptError as problem:
        # The key of an earlier run stays in use while its server is unreachable.
        if present is not None:
            try:
                return str(key_file), checked(present.encode(), expected) if expected else present
            except AptKeyError as wrong:
                raise AptSourceError(
                    f"{key_file} {wrong}, and {signed_by} could not be downloaded: {problem}. {UNCHANGED} {remedy}, "
                    "then run again."
                ) from None
        raise AptSourceError(
            f"The key {signed_by} could not be downloaded: {problem}. {UNCHANGED} Correct signed_by, or the host's "
            "network (apt's own proxy settings are used), then run again."
        ) from None


def try_new(apt: Apt, text: str, files: SourceFiles, key: str | None, planned: SourcePlan) -> None:
    """Try the new source in apt, with a key that is not installed yet.

    Raises:
        AptSourceError: apt cannot use it.
    """
    if key is not None and str(files.key) in text:
        block = "\n".join(f" {line or '.'}" for line in key.strip().splitlines())
        text = text.replace(f"Signed-By: {files.key}", f"Signed-By:\n{block}")
    try:
        apt.try_source(text)
    except AptError as problem:
        inherited = ", ".join(entry.where for entry in planned.inherited)
        remedy = f"Correct or remove {inherited}" if inherited else "Correct uri, suites, components or signed_by"
        raise AptSourceError(
            f"apt cannot use the repository: {problem}. {UNCHANGED} {remedy}, then run again."
        ) from None


def unexpected_keys(entries: Sequence[Entry], expected: Sequence[str]) -> list[str]:
    """Return what is wrong with the keys of the host's own entries."""
    problems = []
    for entry in entries if expected else ():
        try:
            check_entry_keys(entry, expected)
        except AptKeyError as problem:
            problems.append(f"{entry.where} {problem}.")
    return list(dict.fromkeys(problems))
