# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digests that filter stack_pins adds to image variables."""

from __future__ import annotations

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_pins import stack_pins

OLD, NEW = (f"sha256:{word * 32}" for word in ("ab", "cd"))


@pytest.mark.parametrize(
    ("value", "digests", "pins"),
    [
        ("lab/robot:1", {"reg/lab/robot:1": NEW}, {"robot_image": f"lab/robot:1@{NEW}"}),
        (f"lab/robot:1@{OLD}", {"reg/lab/robot:1": NEW}, {"robot_image": f"lab/robot:1@{NEW}"}),
        (f"lab/robot:1@{OLD}", {}, {"robot_image": f"lab/robot:1@{OLD}"}),
        ("lab/robot:1", {"lab/robot:1": NEW}, {}),
    ],
)
def test_a_variable_gets_the_digest_of_its_image(value: str, digests: dict[str, str], pins: dict[str, str]) -> None:
    values = {"robot_image": value, "other_image": f"lab/other:1@{OLD}"}
    assert stack_pins({"robot_image": "reg/lab/robot:1"}, values, digests) == pins
