# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of offers, what an error means for the next one, tokens, and networks of subnets."""

from __future__ import annotations

import re

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._launch import errors
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._launch.errors import Refusal
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._launch.offers import (
    Offer,
    Search,
    list_offers,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._launch.request import (
    Place,
    free_network,
    token_of,
)

TYPES = [("g6.xlarge", ["a", "b"]), ("g5.xlarge", ["a", "b", "c"])]
EMPTY = Refusal("InsufficientInstanceCapacity", "no capacity", 500)
QUOTA = Refusal("VcpuLimitExceeded", "too many", 400)


def tried(search: Search, refusals: dict[str, Refusal], default: Refusal = EMPTY) -> list[str]:
    """Return what is tried when everything is refused, by type."""
    found = []
    while offer := search.next():
        found.append(f"{offer.market[:2]} {offer.instance_type[:2]} {offer.zone}")
        search.fail(offer, refusals.get(offer.instance_type, default))
        assert len(found) < 50
    return found


@pytest.mark.parametrize(
    ("market", "zones", "expected"),
    [
        ("on_demand", [], "on g6 a, on g6 b, on g5 a, on g5 b, on g5 c"),
        ("on_demand", ["c", "b"], "on g6 b, on g6 a, on g5 c, on g5 b, on g5 a"),
        ("spot", [], "sp g6 a, sp g6 b, sp g5 a, sp g5 b, sp g5 c"),
        (
            "auto",
            [],
            "sp g6 a, sp g6 b, sp g5 a, sp g5 b, sp g5 c, on g6 a, on g6 b, on g5 a, on g5 b, on g5 c",
        ),
    ],
)
def test_the_order(market: str, zones: list[str], expected: str) -> None:
    assert tried(Search(list_offers(TYPES, market, zones)), {}) == expected.split(", ")


def test_what_is_paid_for_comes_first() -> None:
    reserved = [Offer("p5.48xlarge", "c", "capacity-block", "cr-1")]
    assert list_offers(TYPES, "spot", [], reserved)[0] == reserved[0]


def test_a_quota_ends_a_type_in_one_market_only() -> None:
    search = Search(list_offers(TYPES, "auto", []))
    assert tried(search, {"g6.xlarge": QUOTA}) == [
        *("sp g6 a", "sp g5 a", "sp g5 b", "sp g5 c"),
        *("on g6 a", "on g5 a", "on g5 b", "on g5 c"),
    ]


def test_zones_that_aws_names_come_first() -> None:
    zones = [f"us-east-1{letter}" for letter in "abcd"]
    search = Search(list_offers([("g5.xlarge", zones), ("g6.xlarge", zones)], "on_demand", []))
    named = Refusal("InsufficientInstanceCapacity", "not in us-east-1a, but choosing us-east-1d, us-east-1c.", 500)
    search.fail(search.offers[0], named)
    order = [search.next()]
    assert order[0] == Offer("g5.xlarge", "us-east-1d")
    search.fail(Offer("g5.xlarge", "us-east-1d"), EMPTY)
    assert search.next() == Offer("g5.xlarge", "us-east-1c")
    search.fail(Offer("g5.xlarge", "us-east-1c"), EMPTY)
    assert search.next() == Offer("g5.xlarge", "us-east-1b")
    search.fail(Offer("g5.xlarge", "us-east-1b"), EMPTY)
    # What AWS names for one type says nothing about another.
    assert search.next() == Offer("g6.xlarge", "us-east-1a")


@pytest.mark.parametrize(
    ("code", "status", "text", "meaning"),
    [
        ("InsufficientInstanceCapacity", 500, "", errors.ZONE),
        ("InsufficientFreeAddressesInSubnet", 400, "", errors.ZONE),
        ("ReservationCapacityExceeded", 400, "", errors.ZONE),
        ("SpotMaxPriceTooLow", 400, "", errors.ZONE),
        ("Unsupported", 400, "", errors.ZONE),
        ("VcpuLimitExceeded", 400, "", errors.KIND),
        ("MaxSpotInstanceCountExceeded", 400, "", errors.KIND),
        ("RequestLimitExceeded", 503, "", errors.WAIT),
        ("InternalError", 500, "", errors.WAIT),
        ("SomethingNew", 503, "", errors.WAIT),
        # No answer: the call may have been carried out.
        ("ReadTimeoutError", 0, "", errors.WAIT),
        ("InvalidParameterValue", 400, "Value (x) for parameter iamInstanceProfile.name is invalid.", errors.STOP),
        ("InvalidParameterValue", 400, "Invalid IAM Instance Profile name", errors.WAIT),
        ("IdempotentParameterMismatch", 400, "", errors.RENEW),
        ("IdempotentInstanceTerminated", 400, "", errors.RENEW),
        ("UnauthorizedOperation", 403, "", errors.STOP),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, "", errors.STOP),
        ("InvalidAMIID.NotFound", 400, "", errors.STOP),
        ("OptInRequired", 401, "", errors.STOP),
        ("PendingVerification", 403, "", errors.STOP),
    ],
)
def test_what_an_error_means(code: str, status: int, text: str, meaning: str) -> None:
    assert Refusal(code, text, status).meaning == meaning


def test_no_code_has_two_meanings() -> None:
    tables = [errors.ZONE_CODES, errors.KIND_CODES, errors.WAIT_CODES, errors.RENEW_CODES]
    assert sum(map(len, tables)) == len(set().union(*tables))


def test_a_token_belongs_to_one_launch() -> None:
    offer = Offer("g5.xlarge", "a")
    same = token_of("subnet-1", "lab-1", offer, 0)
    assert same == token_of("subnet-1", "lab-1", Offer("g5.xlarge", "a"), 0)
    others = {
        token_of("subnet-2", "lab-1", offer, 0),
        token_of("subnet-1", "lab-2", offer, 0),
        token_of("subnet-1", "lab-1", offer, 1),
        *(
            token_of("subnet-1", "lab-1", other, 0)
            for other in (
                Offer("g6.xlarge", "a"),
                Offer("g5.xlarge", "b"),
                Offer("g5.xlarge", "a", "spot"),
                Offer("g5.xlarge", "a", "on-demand", "cr-1"),
            )
        ),
    }
    assert len(others) == 7
    assert same not in others
    # EC2 allows 64 ASCII characters.
    assert all(re.fullmatch(r"[0-9a-f]{64}", token) for token in {same, *others})


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "10.0.1.0/24"),
        (["10.0.1.0/24"], "10.0.0.0/24"),
        (["10.0.1.0/24", "10.0.0.0/24"], "10.0.2.0/24"),
        (["10.0.0.0/22"], "10.0.4.0/24"),
        (["10.0.1.128/25", "10.0.0.16/28"], "10.0.2.0/24"),
        (["10.0.0.0/16"], ""),
    ],
)
def test_networks_of_further_subnets(taken: list[str], expected: str) -> None:
    assert free_network(Place({}, taken, "10.0.0.0/16", "10.0.1.0/24")) == expected
