# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a lab cost in a month, against months that were calculated by hand."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.entries import Entry
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.observe import (
    Datapoints,
    Instance,
    update,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.record import read_month, write_month
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._cost.month import (
    Month,
    SpotHistory,
    cost_of_month,
    metric_hours,
)
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._cost.prices import prices_of

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("months.yml").read_text(encoding="utf-8"))
WHEN = r"((?:\d{4}-)?\d\d-\d\d \d\d:\d\d(?::\d\d)?)"
USED = re.compile(rf"(\w+) (\S+) (\S+) {WHEN} - {WHEN} (\w+)(?: (\S+))?")


def time_of(text: str) -> int:
    """Return a time of the table."""
    text = text if re.match(r"\d{4}-", text) else f"2026-{text}"
    form = "%Y-%m-%d %H:%M:%S" if text.count(":") == 2 else "%Y-%m-%d %H:%M"
    return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())


def entry_of(line: str) -> Entry:
    """Return an entry of the table."""
    match = USED.fullmatch(line)
    assert match, line
    kind, identifier, what, start, end, how, reason = match.groups()
    return Entry(kind, identifier, what, time_of(start), time_of(end), how, reason or "")


def entries_of(case: dict[str, Any]) -> list[Entry]:
    """Return the usage of a case, corrected by what AWS reports in it."""
    entries = [entry_of(line) for line in case["used"]]
    if "ec2" not in case and "datapoints" not in case:
        return entries
    instances = [
        Instance(
            item["id"],
            item["what"],
            time_of(item["launched"]),
            item["state"],
            item.get("transition", ""),
            item.get("reason", ""),
        )
        for item in case.get("ec2", [])
    ]
    points = {
        identifier: Datapoints(
            [
                minute
                for span in spans
                for first, last in [map(time_of, re.findall(WHEN, span))]
                for minute in range(first, last, 60)
            ]
        )
        for identifier, spans in case.get("datapoints", {}).items()
    }
    return update(entries, instances, [], points, time_of(case["now"]))


@pytest.mark.parametrize("case", CASES, ids=[case["title"] for case in CASES])
@pytest.mark.parametrize("stored", [False, True], ids=["", "after a round trip through the record"])
def test_month(case: dict[str, Any], stored: bool) -> None:
    name = str(case.get("month", "2026-11"))
    spot = {
        instance_type: SpotHistory([(time_of(when), price) for when, price in changes])
        for instance_type, changes in case.get("spot", {}).items()
    }
    entries = entries_of(case)
    if stored:
        entries = [entry for part in write_month(entries, name) for entry in read_month(part)]
    month = Month(name, time_of(case["now"]), case.get("metrics", 0), spot)
    assert cost_of_month(entries, prices_of(case.get("region", "us-east-1")), month) == {
        "month": name,
        "hours": case["hours"],
        "hours_possible": case.get("hours_possible", 0),
        "cost": case["cost"],
        "total": case["total"],
        "without_price": case.get("without_price", []),
        "estimated": case.get("estimated", False),
    }


def test_the_table_has_ten_months() -> None:
    assert len({case["title"] for case in CASES}) == len(CASES) >= 10


def test_the_parts_of_a_month_that_is_not_over_add_up() -> None:
    """What is charged until a time and from it on is what is charged in one."""
    case = next(case for case in CASES if case["title"] == "always on")
    prices = prices_of("us-east-1")
    entries = entries_of(case)
    totals = [
        cost_of_month(entries, prices, Month("2026-11", time_of(day)))["total"]
        for day in ("11-16 00:00", "12-01 00:00")
    ]
    assert totals[0] * 2 == pytest.approx(totals[1], abs=0.02)


def test_a_future_month_costs_nothing() -> None:
    case = CASES[0]
    found = cost_of_month(entries_of(case), prices_of("us-east-1"), Month("2027-01", time_of(case["now"])))
    assert (found["total"], found["hours"]) == (0, {"on-demand": 0, "spot": 0})


@pytest.mark.parametrize(
    ("used", "hours"),
    [
        (["11-02 08:00 - 11-02 09:00"], 1),
        (["11-02 08:30 - 11-02 09:15"], 2),
        # Two runs in the same hour of the clock.
        (["11-02 08:00 - 11-02 08:10", "11-02 08:40 - 11-02 08:50"], 1),
        # The hours before the month are those of another one.
        (["10-31 20:00 - 11-01 02:00"], 2),
        ([], 0),
    ],
)
def test_metrics_are_charged_by_the_hour_of_the_clock(used: list[str], hours: int) -> None:
    runs = [entry_of(f"instance i-1 g5.xlarge/on-demand {span} ec2") for span in used]
    assert metric_hours(runs, Month("2026-11", time_of("12-01 00:00"))) == hours


def test_a_run_without_an_end_lasted_until_the_next_one_at_most() -> None:
    lines = ["11-02 08:00 - 11-02 10:00 seen", "11-02 14:00 - 11-02 15:00 ec2"]
    runs = [entry_of(f"instance i-1 g5.xlarge/on-demand {line}") for line in lines]
    other = entry_of("instance i-2 g5.xlarge/on-demand 11-02 11:00 - 11-02 12:00 ec2")
    month = Month("2026-11", time_of("11-05 00:00"))
    found = cost_of_month([*runs, other], prices_of("us-east-1"), month)
    assert (found["hours"]["on-demand"], found["hours_possible"]) == (4, 4)
