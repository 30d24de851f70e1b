# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters for cost, as playbooks call them: text from the command line, Ansible's own times, refusals."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter import (
    lab_cost_change,
    lab_month_cost,
    lab_price_problems,
    lab_provision_cost,
)

month_cost: Any = lab_month_cost.lab_month_cost
cost_change = lab_cost_change.lab_cost_change
# As now(utc=true) returns it.
NOW = datetime(2026, 11, 30, 12, 0, 0)
RECORD = "1 2026-11\ni i-1 g5.xlarge/on-demand\n+2gw0~uk0e Client.UserInitiatedShutdown"
SPOT = "1 2026-11\ni i-1 g5.xlarge/spot\n+2gw0~uk0e Client.UserInitiatedShutdown"


@pytest.mark.parametrize(
    "module",
    [lab_cost_change, lab_month_cost, lab_price_problems, lab_provision_cost],
    ids=lambda module: module.__name__.rpartition(".")[2],
)
def test_the_filters_are_registered_and_documented(module: Any) -> None:
    name = Path(module.__file__).stem
    assert list(module.FilterModule().filters()) == [name]
    assert yaml.safe_load(module.DOCUMENTATION)["name"] == name
    assert yaml.safe_load(module.RETURN)["_value"]


def test_the_documented_sample_is_true() -> None:
    """11 hours from 08:00 on 2 November: 11 x 1.006 = 11.066."""
    example = yaml.safe_load(lab_month_cost.EXAMPLES)[0]["vars"]["record"]
    assert example[0].replace("i-0123456789abcdef0", "i-1") == RECORD
    sample = yaml.safe_load(lab_month_cost.RETURN)["_value"]["sample"]
    assert month_cost(example, "2026-11", "us-east-1", NOW) == sample
    sample = yaml.safe_load(lab_cost_change.RETURN)["_value"]["sample"]
    hosts = yaml.safe_load(lab_cost_change.EXAMPLES)[0]["vars"]
    assert cost_change(hosts["before"], hosts["after"], "us-east-1") == sample


def test_a_month_with_the_users_prices() -> None:
    catalogue = [{"type": "g5.xlarge", "price_per_hour": 2}]
    assert month_cost([RECORD], "2026-11", "eu-central-1", NOW, catalogue=catalogue)["total"] == 22
    assert (
        month_cost([RECORD], "2026-11", "us-east-1", NOW, prices={"metric_month": "7.2"}, metrics="1")["cost"][
            "metrics"
        ]
        == 0.11
    )


def test_spot_prices_as_ec2_reports_them() -> None:
    spot = {"g5.xlarge": [{"time": "2026-11-01T00:00:00+00:00", "price": "0.400000"}]}
    assert month_cost([SPOT], "2026-11", "us-east-1", NOW, spot=spot)["cost"]["instances"] == 4.4
    nothing: dict[str, Any] = {}
    unpriced: dict[str, Any] = {"g5.xlarge": []}
    for unknown in (nothing, unpriced):
        found = month_cost([SPOT], "2026-11", "us-east-1", NOW, spot=unknown)
        assert (found["hours"]["spot"], found["without_price"]) == (11, ["g5.xlarge (spot)"])


@pytest.mark.parametrize(
    ("record", "month", "message"),
    [
        (["hello"], "2026-11", "lab_month_cost: the text that begins with 'hello' is not a record of usage"),
        (
            [RECORD],
            "November",
            'lab_month_cost: "November" is not a month. Allowed: a year and a month, such as 2026-11',
        ),
    ],
)
def test_refusals(record: list[str], month: str, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        month_cost(record, month, "us-east-1", NOW)
    assert message in str(caught.value)


def test_a_change_with_text_from_the_command_line() -> None:
    before, after = (
        {"instance_type": "g5.xlarge", "volume_size": size, "volume_iops": "", "addresses": "1"}
        for size in ("200", "300")
    )
    assert (
        cost_change([before], [after], "us-east-1")["line"]
        == "This change costs +$8.00 a month if always on, +$8.00 stopped."
    )
    assert cost_change([before], [after], "us-east-1", {"gib_month": 0.1})["per_month"] == 10


def test_price_problems() -> None:
    sample = yaml.safe_load(lab_price_problems.RETURN)["_value"]["sample"]
    assert lab_price_problems.lab_price_problems({"gib_month": -1}, "prices") == sample
    assert lab_price_problems.lab_price_problems({}, "prices") == []


HOST = {"instance_id": "i-1", "instance_type": "g5.xlarge"}
ROOT = {"size": 200, "iops": 3000, "throughput": 125, "attachment_set": [{"instance_id": "i-1"}]}
DECLARED: dict[str, Any] = yaml.safe_load(lab_provision_cost.EXAMPLES)[0]["vars"]["declared"]
PRICED: dict[str, Any] = yaml.safe_load(lab_provision_cost.EXAMPLES)[0]["vars"]["lab"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        pytest.param({}, "This change costs +$754.03 a month if always on, +$19.65 stopped.", id="a new host"),
        pytest.param({"instances": [HOST], "hosts": []}, "", id="no change"),
        # AWS returns no throughput for other types than gp3.
        pytest.param(
            {"instances": [HOST], "hosts": [], "volumes": [{**ROOT, "throughput": None}]}, "", id="no throughput"
        ),
        pytest.param(
            # 100 x 0.08 + 1000 x 0.005.
            {"instances": [HOST], "hosts": [], "volume": {"size": "300", "iops": "4000", "throughput": 125}},
            "This change costs +$13.00 a month if always on, +$13.00 stopped.",
            id="a larger volume",
        ),
        pytest.param(
            {"instances": [HOST], "hosts": [], "volumes": [{**ROOT, "size": 500}]}, "", id="a volume does not shrink"
        ),
        pytest.param(
            {"instances": [HOST], "hosts": [], "type": "g6e.2xlarge"}, "", id="an existing host keeps its type"
        ),
        pytest.param(
            {"instances": [HOST, {**HOST, "instance_id": "i-2"}], "hosts": [], "excess": ["i-2"]},
            "This change costs -$754.03 a month if always on, -$19.65 stopped.",
            id="an excess host",
        ),
        pytest.param(
            {"instances": [HOST], "hosts": ["lab-2"], "type": "g7.4xlarge"},
            "The price of g7.4xlarge is not known. Volumes and addresses: +$19.65 a month.",
            id="a second host without a price",
        ),
        pytest.param(
            {"lab": {"region": "eu-central-1", "prices": {"gib_month": 0.1}}},
            "This change costs +$941.99 a month if always on, +$23.65 stopped.",
            id="another region, and own prices",
        ),
    ],
)
def test_what_provisioning_costs(given: dict[str, Any], line: str) -> None:
    launch = {"hosts": given.get("hosts", ["lab-1"]), "instance_type": given.get("type", "g5.xlarge")}
    found = lab_provision_cost.lab_provision_cost(
        given.get("instances", []),
        given.get("volumes", [ROOT]),
        {"volume": given.get("volume", DECLARED["volume"]), "launch": launch},
        {**PRICED, **given.get("lab", {})},
        given.get("excess"),
    )
    assert found["line"] == line


def test_the_documented_sample_of_provisioning_is_true() -> None:
    sample = yaml.safe_load(lab_provision_cost.RETURN)["_value"]["sample"]
    assert lab_provision_cost.lab_provision_cost([], [], DECLARED, PRICED) == sample
