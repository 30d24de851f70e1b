# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module returns of a local AWS in which another lab and another owner have resources as well."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import lab_resources_info

from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]
OWN = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab", "digital_twin_region": "us-east-1"}


@pytest.fixture
def run(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module, and return its result."""

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({"name": "lab", "region": "us-east-1", **given}), pytest.raises(SystemExit):
            lab_resources_info.main()
        return dict(json.loads(capsys.readouterr().out))

    return run_module


def tags(**more: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in {**OWN, **more}.items()]


def test_only_what_has_the_tags_of_the_lab_is_returned(run: Run, cloud: Cloud) -> None:
    ec2, iam = cloud.client("ec2"), cloud.client("iam")
    owners = {"own": tags(Name="lab-vpc"), "other": tags(digital_twin_lab="other"), "foreign": tags(managed_by="hand")}
    vpcs = {
        owner: ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": own}])["Vpc"][
            "VpcId"
        ]
        for owner, own in owners.items()
    }
    ec2.create_key_pair(KeyName="lab", TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags()}])
    ec2.create_key_pair(KeyName="mine")
    iam.create_role(RoleName="lab-instance", AssumeRolePolicyDocument="{}", Tags=tags())
    found = run(key_name="mine")["resources"]
    assert [vpc["vpc_id"] for vpc in found["vpcs"]] == [vpcs["own"]]
    assert found["vpcs"][0]["tags"] == {**OWN, "Name": "lab-vpc"}
    assert [key["key_name"] for key in found["key_pairs"]] == ["lab"]
    assert [key["key_name"] for key in found["named_key_pairs"]] == ["mine"]
    assert [role["role_name"] for role in found["roles"]] == ["lab-instance"]
    assert found["instances"] == found["addresses"] == found["subnets"] == []


def test_a_role_of_the_same_lab_in_another_region_is_not_returned(run: Run, cloud: Cloud) -> None:
    there = tags(digital_twin_region="eu-west-1")
    cloud.client("iam").create_role(RoleName="lab-instance", AssumeRolePolicyDocument="{}", Tags=there)
    assert run(kinds=["roles"])["resources"] == {"roles": []}


def test_only_the_requested_kinds_are_read(run: Run, cloud: Cloud) -> None:
    assert run(kinds=["vpcs"])["resources"] == {"vpcs": []}
    assert cloud.asked == ["ec2:DescribeVpcs in us-east-1"]


def test_a_denied_call_names_the_permission(run: Run, cloud: Cloud) -> None:
    cloud.refuse("DescribeVpcs", "UnauthorizedOperation")
    refused = run(kinds=["vpcs"])
    assert refused["failed"]
    assert "ec2:DescribeVpcs" in refused["msg"]


def test_an_invalid_name_is_refused_before_aws_is_asked(run: Run, cloud: Cloud) -> None:
    refused = run(name="Lab*")
    assert refused["failed"]
    assert cloud.asked == []
