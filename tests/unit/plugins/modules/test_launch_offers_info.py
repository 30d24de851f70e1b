# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The offers of a launch, with the prices that AWS gives."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import launch_offers_info

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]
NOW = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
TYPES = [
    {"name": "g6.xlarge", "zones": ["us-east-1a", "us-east-1b"], "price_per_hour": 0.8048},
    {"name": "g5.xlarge", "zones": ["us-east-1b"], "price_per_hour": 1.006, "price_estimated": True},
]


def price(zone: str, amount: str, age: int, instance_type: str = "g6.xlarge") -> dict[str, Any]:
    """Return a spot price that began to hold some hours ago."""
    return {
        "AvailabilityZone": f"us-east-1{zone}",
        "InstanceType": instance_type,
        "SpotPrice": amount,
        "Timestamp": NOW - datetime.timedelta(hours=age),
    }


@pytest.fixture
def run(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module with two types, but for what is given, and return its result."""

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        arguments = {"region": "us-east-1", "instance_types": TYPES, "variable_prefix": "lab_", **given}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            launch_offers_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def test_on_demand_reads_no_spot_price(run: Run, cloud: Cloud) -> None:
    result = run(availability_zones=["us-east-1b"])
    assert result["table"] == [
        "market     instance type  zones, in the order in which they are tried",
        "on demand  g6.xlarge      us-east-1b $0.805, us-east-1a $0.805",
        "on demand  g5.xlarge      us-east-1b ~$1.006",
    ]
    assert not result["changed"]
    assert cloud.asked == []


def test_spot_before_on_demand_at_the_price_that_holds(run: Run, cloud: Cloud) -> None:
    asked: list[dict[str, Any]] = []
    history = [price("a", "0.4", 1), price("a", "0.3", 30), price("b", "0.2", 2), price("b", "0.6", 3)]

    def answer(given: dict[str, Any]) -> dict[str, Any]:
        asked.append(given)
        return {"SpotPriceHistory": history}

    cloud.answers["DescribeSpotPriceHistory"] = answer
    result = run(market="auto")
    assert result["table"][1:] == [
        "spot       g6.xlarge      us-east-1a $0.400, us-east-1b $0.200",
        "spot       g5.xlarge      us-east-1b",
        "on demand  g6.xlarge      us-east-1a $0.805, us-east-1b $0.805",
        "on demand  g5.xlarge      us-east-1b ~$1.006",
    ]
    assert [(row["market"], row["availability_zone"], row["price_per_hour"]) for row in result["offers"]][:3] == [
        ("spot", "us-east-1a", 0.4),
        ("spot", "us-east-1b", 0.2),
        ("spot", "us-east-1b", None),
    ]
    (given,) = asked
    assert (given["InstanceTypes"], given["ProductDescriptions"]) == (["g6.xlarge", "g5.xlarge"], ["Linux/UNIX"])


def test_prices_that_may_not_be_read(run: Run, cloud: Cloud) -> None:
    cloud.refuse("DescribeSpotPriceHistory", "UnauthorizedOperation")
    result = run(market="spot")
    assert not result.get("failed"), result
    assert [row["price_per_hour"] for row in result["offers"]] == [None, None, None]
    (line,) = result["notes"]
    assert line.startswith("spot prices are not shown: ")
    assert "ec2:DescribeSpotPriceHistory" in line


def test_reservations_first_and_those_that_cannot_be_used(run: Run, cloud: Cloud) -> None:
    found = {"InstanceType": "p5.48xlarge", "AvailabilityZone": "us-east-1c", "ReservationType": "capacity-block"}
    cloud.answers["DescribeCapacityReservations"] = {
        "CapacityReservations": [
            {**found, "CapacityReservationId": "cr-old", "State": "expired", "AvailableInstanceCount": 0},
            {**found, "CapacityReservationId": "cr-full", "State": "active", "AvailableInstanceCount": 0},
            {**found, "CapacityReservationId": "cr-free", "State": "active", "AvailableInstanceCount": 2},
        ]
    }
    result = run(capacity_reservations=["cr-old", "cr-full", "cr-free"])
    assert result["notes"] == [
        "cr-old: skipped, as it is expired with 0 free instances",
        "cr-full: skipped, as it is active with 0 free instances",
    ]
    assert result["table"][1] == "reservation cr-free  p5.48xlarge    us-east-1c"
    assert [row["reservation"] for row in result["offers"]] == ["cr-free", "", "", ""]
    assert run(capacity_reservations=["cr-none"])["msg"] == (
        "lab_capacity_reservations: cr-none does not exist in us-east-1. Correct or remove it."
    )
    cloud.refuse("DescribeCapacityReservations", "InvalidCapacityReservationId.NotFound", "The ID 'cr-9' is unknown.")
    assert run(capacity_reservations=["cr-9"])["msg"] == (
        "lab_capacity_reservations: The ID 'cr-9' is unknown. Correct the ids, or remove them."
    )
