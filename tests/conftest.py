# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mark every test with the stage of its folder, and set the order and which tests run in parallel."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.stages import STAGES, TOGETHER
from tests.support.ansible_lines import why_no_floor, why_not_both
from tests.support.project import ROOT


def shared_by(nodeid: str) -> str:
    """Return the name of the group whose tests run in the same worker."""
    for shared, prefixes in TOGETHER.items():
        if nodeid.startswith(prefixes):
            return shared
    # The tests of a file share their fixtures.
    return nodeid.partition("::")[0] if nodeid.startswith("tests/unit/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker one test at a time, or one group of tests that share something."""
    scheduler: Any = LoadScopeScheduling(config, log)
    scheduler._split_scope = shared_by
    return scheduler


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--full``."""
    parser.addoption("--full", action="store_true", help="also run the tests that are marked full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark and sort the tests, and deselect those of the full run, or of a Python or line of Ansible that is missing.

    Within a stage the order of collection stays. The cheap stages come first. With several workers they come last,
    because they fill the time in which the long ones wait.

    Raises:
        pytest.UsageError: a test of tests/ is not in one of the folders of the stages.
    """
    order = list(STAGES)
    rank: dict[str, int] = {}
    for item in items:
        if not item.path.is_relative_to(ROOT / "tests"):
            continue
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder not in STAGES:
            raise pytest.UsageError(f"{item.nodeid}: a test belongs in one of tests/{{{','.join(order)}}}/")
        item.add_marker(STAGES[folder])
        rank[item.nodeid] = order.index(folder)
    left_out = [item for item in items if is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    several = hasattr(config, "workerinput")
    items.sort(key=lambda item: rank.get(item.nodeid, len(order)), reverse=several)
    if several:
        items.sort(key=lambda item: handed_out(item.nodeid))


def is_left_out(item: pytest.Item) -> bool:
    """Return whether a test is for the full run only, or for a Python or line of Ansible that is missing."""
    if item.get_closest_marker("full") and not item.config.getoption("--full"):
        return True
    if item.get_closest_marker("floor"):
        return bool(why_no_floor())
    return item.get_closest_marker("oldest") is not None and bool(why_not_both())


def handed_out(nodeid: str) -> int:
    """Return the rank of a test's group among those that start first."""
    together = list(TOGETHER)
    shared = shared_by(nodeid)
    return together.index(shared) if shared in together else len(together)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Report the results of the oldest line of Ansible, and the tests that did not run."""
    done = [
        f"{report.nodeid.partition('[')[2].rstrip(']')}: {value}"
        for reports in (terminalreporter.getreports("passed"),)
        for report in reports
        for name, value in report.user_properties
        if name == "summary"
    ]
    reasons = [reason for reason in (why_not_both(), why_no_floor()) if reason]
    if done:
        terminalreporter.section("the oldest line of Ansible")
        terminalreporter.write_line("\n".join(done))
    if reasons:
        terminalreporter.section("not run")
        terminalreporter.write_line("\n".join(reasons))
    # pytest's last line shows them too.
    if why_not_both():
        terminalreporter._add_stats("line of Ansible not run", [why_not_both()])
    if why_no_floor():
        terminalreporter._add_stats("Python of hosts not run", [why_no_floor()])
