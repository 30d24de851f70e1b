# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans what to write so that apt has a repository, given the entries that the host has already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .request import WantedRepository
from .sources import ARMOR, FIELDS, SHARED, Entry, repository_of, with_slash

HEADING = "# Written by Ansible (digital_twin.robotics_lab.apt_source): changes here are lost.\n"


@dataclass
class Stanza:
    """One stanza of the file that the module writes.

    Attributes:
        suites: Suites that share all the rest.
        components: What the host's own entries lack.
        options: Those of the host's own entries for the same repository, by their names in the one-line form. None
            when it has none: then the stanza is signed by the caller's key.
    """

    suites: list[str]
    components: tuple[str, ...]
    options: dict[str, str] | None


@dataclass
class SourcePlan:
    """What to write, and which entries of the host are used as they are."""

    stanzas: list[Stanza] = field(default_factory=list)
    used: list[Entry] = field(default_factory=list)
    inherited: list[Entry] = field(default_factory=list)

    @property
    def own_key(self) -> bool:
        """Whether the caller's key is needed."""
        return any(stanza.options is None for stanza in self.stanzas)


def inherit(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the options that a further entry of the same repository must have, or apt reads none of its sources."""
    options: dict[str, str] = {}
    for entry in entries:
        for option in SHARED:
            if option in entry.options:
                options.setdefault(option, entry.options[option])
    return options


def plan(
    entries: Iterable[Entry],
    wanted: WantedRepository,
    architecture: str,
    origin: Callable[[Entry], str] = lambda _entry: "",
) -> SourcePlan:
    """Compare what is wanted with the entries that are not ours.

    Args:
        entries: What apt reads.
        wanted: The repository.
        architecture: The host's own.
        origin: Returns the Origin in the Release file of an entry; empty where it is not known.
    """

    def is_mirror(entry: Entry) -> bool:
        """Return whether an entry with another URI counts."""
        return wanted.mirrors and (not wanted.origin or origin(entry) in ("", wanted.origin))

    entries = list(entries)
    result = SourcePlan()
    for suite in wanted.suites:
        repository = repository_of(with_slash(wanted.uri, architecture), suite)
        same = [entry for entry in entries if entry.repository == repository]
        useful = [
            entry
            for entry in entries
            if entry.serves(architecture)
            and (not wanted.components or set(entry.components) & set(wanted.components))
            and (entry.repository == repository or (entry.suite == suite and is_mirror(entry)))
        ]
        offered = {component for entry in useful for component in entry.components}
        missing = tuple(component for component in wanted.components if component not in offered)
        result.used += [entry for entry in useful if entry not in result.used]
        if useful and not missing:
            continue
        result.inherited += [entry for entry in same if entry not in result.inherited]
        options = inherit(same) if same else None
        for stanza in result.stanzas:
            if (stanza.components, stanza.options) == (missing, options):
                stanza.suites.append(suite)
                break
        else:
            result.stanzas.append(Stanza([suite], missing, options))
    return result


def deb822(kind: str, uri: str, suites: Iterable[str], components: Iterable[str], fields: Mapping[str, str]) -> str:
    """Return a stanza in deb822's form, with further fields by their names."""
    lines = [f"Types: {kind}", f"URIs: {uri}", f"Suites: {' '.join(suites)}"]
    if components:
        lines.append(f"Components: {' '.join(components)}")
    for name, value in fields.items():
        if ARMOR in value:
            lines += [f"{name.title()}:", *(f" {line.strip() or '.'}" for line in value.strip().splitlines())]
        else:
            lines.append(f"{name.title()}: {' '.join(value.split())}")
    return "\n".join(lines) + "\n"


def render(stanzas: Iterable[Stanza], uri: str, architecture: str, key_file: str) -> str:
    """Return the text of the file."""
    texts = []
    for stanza in stanzas:
        options = {"signed-by": key_file} if stanza.options is None else stanza.options
        fields = {FIELDS.get(option, option): value for option, value in options.items() if value}
        texts.append(deb822("deb", uri, stanza.suites, stanza.components, {"architectures": architecture, **fields}))
    return HEADING + "\n".join(texts)


def entry_text(entry: Entry) -> str:
    """Return an entry of the host alone, with all its options, in deb822's form."""
    fields = {}
    for option, value in entry.options.items():
        base, sign = option.rstrip("+-"), option[len(option.rstrip("+-")) :]
        name = FIELDS.get(base, base) + {"": "", "+": "-add", "-": "-remove"}[sign]
        fields[name] = value.replace(",", " ") if base in FIELDS else value
    return deb822(entry.kind, entry.uri, [entry.suite], entry.components, fields)
