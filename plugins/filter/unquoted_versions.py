# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter unquoted_versions."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unquoted_versions
short_description: Find versions whose quotes are missing
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns one line for each version that YAML has read as a number, a date or a truth value. Without quotes V(1.10) is
    the number 1.1, which is another version.
options:
  _input:
    description: Versions by the names of their variables.
    type: dict
    required: true
  whole:
    description: Names of those that may be whole numbers, such as V(580), which YAML does not change.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check that the version is text
  ansible.builtin.assert:
    that: "{'docker_version': docker_version} | digital_twin.robotics_lab.unquoted_versions == []"
"""

RETURN = r"""
_value:
  description: What is wrong, one line for each.
  type: list
  elements: str
  sample:
    - >-
      docker_version: 28.1 is a number, as the quotes are missing, and may have been 28.10: YAML drops zeros at the end.
      Allowed: text in quotes, such as "1.10". Write the version in quotes.
"""

from typing import Any

from ..module_utils._values import unquoted


def unquoted_versions(values: dict[str, Any], whole: tuple[str, ...] = ()) -> list[str]:
    """Return what is wrong with versions that are not text."""
    found = (unquoted(name, value, whole=name in whole) for name, value in values.items())
    return [str(problem) for problem in found if problem]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"unquoted_versions": unquoted_versions}
