# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Device nodes by which a CDI specification and a host differ."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.container_toolkit_nodes import FilterModule

find = FilterModule().filters()["container_toolkit_nodes"]

CONTROL = ["/dev/nvidiactl", "/dev/nvidia-uvm"]
DEVICE = {"exists": True, "kind": "other"}
ABSENT = {"exists": False}
FILE = {"exists": True, "kind": "file"}
HOST = dict.fromkeys([*CONTROL, "/dev/nvidia0", "/dev/dri/card0"], DEVICE)
PATTERNS = ["/dev/nvidia*", "/dev/dri/*"]


def specification(*common: str, gpu: str = "/dev/nvidia0") -> dict[str, Any]:
    """Return a specification of one GPU with these nodes of all its devices."""
    return {
        "kind": "nvidia.com/gpu",
        "devices": [{"name": name, "containerEdits": {"deviceNodes": [{"path": gpu}]}} for name in ("0", "all")],
        "containerEdits": {"deviceNodes": [{"path": node} for node in common]},
    }


@pytest.mark.parametrize(
    ("given", "changes", "told"),
    [
        (specification(*CONTROL), {}, []),
        (specification("/dev/nvidiactl"), {}, ["/dev/nvidia-uvm is not in the specification, and the host has it."]),
        (specification("/dev/nvidiactl"), {"/dev/nvidia-uvm": ABSENT},
         ["/dev/nvidia-uvm is not in the specification, and the host does not have it either."]),
        # mknod refuses a path that exists, and programs cannot use a file as a device.
        (specification("/dev/nvidiactl"), {"/dev/nvidia-uvm": FILE},
         ["/dev/nvidia-uvm is not in the specification, and the host does not have it either."]),
        (specification(*CONTROL), {"/dev/nvidia-uvm": FILE},
         ["/dev/nvidia-uvm is in the specification, but is not a device on the host."]),
        # A device that two names share is reported once.
        (specification(*CONTROL, gpu="/dev/nvidia7"), {},
         ["/dev/nvidia7 is in the specification, but is not a device on the host."]),
        (specification(*CONTROL, gpu="/dev/dri/card1"), {},
         ["/dev/dri/card1 is in the specification, but is not a device on the host."]),
        # Nothing is known about nodes that were not read.
        (specification(*CONTROL, gpu="/dev/nvidia-caps/nvidia-cap1"), {}, []),
        (specification(*CONTROL, gpu="/dev/nvhost-gpu"), {}, []),
        ({}, {}, [f"{node} is not in the specification, and the host has it." for node in CONTROL]),
        (None, {}, [f"{node} is not in the specification, and the host has it." for node in CONTROL]),
        ({"devices": None, "containerEdits": {"deviceNodes": None}}, {},
         [f"{node} is not in the specification, and the host has it." for node in CONTROL]),
    ],
)  # fmt: skip
def test_nodes_that_differ_are_found(given: dict[str, Any] | None, changes: dict[str, Any], told: list[str]) -> None:
    assert find(given, {**HOST, **changes}, CONTROL, PATTERNS) == told


def test_the_path_on_the_host_counts() -> None:
    given = specification(*CONTROL)
    given["containerEdits"]["deviceNodes"].append({"path": "/dev/nvidia9", "hostPath": "/dev/nvidia0"})
    assert find(given, HOST, CONTROL, PATTERNS) == []


def test_patterns_are_optional() -> None:
    assert find(specification(*CONTROL, gpu="/dev/nvidia7"), HOST, CONTROL) == []
