# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it, against a local AWS that writes down every call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import lab_preflight
from botocore.exceptions import ConnectTimeoutError

if TYPE_CHECKING:
    from tests.unit.plugins.conftest import Cloud

Run = Callable[..., dict[str, Any]]

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (Path(__file__).parent.parent / "module_utils" / "preflight" / "inputs.yml").read_text()
)
BAD_INPUTS = [
    pytest.param(case["given"], case["refuses"], id=f"{check}-{number}")
    for check, cases in TABLE.items()
    for number, case in enumerate(cases)
    if "refuses" in case
]
# Comes with moto.
UNSET = object()
IMAGE_ID = "ami-1e749f67"
OWN = [{"Key": "digital_twin_lab", "Value": "lab"}, {"Key": "managed_by", "Value": "digital_twin.robotics_lab"}]
READS = re.compile(
    r"(sts:GetCallerIdentity|ec2:Describe\w+|ec2:GetEbsDefaultKmsKeyId|kms:DescribeKey|iam:GetRole"
    r"|iam:GetInstanceProfile|ssm:GetParameter|service-quotas:GetServiceQuota)"
)


@pytest.fixture
def run(
    good_description: dict[str, Any], cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run the module with a good description, but for what is given, and return its result and its warnings."""
    assert cloud.endpoint.startswith("http://127.0.0.1:")
    # Ansible collects the warnings of a process, and here one process is many runs.
    warned: list[str] = []
    monkeypatch.setattr(lab_preflight, "warn", warned.append)

    def run_module(**given: object) -> dict[str, Any]:
        arguments = {**good_description, "image_id": IMAGE_ID, "variable_prefix": "lab_", **given}
        if arguments["region"] is UNSET:
            del arguments["region"]
        capsys.readouterr()
        warned.clear()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            lab_preflight.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**result, "warned": list(warned)}

    return run_module


@pytest.fixture
def quotas(cloud: Cloud) -> dict[str, float]:
    """Let the local AWS know the quotas that the module asks for, and return them for a test to change."""
    values = {"L-DB2E81BA": 64.0, "L-417A185B": 0.0, "L-3819A6DF": 0.0, "L-0263D0A3": 5.0, "L-F678F1CE": 5.0}
    cloud.answers["GetServiceQuota"] = lambda asked: {"Quota": {"Value": values[asked["QuotaCode"]]}}
    return values


def named(kind: str, name: str, **more: str) -> list[dict[str, Any]]:
    """Return what makes EC2 give a new thing the lab's tags, and some more."""
    tags = [{"Key": key, "Value": value} for key, value in {"Name": name, **more}.items()]
    return [{"ResourceType": kind, "Tags": [*OWN, *tags]}]


def make_network(cloud: Cloud) -> tuple[str, str]:
    """Make the lab's network, key pair, role and profile behind the module's back; return ids of VPC and subnet."""
    ec2, iam = cloud.client("ec2"), cloud.client("iam")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=named("vpc", "lab-vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(
        VpcId=vpc,
        CidrBlock="10.0.1.0/24",
        AvailabilityZone="us-east-1b",
        TagSpecifications=named("subnet", "lab-subnet"),
    )["Subnet"]["SubnetId"]
    ec2.create_key_pair(KeyName="lab", TagSpecifications=named("key-pair", "lab"))
    iam.create_instance_profile(InstanceProfileName="lab-instance", Tags=OWN)
    tags = [*OWN, {"Key": "digital_twin_region", "Value": "us-east-1"}, {"Key": "digital_twin_vpc", "Value": vpc}]
    iam.create_role(RoleName="lab-instance", AssumeRolePolicyDocument="{}", Tags=tags)
    return vpc, subnet


def launch(cloud: Cloud, index: int, subnet: str, **more: Any) -> str:
    """Launch a host of the lab behind the module's back and return its id."""
    launched: dict[str, Any] = {
        "ImageId": IMAGE_ID,
        "InstanceType": "g5.xlarge",
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": subnet,
        "KeyName": "lab",
        "IamInstanceProfile": {"Name": "lab-instance"},
        "TagSpecifications": named("instance", f"lab-{index}", digital_twin_index=str(index)),
        **more,
    }
    answer = cloud.client("ec2").run_instances(**launched)
    identifier: str = answer["Instances"][0]["InstanceId"]
    return identifier


@pytest.mark.usefixtures("key_files")
@pytest.mark.parametrize(("given", "refuses"), BAD_INPUTS)
def test_bad_input_is_refused_without_asking_aws(
    run: Run, cloud: Cloud, given: dict[str, Any], refuses: list[str]
) -> None:
    result = run(**{"image_id": "", **given})
    assert result["failed"]
    assert result["problems"] == refuses
    assert result["msg"] == "\n".join(refuses)
    assert cloud.asked == []


def test_all_bad_inputs_are_told_at_once(run: Run, cloud: Cloud) -> None:
    result = run(name="", volume_size=1, admin_cidrs=["0.0.0.0/0"], viewer_cidrs=["0.0.0.0/0"])
    assert [line.split(":")[0] for line in result["problems"]] == ["lab_name", "lab_volume_size", "lab_admin_cidrs"]
    assert len(result["msg"].splitlines()) == 3
    assert len(result["lab_warnings"]) == 1
    assert cloud.asked == []


@pytest.mark.usefixtures("quotas")
@pytest.mark.parametrize("check_mode", [False, True])
def test_empty_account(run: Run, cloud: Cloud, check_mode: bool) -> None:
    result = run(_ansible_check_mode=check_mode, instance_count="2")
    assert not result["changed"]
    assert result["account_id"] == "123456789012"
    assert result["region"] == "us-east-1"
    assert result["availability_zone"] == result["availability_zones"][0] == "us-east-1a"
    assert result["instance"]["gpu"] == "A10G"
    assert result["image"]["image_id"] == IMAGE_ID
    assert result["existing"]["missing_hosts"] == ["lab-1", "lab-2"]
    assert [(quota["limit"], quota["in_use"], quota["needed"]) for quota in result["quotas"]] == [
        (64.0, 0, 8),
        (5.0, 0, 2),
        (5.0, 1, 1),
    ]
    assert result["lab_warnings"] == []
    assert result["warned"] == []
    assert cloud.asked
    assert all(READS.match(call) for call in cloud.asked)


@pytest.mark.usefixtures("quotas")
def test_returned_values_are_documented(run: Run) -> None:
    documented = yaml.safe_load(lab_preflight.RETURN)
    assert set(run()) - {"changed", "invocation", "warned"} == set(documented) - {"problems"}
    assert {"problems", "lab_warnings"} <= set(run(name=""))


@pytest.mark.usefixtures("quotas")
def test_existing_lab(run: Run, cloud: Cloud) -> None:
    vpc, subnet = make_network(cloud)
    first, second = launch(cloud, 1, subnet), launch(cloud, 2, subnet)
    before = len(cloud.asked)
    result = run()
    assert result["availability_zone"] == "us-east-1b"
    assert (result["existing"]["vpc_id"], result["existing"]["subnet_id"]) == (vpc, subnet)
    assert {host["instance_id"] for host in result["existing"]["instances"]} == {first, second}
    assert result["existing"]["missing_hosts"] == []
    assert "image" not in result
    assert result["lab_warnings"] == [
        f"lab_instance_count: 1 does not include lab-2 ({second}), which stays and is paid for. "
        "Set lab_remove_excess to true to terminate it."
    ]
    assert result["warned"] == result["lab_warnings"]

    refused = run(vpc_cidr="10.9.0.0/16", subnet_cidr="10.9.1.0/24", availability_zone="us-east-1a")
    assert [line.split(". Allowed")[0] for line in refused["problems"]] == [
        f'lab_availability_zone: "us-east-1a" is not where the existing lab is ({subnet} in us-east-1b)',
        f'lab_vpc_cidr: "10.9.0.0/16" is not what the existing lab has ({vpc}), '
        "and AWS cannot change an existing network",
        f'lab_subnet_cidr: "10.9.1.0/24" is not what the existing lab has ({subnet}), '
        "and AWS cannot change an existing network",
    ]
    assert all(READS.match(call) for call in cloud.asked[before:])


def test_each_market_has_its_own_quota(run: Run, quotas: dict[str, float]) -> None:
    # A new account has none for spot.
    (problem,) = run(market="spot")["problems"]
    assert '"All G and VT Spot Instance Requests" leaves: 4 more, while 0 of 0 are in use' in problem
    result = run(market="auto")
    assert not result.get("failed"), result
    (warning,) = [line for line in result["warned"] if line.startswith("lab_market: ")]
    assert "--quota-code L-3819A6DF --desired-value 4 --region us-east-1" in warning
    assert [row["code"] for row in result["quotas"] if row["unit"] == "vCPUs"] == ["L-3819A6DF", "L-DB2E81BA"]
    quotas["L-3819A6DF"] = 4.0
    assert not run(market="spot").get("failed")
    assert not [line for line in run(market="auto")["warned"] if "quota" in line]


def test_new_account_without_quotas(run: Run, cloud: Cloud, quotas: dict[str, float]) -> None:
    quotas.update({"L-DB2E81BA": 0.0, "L-0263D0A3": 0.0, "L-F678F1CE": 1.0})
    result = run()
    assert [line.split(",")[0] for line in result["problems"]] == [
        'lab_instance_type: "g5.xlarge" needs more vCPUs in us-east-1 than the quota '
        '"Running On-Demand G and VT instances" leaves: 4 more',
        'lab_instance_count: 1 needs more Elastic IP addresses in us-east-1 than the quota "EC2-VPC Elastic IPs" '
        "leaves: 1 more",
        'lab_name: "lab" needs more VPCs in us-east-1 than the quota "VPCs per Region" leaves: 1 more',
    ]
    assert all(READS.match(call) for call in cloud.asked)


@pytest.mark.usefixtures("quotas")
@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"region": "us-east-9"}, 'lab_region: "us-east-9" is not an AWS region'),
        ({"region": "ap-east-1"}, 'lab_region: "ap-east-1" is not enabled for account 123456789012'),
        ({"instance_type": "g9.xlarge"}, 'lab_instance_type: "g9.xlarge" is not offered in us-east-1'),
        ({"instance_type": "m5.large"}, 'lab_instance_type: "m5.large" has no NVIDIA GPU'),
        ({"instance_type": "g6f.xlarge"}, 'lab_instance_type: "g6f.xlarge" has only a part of a GPU'),
        ({"instance_type": "g5g.xlarge"}, 'lab_instance_type: "g5g.xlarge" is a machine of arm64, not of x86_64'),
        (
            {"availability_zone": "us-east-1z"},
            'lab_availability_zone: "us-east-1z" is not a zone of us-east-1 for instances',
        ),
        ({"availability_zone": "us-east-1e"}, 'lab_availability_zone: "us-east-1e" does not offer g5.xlarge'),
        ({"key_name": "operations"}, 'lab_key_name: "operations" is not a key pair in us-east-1'),
        ({"image_id": ""}, 'lab_image: "ubuntu-24.04" is not published in us-east-1'),
        (
            {"image_id": "ami-0123456789abcdef0"},
            'lab_image_id: "ami-0123456789abcdef0" does not exist in us-east-1, or is not shared with this account',
        ),
    ],
)
def test_refusals_of_the_account(run: Run, cloud: Cloud, given: dict[str, Any], line: str) -> None:
    result = run(**given)
    (problem,) = result["problems"]
    assert problem.startswith(line)
    assert ". Allowed: " in problem
    assert ". " in problem
    assert all(READS.match(call) for call in cloud.asked)


@pytest.mark.usefixtures("quotas")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("t3.micro", "has no NVIDIA GPU"),
        ("g6f.xlarge", "has only a part of a GPU"),
        ("g99.xlarge", "is not offered in"),
    ],
)
def test_a_type_that_no_host_could_have_is_refused_for_a_running_lab_as_well(
    run: Run, cloud: Cloud, kind: str, reason: str
) -> None:
    launch(cloud, 1, make_network(cloud)[1])
    (problem,) = run(instance_type=kind)["problems"]
    assert problem.startswith(f'lab_instance_type: "{kind}" {reason}')
    assert "which stays g5.xlarge" in run(instance_type="g4dn.xlarge")["lab_warnings"][0]


@pytest.mark.usefixtures("quotas")
def test_a_colleague_is_added_and_nobody_is_locked_out(run: Run, cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    vpc, _subnet = make_network(cloud)
    group = ec2.create_security_group(
        GroupName="lab-sg", Description="hosts", VpcId=vpc, TagSpecifications=named("security-group", "lab-sg")
    )["GroupId"]
    colleague = {"CidrIp": "198.51.100.4/32", "Description": "SSH (address of a caller)"}
    stranger = {"CidrIp": "198.51.100.0/24", "Description": "by hand"}
    ranges = [colleague, stranger]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}]
    )
    caller = ["203.0.113.7/32"]
    both = {"caller_audiences": ["admin", "viewer"]}
    assert run(**both)["sources"] == {"admin": [*caller, "198.51.100.4/32"], "viewer": caller}
    assert run(**both, remove_sources=["198.51.100.4"])["sources"] == {"admin": caller, "viewer": caller}
    assert run()["sources"] == {"admin": caller, "viewer": caller}


@pytest.mark.usefixtures("quotas")
def test_what_only_carries_the_labs_tags_is_refused_or_left_out(run: Run, cloud: Cloud) -> None:
    """Any caller that may tag resources can give the tags to others. Each is reported in one line and left alone."""
    ec2 = cloud.client("ec2")
    vpc, subnet = make_network(cloud)
    web = ec2.create_vpc(CidrBlock="10.9.0.0/16", TagSpecifications=named("vpc", "production-vpc"))["Vpc"]["VpcId"]
    other = ec2.create_subnet(VpcId=web, CidrBlock="10.9.1.0/24", TagSpecifications=named("subnet", "lab-subnet"))[
        "Subnet"
    ]["SubnetId"]
    spare = ec2.allocate_address(Domain="vpc", TagSpecifications=named("elastic-ip", "spare"))["PublicIp"]
    host = launch(cloud, 1, subnet)
    result = run()
    assert "failed" not in result
    assert [warning.split(" (")[0] for warning in result["lab_warnings"]] == [
        f"lab_name: VPC {web}",
        f"lab_name: subnet {other}",
        f"lab_name: address {spare}",
    ]
    existing = result["existing"]
    assert (existing["vpc_id"], existing["subnet_id"], existing["addresses"]) == (vpc, subnet, [])
    assert [entry["instance_id"] for entry in existing["instances"]] == [host]
    volumes = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [host]}])["Volumes"]
    assert existing["root_volumes"] == [volume["VolumeId"] for volume in volumes]

    ec2.create_key_pair(KeyName="web")
    strangers = [
        launch(cloud, 2, other),
        launch(cloud, 1, subnet, KeyName="web"),
    ]
    assert [line.split(". Allowed")[0] for line in run()["problems"]] == [
        f'lab_name: "lab" is in the tags of instance {strangers[0]} (it is in {web}, not in the lab\'s VPC {vpc}), '
        "which does not belong to the lab",
        f'lab_name: "lab" is in the tags of instance {strangers[1]} (its key pair is "web", not "lab"), '
        "which does not belong to the lab",
    ]


@pytest.mark.usefixtures("quotas")
def test_names_that_others_have_taken(run: Run, cloud: Cloud) -> None:
    cloud.client("ec2").create_key_pair(KeyName="lab")
    cloud.client("iam").create_role(RoleName="lab-instance", AssumeRolePolicyDocument="{}")
    cloud.client("iam").create_instance_profile(InstanceProfileName="lab-instance")
    assert [line.split(". Allowed")[0] for line in run()["problems"]] == [
        'lab_name: "lab" is also the name of a key pair in us-east-1 that does not belong to this lab',
        'lab_name: "lab" would share the IAM role lab-instance, which does not belong to this lab',
        'lab_name: "lab" would share the IAM instance profile lab-instance, which does not belong to this lab',
    ]


@pytest.mark.usefixtures("quotas")
def test_a_default_key_that_cannot_be_used_is_refused_while_there_is_a_host_to_launch(run: Run, cloud: Cloud) -> None:
    kms = cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]
    cloud.answers["GetEbsDefaultKmsKeyId"] = {"KmsKeyId": key["Arn"]}
    assert run()["lab_warnings"] == []
    kms.disable_key(KeyId=key["KeyId"])
    (problem,) = run()["problems"]
    assert problem.startswith(f'default EBS key of us-east-1: "{key["Arn"]}" is in the state Disabled, so that no ')
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    assert "is in the state PendingDeletion" in run()["problems"][0]
    cloud.answers["GetEbsDefaultKmsKeyId"] = {"KmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/gone"}
    assert "does not exist" in run()["problems"][0]
    cloud.answers["GetEbsDefaultKmsKeyId"] = {"KmsKeyId": key["Arn"]}
    launch(cloud, 1, make_network(cloud)[1])
    assert run()["existing"]["missing_hosts"] == []


@pytest.mark.usefixtures("quotas")
@pytest.mark.parametrize(
    ("operation", "action"),
    [("GetEbsDefaultKmsKeyId", "ec2:GetEbsDefaultKmsKeyId"), ("DescribeKey", "kms:DescribeKey")],
)
def test_who_may_not_look_at_the_default_key_is_told_and_goes_on(
    run: Run, cloud: Cloud, operation: str, action: str
) -> None:
    cloud.answers["GetEbsDefaultKmsKeyId"] = {"KmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/k"}
    cloud.refuse(operation, "AccessDeniedException")
    result = run()
    assert "failed" not in result
    assert result["lab_warnings"] == [
        "not checked: whether the key with which EBS encrypts new volumes can be used "
        f"({action} in us-east-1: AccessDeniedException)"
    ]


@pytest.mark.usefixtures("quotas", "key_files")
def test_private_key_that_stayed_elsewhere(run: Run, cloud: Cloud) -> None:
    launch(cloud, 1, make_network(cloud)[1])
    (problem,) = run(private_key_file="keys/not-there")["problems"]
    assert problem.startswith(
        'lab_private_key_file: "keys/not-there" does not exist here, and no other key opens lab-1'
    )
    assert run(private_key_file="keys/private")["existing"]["missing_hosts"] == []


@pytest.mark.usefixtures("quotas", "key_files")
def test_private_key_of_a_user_that_is_not_here_is_a_warning(run: Run) -> None:
    result = run(public_key_file="keys/ed25519.pub", private_key_file="keys/not-there")
    assert "failed" not in result
    (warning,) = result["lab_warnings"]
    assert warning.startswith('lab_private_key_file: "keys/not-there" does not exist here, ')
    assert result["warned"] == result["lab_warnings"]
    assert run(public_key_file="keys/ed25519.pub", private_key_file="keys/private")["lab_warnings"] == []


@pytest.mark.usefixtures("quotas")
def test_all_missing_permissions_are_told_at_once(run: Run, cloud: Cloud) -> None:
    cloud.refuse("DescribeVpcs", "UnauthorizedOperation")
    cloud.refuse("GetRole", "AccessDenied")
    cloud.refuse("GetInstanceProfile", "AccessDenied")
    cloud.refuse("GetServiceQuota", "AccessDeniedException")
    result = run()
    caller = "arn:aws:sts::123456789012:user/moto"
    assert [line.split(". Allowed")[0] for line in result["problems"]] == [
        f'AWS permission: "ec2:DescribeVpcs" is denied to {caller} in us-east-1',
        f'AWS permission: "iam:GetRole" is denied to {caller} in us-east-1',
        f'AWS permission: "iam:GetInstanceProfile" is denied to {caller} in us-east-1',
    ]
    assert result["lab_warnings"] == [
        f'not checked: the quota "{title}" (servicequotas:GetServiceQuota in us-east-1: AccessDeniedException)'
        for title in ("Running On-Demand G and VT instances", "EC2-VPC Elastic IPs")
    ]


def test_unknown_quotas_are_a_warning(run: Run) -> None:
    result = run()
    assert "failed" not in result
    assert [warning.split("(")[0] for warning in result["lab_warnings"]] == [
        'not checked: the quota "Running On-Demand G and VT instances" ',
        'not checked: the quota "EC2-VPC Elastic IPs" ',
    ]
    assert result["warned"] == result["lab_warnings"]


@pytest.mark.usefixtures("quotas")
def test_streams_for_everybody_are_a_warning(run: Run) -> None:
    (warning,) = run(viewer_cidrs=["0.0.0.0/0"])["lab_warnings"]
    assert "these streams have no authentication" in warning


def test_expired_credentials_are_one_line(run: Run, cloud: Cloud) -> None:
    cloud.refuse("GetCallerIdentity", "ExpiredToken")
    (problem,) = run()["problems"]
    assert problem.startswith("AWS credentials: have expired. ")
    assert cloud.asked == ["sts:GetCallerIdentity in us-east-1"]


def test_unknown_credentials_are_one_line(run: Run, cloud: Cloud) -> None:
    cloud.refuse("GetCallerIdentity", "InvalidClientTokenId", "The security token included in the request is invalid.")
    (problem,) = run()["problems"]
    assert problem.startswith("AWS credentials: AWS does not accept them (InvalidClientTokenId: ")


def test_missing_credentials_are_one_line(run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (problem,) = run()["problems"]
    assert problem.startswith("AWS credentials: none were found. ")
    assert cloud.asked == ["sts:GetCallerIdentity in us-east-1"]


def test_unknown_profile_is_one_line(run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (problem,) = run(profile="robotics")["problems"]
    assert problem.startswith(
        "AWS credentials: the profile does not exist (The config profile (robotics) could not be found). "
    )
    assert cloud.asked == []


def test_unreachable_endpoint_is_one_line(run: Run, cloud: Cloud) -> None:
    endpoint = "https://ec2.us-east-1.amazonaws.com/"
    cloud.answers["DescribeSubnets"] = ConnectTimeoutError(endpoint_url=endpoint)
    (problem,) = run()["problems"]
    assert problem.startswith(f'AWS endpoint: "{endpoint}" did not answer ec2:DescribeSubnets (ConnectTimeoutError). ')
    assert cloud.asked[-1] == "ec2:DescribeSubnets in us-east-1"


def test_invalid_endpoint_is_one_line(run: Run, cloud: Cloud) -> None:
    (problem,) = run(endpoint_url="nowhere")["problems"]
    assert "Invalid endpoint: nowhere" in problem
    assert cloud.asked == []


@pytest.mark.usefixtures("quotas")
def test_region_of_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    result = run(region=UNSET)
    assert (result["region"], result["availability_zone"]) == ("eu-west-1", "eu-west-1a")


def test_documentation_and_argument_specification_agree() -> None:
    """The checks of ansible-test, as far as they decide what a user may write."""
    documented = yaml.safe_load(lab_preflight.DOCUMENTATION)["options"]
    for option, spec in lab_preflight.DESCRIPTION.items():
        for key in ("type", "required", "default", "elements", "aliases"):
            assert documented[option].get(key) == spec.get(key), f"{option}.{key}"
    assert set(documented) == {*lab_preflight.DESCRIPTION, "variable_prefix"}
