# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The form of all messages about invalid input."""

from __future__ import annotations

import json
from dataclasses import dataclass

LONGEST_VALUE = 80


def shown(value: object) -> str:
    """Return a value as a user would write it, on one line.

    Text is in quotes, to distinguish "1" from 1. Values of more than 80 characters are shortened.
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def listed(values: list[str]) -> str:
    """Return several names as one phrase, or the word "none" when there are none."""
    return ", ".join(values) if values else "none"


@dataclass(frozen=True)
class Problem:
    """One reason why input is refused.

    Attributes:
        subject: The variable as the user knows it, or the AWS resource that causes the problem.
        value: The offending value as `shown` renders it; empty where there is none.
        reason: What is wrong, as the continuation of a sentence that begins with the value.
        allowed: The accepted values.
        remedy: The remedy, as a sentence; `__str__` adds a missing full stop.
    """

    subject: str
    value: str
    reason: str
    allowed: str
    remedy: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        statement = f"{self.value} {self.reason}" if self.value else self.reason
        remedy = self.remedy[:1].upper() + self.remedy[1:] + ("" if self.remedy.endswith((".", "!", "?")) else ".")
        return f"{self.subject}: {statement}. Allowed: {self.allowed}. {remedy}"
