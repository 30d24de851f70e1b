# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A caller that may only tag EC2 resources adds a lab's tags to resources of another owner.

None of them becomes a host, and destroying the lab deletes none of them. Against a local AWS, as users run it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import requests
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._lab.record import Record, write_record

from tests.support.ansible_programs import execute
from tests.support.foreign_resources import ForeignResources, missing
from tests.support.project import clean_environment
from tests.unit.plugins.conftest import IMAGE_ID

if TYPE_CHECKING:
    import subprocess

NAME = "guarded"
OWN = {"digital_twin_lab": NAME, "managed_by": "digital_twin.robotics_lab"}
REGION = "us-east-1"
ZONE = "us-east-1a"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTS", "AWS_SECRET_ACCESS_KEY": "canary-aws-9e14"}
WORDS = ["-e", json.dumps({"aws_infrastructure_name": NAME, "aws_infrastructure_instance_count": 1})]


@dataclass
class Lab:
    """A lab with one host, as the role creates it, in an account with other owners."""

    url: str
    ec2: Any
    iam: Any
    strangers: ForeignResources
    ids: dict[str, str] = field(default_factory=dict)

    def play(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program as a user does."""
        environment = clean_environment({**KEYS, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION})
        return execute([*words, *WORDS], environment)

    def tagged(self, kind: str, **more: str) -> list[dict[str, Any]]:
        """Return the specification by which EC2 tags a new resource of the lab."""
        tags = {**OWN, "Name": f"{NAME}-1", **more}
        return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}]

    def make(self) -> None:
        """Create what the role creates."""
        ec2, iam, ids = self.ec2, self.iam, self.ids
        tags = [{"Key": key, "Value": value} for key, value in {**OWN, "digital_twin_region": REGION}.items()]
        for profile in (f"{NAME}-instance", "web"):
            iam.create_role(RoleName=profile, AssumeRolePolicyDocument="{}", Tags=tags if profile != "web" else [])
            iam.create_instance_profile(InstanceProfileName=profile, Tags=tags if profile != "web" else [])
            iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=profile)
        ids["vpc"] = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=self.tagged("vpc", Name=f"{NAME}-vpc"))[
            "Vpc"
        ]["VpcId"]
        gateway = ec2.create_internet_gateway(TagSpecifications=self.tagged("internet-gateway"))
        ids["gateway"] = gateway["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=ids["gateway"], VpcId=ids["vpc"])
        ids["subnet"] = ec2.create_subnet(
            VpcId=ids["vpc"], CidrBlock="10.0.1.0/24", TagSpecifications=self.tagged("subnet")
        )["Subnet"]["SubnetId"]
        ids["group"] = ec2.create_security_group(
            GroupName=f"{NAME}-sg",
            Description="hosts",
            VpcId=ids["vpc"],
            TagSpecifications=self.tagged("security-group"),
        )["GroupId"]
        ids["key_pair"] = ec2.create_key_pair(KeyName=NAME, TagSpecifications=self.tagged("key-pair"))["KeyPairId"]
        ids["host"] = ec2.run_instances(
            ImageId=IMAGE_ID,
            InstanceType="g5.xlarge",
            MinCount=1,
            MaxCount=1,
            SubnetId=ids["subnet"],
            KeyName=NAME,
            IamInstanceProfile={"Name": f"{NAME}-instance"},
            TagSpecifications=self.tagged("instance", digital_twin_index="1", digital_twin_ssh_user="ubuntu"),
        )["Instances"][0]["InstanceId"]
        address = ec2.allocate_address(
            Domain="vpc", TagSpecifications=self.tagged("elastic-ip", digital_twin_index="1")
        )["AllocationId"]
        ec2.associate_address(AllocationId=address, InstanceId=ids["host"])
        ids["address"] = address

    def record(self) -> None:
        """Record it as the role does."""
        ids = self.ids
        record = Record(ids["vpc"], ids["gateway"], ids["key_pair"], {"1": ids["address"]})
        tags = [{"Key": key, "Value": value} for key, value in write_record(record).items()]
        self.iam.tag_role(RoleName=f"{NAME}-instance", Tags=tags)

    def left(self) -> list[str]:
        """Return the resources of the lab that still exist."""
        return [what for what in self.ids if what not in missing(self.ec2, self.ids)]


@pytest.fixture
def lab(moto_endpoint: str) -> Iterator[Lab]:
    """Create a lab in its own account, and resources of another owner with its tags."""
    connect: Any = boto3.client
    keys = {name.lower(): value for name, value in KEYS.items()}
    ec2, iam = (connect(name, endpoint_url=moto_endpoint, region_name=REGION, **keys) for name in ("ec2", "iam"))
    requests.post(f"{moto_endpoint}/moto-api/reset", timeout=30).raise_for_status()
    made = Lab(moto_endpoint, ec2, iam, ForeignResources(ec2, NAME))
    made.make()
    made.strangers.everything(IMAGE_ID, ZONE)
    yield made
    requests.post(f"{moto_endpoint}/moto-api/reset", timeout=30).raise_for_status()


def hosts(lab: Lab) -> tuple[list[str], str]:
    """Return the hosts of the inventory, and what was reported."""
    listed = lab.play("ansible-inventory", "--list")
    assert listed.returncode == 0, listed.stderr
    variables = json.loads(listed.stdout)["_meta"]["hostvars"]
    return sorted(host["lab_instance_id"]["__ansible_unsafe"] for host in variables.values()), listed.stderr


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "of an earlier release"])
def test_resources_of_others_are_not_hosts(lab: Lab, recorded: bool) -> None:
    if recorded:
        lab.record()
    lab.strangers.guests(IMAGE_ID, lab.ids["subnet"], "web")
    found, reported = hosts(lab)
    assert found == [lab.ids["host"]]
    strangers = [identifier for identifier in lab.strangers.ids.values() if identifier.startswith("i-")]
    assert len(strangers) == 5
    for identifier in strangers:
        assert f'Not a host of the lab "{NAME}": instance {identifier} (it' in reported
    assert len(reported.splitlines()) == len(strangers)


def test_without_its_record_a_lab_has_no_hosts(lab: Lab) -> None:
    """Fails closed: the role belongs to another region, so the lab's network is unknown."""
    tags = [{"Key": "digital_twin_region", "Value": "eu-west-1"}]
    lab.iam.tag_role(RoleName=f"{NAME}-instance", Tags=tags)
    assert hosts(lab)[0] == []


def test_destroy_deletes_no_resources_of_others(lab: Lab) -> None:
    lab.record()
    named = lab.strangers.names()
    confirmed = ["-e", f"aws_infrastructure_destroy_confirm={NAME}", "-e", "aws_infrastructure_destroy_backups=true"]
    destroyed = lab.play("ansible-playbook", "playbooks/destroy.yml", *confirmed)
    assert lab.strangers.missing() == []
    assert destroyed.returncode == 0, destroyed.stdout
    assert lab.left() == []
    before, _nothing, after = destroyed.stdout.partition(f"Nothing is left of the lab {NAME}")
    for what, name in named.items():
        for part in (before, after):
            assert f" {name} (" in part, f"{what} {name} is not reported"
    assert " ".join(destroyed.stdout.split()).count("Remove its tag digital_twin_lab") == 2 * len(named)


def test_destroy_removes_nothing_while_another_instance_is_in_the_network(lab: Lab) -> None:
    lab.record()
    lab.strangers.guests(IMAGE_ID, lab.ids["subnet"], "web")
    refused = lab.play("ansible-playbook", "playbooks/destroy.yml", "-e", f"aws_infrastructure_destroy_confirm={NAME}")
    assert refused.returncode != 0
    for what in ("instance with another key", "instance with another profile"):
        assert lab.strangers.ids[what] in refused.stdout.partition("cannot be deleted while it holds")[2]
    assert lab.strangers.missing() == []
    assert lab.left() == list(lab.ids)


@pytest.mark.parametrize("name", ["localhost", "lab_selected", "other-1"])
def test_a_tag_does_not_set_the_name_of_a_host(lab: Lab, name: str) -> None:
    """The name of a host decides what runs there, and a host named localhost would receive tasks for this machine."""
    lab.record()
    lab.ec2.create_tags(Resources=[lab.ids["host"]], Tags=[{"Key": "Name", "Value": name}])
    listed = lab.play("ansible-inventory", "--list")
    assert list(json.loads(listed.stdout)["_meta"]["hostvars"]) == [f"{NAME}-1"]


def test_the_summary_shows_no_ssh_option_from_a_tag(lab: Lab) -> None:
    lab.record()
    tags = {"digital_twin_ssh_user": "-oProxyCommand=/tmp/x ubuntu", "Name": "x -oProxyCommand=/tmp/x"}
    lab.ec2.create_tags(Resources=[lab.ids["host"]], Tags=[{"Key": key, "Value": tags[key]} for key in tags])
    shown = lab.play("ansible-playbook", "playbooks/start.yml", "--check").stdout
    assert f"{NAME}-1: {lab.ids['host']}" in shown
    assert "ProxyCommand" not in shown


@pytest.mark.parametrize("hidden", ["vpc", "host", "address"])
def test_destroy_removes_nothing_while_another_tag_hides_a_part_of_the_lab(lab: Lab, hidden: str) -> None:
    """Otherwise a caller that may only tag could have the record deleted while the rest stays and costs."""
    lab.record()
    lab.ec2.create_tags(Resources=[lab.ids[hidden]], Tags=[{"Key": "digital_twin_lab", "Value": "other"}])
    refused = lab.play("ansible-playbook", "playbooks/destroy.yml", "-e", f"aws_infrastructure_destroy_confirm={NAME}")
    assert refused.returncode != 0
    assert f"{lab.ids[hidden]} belongs to {NAME} or is in its VPC, and does not carry its tags" in " ".join(
        refused.stdout.split()
    )
    assert "Nothing is left" not in refused.stdout
    assert lab.left() == list(lab.ids)
