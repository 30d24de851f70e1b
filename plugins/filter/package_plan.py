# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter package_plan."""

from __future__ import annotations

DOCUMENTATION = r"""
name: package_plan
short_description: Compare declared Debian packages with those of a host, and plan what to install, pin and hold
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - An installed package that matches its declared version stays, also where the archive offers a newer one.
  - The version V(28.3.2) matches V(28.3.2), V(5:28.3.2-1~debian.12) and V(28.3.2+dfsg1-1). V(28.3) matches any 28.3.x.
    An empty version matches all, and is neither pinned nor held.
positional: packages, madison, files, check_mode
options:
  _input:
    description:
      - C(role), which writes the pins; C(source), where the packages come from, for messages; C(pins), C(others) and
        C(conflicts), the last two as lists of names.
      - Each of C(pins) has C(file), the name of its file in C(/etc/apt/preferences.d), C(packages) of one version,
        C(version), C(variable), the name of the variable that declares it, and optionally C(whole), with which only a
        Debian revision may follow the version.
    type: dict
    required: true
  packages:
    description: What M(digital_twin.robotics_lab.host_info) returns as C(packages).
    type: dict
    required: true
  madison:
    description: What C(apt-cache madison) prints for the packages of the pins.
    type: str
    default: ""
  files:
    description: What host_info returns as C(files), with the content of the pin files.
    type: dict
    default: {}
  check_mode:
    description: Whether nothing is installed. Packages that are not installed are then not held.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Install what is missing
  ansible.builtin.apt:
    name: "{{ plan.specifications }}"
  when: plan.differs
  vars:
    plan: "{{ wanted | digital_twin.robotics_lab.package_plan(host.packages, madison.stdout, host.files) }}"
"""

RETURN = r"""
_value:
  description:
    - C(names), all declared packages; C(installed), the installed packages and their versions; C(conflicting), those of
      them that conflict; C(complete), whether each declared package is installed in a matching version; C(differs),
      whether packages are to be installed or replaced.
    - C(known), whether a matching version of each package is installed or offered; C(problems), a sentence for each
      declared version that is not; C(specifications), the arguments for apt, C(name=version) or the name.
    - C(files), the pin files for M(digital_twin.robotics_lab.file_set); C(files_differ), the paths that differ.
    - C(hold), the packages to hold; C(unhold), those on hold because of an earlier pin.
  type: dict
"""

import re
from typing import Any

from .files_differ import files_differ

PREFERENCES = "/etc/apt/preferences.d"


class Pin:
    """Packages of one version, and what the host and the archive have of them."""

    def __init__(self, wanted: dict[str, Any], installed: dict[str, str], madison: str) -> None:
        """Compare them."""
        self.file, self.packages, self.version = wanted["file"], list(wanted["packages"]), str(wanted["version"])
        self.variable, self.end = wanted["variable"], "-" if wanted.get("whole") else "[^0-9]"
        present = [installed[name] for name in self.packages if name in installed]
        rows = [[cell.strip() for cell in line.split("|")] for line in madison.splitlines()]
        offered = [row[1] for row in rows if len(row) > 1 and row[0] == self.packages[0]] if self.packages else []
        self.offered = list(dict.fromkeys(offered))
        matching = [version for version in present if self.matches(version)]
        self.complete = len(matching) == len(self.packages)
        # The installed version comes first, so that a pin that it matches changes nothing.
        self.chosen = next(iter([*matching, *filter(self.matches, self.offered)]), "")

    def matches(self, version: str) -> bool:
        """Return whether a version is the declared one."""
        return not self.version or bool(re.match(rf"([0-9]+:)?{re.escape(self.version)}($|{self.end})", version))

    def content(self, role: str) -> str:
        """Return the text of the pin file."""
        return (
            f"Explanation: Pinned by role digital_twin.robotics_lab.{role}; Ansible rewrites this file.\n"
            f"Package: {' '.join(self.packages)}\nPin: version {self.chosen or self.version}\nPin-Priority: 1001\n"
        )

    def problem(self, source: str) -> str:
        """Return why the packages cannot be installed."""
        return (
            f"{self.variable} is {self.version or 'not set'}, and {source} does not offer it. Available are "
            f"{', '.join(self.offered) or 'none'}."
        )


def package_plan(
    wanted: dict[str, Any],
    packages: dict[str, Any],
    madison: str = "",
    files: dict[str, Any] | None = None,
    check_mode: bool = False,
) -> dict[str, Any]:
    """Return the comparison of declared packages with a host, and what to do."""
    installed = {name: record["version"] for name, record in packages.items() if record["status"] == "installed"}
    held = {name for name, record in packages.items() if record["hold"]}
    pins = [Pin(pin, installed, madison) for pin in wanted["pins"]]
    others = list(wanted.get("others", []))
    names = [*(name for pin in pins for name in pin.packages), *others]
    conflicting = [name for name in wanted.get("conflicts", []) if name in installed]
    complete = all(pin.complete for pin in pins) and all(name in installed for name in others)
    differs = not complete or bool(conflicting)
    # An installation may end a hold. In check mode the packages may not exist yet.
    kept = set() if differs else held
    to_hold = [name for pin in pins if pin.version for name in pin.packages if name not in kept]
    found = files or {}
    ended = [pin for pin in pins if not pin.version and found.get(f"{PREFERENCES}/{pin.file}", {}).get("exists")]
    declared = [
        {"name": pin.file, "state": "present", "content": pin.content(wanted["role"])}
        if pin.version
        else {"name": pin.file, "state": "absent"}
        for pin in pins
    ]
    return {
        "installed": installed,
        "names": names,
        "complete": complete,
        "conflicting": conflicting,
        "differs": differs,
        "known": complete or all(pin.chosen for pin in pins),
        # In check mode the package lists may not exist yet.
        "problems": [
            pin.problem(wanted["source"]) for pin in pins if not pin.chosen and not (check_mode and not pin.offered)
        ],
        "specifications": [
            *(f"{name}={pin.chosen}" if pin.version else name for pin in pins for name in pin.packages),
            *others,
        ],
        "files": declared,
        "files_differ": files_differ(declared, found, PREFERENCES),
        "hold": [name for name in dict.fromkeys(to_hold) if not check_mode or name in installed],
        "unhold": [name for pin in ended for name in pin.packages if name in held],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"package_plan": package_plan}
