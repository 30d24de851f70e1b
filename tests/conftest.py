# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks every test with the stage its folder stands for, and decides what runs first, and what side by side."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.project import ROOT

# Folder below tests/, and the marker that selects it: `pytest -m unit`. The order is the order of cost.
STAGES = {"unit": "unit", "gates": "gate", "dds": "dds", "molecule": "molecule", "e2e": "e2e"}
# What shares a lab, or the settings of this machine's kernel: of several workers (pytest-xdist) one runs all of it.
ONE_AFTER_ANOTHER = ("tests/dds/", "tests/e2e/", "tests/molecule/test_scenarios.py::test_scenario[ros2_networking]")


def shared_by(nodeid: str) -> str:
    """Return what a test has in common with those that the same worker runs."""
    if nodeid.startswith(ONE_AFTER_ANOTHER):
        return "machine"
    # The tests of a file share what is made once.
    return nodeid.partition("::")[0] if nodeid.startswith("tests/unit/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand tests to workers, when there are several: one by one, but those together that share something."""
    scheduler: Any = LoadScopeScheduling(config, log)
    scheduler._split_scope = shared_by
    return scheduler


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--full``."""
    parser.addoption("--full", action="store_true", help="also run the tests that are marked full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark and sort the tests, and leave out what is for the full run.

    Within a stage they keep the order in which they were found. The cheap stages come first; with several workers
    last, as they fill the time in which the long ones wait.

    Raises:
        pytest.UsageError: a test of tests/ lies outside the folders of the stages.
    """
    order = list(STAGES)
    rank: dict[str, int] = {}
    for item in items:
        if not item.path.is_relative_to(ROOT / "tests"):
            continue
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder not in STAGES:
            raise pytest.UsageError(f"{item.nodeid}: a test belongs into one of tests/{{{','.join(order)}}}/")
        item.add_marker(STAGES[folder])
        rank[item.nodeid] = order.index(folder)
    if not config.getoption("--full"):
        left_out = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    several = hasattr(config, "workerinput")
    items.sort(key=lambda item: rank.get(item.nodeid, len(order)), reverse=several)
