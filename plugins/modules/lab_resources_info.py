#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets everything that carries a lab's tags."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_resources_info
version_added: 1.0.0
short_description: Get all AWS resources that carry the tags of a lab
description:
  - Gets the resources with the tags C(digital_twin_lab) and C(managed_by) of a lab in one process, instead of one info
    module for each kind.
  - Each item has the keys that the info module of amazon.aws for its kind returns, without those that AWS does not
    return itself.
  - Tags alone do not make a resource part of the lab. The filter P(digital_twin.robotics_lab.lab_ownership#filter)
    separates what belongs to it.
options:
  name:
    description: The lab's name.
    type: str
    required: true
  kinds:
    description: The kinds of resources to get. V(images) includes the snapshots of these images.
    type: list
    elements: str
    choices:
      - instances
      - addresses
      - volumes
      - data_volumes
      - security_groups
      - subnets
      - route_tables
      - internet_gateways
      - vpcs
      - key_pairs
      - instance_profiles
      - roles
      - images
      - snapshots
    default:
      - instances
      - addresses
      - volumes
      - data_volumes
      - security_groups
      - subnets
      - route_tables
      - internet_gateways
      - vpcs
      - key_pairs
      - instance_profiles
      - roles
  backups:
    description: Whether to get V(images) and V(snapshots) as well.
    type: bool
    default: false
  alarm_stops:
    description:
      - Whether to find the alarms that stopped instances, see RV(alarm_stops). Needs V(instances) in O(kinds).
    type: bool
    default: false
  key_name:
    description: Name of a key pair to return as well, whatever its tags are.
    type: str
    default: ''
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permissions C(ec2:Describe*), C(iam:GetRole), C(iam:ListAttachedRolePolicies) and
    C(iam:GetInstanceProfile), as far as O(kinds) needs them.
  - Without C(cloudwatch:DescribeAlarmHistory) and C(cloudwatch:DescribeAlarms), and if CloudWatch does not answer,
    RV(alarm_stops) is empty.
  - Without C(iam:ListRolePolicies) and C(iam:GetRolePolicy) the role's own policies are returned as null.
seealso:
  - plugin: digital_twin.robotics_lab.lab_ownership
    plugin_type: filter
  - module: digital_twin.robotics_lab.lab_preflight
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the instances of a lab
  digital_twin.robotics_lab.lab_resources_info:
    region: eu-central-1
    name: warehouse
    kinds: [instances]
  register: lab

- name: Report their states
  ansible.builtin.debug:
    msg: "{{ item.instance_id }} is {{ item.state.name }}"
  loop: "{{ lab.resources.instances }}"
"""

RETURN = r"""
resources:
  description:
    - The resources by kind. Each kind is a list, possibly empty.
    - The items of C(instances) are those of M(amazon.aws.ec2_instance_info), without terminated instances.
      C(attributes.disable_api_termination.value) is true where termination protection is on.
    - C(root_volumes) are the root volumes of these instances, also those without the lab's tags.
    - C(volumes) are those with the lab's tags that are not data volumes. C(data_volumes) have the tag
      C(digital_twin_data), or are in the record of the lab, if O(kinds) has V(roles).
    - C(images) has only the account's own images. C(image_snapshots) are their snapshots, which have no tags.
    - C(named_key_pairs) has the key pair that O(key_name) names. All key pairs have their public keys.
    - C(instance_profiles) has C(<name>-instance) with C(instance_profile_name), C(roles) and C(tags).
    - C(roles) has C(<name>-instance) as of M(digital_twin.robotics_lab.iam_service_role_info), with C(description),
      C(trust_policy), and C(inline_policies) by name.
  returned: success
  type: dict
  sample:
    instances: [{instance_id: i-0123456789abcdef0}]
    addresses: [{allocation_id: eipalloc-0123456789abcdef0}]
    volumes: [{id: vol-0123456789abcdef0}]
    root_volumes: [{id: vol-0123456789abcdef0}]
    security_groups: [{group_id: sg-0123456789abcdef0}]
    vpcs: [{vpc_id: vpc-0123456789abcdef0}]
    key_pairs: [{key_name: warehouse}]
    roles: [{role_name: warehouse-instance}]
alarm_stops:
  description:
    - Stops by alarms of CloudWatch, of instances that are stopped and whose tags do not explain that, for C(events) of
      P(digital_twin.robotics_lab.lab_summary#filter). Empty without O(alarm_stops).
  returned: success
  type: list
  elements: dict
  sample:
    - verb: stop
      cause: alarm
      alarm: warehouse-1-gpu-idle
      instance_id: i-0123456789abcdef0
      time: "2026-11-30T19:30:00Z"
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.account import Account
from ..module_utils._aws.connection import connector, region_of
from ..module_utils._aws.errors import ReadError, describe_error
from ..module_utils._lab.alarm_stops import read_alarm_stops
from ..module_utils._lab.names import is_lab_name
from ..module_utils._lab.resources import BACKUPS, KINDS, read_resources

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "kinds": {"type": "list", "elements": "str", "choices": [*KINDS, *BACKUPS], "default": list(KINDS)},
    "backups": {"type": "bool", "default": False},
    "alarm_stops": {"type": "bool", "default": False},
    "key_name": {"type": "str", "default": "", "no_log": False},
}


def main() -> None:
    """Return the resources, or fail with one line."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    region = region_of(module)
    account = Account(connector(module), region)
    parameters = module.params
    if not is_lab_name(parameters["name"]):
        module.fail_json(msg=f'name: "{parameters["name"]}" is not the name of a lab.')
    try:
        kinds = [*parameters["kinds"], *(BACKUPS if parameters["backups"] else ())]
        found = read_resources(account, parameters["name"], region, kinds, parameters["key_name"])
        stops = read_alarm_stops(account, found.get("instances", [])) if parameters["alarm_stops"] else []
    except ReadError as error:
        module.fail_json(msg=str(describe_error(error)))
    module.exit_json(changed=False, resources=found, alarm_stops=stops)


if __name__ == "__main__":
    main()
