# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the data files: what the stack deploys, the machines that it may run on, and its language models."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent


@cache
def _read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return data


def versions() -> dict[str, Any]:
    """Return compose/versions.yml: images, packages, and what the services need."""
    return _read(HERE.parents[2] / "compose" / "versions.yml")


def machines() -> dict[str, Any]:
    """Return machines.yml: GPUs and instance types."""
    return _read(HERE / "machines.yml")


def models() -> dict[str, Any]:
    """Return models.yml: language models and what they take."""
    return _read(HERE / "models.yml")
