# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the bridge's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.compose.cognitive.support import RedisServer
from tests.unit.compose.ros2.support import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Run a Redis that preserves its data, for a bridge and a client that sends commands."""
    server = RedisServer(tmp_path, kept=True)
    server.start()
    try:
        yield Lab(server, tmp_path)
    finally:
        server.stop()
