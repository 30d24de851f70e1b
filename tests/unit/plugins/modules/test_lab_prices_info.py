# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Current prices from a local Price List API and spot market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._usage.price_list import endpoint_region
from ansible_collections.digital_twin.robotics_lab.plugins.modules import lab_prices_info

from tests.support.local_aws import LocalAws, running
from tests.support.run_module import runner

Run = Callable[..., dict[str, Any]]
ZONES = {"g5.xlarge": "us-east-1b"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture
def aws(local: LocalAws) -> Iterator[LocalAws]:
    yield local
    local.mend()
    local.control("DELETE", "prices")


@pytest.fixture
def run(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(aws, lab_prices_info.main, monkeypatch, capsys, instance_types=["g5.xlarge", "g9.huge"], zones=ZONES)


def test_prices(run: Run, aws: LocalAws) -> None:
    for region, price in (("us-east-1", 1.111), ("eu-west-1", 1.5)):
        aws.control("POST", "prices", {"region": region, "type": "g5.xlarge", "price": price, "reserved": 0.7})
    volumes = {"gib_month": 0.09, "iops_month": 0.006, "throughput_month": 0.048, "snapshot_gib_month": 0.055}
    aws.control("POST", "prices", {"region": "us-east-1", **volumes})
    aws.control("POST", "spot/price", {"type": "g5.xlarge", "zone": "us-east-1b", "price": 0.4})
    aws.calls()
    result = run()
    assert result["listed"]["types"] == {"g5.xlarge": 1.111}
    assert result["listed"]["reserved"] == {"g5.xlarge": 0.7}
    assert result["listed"]["others"] == pytest.approx(volumes)
    assert result["listed"]["published"] == "2026-11-27"
    assert [change["price"] for change in result["spot"]["g5.xlarge"]][-1] == 0.4
    assert result["unread"] == []
    calls = aws.calls()
    assert not any(call["mutating"] for call in calls)
    assert {call["region"] for call in calls if call["service"] == "pricing"} == {"us-east-1"}


def test_volumes_of_another_region(run: Run, aws: LocalAws) -> None:
    """There the usage types begin with a code of the region, and the nearest endpoint is that in Frankfurt."""
    aws.control("POST", "prices", {"region": "eu-west-1", "gib_month": 0.088})
    aws.calls()
    assert run(region="eu-west-1", zones={})["listed"]["others"] == {"gib_month": 0.088}
    assert {call["region"] for call in aws.calls() if call["service"] == "pricing"} == {"eu-central-1"}


def test_what_aws_does_not_sell_has_no_price(run: Run) -> None:
    assert run()["listed"] == {}


@pytest.mark.parametrize("kind", ["denied", "throttling"])
def test_without_an_answer_it_does_not_fail(run: Run, aws: LocalAws, kind: str) -> None:
    aws.inject(service="pricing", kind=kind, action="GetProducts")
    result = run()
    assert (result["listed"], len(result["unread"])) == ({}, 1)
    assert "pricing:GetProducts" in result["unread"][0]
    assert result["spot"]["g5.xlarge"]


def test_a_slow_answer_is_not_waited_for(run: Run, aws: LocalAws) -> None:
    """The fault holds the call for 30 s and then closes the connection."""
    aws.inject(service="pricing", kind="timeout", action="GetProducts", seconds=30)
    result = run(timeout=1)
    assert (result["listed"], len(result["unread"])) == ({}, 1)
    assert "did not answer pricing:GetProducts (ReadTimeoutError)" in result["unread"][0]


def test_it_can_be_switched_off(run: Run, aws: LocalAws) -> None:
    aws.control("POST", "prices", {"region": "us-east-1", "type": "g5.xlarge", "price": 2})
    aws.calls()
    assert run(price_list=False)["listed"] == {}
    assert not [call for call in aws.calls() if call["service"] == "pricing"]


@pytest.mark.parametrize(
    ("region", "home"),
    [
        ("us-west-2", "us-east-1"),
        ("ca-central-1", "us-east-1"),
        ("eu-north-1", "eu-central-1"),
        ("ap-northeast-1", "ap-south-1"),
        ("cn-north-1", "cn-northwest-1"),
        ("us-gov-west-1", ""),
    ],
)
def test_endpoint(region: str, home: str) -> None:
    assert endpoint_region(region) == home
