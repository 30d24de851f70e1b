# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks to try DDS in, and processes that have to be there for a while before they are needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.network import Network, why_impossible
from tests.support.ros2 import install_ros2


@pytest.fixture(scope="session", autouse=True)
def possible() -> None:
    """Fail at once, with a reason, where no network can be made."""
    reason = why_impossible()
    if reason:
        pytest.fail(reason, pytrace=False)


@pytest.fixture
def network(possible: None) -> Iterator[Network]:
    """Return two hosts on one switch."""
    with Network(2) as network:
        yield network


@pytest.fixture(scope="session")
def ros2(possible: None) -> None:
    """Have ROS 2 with Fast DDS, in an environment of its own."""
    install_ros2()
