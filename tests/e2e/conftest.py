# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sandbox for all end-to-end tests, apart from the user's own; one lab in it that tests may expect to run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.settings import Sandbox
from tests.support.account import holdings
from tests.support.lab import Cloud
from tests.support.project import ROOT


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Run a sandbox; whatever an aborted run left of it is removed first."""
    cloud = Cloud(Sandbox.at(ROOT / ".cache" / "e2e"))
    # The engine stays: role tests may need it at the same time.
    cloud.command("down", "--keep-engine").must_succeed()
    cloud.up()
    yield cloud
    cloud.command("down", "--keep-engine").must_succeed()


@pytest.fixture(scope="session")
def empty_account(cloud: Cloud) -> set[tuple[str, str]]:
    """Return what AWS itself has put into the account before any lab."""
    return holdings(cloud.client)


@pytest.fixture
def lab(cloud: Cloud, empty_account: set[tuple[str, str]]) -> Cloud:
    """Return the cloud with the lab of group_vars in it, running and verified."""
    if not cloud.lab_runs:
        cloud.playbook("site.yml").must_succeed()
        cloud.lab_runs = True
        cloud.control("DELETE", "calls")
    return cloud


@pytest.fixture(autouse=True)
def no_faults(cloud: Cloud) -> Iterator[None]:
    """Let each test start and end without injected faults, and with an empty journal."""
    cloud.control("DELETE", "faults")
    cloud.control("DELETE", "calls")
    yield
    cloud.control("DELETE", "faults")
