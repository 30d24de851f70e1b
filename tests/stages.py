# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of the tests, their order, and the tests that one worker runs together."""

from __future__ import annotations

# Folder below tests/, and the marker that selects it: `pytest -m unit`. The cheapest stage comes first.
STAGES = {"unit": "unit", "gates": "gate", "oldest": "oldest", "dds": "dds", "molecule": "molecule", "e2e": "e2e"}
# Tests that share a lab, an account with hosts, or the settings of this machine's kernel: one worker (pytest-xdist)
# runs all tests of an entry. The entries are handed out in this order, before all other tests.
TOGETHER = {
    "the lab": ("tests/e2e/test_2_", "tests/e2e/test_3_", "tests/e2e/test_4_"),
    "the faults": ("tests/e2e/test_5_",),
    "the kernel": ("tests/dds/", "tests/molecule/test_scenarios.py::test_scenario[ros2_networking]"),
}
