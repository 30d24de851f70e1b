# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The types to try, after that of the lab."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_launch_types import lab_launch_types

FIRST = {"name": "g6.xlarge", "zones": ["a"], "gpus": 1}
ZONES = {"g4dn.xlarge": ["a", "b"], "g4dn.12xlarge": ["b"], "g5.xlarge": ["b"], "g6e.xlarge": ["a"]}
DESCRIBED = [{"InstanceType": "g4dn.12xlarge", "GpuInfo": {"Gpus": [{"Count": 4}]}}]


def offer(name: str, price: float | None, *reasons: str) -> dict[str, Any]:
    return {"type": name, "price_per_hour": price, "reasons": list(reasons)}


OFFERS = [
    offer("g4dn.xlarge", 0.5, "its GPU has too little memory"),
    offer("g6.xlarge", 0.8),
    offer("g5.xlarge", 1.0),
    offer("g4dn.12xlarge", 1.6),
    offer("g6e.xlarge", 1.9),
    offer("g7.2xlarge", 0.9),
    offer("unknown", None),
]


@pytest.mark.parametrize(
    ("offers", "most", "expected"),
    [
        ([], 2, ["g6.xlarge"]),
        # Not what the profile does not run on, costs more than twice, has no zone, or no price.
        (OFFERS, 2, ["g6.xlarge", "g5.xlarge", "g4dn.12xlarge"]),
        (OFFERS, 3, ["g6.xlarge", "g5.xlarge", "g4dn.12xlarge", "g6e.xlarge"]),
        (OFFERS, 1, ["g6.xlarge"]),
        # Without a price to compare with.
        ([*OFFERS[:1], *OFFERS[2:]], 2, ["g6.xlarge"]),
    ],
)
def test_types_in_order(offers: list[dict[str, Any]], most: float, expected: list[str]) -> None:
    assert [entry["name"] for entry in lab_launch_types(offers, FIRST, ZONES, DESCRIBED, most)] == expected


def test_zones_and_gpus_of_each() -> None:
    assert lab_launch_types(OFFERS, FIRST, ZONES, DESCRIBED) == [
        FIRST,
        {"name": "g5.xlarge", "zones": ["b"], "gpus": 1},
        {"name": "g4dn.12xlarge", "zones": ["b"], "gpus": 4},
    ]


@pytest.mark.parametrize(
    ("lab", "expected"),
    [
        ({"region": "us-east-1", "instance_catalogue": []}, [(0.8048, False), (1.006, False)]),
        (
            {"region": "us-east-1", "instance_catalogue": [{"type": "g5.xlarge", "price_per_hour": 0.7}]},
            [(0.8048, False), (0.7, False)],
        ),
        ({"region": "mars-1", "instance_catalogue": []}, [(0.8048, True), (1.006, True)]),
    ],
)
def test_what_each_costs(lab: dict[str, Any], expected: list[tuple[float, bool]]) -> None:
    found = lab_launch_types(OFFERS, FIRST, ZONES, lab=lab)[:2]
    assert [(entry["price_per_hour"], entry["price_estimated"]) for entry in found] == expected
