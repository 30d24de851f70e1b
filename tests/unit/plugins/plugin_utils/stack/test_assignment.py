# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service gets which GPU."""

from __future__ import annotations

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.assignment import (
    GPU_SERVICES,
    assign,
    devices,
)
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.needs import PROFILES, services

from tests.support.project import ROOT, load_yaml


@pytest.mark.parametrize(
    ("profile", "count", "numbers"),
    [
        ("nav", 4, []),
        ("sim", 0, [0]),
        ("sim", 1, [0]),
        ("sim", 8, [0]),
        ("voice", 1, [0, 0]),
        ("voice", 2, [0, 1]),
        ("voice", 8, [0, 1]),
        ("full", 0, [0, 0, 0]),
        ("full", 1, [0, 0, 0]),
        ("full", 2, [0, 1, 0]),
        ("full", 3, [0, 1, 2]),
        ("full", 4, [0, 1, 2]),
        ("full", 8, [0, 1, 2]),
    ],
)
def test_assignment(profile: str, count: int, numbers: list[int]) -> None:
    names = [name for name in GPU_SERVICES if name in PROFILES[profile]]
    assert list(assign(PROFILES[profile], count).items()) == list(zip(names, numbers, strict=True))
    expected = {name: str(number) if count > 1 else "all" for name, number in zip(names, numbers, strict=True)}
    assert devices(PROFILES[profile], count) == expected


def test_the_services_with_a_gpu_are_those_of_the_stack() -> None:
    assert {name for name, need in services().items() if need.vram[1]} == set(GPU_SERVICES)
    stack = load_yaml(ROOT / "compose" / "compose.yaml")["services"]
    assert {name for name, service in stack.items() if "devices" in str(service.get("deploy", ""))} == set(GPU_SERVICES)
