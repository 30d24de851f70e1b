# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventory lab."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab
short_description: Find the running hosts of robotics labs in EC2
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Finds the running EC2 instances that this collection created, by their tags. A lab that does not exist, or is
    stopped, has no hosts.
  - Any caller that may tag resources can give the tags to other instances. An instance is a host only with the instance
    profile of the lab and in the VPC that the tags of the lab's role record. The instances of the lab that
    C(aws_infrastructure_name) names also have its key pair, or that of C(aws_infrastructure_key_name). All others are
    left out, each with a line on the standard error output.
  - The region is O(regions), else the variable C(aws_infrastructure_region) of C(--extra-vars) or of the
    C(group_vars/all) next to the inventory file, else E(AWS_REGION), E(AWS_DEFAULT_REGION), or the region of the
    AWS profile.
  - The credentials are those that every AWS client finds, such as E(AWS_PROFILE). Missing or expired credentials, a
    profile that requires an MFA code, and a missing region end the run with one line when
    C(any_unparsed_is_failed) is set in the C([inventory]) section of C(ansible.cfg). Without it Ansible prints
    its own warnings and continues without these hosts.
  - The groups that the playbooks of this collection fill exist from the start, so that Ansible does not warn about
    them in an empty account.
  - Each host is in the groups C(lab), C(lab_<name of the lab>) and C(aws_ec2). Its name is that of the lab
    with its number, C(digital_twin_index), or its instance id when another host already has that name.
  - Each host has the variables C(ansible_host), C(ansible_user), C(lab_name), C(lab_region),
    C(lab_availability_zone), C(lab_instance_id), C(lab_instance_type), C(lab_private_ip), C(lab_public_ip) and
    C(lab_public_dns), and what EC2 returns of the instance as C(ec2_<snake_case name>), with the tags as
    C(ec2_tags).
  - C(lab_data_volume_id) is the data volume that is attached to the host, or empty, C(lab_data_volume_device) its path
    on the host, and C(lab_data_volume_created_empty) whether it was created without a snapshot and has no tag
    C(digital_twin_formatted). Only volumes in the lab's record count.
  - C(amazon.aws.aws_ec2) is not used, because its variable for the tags has another name in each of the supported
    versions of amazon.aws, and because version 11 prints a deprecation for it in every run.
extends_documentation_fragment:
  - constructed
requirements:
  - boto3
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [digital_twin.robotics_lab.lab]
  regions:
    description: Names of the AWS regions to search. When empty, the region of the lab.
    type: list
    elements: str
    default: []
notes:
  - The name of the inventory file ends in C(aws_ec2.yml) or C(aws_ec2.yaml).
  - Needs the permissions C(ec2:DescribeInstances), and C(iam:GetRole) for the roles of the labs. Labs whose
    role a user may not get have no hosts for that user. Needs C(ec2:DescribeVolumes) for labs with data volumes.
"""

EXAMPLES = r"""
# inventory/aws_ec2.yml
plugin: digital_twin.robotics_lab.lab

---
# Groups and variables of your own
plugin: digital_twin.robotics_lab.lab
regions: [eu-central-1, us-east-1]
strict: true
keyed_groups:
  - key: lab_instance_type | split('.') | first
    prefix: family
compose:
  team: ec2_tags.team | default('robotics')
"""

import re
from typing import Any, NoReturn

from ansible import constants
from ansible.errors import AnsibleParserError, ExitCode
from ansible.inventory.data import InventoryData
from ansible.inventory.group import Group
from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.vars import combine_vars, load_extra_vars
from ansible.vars.plugins import get_vars_from_inventory_sources

from ..module_utils._aws.account import Account
from ..module_utils._aws.errors import DENIED, ReadError, describe_error, translated
from ..module_utils._aws.resources import read_instance, read_tags
from ..module_utils._lab.data_volume import device_of, is_created_empty
from ..module_utils._lab.names import is_lab_name
from ..module_utils._lab.ownership import INDEX_TAG, Claimed, Foreign, lab_keys, settle, wrong_with_instance
from ..module_utils._lab.record import MANAGED_BY, read_record
from ..module_utils._problem import shown
from ..plugin_utils import _aws_login as login

# The playbooks use these in `hosts`, and fill all but the first.
GROUPS = ("lab", "lab_selected", "lab_provisioned", "lab_running")
SUFFIXES = ("aws_ec2.yml", "aws_ec2.yaml")
FILTERS = [
    {"Name": "tag:managed_by", "Values": [MANAGED_BY]},
    {"Name": "instance-state-name", "Values": ["running"]},
]


def host_variables(instance: dict[str, Any], region: str) -> dict[str, Any]:
    """Return the variables of a host.

    Args:
        instance: Its description by ec2:DescribeInstances.
        region: Its region.
    """
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    described = camel_dict_to_snake_dict({key: value for key, value in instance.items() if key != "Tags"})
    address = instance.get("PublicIpAddress", "")
    return {
        **{f"ec2_{key}": value for key, value in described.items()},
        "ec2_tags": tags,
        "ansible_host": address or instance.get("PrivateIpAddress", ""),
        "ansible_user": tags.get("digital_twin_ssh_user", ""),
        "lab_name": tags.get("digital_twin_lab", ""),
        "lab_region": region,
        "lab_availability_zone": instance["Placement"]["AvailabilityZone"],
        "lab_instance_id": instance["InstanceId"],
        "lab_instance_type": instance["InstanceType"],
        "lab_private_ip": instance.get("PrivateIpAddress", ""),
        "lab_public_ip": address,
        "lab_public_dns": instance.get("PublicDnsName", ""),
    }


def judge(
    account: Account, region: str, lab: str, keys: set[str] | None, instances: list[dict[str, Any]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the ids of the instances that only carry a lab's tags, with the reasons, and the lab's data volumes.

    The data volumes are ids by the number of their host.

    Args:
        account: Reads of the account.
        region: The lab's region.
        lab: The lab's name in the tags.
        keys: Names of the lab's key pairs; None for a lab other than that of this run.
        instances: Instances that carry the lab's tags.

    Raises:
        ReadError: A call to IAM failed, or the role of the lab of this run is denied.
    """
    role = None
    try:
        role = account.role(f"{lab}-instance") if is_lab_name(lab) else None
    except ReadError as error:
        if error.kind != DENIED or keys is not None:
            raise
    judged = [read_instance(found) for found in instances]
    record = settle(lab, keys, read_record(lab, region, role.tags if role else None), Claimed(instances=judged))
    reasons = {item.instance_id: wrong_with_instance(lab, keys, record, item) for item in judged}
    return {identifier: reason for identifier, reason in reasons.items() if reason}, dict(record.data_volumes)


def data_variables(instance: dict[str, Any], volumes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the variables of a host about its data volume.

    Args:
        instance: The host's description by ec2:DescribeInstances.
        volumes: The data volumes of the labs, by id, as ec2:DescribeVolumes describes them.
    """
    attached = {
        mapping["Ebs"]["VolumeId"]: mapping["DeviceName"]
        for mapping in instance.get("BlockDeviceMappings", [])
        if mapping.get("Ebs", {}).get("VolumeId") in volumes
    }
    identifier, name = next(iter(attached.items()), ("", ""))
    volume = volumes.get(identifier, {})
    return {
        "lab_data_volume_id": identifier,
        "lab_data_volume_device": device_of(instance["InstanceType"], identifier, name),
        "lab_data_volume_created_empty": bool(volume)
        and is_created_empty(volume.get("SnapshotId") or volume.get("SourceVolumeId"), read_tags(volume.get("Tags"))),
    }


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Finds the running hosts of labs by their tags."""

    NAME = "digital_twin.robotics_lab.lab"

    def verify_file(self, path: str) -> bool:
        """Return whether a file is for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(SUFFIXES)

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        """Add the running hosts to the inventory.

        Raises:
            AnsibleParserError: A call to AWS failed.
            SystemExit: The same, if a failed inventory ends the run.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        for group in GROUPS:
            inventory.add_group(group)
        variables = self._variables(path)
        for region in self.get_option("regions") or [variables["region"] or login.region_by_default()]:
            try:
                login.check(region)
                found = self._hosts(region, variables)
            except login.LoginError as error:
                self._refuse(str(error))
            except ReadError as error:
                self._refuse(login.region_problem(region, error) or str(describe_error(error)))
            for instance, volumes in found:
                self._add(inventory, {**host_variables(instance, region), **data_variables(instance, volumes)})

    def _refuse(self, message: str) -> NoReturn:
        """End the run with one line.

        Ansible prints the failures of all other inventory plugins after the cause, and then that nothing was parsed. If
        that ends the run anyway, it ends here.
        """
        if not constants.config.get_config_value("INVENTORY_ANY_UNPARSED_IS_FAILED"):
            raise AnsibleParserError(message)
        self.display.error(message, wrap_text=False)
        raise SystemExit(ExitCode.PARSER_ERROR)

    def _variables(self, path: str) -> dict[str, str]:
        """Return region, name and key name of the lab, which may not exist yet; empty where they are not set.

        Args:
            path: The inventory file.
        """
        inventory_variables = get_vars_from_inventory_sources(self.loader, [path], [Group("all")], "task")
        variables = combine_vars(inventory_variables, load_extra_vars(self.loader))
        self.templar.available_variables = variables
        values = {name: variables.get(f"aws_infrastructure_{name}") for name in ("region", "name", "key_name")}
        return {name: str(self.templar.template(value) or "") for name, value in values.items()}

    def _hosts(self, region: str, variables: dict[str, str]) -> list[tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
        """Return the instances of a region that belong to labs, each with the data volumes that it may have.

        Reports those that only carry the tags of labs.

        Raises:
            ReadError: A call to AWS failed.
        """
        labs: dict[str, list[dict[str, Any]]] = {}
        hosts = self._instances(region)
        for found in hosts:
            name = host_variables(found, region)["lab_name"]
            labs.setdefault(name, []).append(found)
        account = Account(login.client, region)
        left_out: set[str] = set()
        data: dict[str, str] = {}
        for name, instances in labs.items():
            keys = lab_keys(name, variables["key_name"]) if name == variables["name"] else None
            reasons, volumes = judge(account, region, name, keys, instances)
            for instance in instances:
                number = host_variables(instance, region)["ec2_tags"].get(INDEX_TAG, "")
                data[instance["InstanceId"]] = volumes.get(number, "")
            for identifier, reason in reasons.items():
                left_out.add(identifier)
                line = f"Not a host of the lab {shown(name)}: {Foreign('instance', identifier, reason)}."
                self.display.display(line, stderr=True)
        own = [found for found in hosts if found["InstanceId"] not in left_out]
        described = self._volumes(account, {data[found["InstanceId"]] for found in own} - {""})
        wanted = ((found, data[found["InstanceId"]]) for found in own)
        return [(found, {volume: described[volume]} if volume in described else {}) for found, volume in wanted]

    def _volumes(self, account: Account, identifiers: set[str]) -> dict[str, dict[str, Any]]:
        """Return data volumes by id. Without any no call is made, as the caller may lack the permission.

        Raises:
            ReadError: A call to AWS failed.
        """
        if not identifiers:
            return {}
        filters = [{"Name": "volume-id", "Values": sorted(identifiers)}]
        answer = account.read("ec2", "describe_volumes", Filters=filters)
        return {volume["VolumeId"]: volume for volume in answer["Volumes"]}

    def _instances(self, region: str) -> list[dict[str, Any]]:
        """Return the running instances of all labs in a region, the oldest first.

        Raises:
            ReadError: A call to EC2 failed.
        """
        with translated("ec2:DescribeInstances", region):
            pages = login.client("ec2", region).get_paginator("describe_instances").paginate(Filters=FILTERS)
            found = [instance for page in pages for part in page["Reservations"] for instance in part["Instances"]]
        return sorted(found, key=lambda instance: (instance["LaunchTime"], instance["InstanceId"]))

    def _add(self, inventory: InventoryData, variables: dict[str, Any]) -> None:
        """Add a host to the inventory, with its groups and variables."""
        # Not the tag Name, which could be that of another host or group, and the first host runs the profile.
        number = variables["ec2_tags"].get(INDEX_TAG, "")
        name = f"{variables['lab_name']}-{number}"
        known = name in inventory.hosts or not re.fullmatch("[0-9]{1,4}", number)
        host = variables["lab_instance_id"] if known else name
        for group in ("aws_ec2", "lab", "lab_" + re.sub(r"\W", "_", variables["lab_name"], flags=re.ASCII)):
            inventory.add_group(group)
            inventory.add_host(host, group=group)
        for key, value in variables.items():
            inventory.set_variable(host, key, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict)
