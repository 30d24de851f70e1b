# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the hosts and regions of the inventory, and the one-line message when AWS cannot be called."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from ansible_collections.digital_twin.robotics_lab.plugins.inventory.lab import judge
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._aws.errors import DENIED, ReadError
from ansible_collections.digital_twin.robotics_lab.plugins.plugin_utils._stack.machines import known_kinds
from jinja2 import Environment

from tests.support.ansible_programs import execute
from tests.support.project import ROOT, clean_environment, load_yaml, playbooks

CONFIG = """
[default]
region = eu-central-1
[profile no-region]
output = json
[profile mfa]
role_arn = arn:aws:iam::123456789012:role/operators
source_profile = default
mfa_serial = arn:aws:iam::123456789012:mfa/user
region = eu-central-1
[profile behind-mfa]
role_arn = arn:aws:iam::123456789012:role/deployers
source_profile = mfa
region = eu-central-1
[profile sso]
sso_session = company
sso_account_id = 123456789012
sso_role_name = operators
region = eu-central-1
[sso-session company]
sso_region = eu-central-1
sso_start_url = https://company.awsapps.com/start
"""
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTS", "AWS_SECRET_ACCESS_KEY": "canary-aws-3b90"}
OURS = {"managed_by": "digital_twin.robotics_lab", "digital_twin_ssh_user": "{{ 6 * 7 }}", "digital_twin_index": "1"}
SECONDS = 120


@pytest.fixture(scope="module")
def endpoint(moto_endpoint: str) -> Iterator[str]:
    """Serve an AWS account with hosts of a lab in two regions, and one instance of another owner."""
    # IAM has no regions, so that labs of one name cannot be in two.
    for region, lab in (("eu-central-1", "my-lab"), ("us-west-2", "lab-west"), ("sa-east-1", "lab-south")):
        create_role(moto_endpoint, region, lab)
    launch(moto_endpoint, "eu-central-1", {"Name": "my-lab-1"}, "my-lab")
    launch(moto_endpoint, "eu-central-1", {"Name": "my-lab-1"}, "my-lab")
    launch(moto_endpoint, "eu-central-1", {"Name": "another"})
    launch(moto_endpoint, "us-west-2", {"Name": "lab-west-1"}, "lab-west")
    launch(moto_endpoint, "sa-east-1", {"Name": "lab-south-1"}, "lab-south")
    yield moto_endpoint
    requests.post(f"{moto_endpoint}/moto-api/reset", timeout=30).raise_for_status()


def client(service: str, url: str, region: str) -> Any:
    connect: Any = boto3.client
    return connect(service, endpoint_url=url, region_name=region, **{name.lower(): KEYS[name] for name in KEYS})


def create_role(url: str, region: str, lab: str) -> None:
    """Create a lab's role with the region's default VPC in its record, and its instance profile."""
    iam, name = client("iam", url, region), f"{lab}-instance"
    vpc = client("ec2", url, region).describe_vpcs()["Vpcs"][0]["VpcId"]
    tags = {**OURS, "digital_twin_lab": lab, "digital_twin_region": region, "digital_twin_vpc": vpc}
    del tags["digital_twin_ssh_user"], tags["digital_twin_index"]
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}", Tags=listed)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def launch(url: str, region: str, tags: dict[str, str], lab: str = "") -> None:
    ec2 = client("ec2", url, region)
    more: dict[str, Any] = {"IamInstanceProfile": {"Name": f"{lab}-instance"}} if lab else {}
    tags = {**tags, **OURS, "digital_twin_lab": lab} if lab else tags
    ec2.run_instances(
        ImageId=ec2.describe_images()["Images"][0]["ImageId"],
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        **more,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )


@pytest.fixture(scope="module")
def environment(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a user with a configuration of the AWS clients, and no credentials."""
    home = tmp_path_factory.mktemp("home")
    (home / "config").write_text(CONFIG, "utf-8")
    return clean_environment({"HOME": str(home), "AWS_CONFIG_FILE": str(home / "config"), "AWS_ENDPOINT_URL": endpoint})


def hosts(environment: dict[str, str], *words: str) -> dict[str, Any]:
    """Return the inventory's hosts with their variables, and check that nothing else was printed."""
    return hosts_in(execute(["ansible-inventory", "--list", *words], environment))


def hosts_in(listed: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the hosts that were listed, with their variables."""
    assert (listed.returncode, listed.stderr) == (0, "")

    def plain(row: dict[str, Any]) -> Any:
        return row["__ansible_unsafe"] if row.keys() == {"__ansible_unsafe"} else row

    return dict(json.loads(listed.stdout, object_hook=plain)["_meta"]["hostvars"])


def test_hosts_have_the_variables_that_the_playbooks_read(environment: dict[str, str]) -> None:
    found = hosts(environment | KEYS)
    first = found.pop("my-lab-1")
    assert first["lab_name"] == "my-lab"
    assert first["lab_region"] == "eu-central-1"
    assert first["lab_availability_zone"].startswith("eu-central-1")
    assert first["lab_instance_type"] == first["ec2_instance_type"] == "g5.xlarge"
    assert first["ansible_host"] == first["lab_public_ip"] == first["ec2_public_ip_address"]
    assert first["ec2_tags"]["managed_by"] == "digital_twin.robotics_lab"
    # A second host of that name has the id of its instance as its name.
    assert [host["lab_instance_id"] for host in found.values()] == list(found)
    assert len(found) == 1
    assert first["lab_instance_id"] not in found


def test_a_tag_is_never_evaluated_as_a_template(environment: dict[str, str]) -> None:
    shown = execute(["ansible", "my-lab-1", "-m", "debug", "-a", "var=ansible_user"], environment | KEYS).stdout
    assert "{{ 6 * 7 }}" in shown


def test_hosts_are_in_the_groups_that_the_playbooks_name(environment: dict[str, str]) -> None:
    shown = execute(["ansible-inventory", "--graph"], environment | KEYS).stdout
    for group in ("lab", "lab_my_lab", "aws_ec2", "gpu_a10g"):
        assert f"@{group}:\n  |  |--my-lab-1\n" in shown
    assert "another" not in shown


def test_every_known_type_has_the_group_of_its_gpu() -> None:
    (group,) = load_yaml(ROOT / "inventory" / "aws_ec2.yml")["keyed_groups"]
    kinds = known_kinds().values()
    assert len(kinds) > 25
    templates = Environment(autoescape=True)
    templates.filters["split"] = str.split
    group_of = templates.compile_expression(group["key"])
    for kind in kinds:
        group_name = str(group_of(lab_instance_type=kind.name)).replace("_", " ").split()
        assert group_name[-1] == kind.machine.gpu.lower().split()[-1], kind.name


@pytest.mark.parametrize(
    ("settings", "words", "expected"),
    [
        pytest.param({}, (), "eu-central-1", id="profile"),
        pytest.param({"AWS_DEFAULT_REGION": "sa-east-1"}, (), "sa-east-1", id="default-region"),
        pytest.param({"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "sa-east-1"}, (), "us-west-2", id="region"),
        pytest.param(
            {"AWS_REGION": "sa-east-1"}, ("-e", "aws_infrastructure_region=us-west-2"), "us-west-2", id="extra-vars"
        ),
    ],
)
def test_region_is_that_of_all_aws_clients(
    environment: dict[str, str], settings: dict[str, str], words: tuple[str, ...], expected: str
) -> None:
    assert {host["lab_region"] for host in hosts(environment | KEYS | settings, *words).values()} == {expected}


def test_region_of_group_vars_next_to_an_inventory_anywhere(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.aws_ec2.yml").write_text("plugin: digital_twin.robotics_lab.lab\n", "utf-8")
    (tmp_path / "group_vars" / "all").mkdir(parents=True)
    (tmp_path / "group_vars" / "all" / "lab.yml").write_text(
        "aws_infrastructure_region: \"{{ 'us-west' ~ '-2' }}\"\n", "utf-8"
    )
    here = environment | KEYS | {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")}
    words = ["ansible-inventory", "--list", "-i", "mine.aws_ec2.yml"]
    listed = subprocess.run(words, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert list(hosts_in(listed)) == ["lab-west-1"]


@pytest.mark.parametrize(
    ("settings", "words", "expected"),
    [
        pytest.param({}, (), ["AWS credentials: none were found", "AWS_PROFILE"], id="none"),
        pytest.param({"AWS_PROFILE": "sso"}, (), ["AWS credentials", "aws sso login"], id="sso"),
        pytest.param({"AWS_PROFILE": "mfa"}, (), ['"mfa" requires an MFA code', "export-credentials"], id="mfa"),
        pytest.param({"AWS_PROFILE": "behind-mfa"}, (), ['"behind-mfa" requires an MFA code'], id="behind-mfa"),
        pytest.param({"AWS_PROFILE": "mistyped"}, (), ['"mistyped" does not exist', "behind-mfa"], id="profile"),
        pytest.param(KEYS | {"AWS_PROFILE": "no-region"}, (), ["AWS region: not set", "AWS_REGION"], id="region"),
        pytest.param({"AWS_ACCESS_KEY_ID": "half"}, (), ["AWS credentials: are incomplete"], id="half"),
        pytest.param(KEYS, ("-e", "aws_infrastructure_region=eu-central-1b"), ["is an availability zone"], id="zone"),
        pytest.param(
            KEYS, ("-e", "aws_infrastructure_region=xx-east-7"), ['"xx-east-7" is not an AWS region'], id="unknown"
        ),
    ],
)
def test_one_line_and_nothing_else(
    environment: dict[str, str], settings: dict[str, str], words: tuple[str, ...], expected: list[str]
) -> None:
    refused = execute(["ansible-playbook", "playbooks/status.yml", *words], environment | settings)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert refused.stderr.startswith("[ERROR]: ")
    assert len(refused.stderr.splitlines()) == 1
    for part in expected:
        assert part in refused.stderr


@pytest.mark.parametrize("playbook", playbooks())
def test_every_playbook_begins_with_that_line(environment: dict[str, str], playbook: str) -> None:
    refused = execute(["ansible-playbook", playbook], environment)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1
    assert "AWS credentials: none were found" in refused.stderr


def test_a_host_has_its_recorded_data_volume(environment: dict[str, str]) -> None:
    url, region = environment["AWS_ENDPOINT_URL"], "us-west-2"
    ec2, iam = client("ec2", url, region), client("iam", url, region)
    (instance,) = [row for group in ec2.describe_instances()["Reservations"] for row in group["Instances"]]
    zone = instance["Placement"]["AvailabilityZone"]
    ids = [ec2.create_volume(AvailabilityZone=zone, Size=8)["VolumeId"] for _volume in range(2)]
    for volume, device in zip(ids, ("/dev/sdf", "/dev/sdg"), strict=True):
        ec2.attach_volume(InstanceId=instance["InstanceId"], VolumeId=volume, Device=device)

    def found() -> tuple[object, ...]:
        (host,) = hosts(environment | KEYS | {"AWS_REGION": region}).values()
        return tuple(host[f"lab_data_volume_{key}"] for key in ("id", "device", "created_empty"))

    assert found() == ("", "", False)
    record = [{"Key": "digital_twin_data_volumes_1", "Value": f"1={ids[1]} 2={ids[0]}"}]
    iam.tag_role(RoleName="lab-west-instance", Tags=record)
    device = f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{ids[1].replace('-', '')}"
    assert found() == (ids[1], device, True)
    ec2.create_tags(Resources=ids, Tags=[{"Key": "digital_twin_formatted", "Value": "2026-11-30T12:00:00Z"}])
    assert found() == (ids[1], device, False)


class Denied:
    """An account in which the caller may not get roles."""

    def role(self, name: str) -> None:
        raise ReadError(DENIED, "iam:GetRole", "eu-central-1", "AccessDenied", name)


def test_without_the_permission_to_get_the_role_there_are_no_hosts() -> None:
    """The run fails for its own lab, and other labs have no hosts."""
    instance = {
        "InstanceId": "i-1",
        "InstanceType": "g5.xlarge",
        "State": {"Name": "running"},
        "VpcId": "vpc-1",
        "KeyName": "my-lab",
        "IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/my-lab-instance"},
    }
    account: Any = Denied()
    assert list(judge(account, "eu-central-1", "my-lab", None, [instance])[0]) == ["i-1"]
    with pytest.raises(ReadError, match="iam:GetRole"):
        judge(account, "eu-central-1", "my-lab", {"my-lab"}, [instance])
