# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, against a local AWS that writes down every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_offers import FilterModule
from ansible_collections.digital_twin.robotics_lab.plugins.modules import instance_offers_info

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]
IMAGE_ID = "ami-1e749f67"
QUOTAS = {"L-DB2E81BA": 16.0, "L-417A185B": 0.0, "L-3819A6DF": 8.0, "L-7212CCBC": 96.0}
KNOWN = ["g4dn.xlarge", "g5.xlarge", "g6.xlarge", "g6.2xlarge", "g6f.xlarge", "p3.2xlarge"]


@pytest.fixture
def run(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module for a lab, but for what is given, and return its result."""
    cloud.answers["GetServiceQuota"] = lambda asked: {"Quota": {"Value": QUOTAS[asked["QuotaCode"]]}}

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        arguments = {"name": "lab", "region": "us-east-1", "instance_types": KNOWN, **given}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            instance_offers_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def launch(cloud: Cloud, index: int, instance_type: str, lab: str = "lab") -> None:
    """Launch an instance with the tags of a lab."""
    tags = {"digital_twin_lab": lab, "managed_by": "digital_twin.robotics_lab", "digital_twin_index": str(index)}
    cloud.client("ec2").run_instances(
        ImageId=IMAGE_ID,
        InstanceType=instance_type,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )


def test_what_a_region_offers(run: Run, cloud: Cloud) -> None:
    result = run()
    assert not result.get("failed"), result
    assert (result["changed"], result["unread"], result["lab_types"]) == (False, "", [])
    # EC2 offers no p3 any more.
    assert result["offered"] == [name for name in sorted(KNOWN) if name != "p3.2xlarge"]
    assert sorted(entry["InstanceType"] for entry in result["described"]) == result["offered"]
    assert result["quotas"] == {"g": 16, "gr": 16, "vt": 16, "p": 0}
    assert all(call.endswith("in us-east-1") for call in cloud.asked)
    offers = FilterModule().filters()["stack_offers"]
    found = offers("full", "us-east-1", result["offered"], described=result["described"], quotas=result["quotas"])
    assert found["instance_type"] == "g6.2xlarge"
    reasons = {offer["type"]: offer["reasons"] for offer in found["offers"]}
    assert reasons["g6f.xlarge"] == ["it has a share of a GPU, which needs NVIDIA's GRID driver"]
    assert reasons["p3.2xlarge"][0] == "not offered in us-east-1"


def test_a_type_that_is_offered_and_not_described(run: Run, cloud: Cloud) -> None:
    names = ["g4dn.xlarge", "p9.99xlarge"]
    cloud.answers["DescribeInstanceTypeOfferings"] = {
        "InstanceTypeOfferings": [{"InstanceType": name, "Location": "us-east-1a"} for name in names]
    }
    result = run()
    assert (result["unread"], result["offered"]) == ("", names)
    assert [entry["InstanceType"] for entry in result["described"]] == ["g4dn.xlarge"]


def test_running_instances_use_the_quota(run: Run, cloud: Cloud) -> None:
    launch(cloud, 1, "g4dn.4xlarge", lab="another")
    assert run()["quotas"]["g"] == 0
    cloud.refuse("GetServiceQuota", "AccessDeniedException")
    assert run()["quotas"] == {"g": None, "gr": None, "vt": None, "p": None}


def test_the_spot_market_has_its_own_quotas(run: Run, cloud: Cloud) -> None:
    launch(cloud, 1, "g4dn.xlarge", lab="another")
    assert run(market="spot")["quotas"] == {"g": 8, "gr": 8, "vt": 8, "p": 96}
    assert run(market="auto")["quotas"] == {"g": 12, "gr": 12, "vt": 12, "p": 96}


def test_the_types_of_an_existing_lab(run: Run, cloud: Cloud) -> None:
    launch(cloud, 2, "g5.xlarge")
    launch(cloud, 1, "g6.xlarge")
    launch(cloud, 1, "g4dn.xlarge", lab="another")
    assert run()["lab_types"] == ["g6.xlarge", "g5.xlarge"]


def test_an_existing_lab_needs_no_offers(run: Run, cloud: Cloud) -> None:
    launch(cloud, 1, "g5.xlarge")
    cloud.refuse("DescribeInstanceTypeOfferings", "UnauthorizedOperation")
    result = run()
    assert not result.get("failed")
    assert (result["lab_types"], result["offered"]) == (["g5.xlarge"], [])
    assert "DescribeInstanceTypeOfferings" in result["unread"]


def test_one_zone(run: Run) -> None:
    assert run(availability_zone="us-east-1zz")["offered"] == []


@pytest.mark.parametrize(
    ("given", "unread"),
    [
        ({"region": "mars"}, "region 'mars' is not valid"),
        ({"region": "ap-east-1"}, "region ap-east-1 is not enabled"),
        ({"region": "xx-north-9"}, "region xx-north-9 is not enabled"),
    ],
)
def test_a_region_that_cannot_be_read(run: Run, given: dict[str, Any], unread: str) -> None:
    result = run(**given)
    assert (result["unread"], result["offered"]) == (unread, [])


def test_credentials_that_do_not_work_are_not_an_error(run: Run, cloud: Cloud) -> None:
    cloud.refuse("GetCallerIdentity", "InvalidClientTokenId")
    result = run()
    assert not result.get("failed")
    assert result["unread"]
    assert result["offered"] == []
