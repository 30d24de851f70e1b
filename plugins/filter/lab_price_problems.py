# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_price_problems."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_price_problems
short_description: Check a user's own prices
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns what is wrong with C(aws_infrastructure_prices) of the role
    P(digital_twin.robotics_lab.aws_infrastructure#role).
  - Contacts nothing, changes nothing.
options:
  _input:
    description: The prices in US dollars, by their names.
    type: dict
    required: true
  variable:
    description: The name of the variable, for messages.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Check the prices
  ansible.builtin.assert:
    that: prices | digital_twin.robotics_lab.lab_price_problems('prices') | length == 0
  vars:
    prices: {gib_month: 0.07}
"""

RETURN = r"""
_value:
  description: One line for each problem.
  type: list
  elements: str
  sample:
    - "prices.gib_month: -1 is not a price. Allowed: a number of 0 or more, in US dollars. Correct it, or remove it to
      use the list price."
"""

from typing import Any

from ..plugin_utils._cost.prices import price_problems


def lab_price_problems(prices: dict[str, Any], variable: str) -> list[str]:
    """Return one line for each problem."""
    return [str(problem) for problem in price_problems(variable, prices)]


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_price_problems": lab_price_problems}
