# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: an account without hosts, a sandbox with the lab, and one for labs that are only provisioned."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.settings import Sandbox
from tests.support.account import holdings
from tests.support.lab import Account, Cloud, account
from tests.support.project import ROOT


def running(name: str) -> Iterator[Cloud]:
    """Run a sandbox; the remains of an aborted run are removed first."""
    cloud = Cloud(sandbox=Sandbox.at(ROOT / ".cache" / name))
    # The engine stays: role tests may need it at the same time.
    cloud.command("down", "--keep-engine").must_succeed()
    cloud.up()
    yield cloud
    cloud.command("down", "--keep-engine").must_succeed()


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """Run the sandbox of the lab."""
    yield from running("e2e")


@pytest.fixture(scope="session")
def other_cloud() -> Iterator[Cloud]:
    """Run a sandbox for labs that are only provisioned, with injected faults."""
    yield from running("e2e-other")


@pytest.fixture(scope="session")
def one_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Serve an account for all tests of this process that need no host."""
    with account(tmp_path_factory.mktemp("account")) as served:
        yield served


@pytest.fixture
def no_hosts(one_account: Account) -> Iterator[Account]:
    """Return an account without hosts, without injected faults, and with an empty journal."""
    one_account.forget()
    yield one_account
    one_account.forget()


@pytest.fixture
def other(other_cloud: Cloud) -> Iterator[Cloud]:
    """Return the sandbox without the lab, without injected faults, and with an empty journal."""
    other_cloud.forget()
    yield other_cloud
    other_cloud.forget()


@pytest.fixture(scope="session")
def empty_account(cloud: Cloud) -> set[tuple[str, str]]:
    """Return the resources that AWS itself created in the lab's account."""
    return holdings(cloud.client)


@pytest.fixture(scope="session")
def other_empty_account(other_cloud: Cloud) -> set[tuple[str, str]]:
    """Return the resources that AWS itself created in the other account."""
    return holdings(other_cloud.client)


@pytest.fixture
def lab(cloud: Cloud, empty_account: set[tuple[str, str]]) -> Iterator[Cloud]:
    """Return the sandbox with the lab of group_vars, running and verified."""
    cloud.forget()
    if not cloud.lab_runs:
        cloud.playbook("site.yml").must_succeed()
        cloud.lab_runs = True
        cloud.control("DELETE", "calls")
    yield cloud
    cloud.control("DELETE", "faults")
