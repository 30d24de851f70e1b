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
  description: The resources by kind. Each kind is a list, which is empty when there are no resources of that kind.
  returned: success
  type: dict
  contains:
    instances:
      description:
        - As of M(amazon.aws.ec2_instance_info), without terminated instances.
        - C(attributes.disable_api_termination.value) is true where termination protection is on.
      type: list
      elements: dict
      sample: [{instance_id: i-0123456789abcdef0}]
    addresses:
      description: As of M(amazon.aws.ec2_eip_info).
      type: list
      elements: dict
      sample: [{allocation_id: eipalloc-0123456789abcdef0}]
    volumes:
      description: As of M(amazon.aws.ec2_vol_info).
      type: list
      elements: dict
      sample: [{id: vol-0123456789abcdef0}]
    root_volumes:
      description: The root volumes of RV(resources.instances), also those without the lab's tags.
      type: list
      elements: dict
      sample: [{id: vol-0123456789abcdef0}]
    security_groups:
      description: As of M(amazon.aws.ec2_security_group_info).
      type: list
      elements: dict
      sample: [{group_id: sg-0123456789abcdef0}]
    subnets:
      description: As of M(amazon.aws.ec2_vpc_subnet_info).
      type: list
      elements: dict
      sample: [{subnet_id: subnet-0123456789abcdef0}]
    route_tables:
      description: As of M(amazon.aws.ec2_vpc_route_table_info).
      type: list
      elements: dict
      sample: [{route_table_id: rtb-0123456789abcdef0}]
    internet_gateways:
      description: As of M(amazon.aws.ec2_vpc_igw_info).
      type: list
      elements: dict
      sample: [{internet_gateway_id: igw-0123456789abcdef0}]
    vpcs:
      description: As of M(amazon.aws.ec2_vpc_net_info).
      type: list
      elements: dict
      sample: [{vpc_id: vpc-0123456789abcdef0}]
    key_pairs:
      description: As of M(amazon.aws.ec2_key_info), with the public keys.
      type: list
      elements: dict
      sample: [{key_name: warehouse}]
    named_key_pairs:
      description: The key pair that O(key_name) names, in the same form.
      returned: when O(key_name) is set
      type: list
      elements: dict
      sample: []
    instance_profiles:
      description: The instance profile C(<name>-instance) with C(instance_profile_name), C(roles) and C(tags).
      type: list
      elements: dict
      sample: [{instance_profile_name: warehouse-instance}]
    roles:
      description:
        - The role C(<name>-instance), as of M(digital_twin.robotics_lab.iam_service_role_info), with C(description),
          C(trust_policy), and C(inline_policies) by name.
      type: list
      elements: dict
      sample: [{role_name: warehouse-instance}]
    images:
      description: As of M(amazon.aws.ec2_ami_info), only the account's own images.
      type: list
      elements: dict
      sample: [{image_id: ami-0123456789abcdef0}]
    image_snapshots:
      description: The snapshots of RV(resources.images), which have no tags of their own.
      type: list
      elements: dict
      sample: [{snapshot_id: snap-0123456789abcdef0}]
    snapshots:
      description: As of M(amazon.aws.ec2_snapshot_info).
      type: list
      elements: dict
      sample: [{snapshot_id: snap-0123456789abcdef0}]
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.account import Account
from ..module_utils._aws.connection import connector, region_of
from ..module_utils._aws.errors import ReadError, describe_error
from ..module_utils._lab.names import is_lab_name
from ..module_utils._lab.resources import BACKUPS, KINDS, read_resources

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "kinds": {"type": "list", "elements": "str", "choices": [*KINDS, *BACKUPS], "default": list(KINDS)},
    "backups": {"type": "bool", "default": False},
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
    except ReadError as error:
        module.fail_json(msg=str(describe_error(error)))
    module.exit_json(changed=False, resources=found)


if __name__ == "__main__":
    main()
