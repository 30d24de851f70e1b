# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported lines of Ansible, each in its own environment: the newest and the oldest.

Which Ansible requirements.txt installs depends on Python: below 3.12 the oldest line, from 3.12 on the newest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.project import ROOT

FIRST_OF_THE_NEWEST = (3, 12)
# Files that are not shipped are checked once, on the line that runs all tests.
CHECKED_ONCE = ("bench", "molecule", "sandbox", "tests")


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        name: its name in reports.
        programs: the folder with its programs.
    """

    name: str
    programs: Path

    def first_on_path(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which the line's programs are found before all others."""
        path = os.pathsep.join([str(self.programs), environment.get("PATH", os.defpath)])
        return {**environment, "PATH": path}


# The environment of `make setup`.
MAIN = Line("the line that runs the tests", Path(sys.executable).parent)
# The environment that `make tools` creates if it finds a Python for it.
OLDEST = Line("the oldest line", ROOT / ".venv-oldest" / "bin")


def why_not_both() -> str:
    """Return why the tests of the second line cannot run, with the remedy; empty if they can, or on that line."""
    if MAIN.programs == OLDEST.programs:
        return ""
    if sys.version_info < FIRST_OF_THE_NEWEST:
        return (
            "The newest line of Ansible was not tested: it needs Python 3.12 or newer. "
            "Install one, run `rm -r .venv`, then run `make test` again."
        )
    if not (OLDEST.programs.parent / ".ready").exists():
        return (
            "The oldest line of Ansible was not tested: it needs Python 3.11, and this machine has none. "
            "Install it, then run `make test OLDEST_PYTHON=/path/to/python3.11`."
        )
    return ""


def left_out() -> tuple[str, ...]:
    """Return the folders that the gates skip on this line."""
    return CHECKED_ONCE if MAIN.programs == OLDEST.programs else ()


# The oldest Python of supported hosts (Ubuntu 22.04), as in tests/config.yml.
FLOOR = "3.10"


@cache
def floor_python() -> str:
    """Return the oldest Python that modules support; empty if neither PATH nor pyenv has it."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [shutil.which(f"python{FLOOR}"), *map(str, sorted(versions.glob(f"{FLOOR}.*/bin/python{FLOOR}")))]
    for place in filter(None, places):
        # A shim of pyenv may exist for a Python that it refuses to run.
        asked = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return place
    return ""


def why_no_floor() -> str:
    """Return why the modules cannot run on the oldest Python of hosts; empty when they can."""
    if floor_python() or MAIN.programs == OLDEST.programs:
        return ""
    return (
        f"The modules were not run on Python {FLOOR}, the oldest of supported hosts: this machine has none. Install it."
    )
