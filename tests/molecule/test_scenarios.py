# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each role's molecule scenario is one test."""

from __future__ import annotations

import sys

import pytest

from tests.support.project import ROOT, role_names, run

SCENARIO_SECONDS = 1200


@pytest.fixture(scope="session", autouse=True)
def images() -> None:
    """Build what the hosts are made from, and start a Docker engine where none answers."""
    run([sys.executable, "-m", "sandbox", "images"], timeout=SCENARIO_SECONDS)


@pytest.mark.parametrize("scenario", [name for name in role_names() if (ROOT / "molecule" / name).is_dir()])
def test_scenario(scenario: str) -> None:
    run(["molecule", "reset", "--scenario-name", scenario])
    run(["molecule", "test", "--scenario-name", scenario], timeout=SCENARIO_SECONDS)
