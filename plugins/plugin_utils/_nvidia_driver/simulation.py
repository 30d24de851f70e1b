# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The input and output of the role's files/simulate.sh, which asks apt whether sets of packages can be installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

# Long enough for a dependency or two, short enough for a message.
SENTENCE = 300
UNMET = re.compile(r"(have unmet|Unsatisfied) dependencies:$")


@dataclass(frozen=True)
class Result:
    """What apt answered about one set.

    Attributes:
        resolves: whether the whole set can be installed.
        output: what apt printed.
    """

    resolves: bool
    output: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Why the set cannot be installed, in apt's own words."""
        unmet = [index for index, line in enumerate(self.output) if UNMET.search(line)]
        errors = [index for index, line in enumerate(self.output) if line.startswith(("E: ", "Error: "))]
        if unmet:
            lines = list(takewhile(lambda line: line.startswith(" "), self.output[unmet[0] + 1 :]))
        else:
            lines = list(self.output[errors[0] :] if errors else self.output[-1:])
        text = "; ".join(" ".join(line.split()) for line in lines)
        return text if len(text) <= SENTENCE else f"{text[:SENTENCE].rsplit(' ', 1)[0]} ..."

    def installs(self, prefix: str) -> str:
        """Return the rest of the name of the first package that apt would install, empty for none.

        Args:
            prefix: the beginning of its name.
        """
        found = (re.match(rf"Inst {re.escape(prefix)}(\S+) ", line) for line in self.output)
        return next((match[1] for match in found if match), "")


def set_line(sources: Iterable[str], version: str, packages: Mapping[str, str], *, final: bool) -> str:
    """Return the line that describes a set.

    Args:
        sources: the source packages that are pinned.
        version: the driver's version.
        packages: version by name; empty for the version that apt prefers.
        final: whether no other set is of interest once this one resolves.
    """
    names = [f"{name}={number}" if number else name for name, number in sorted(packages.items())]
    return " ".join(["final" if final else "maybe", ",".join(sources), version, *names])


def parse_results(text: str) -> list[Result]:
    """Return the results in the script's output, in the order of the sets. Later sets may be missing."""
    results: list[Result] = []
    lines: list[str] = []
    for line in text.splitlines():
        found = re.fullmatch(r"set (\d+)", line)
        if found:
            results.append(Result(found[1] == "0", tuple(lines)))
            lines = []
        else:
            lines.append(line.removeprefix("|"))
    return results
