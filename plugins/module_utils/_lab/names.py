# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules for names of labs.

AWS takes * and ? in filters for wildcards, so that another name could reach into other labs.
"""

from __future__ import annotations

import re

NAME_FORM = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
NAME_LENGTHS = (3, 32)


def is_lab_name(value: object) -> bool:
    """Return whether a value can be the name of a lab."""
    shortest, longest = NAME_LENGTHS
    return isinstance(value, str) and shortest <= len(value) <= longest and bool(NAME_FORM.fullmatch(value))
