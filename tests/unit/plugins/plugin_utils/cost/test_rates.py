# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prices an hour and a month, and what spot, a reservation or another size would change."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._cost.prices import (
    dated,
    family_ratio,
    own_types,
    price_problems,
    prices_of,
)
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._cost.rates import (
    Size,
    difference,
    difference_line,
    discount_of,
    rates,
    reservation,
    spot_saving,
)

HOST = Size("g5.xlarge", 200)
US = prices_of("us-east-1")


@pytest.mark.parametrize(
    ("hosts", "region", "expected"),
    [
        pytest.param([], "us-east-1", (0, 0, 0, [], False), id="no hosts"),
        # 16 + 0.005 x 730 = 19.65; 1.006 x 730 + 19.65 = 754.03.
        pytest.param([HOST], "us-east-1", (1.03, 754.03, 19.65, [], False), id="the guide's host"),
        # 1000 x 0.005 + 100 x 0.04 = 9.
        pytest.param(
            [Size("g5.xlarge", 200, 4000, 225)], "us-east-1", (1.05, 763.03, 28.65, [], False), id="a faster disk"
        ),
        pytest.param(
            [Size("g5.xlarge", 300), Size("p4d.24xlarge", 300), Size("p4d.24xlarge", 300)],
            "us-east-1",
            (1.12, 817.33, 82.95, ["p4d.24xlarge"], False),
            id="types without a price",
        ),
        # 1.006 x 7.09282 / 5.672 = 1.258, times 730 918.34.
        pytest.param([HOST], "eu-central-1", (1.29, 941.03, 22.69, [], False), id="the ratio of its family"),
        # 200 x 0.0952 = 19.04, with 3.65 22.69. The type's own price is known there, 2.327 x 730 = 1698.71.
        pytest.param([Size("g6e.xlarge", 200)], "eu-central-1", (2.36, 1721.4, 22.69, [], False), id="own prices"),
        # Operations a second at the price of us-east-1.
        pytest.param(
            [Size("g6e.xlarge", 200, 4000)], "eu-central-1", (2.36, 1726.4, 27.69, [], True), id="one price is a guess"
        ),
        pytest.param([HOST], "af-south-1", (1.03, 754.03, 19.65, [], True), id="all prices are guesses"),
        pytest.param(
            [Size("g5.xlarge", 200, addresses=0)], "us-east-1", (1.03, 750.38, 16, [], False), id="no address"
        ),
    ],
)
def test_rates(hosts: list[Size], region: str, expected: tuple[Any, ...]) -> None:
    keys = ("per_hour", "per_month", "per_month_stopped", "without_price", "estimated")
    assert rates(hosts, prices_of(region)) == dict(zip(keys, expected, strict=True))


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        # (1.212 - 1.006) x 730 = 150.38.
        ([HOST], [Size("g5.2xlarge", 200)], "This change costs +$150.38 a month if always on, +$0.00 stopped."),
        # (0.8048 - 1.006) x 730 = -146.876; 100 x 0.08 = 8.
        ([HOST], [Size("g6.xlarge", 300)], "This change costs -$138.88 a month if always on, +$8.00 stopped."),
        ([HOST], [HOST, HOST], "This change costs +$754.03 a month if always on, +$19.65 stopped."),
        ([HOST], [], "This change costs -$754.03 a month if always on, -$19.65 stopped."),
        ([HOST], [HOST], "This change costs +$0.00 a month if always on, +$0.00 stopped."),
        (
            [HOST],
            [Size("g7.4xlarge", 300)],
            "The price of g7.4xlarge is not known. Volumes and addresses: +$8.00 a month.",
        ),
    ],
)
def test_the_difference_of_a_change(before: list[Size], after: list[Size], line: str) -> None:
    assert difference_line(difference(before, after, US)) == line


def test_a_difference_with_another_regions_prices_is_marked() -> None:
    found = difference([HOST], [Size("g5.2xlarge", 200)], prices_of("af-south-1"))
    assert found == {"per_month": 150.38, "per_month_stopped": 0, "without_price": [], "estimated": True}
    assert difference_line(found).endswith(" These are estimates, with prices of another region.")


@pytest.mark.parametrize(
    ("discount", "hours", "expected"),
    [
        # 1.006 x 730 = 734.38 on demand. 35 % off: 477.35, break-even 65 % or 474.5 hours.
        (0.35, 730, (477.35, 257.03, 474.5, 65.0)),
        (0.35, 474.5, (477.35, 0.0, 474.5, 65.0)),
        # The guide: worth it above a use of 30 %. There it loses 257.03.
        (0.35, 219, (477.35, -257.03, 474.5, 65.0)),
        (0.0, 730, (734.38, 0.0, 730.0, 100.0)),
        (1.0, 0, (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_a_reservation_is_worth_it_above_its_discount(
    discount: float, hours: float, expected: tuple[float, ...]
) -> None:
    keys = ("per_month", "saved", "break_even_hours", "break_even_percent")
    assert reservation(1.006, discount, hours) == dict(zip(keys, expected, strict=True))


def test_the_guides_price_of_a_reservation_is_a_smaller_discount_than_it_says() -> None:
    """650 a month for g5.xlarge, which it calls 35 % off, is 11.5 % off: worth it above 88.5 % of all hours."""
    discount = discount_of(1.006, 650)
    assert round(discount * 100, 1) == 11.5
    assert reservation(1.006, discount, 730)["break_even_percent"] == 88.5
    assert reservation(1.006, discount, 0.30 * 730)["saved"] == pytest.approx(0.30 * 734.38 - 650, abs=0.01)


@pytest.mark.parametrize("discount", [-0.1, 35])
def test_a_discount_is_a_part_of_one(discount: float) -> None:
    with pytest.raises(ValueError, match=r"is not between 0 and 1; 35 % is 0\.35"):
        reservation(1.006, discount, 730)


def test_spot() -> None:
    assert spot_saving(1.006, 0.4, 100) == {"saved": 60.6, "percent": 60.2}
    assert spot_saving(1.006, 1.5, 100) == {"saved": -49.4, "percent": -49.1}
    assert spot_saving(1.006, 0.4, 0)["saved"] == 0


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({}, []),
        ({"gib_month": 0.07, "metric_month": 0}, []),
        (
            {"gb_month": 0.07},
            ['cost_prices: "gb_month" is not the name of a price. Allowed: address_hour, alarm_month,'],
        ),
        ({"gib_month": "0.07"}, []),
        ({"gib_month": "7 ct"}, ['cost_prices.gib_month: "7 ct" is not a price. Allowed: a number of 0 or more']),
        ({"gib_month": [1]}, ["[1] is not a price"]),
        ({"gib_month": -1}, ["-1 is not a price"]),
        ({"gib_month": True}, ["true is not a price"]),
        ({"gib_month": float("nan")}, ["is not a price"]),
    ],
)
def test_a_users_prices(given: dict[str, Any], messages: list[str]) -> None:
    problems = list(map(str, price_problems("cost_prices", given)))
    assert len(problems) == len(messages)
    assert all(message in problem for message, problem in zip(messages, problems, strict=True))


def test_a_users_prices_are_no_estimates() -> None:
    own = prices_of("af-south-1", {"gib_month": "0.1"}, {"g5.xlarge": 1.5})
    # 200 x 0.1 + 3.65, 1.5 x 730.
    assert rates([HOST], own) == {
        "per_hour": 1.53,
        "per_month": 1118.65,
        "per_month_stopped": 23.65,
        "without_price": [],
        "estimated": False,
    }


def test_prices_are_dated() -> None:
    dates = [word.strip(",") for word in dated().split() if word[:2] == "20"]
    assert len(dates) == 3
    assert all(date.fromisoformat(day) <= date.today() for day in dates)


@pytest.mark.parametrize(
    "region", ["us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-2"]
)
def test_prices_of_regions_are_near_those_of_the_base(region: str) -> None:
    """A slip of a digit would be seen."""
    prices = prices_of(region)
    assert "gib_month" not in prices.estimated
    assert 0.9 < prices.values["gib_month"] / US.values["gib_month"] < 2


@pytest.mark.parametrize(
    ("region", "price"), [("eu-central-1", 2.327), ("eu-north-1", 1.974), ("ap-northeast-2", 2.288)]
)
def test_the_ratio_of_a_family_gives_the_prices_of_another_source(region: str, price: float) -> None:
    """machines.yml has these prices of g6e.xlarge from the Price List API; the ratio comes from g6e.2xlarge."""
    ratio = family_ratio("g6e.xlarge", region)
    assert ratio
    assert round(1.861 * ratio, 3) == price == prices_of(region).instance("g6e.xlarge")[0]


@pytest.mark.parametrize(
    ("instance_type", "region", "expected"),
    [
        ("g4dn.xlarge", "eu-west-3", (0.615, False)),
        # AWS: 9.148, 1.16922 times the price in us-east-1. The ratio of g4dn.xlarge gives 9.14776.
        ("g4dn.metal", "eu-west-3", (9.14776, False)),
        ("g5.16xlarge", "eu-central-1", (5.12204, False)),
        ("g6.8xlarge", "eu-west-2", (2.55705, False)),
        ("g6.xlarge", "us-east-1", (0.8048, False)),
        # g6 is not offered there, so an instance of it has no price there.
        ("g6.xlarge", "eu-west-1", (0.8048, True)),
        ("p3.2xlarge", "eu-west-1", (3.06, True)),
        ("g7.4xlarge", "eu-west-1", (None, True)),
        ("t3.micro", "us-east-1", (None, True)),
    ],
)
def test_instance_prices(instance_type: str, region: str, expected: tuple[float | None, bool]) -> None:
    found = prices_of(region).instance(instance_type)
    assert found == (expected[0] if expected[0] is None else pytest.approx(expected[0], abs=0.0006), expected[1])


def test_a_catalogues_own_prices() -> None:
    """A list price of us-east-1 in the catalogue is not the user's."""
    catalogue: list[dict[str, Any]] = [
        {"type": "g5.xlarge", "price_per_hour": 1.006},
        {"type": "g6.xlarge", "price_per_hour": 0.7},
        {"type": "x9.large", "price_per_hour": 3},
        {"type": "x9.xlarge", "price_per_hour": None},
        {"type": "x9.2xlarge"},
    ]
    assert own_types(catalogue) == {"g6.xlarge": 0.7, "x9.large": 3.0}
