# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test every read of an account against a local AWS, or against a prepared answer in AWS's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.account import Account, home_region
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.errors import (
    CREDENTIALS,
    DENIED,
    OTHER,
    ReadError,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.resources import (
    Address,
    Gpu,
    Image,
    Instance,
    Rule,
    SecurityGroup,
    Subnet,
    Vpc,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.description import Inputs
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.inputs import read_lab
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.read import read_account
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Describe = Callable[[dict[str, Any]], Inputs]

OWN = {"digital_twin_lab": "lab", "managed_by": "digital_twin.robotics_lab"}
HOST = {**OWN, "digital_twin_index": "1", "Name": "lab-1"}
# Part of moto.
IMAGE_ID = "ami-1e749f67"


def specification(kind: str, tags: dict[str, str]) -> list[dict[str, Any]]:
    """Return the specification by which EC2 tags a new resource."""
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


@pytest.fixture
def account(cloud: Cloud) -> Account:
    """Return the reads of the local AWS in us-east-1."""
    return Account(cloud.client, "us-east-1")


def test_caller(account: Account, cloud: Cloud) -> None:
    assert account.caller().account_id == "123456789012"
    assert account.caller().arn.startswith("arn:aws:sts::123456789012:")
    assert Account(cloud.client, "cn-northwest-1").caller().account_id == "123456789012"
    assert cloud.asked[-1] == "sts:GetCallerIdentity in cn-north-1"


@pytest.mark.parametrize(
    ("region", "home"),
    [("eu-west-1", "us-east-1"), ("cn-northwest-1", "cn-north-1"), ("us-gov-east-1", "us-gov-west-1")],
)
def test_home_region(region: str, home: str) -> None:
    assert home_region(region) == home


def test_regions(account: Account, cloud: Cloud) -> None:
    assert account.regions() == {"us-east-1": True, "eu-west-1": True, "af-south-1": True, "ap-east-1": False}
    del cloud.answers["DescribeRegions"]
    regions = account.regions()
    assert regions["us-east-1"]
    assert regions["ap-east-1"] is False


def test_zones(account: Account, cloud: Cloud) -> None:
    assert "us-east-1a" in account.zones()
    cloud.answers["DescribeAvailabilityZones"] = {
        "AvailabilityZones": [
            {"ZoneName": "us-east-1b", "State": "available", "ZoneType": "availability-zone"},
            {"ZoneName": "us-east-1a", "State": "available"},
            {"ZoneName": "us-east-1c", "State": "impaired", "ZoneType": "availability-zone"},
            {"ZoneName": "us-east-1-lax-1a", "State": "available", "ZoneType": "local-zone"},
        ]
    }
    assert account.zones() == ["us-east-1a", "us-east-1b"]


def test_instance_types(account: Account) -> None:
    g5 = account.instance_types(["g5.xlarge"])["g5.xlarge"]
    assert (g5.vcpus, g5.memory_mib, g5.network) == (4, 16384, "Up to 10 Gigabit")
    assert g5.gpus == [Gpu("A10G", "NVIDIA", 1, 22888)]
    assert g5.architectures == ["x86_64"]
    assert "on-demand" in g5.usage_classes
    assert account.instance_types(["m5.large"])["m5.large"].gpus == []
    assert account.instance_types(["g9.xlarge"]) == {}


def test_offerings(account: Account) -> None:
    offerings = account.offerings(["g5.xlarge", "g9.xlarge"])
    assert offerings["g5.xlarge"] == sorted(offerings["g5.xlarge"])
    assert "us-east-1a" in offerings["g5.xlarge"]
    assert offerings["g9.xlarge"] == []


def test_networks(account: Account, cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=specification("vpc", OWN))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(
        VpcId=vpc,
        CidrBlock="10.0.1.0/24",
        AvailabilityZone="us-east-1b",
        TagSpecifications=specification("subnet", OWN),
    )["Subnet"]["SubnetId"]
    group = ec2.create_security_group(
        GroupName="lab-sg", Description="hosts", VpcId=vpc, TagSpecifications=specification("security-group", OWN)
    )["GroupId"]
    source = {"CidrIp": "203.0.113.7/32", "Description": "SSH"}
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [source, {"CidrIp": "10.0.0.0/8"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    rules = [Rule("tcp", 22, 22, "203.0.113.7/32", "SSH"), Rule("tcp", 22, 22, "10.0.0.0/8", "")]
    assert account.security_groups(OWN) == [SecurityGroup(group, "lab-sg", vpc, rules)]
    assert Vpc(vpc, "10.0.0.0/16", OWN) in account.vpcs()
    assert len(account.vpcs()) == 2
    assert account.subnets(OWN) == [Subnet(subnet, "10.0.1.0/24", "us-east-1b", OWN, vpc)]
    assert account.subnets({**OWN, "digital_twin_lab": "other"}) == []


def test_instances(account: Account, cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    one = {"ImageId": IMAGE_ID, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    ec2.create_key_pair(KeyName="lab")
    cloud.client("iam").create_instance_profile(InstanceProfileName="lab-instance", Path="/robots/")
    how = {"KeyName": "lab", "IamInstanceProfile": {"Name": "lab-instance"}}
    launched = ec2.run_instances(**one, **how, TagSpecifications=specification("instance", HOST))["Instances"][0]
    ours = launched["InstanceId"]
    theirs = ec2.run_instances(**one)["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[theirs])
    volume = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [ours]}])["Volumes"][0][
        "VolumeId"
    ]
    place = (launched["VpcId"], "lab", "lab-instance", volume)
    assert account.instances(["running"], {}) == [Instance(ours, "g5.xlarge", "running", False, HOST, *place)]
    assert account.instances(["running", "stopped"], OWN) == account.instances(["running"], {})
    assert {item.instance_id: item.state for item in account.instances(["running", "stopped"], {})} == {
        ours: "running",
        theirs: "stopped",
    }


def test_all_pages_are_read(account: Account, cloud: Cloud) -> None:
    def answer(parameters: dict[str, Any]) -> dict[str, Any]:
        last = parameters.get("NextToken") == "more"
        instance = {"InstanceId": "i-2" if last else "i-1", "InstanceType": "g5.xlarge", "State": {"Name": "running"}}
        spot = {"InstanceLifecycle": "spot"} if last else {}
        page: dict[str, Any] = {"Reservations": [{"Instances": [{**instance, **spot}]}]}
        return page if last else {**page, "NextToken": "more"}

    cloud.answers["DescribeInstances"] = answer
    assert [(item.instance_id, item.spot) for item in account.instances(["running"], {})] == [
        ("i-1", False),
        ("i-2", True),
    ]


def test_addresses(account: Account, cloud: Cloud) -> None:
    assert account.addresses() == []
    made = cloud.client("ec2").allocate_address(Domain="vpc", TagSpecifications=specification("elastic-ip", HOST))
    assert account.addresses() == [Address(made["AllocationId"], made["PublicIp"], HOST)]
    one = {"ImageId": IMAGE_ID, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    holder = cloud.client("ec2").run_instances(**one)["Instances"][0]["InstanceId"]
    cloud.client("ec2").associate_address(AllocationId=made["AllocationId"], InstanceId=holder)
    assert account.addresses() == [Address(made["AllocationId"], made["PublicIp"], HOST, holder)]


def test_key_pairs(account: Account, cloud: Cloud) -> None:
    cloud.client("ec2").create_key_pair(KeyName="lab", TagSpecifications=specification("key-pair", OWN))
    (pair,) = account.key_pairs(["lab"])
    assert (pair.name, pair.tags) == ("lab", OWN)
    assert pair.key_pair_id.startswith("key-")
    assert account.key_pairs(["operations"]) == []


def test_image(account: Account, cloud: Cloud) -> None:
    image = account.image(IMAGE_ID)
    assert image is not None
    assert image.name.startswith("ubuntu/images/")
    assert (image.state, image.architecture, image.root_device_type, image.platform) == (
        "available",
        "x86_64",
        "ebs",
        "",
    )
    assert image.root_size == 15
    assert account.image("ami-0123456789abcdef0") is None
    # An image whose root is not on EBS has no such mapping, and AWS omits unknown values.
    cloud.answers["DescribeImages"] = {"Images": [{"ImageId": "ami-2", "RootDeviceName": "/dev/sda1"}]}
    assert account.image("ami-2") == Image("ami-2", "", "", "", "", "", 0)
    cloud.answers["DescribeImages"] = {"Images": []}
    assert account.image("ami-2") is None


def test_image_of_a_parameter(account: Account, cloud: Cloud) -> None:
    cloud.client("ssm").put_parameter(Name="/images/ubuntu", Value=IMAGE_ID, Type="String")
    assert account.image_id("/images/ubuntu") == IMAGE_ID
    assert account.image_id("/images/debian") == ""


def test_role(account: Account, cloud: Cloud) -> None:
    assert account.role("lab-instance") is None
    tags = specification("role", OWN)[0]["Tags"]
    cloud.client("iam").create_role(RoleName="lab-instance", AssumeRolePolicyDocument="{}", Tags=tags)
    role = account.role("lab-instance")
    assert role is not None
    assert (role.name, role.tags) == ("lab-instance", OWN)


def test_instance_profile(account: Account, cloud: Cloud) -> None:
    assert account.instance_profile("lab-instance") is None
    tags = specification("instance-profile", OWN)[0]["Tags"]
    cloud.client("iam").create_instance_profile(InstanceProfileName="lab-instance", Tags=tags)
    profile = account.instance_profile("lab-instance")
    assert profile is not None
    assert (profile.name, profile.tags) == ("lab-instance", OWN)


def test_quota(account: Account, cloud: Cloud) -> None:
    assert account.quota("vpc", "L-F678F1CE") == 5.0
    assert account.quota("ec2", "L-DB2E81BA") is None
    cloud.answers["GetServiceQuota"] = {"Quota": {"QuotaCode": "L-DB2E81BA", "Value": 0.0}}
    assert account.quota("ec2", "L-DB2E81BA") == 0.0


def test_error_names_the_action_as_iam_does(account: Account, cloud: Cloud) -> None:
    cloud.refuse("GetServiceQuota", "AccessDeniedException")
    with pytest.raises(ReadError) as caught:
        account.quota("ec2", "L-DB2E81BA")
    error = caught.value
    assert (error.kind, error.action, error.where) == (DENIED, "servicequotas:GetServiceQuota", "us-east-1")


@pytest.mark.parametrize("exception", [ResponseParserError("no XML"), ValueError("Invalid endpoint: nowhere")])
def test_unexpected_answers_cause_no_traceback(account: Account, cloud: Cloud, exception: Exception) -> None:
    cloud.answers["DescribeVpcs"] = exception
    with pytest.raises(ReadError) as caught:
        account.vpcs()
    assert (caught.value.kind, caught.value.detail) == (OTHER, str(exception))


def test_clients_are_kept(cloud: Cloud) -> None:
    made: list[tuple[str, str]] = []

    def connect(service: str, region: str) -> Any:
        made.append((service, region))
        return cloud.client(service, region)

    account = Account(connect, "eu-west-1")
    account.vpcs()
    account.addresses()
    account.caller()
    assert made == [("ec2", "eu-west-1"), ("sts", "us-east-1")]
    assert cloud.asked[0] == "ec2:DescribeVpcs in eu-west-1"


@pytest.mark.parametrize(
    "operation", ["DescribeVpcs", "GetRole", "GetInstanceProfile", "GetParameter", "DescribeInstanceTypes"]
)
def test_denied_reads_do_not_end_the_reading(
    account: Account, cloud: Cloud, describe: Describe, operation: str
) -> None:
    cloud.refuse(operation, "AccessDenied")
    snapshot = read_account(account, read_lab(describe({})))
    assert [failure.action.split(":")[1] for failure in snapshot.failures] == [operation]
    assert snapshot.zones and snapshot.addresses == []
    assert "service-quotas:GetServiceQuota in us-east-1" in cloud.asked


def test_refused_credentials_end_the_reading(account: Account, cloud: Cloud, describe: Describe) -> None:
    cloud.refuse("DescribeAvailabilityZones", "AuthFailure")
    snapshot = read_account(account, read_lab(describe({})))
    assert [failure.kind for failure in snapshot.failures] == [CREDENTIALS]
    assert cloud.asked[-1] == "ec2:DescribeAvailabilityZones in us-east-1"


def test_a_denied_region_list_is_skipped(account: Account, cloud: Cloud, describe: Describe) -> None:
    cloud.refuse("DescribeRegions", "UnauthorizedOperation")
    snapshot = read_account(account, read_lab(describe({})))
    assert (
        snapshot.skipped["whether the account has the region enabled"] == "ec2:DescribeRegions is denied in us-east-1"
    )
    assert snapshot.zones


def test_a_failed_region_list_ends_the_reading(account: Account, cloud: Cloud, describe: Describe) -> None:
    cloud.refuse("DescribeRegions", "InternalError")
    snapshot = read_account(account, read_lab(describe({})))
    assert [failure.action for failure in snapshot.failures] == ["ec2:DescribeRegions"]
    assert snapshot.zones is None


def test_nothing_is_read_in_a_region_that_is_not_enabled(account: Account, cloud: Cloud, describe: Describe) -> None:
    snapshot = read_account(account, read_lab(describe({"region": "ap-east-1"})))
    assert snapshot.regions is not None
    assert {call.rsplit(" ", 1)[1] for call in cloud.asked} == {"us-east-1"}


def test_unreadable_quotas_are_skipped(account: Account, cloud: Cloud, describe: Describe) -> None:
    cloud.refuse("GetServiceQuota", "ThrottlingException")
    snapshot = read_account(account, read_lab(describe({})))
    assert snapshot.failures == []
    assert snapshot.skipped == {
        f'the quota "{title}"': "servicequotas:GetServiceQuota in us-east-1: ThrottlingException"
        for title in ("Running On-Demand G and VT instances", "EC2-VPC Elastic IPs", "VPCs per Region")
    }


def test_image_is_not_looked_up_for_hosts_that_run(account: Account, cloud: Cloud, describe: Describe) -> None:
    ec2 = cloud.client("ec2")
    named = specification("vpc", {**OWN, "Name": "lab-vpc"})
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=named)["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    ec2.create_key_pair(KeyName="lab")
    iam = cloud.client("iam")
    iam.create_instance_profile(InstanceProfileName="lab-instance")
    tags = [{"Key": key, "Value": value} for key, value in {**OWN, "digital_twin_region": "us-east-1"}.items()]
    iam.create_role(RoleName="lab-instance", AssumeRolePolicyDocument="{}", Tags=tags)
    one = {"ImageId": IMAGE_ID, "InstanceType": "g4dn.xlarge", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    how = {"KeyName": "lab", "IamInstanceProfile": {"Name": "lab-instance"}}
    ec2.run_instances(**one, **how, TagSpecifications=specification("instance", HOST))
    snapshot = read_account(account, read_lab(describe({})))
    assert snapshot.image_id is None
    assert not any("GetParameter" in call for call in cloud.asked)
    # The type of the host counts towards the same quota as the one that is described.
    assert snapshot.type_info is not None
    assert sorted(snapshot.type_info) == ["g4dn.xlarge", "g5.xlarge"]
