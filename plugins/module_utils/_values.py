# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values as users write them: numbers, truth values and versions that YAML may have read as something else."""

from __future__ import annotations

import re

from ._problem import Problem, shown


def whole_number(value: object) -> int | None:
    """Return a whole number, also from text as the command line gives it (-e count=2), or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value):
        return int(value)
    return None


def truth(value: object) -> bool | None:
    """Return a truth value, also from the words that Ansible accepts, or None."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    return words.get(value.lower()) if isinstance(value, str) else None


def driver_order(version: str) -> tuple[int, ...]:
    """Return the key by which versions of the driver are sorted: 580.95.05 is newer than 580.95 and than 580."""
    return tuple(map(int, re.findall(r"[0-9]+", version)))


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
