# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPUs have RT cores."""

from __future__ import annotations

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.fit import Machine


@pytest.mark.parametrize(
    ("gpu", "has"),
    [
        ("T4", True),
        ("Tesla T4", True),
        ("NVIDIA A10G", True),
        ("NVIDIA A10", True),
        ("NVIDIA L4", True),
        ("NVIDIA L40S", True),
        ("NVIDIA GeForce RTX 4090", True),
        ("V100", False),
        ("Tesla V100-SXM2-16GB", False),
        ("NVIDIA A100-SXM4-40GB", False),
        ("NVIDIA H100 80GB HBM3", False),
        ("Tesla P4", False),
        ("", False),
    ],
)
def test_rt_cores(gpu: str, has: bool) -> None:
    assert Machine("here", gpu, 1, 1).traces_rays is has
