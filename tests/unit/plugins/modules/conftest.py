# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with simulated GPUs for the tests of the GPU modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import nvml
from tests.support.gpus import Host


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the simulated NVML."""
    folder = tmp_path_factory.mktemp("nvml")
    nvml.build(folder)
    return folder


@pytest.fixture
def host(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host without GPUs, until they are set up."""
    return Host(nvml_library, tmp_path, monkeypatch)
