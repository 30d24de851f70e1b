# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions that YAML has read as something else, because their quotes are missing. Pure functions.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab_problem import Problem, shown


def unquoted(variable: str, value: object, *, whole: bool = False) -> Problem | None:
    """Return what is wrong with a version that is not text, or None.

    Args:
        variable: The variable as the user knows it.
        value: Its value as YAML has read it: 0.10 becomes the number 0.1, and the zero is lost.
        whole: Whether a whole number, such as 580, is a version by itself.
    """
    if isinstance(value, str) or (whole and isinstance(value, int) and not isinstance(value, bool)):
        return None
    if isinstance(value, float):
        reason = f"is a number, as the quotes are missing, and may have been {value}0: YAML drops zeros at the end"
    else:
        reason = "is not text, as the quotes are missing"
    return Problem(variable, shown(value), reason, 'text in quotes, such as "1.10"', "write the version in quotes")
