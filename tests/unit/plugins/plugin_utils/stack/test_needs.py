# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of what services need agrees with the stack."""

from __future__ import annotations

from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._values import driver_order
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.needs import PROFILES, services

from tests.support.project import ROOT, load_yaml


def test_versions_of_the_driver_are_compared_as_numbers() -> None:
    versions = ["", "99.1", "535", "535.129", "550.163", "580", "580.9", "580.65.06", "580.95", "580.95.05", "1000"]
    assert sorted(set(versions), key=driver_order) == versions


def test_profiles_and_limits_are_those_of_the_stack() -> None:
    stack = load_yaml(ROOT / "compose" / "compose.yaml")["services"]
    assert set(stack) == set(services())
    for profile, names in PROFILES.items():
        assert {name for name, service in stack.items() if profile in service.get("profiles", PROFILES)} == set(names)
    # A host whose kernel enforces no limit of memory sets MEMORY_LIMIT=0.
    given = {name: service["mem_limit"] for name, service in stack.items() if "mem_limit" in service}
    limits = {name: limit.removeprefix("${MEMORY_LIMIT:-").removesuffix("}") for name, limit in given.items()}
    assert limits == {"redis": "256m", "cognitive": "256m", "ros2": "2g", "foxglove": "128m"}
    for name, limit in limits.items():
        assert services()[name].ram[1] == int(limit[:-1]) * {"m": 1, "g": 1024}[limit[-1]]
