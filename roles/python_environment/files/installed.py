# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints the packages of this interpreter's environment as JSON: their versions by name, and what they lack.

Exits with status 1 and the reason when the environment is incomplete: without pip, or with a package that has lost
files or was being replaced when pip was stopped.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

# pip's own copy, since the environment has no other. installed() reports a missing pip.
with contextlib.suppress(ImportError):
    from pip._vendor.packaging.requirements import Requirement


def installed() -> dict[str, str]:
    """Return the versions by name, in lower case and with dashes.

    Raises:
        LookupError: the environment is incomplete.
    """
    found: dict[str, str] = {}
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()
        # Not package.files, which from Python 3.12 on leaves out missing files.
        record = [row[0] for row in csv.reader((package.read_text("RECORD") or "").splitlines()) if row]
        if not name or name in found or not record:
            raise LookupError(f"{name or 'a package'} is only partly installed")
        # Python recreates its caches.
        kept = [path for path in record if not path.endswith(".pyc")]
        lost = [path for path in kept if not Path(str(package.locate_file(path))).exists()]
        if lost:
            raise LookupError(f"{name} has lost {', '.join(lost[:3])}")
        found[name] = package.version
    if "pip" not in found:
        raise LookupError("it has no pip")
    return found


def conflicts(found: dict[str, str]) -> list[str]:
    """Return the dependencies that are missing or have an unsuitable version, as `pip check` prints them."""
    lines = []
    for package in distributions():
        title = f"{package.metadata['Name']} {package.version}"
        for line in package.requires or []:
            try:
                needed = Requirement(line)
            except ValueError as error:
                lines.append(f"{title} has an invalid requirement: {error}.")
                continue
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            version = found.get(re.sub(r"[-_.]+", "-", needed.name).lower())
            if version is None:
                lines.append(f"{title} requires {needed.name}, which is not installed.")
            elif not needed.specifier.contains(version, prereleases=True):
                lines.append(f"{title} has requirement {needed}, but you have {needed.name} {version}.")
    return lines


if __name__ == "__main__":
    try:
        packages = installed()
        print(json.dumps({"packages": packages, "conflicts": conflicts(packages)}, sort_keys=True))
    except LookupError as error:
        sys.exit(str(error))
