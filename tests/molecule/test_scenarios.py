# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each role's molecule scenario is one test."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sandbox.cloud.process import free_port
from tests.support.project import ROOT, role_names, run

SCENARIO_SECONDS = 1800
# Long ones of roles that the end-to-end tests and other scenarios apply and verify as well.
FULL = {
    "aws_infrastructure",
    "container_toolkit",
    "digital_twin_stack",
    "docker",
    "gpu_metrics",
    "gpu_tuning",
    "instance_guard",
    "nvidia_driver",
    "python_environment",
    "ros2_networking",
}


@pytest.fixture(scope="session", autouse=True)
def images() -> None:
    """Build what the hosts are made from, and start a Docker engine where none answers."""
    run([sys.executable, "-m", "sandbox", "images"], timeout=SCENARIO_SECONDS)


def row(name: str) -> Any:
    """Return a scenario as a parameter."""
    return pytest.param(name, marks=[pytest.mark.full] if name in FULL else [])


@pytest.mark.parametrize("scenario", [row(name) for name in role_names() if (ROOT / "molecule" / name).is_dir()])
def test_scenario(scenario: str) -> None:
    # Scenarios may run side by side: each has a folder, and by it a network and containers, of its own.
    own = {
        "MOLECULE_EPHEMERAL_DIRECTORY": str(ROOT / ".cache" / "molecule" / scenario),
        "DIGITAL_TWIN_MOLECULE_PORT": str(free_port(None)),
    }
    run(["molecule", "reset", "--scenario-name", scenario], env=own)
    run(["molecule", "test", "--scenario-name", scenario], env=own, timeout=SCENARIO_SECONDS)
