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


def test_a_data_volume_is_found_by_its_tag_or_by_the_record_of_the_lab(run: Run, cloud: Cloud) -> None:
    ec2, iam = cloud.client("ec2"), cloud.client("iam")
    data = tags(digital_twin_data="true")
    given: dict[str, Any] = {"MinCount": 1, "MaxCount": 1, "ImageId": ec2.describe_images()["Images"][0]["ImageId"]}
    instance = ec2.run_instances(**given, TagSpecifications=[{"ResourceType": "instance", "Tags": tags()}])["Instances"]
    (mapping,) = ec2.describe_instances(InstanceIds=[instance[0]["InstanceId"]])["Reservations"][0]["Instances"][0][
        "BlockDeviceMappings"
    ]
    root = mapping["Ebs"]["VolumeId"]
    names = ["without tags", "recorded", "tagged", "own", "of another lab"]
    ids = {name: ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"] for name in names}
    # Any caller that may tag can add the tag to a root volume.
    ec2.create_tags(Resources=[root, ids["recorded"], ids["tagged"]], Tags=data)
    ec2.create_tags(Resources=[ids["own"]], Tags=tags())
    ec2.create_tags(Resources=[ids["of another lab"]], Tags=tags(digital_twin_lab="other", digital_twin_data="true"))
    record = tags(digital_twin_data_volumes_1=f"1={ids['without tags']} 2={ids['recorded']}")
    iam.create_role(RoleName="lab-instance", AssumeRolePolicyDocument="{}", Tags=record)
    found = run()["resources"]
    assert {item["id"] for item in found["data_volumes"]} == {ids[name] for name in names[:3]}
    assert {item["id"] for item in found["volumes"]} == {root, ids["own"]}
    assert [item["id"] for item in found["root_volumes"]] == [root]
