# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a lab's cost: sums by hand, and the sentences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter import lab_cost_report
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.entries import Entry
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.record import write_month

report = lab_cost_report.lab_cost_report
LAB: dict[str, Any] = {
    "region": "us-east-1",
    "prices": {},
    "instance_catalogue": [],
    "metrics": 0,
    "discount": 0.35,
}
COST = {"per_hour": 1.03, "per_month": 754.03, "per_month_stopped": 19.65}


def at(text: str) -> int:
    """Return a time in November 2026."""
    return int(datetime.fromisoformat(f"2026-11-{text}+00:00").timestamp())


def usage(*entries: Entry, now: str = "2026-11-21T00:00:00+00:00") -> dict[str, Any]:
    """Return what lab_usage returns."""
    return {"month": "2026-11", "now": now, "record": write_month(entries, "2026-11")}


def summary(*types: str) -> dict[str, Any]:
    """Return a lab's description."""
    return {"hosts": [{"instance_type": name} for name in types], "cost": COST}


def run(start: str, end: str, what: str = "g5.xlarge/on-demand", name: str = "i-1") -> Entry:
    """Return a run."""
    return Entry("instance", name, what, at(start), at(end), "ec2")


# From 1 to 20 November 24:00 there are 480 hours. The lab existed in all of them, its disk as well.
DISK = Entry("volume", "vol-1", "gp3/200/3000/125", at("01T00:00"), at("21T00:00"))


def test_spot_and_reservation_at_the_real_use() -> None:
    """100 hours of 480: 20.8 %. On demand 100.60. Spot at 0.40: 40.00, saved 60.60.

    A reservation at 35 % off: 480 x 1.006 x 0.65 = 313.872, so 213.27 more than on demand, and worth it above 65 %.
    """
    market = {"spot": {"g5.xlarge": [{"time": "2026-11-01T00:00:00+00:00", "price": 0.4}]}}
    found = report(usage(DISK, run("02T00:00", "06T04:00")), summary("g5.xlarge"), LAB, market)
    assert found["month"]["cost"]["instances"] == 100.6
    assert found["spot"]["g5.xlarge"] == {"price": 0.4, "hours": 100, "saved": 60.6, "percent": 60.2}
    saving = found["reservation"]["g5.xlarge"]
    assert (saving["hours_paid"], saving["use_percent"], saving["saved"]) == (480, 20.8, -213.27)
    assert (saving["break_even_percent"], saving["known"]) == (65, False)
    assert {name: found[name] for name in COST} == COST
    # 200 GiB for 480 of 720 hours: 16 x 2 / 3 = 10.67.
    assert found["lines"] == [
        "2026-11 so far: $111.27 (instances $100.60, volumes $10.67), 100.00 hours on demand.",
        "Spot: the 100.00 hours of g5.xlarge would have cost $60.60 less (60.2 %), at today's $0.4000 an hour.",
        "Reservation: g5.xlarge ran 20.8 % of 480.00 hours. A reservation at a discount of 35.0 %, an assumption, would"
        " have cost $213.27 more. It is worth it above 65.0 %.",
    ]


@pytest.mark.parametrize(
    ("days", "saved"),
    # 0.6539 an hour is 65 % of 1.006. 480 x 0.6539 = 313.872: as much as 312 hours on demand.
    [(13, 0.0), (14, 24.14), (12, -24.14)],
)
def test_break_even(days: int, saved: float) -> None:
    """Exactly at 65 % of all hours nothing is saved; each day of g5.xlarge is 24.144."""
    market = {"listed": {"published": "2026-11-27", "reserved": {"g5.xlarge": 0.6539}}}
    found = report(usage(DISK, run("01T00:00", f"{days + 1:02}T00:00")), summary("g5.xlarge"), LAB, market)
    saving = found["reservation"]["g5.xlarge"]
    assert saving["saved"] == pytest.approx(saved, abs=0.005)
    assert (saving["break_even_percent"], saving["known"]) == (65, True)
    assert "an assumption" not in " ".join(found["lines"])


def test_a_lab_that_is_younger_than_the_month() -> None:
    """It exists for 10 hours, and has run for 5 of them with two hosts: 10 of 20 hours."""
    runs = [run("20T14:00", "20T19:00", name=name) for name in ("i-1", "i-2")]
    found = report(usage(*runs), summary("g5.xlarge", "g5.xlarge"), LAB)
    saving = found["reservation"]["g5.xlarge"]
    assert (saving["hours"], saving["hours_paid"], saving["use_percent"]) == (10, 20, 50)
    assert found["spot"] == {}


def test_spot_that_costs_more_than_on_demand() -> None:
    market = {"spot": {"g5.xlarge": [{"time": "2026-11-01T00:00:00+00:00", "price": 2}]}}
    found = report(usage(run("20T00:00", "20T10:00")), summary("g5.xlarge"), LAB, market)
    assert "would have cost $9.94 more" in found["lines"][1]


def test_listed_prices_are_used_below_the_users() -> None:
    market = {
        "listed": {"published": "2026-11-27", "types": {"g5.xlarge": 2, "g6.xlarge": 3}, "others": {"gib_month": 1}}
    }
    runs = [run("20T00:00", "20T10:00"), run("20T00:00", "20T10:00", "g6.xlarge/on-demand", "i-2")]
    lab = {**LAB, "instance_catalogue": [{"type": "g6.xlarge", "price_per_hour": 5}]}
    found = report(usage(*runs, DISK), summary("g5.xlarge"), lab, market)
    # 10 x 2 + 10 x 5, and 200 x 2 / 3.
    assert found["month"]["cost"]["instances"] == 70
    assert found["month"]["cost"]["volumes"] == 133.33
    own = {**lab, "prices": {"gib_month": 0.5}}
    assert report(usage(*runs, DISK), summary("g5.xlarge"), own, market)["month"]["cost"]["volumes"] == 66.67


def test_what_is_not_known_is_reported() -> None:
    lost = Entry("instance", "i-1", "g9.huge/on-demand", at("20T00:00"), at("20T10:00"), "seen")
    found = report(usage(lost, DISK), summary(), {**LAB, "region": "af-south-1"})
    text = " ".join(found["lines"])
    assert "Up to 14.00 hours more are possible" in text
    assert "Without g9.huge" in text
    assert "those of us-east-1 stand for them" in text
    assert found["reservation"] == {}


def test_nothing_at_all() -> None:
    found = report(usage(), summary(), LAB)
    assert found["lines"] == ["2026-11 so far: $0.00, no hours."]


def test_a_record_that_is_none() -> None:
    with pytest.raises(AnsibleFilterError, match=r"lab_cost_report: .* is not a record"):
        report({**usage(), "record": ["mine"]}, summary(), LAB)


def test_it_is_registered_and_documented() -> None:
    assert list(lab_cost_report.FilterModule().filters()) == ["lab_cost_report"]
    assert yaml.safe_load(lab_cost_report.DOCUMENTATION)["name"] == "lab_cost_report"
    given = yaml.safe_load(lab_cost_report.EXAMPLES)[0]["vars"]
    assert report(given["usage"], summary("g5.xlarge"), given["lab"], given["prices"])["month"]["total"] == 11.07
    assert yaml.safe_load(lab_cost_report.RETURN)["_value"]["contains"].keys() == report(usage(), summary(), LAB).keys()
