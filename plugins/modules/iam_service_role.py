#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that manages an IAM role which an AWS service assumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iam_service_role
version_added: 1.0.0
short_description: Manage an IAM role that an AWS service assumes
description:
  - Creates, updates or deletes an IAM role, such as that of EC2 instances.
  - Managed policies and tags that are not named in the options are not changed.
  - M(amazon.aws.iam_role) prints a deprecation in every run, which none of its options avoids, and needs a list of all
    attached policies to detach one.
options:
  name:
    description: The name of the role.
    type: str
    required: true
  state:
    description:
      - Whether the role should exist.
      - With V(absent) its policies are detached or deleted, and it leaves its instance profiles, which stay.
    type: str
    choices: [present, absent]
    default: present
  description:
    description: The description of the role. When not set, that of an existing role stays.
    type: str
  service:
    description: The AWS service that may assume the role.
    type: str
    default: ec2.amazonaws.com
  trust_conditions:
    description: When the service may assume the role, as the C(Condition) of the trust policy.
    type: dict
    default: {}
  managed_policies:
    description: ARNs of managed policies that are attached.
    type: list
    elements: str
    default: []
  detached_policies:
    description: ARNs of managed policies that must not be attached. They are detached if necessary.
    type: list
    elements: str
    default: []
  permissions_boundary:
    description:
      - ARN of the managed policy that is the permissions boundary. The role may do only
        what it permits, whatever other policies allow.
      - An empty string removes the boundary. When not set, the boundary stays as it is.
    type: str
  tags:
    description: Tags of the role.
    type: dict
    default: {}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
notes:
  - Needs the permissions C(iam:GetRole) and C(iam:ListAttachedRolePolicies), and those in RV(actions).
  - With O(state=absent) also C(iam:ListRolePolicies) and C(iam:ListInstanceProfilesForRole).
seealso:
  - module: amazon.aws.iam_role
  - module: amazon.aws.iam_instance_profile
  - module: digital_twin.robotics_lab.iam_service_role_info
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Create the role of the instances
  digital_twin.robotics_lab.iam_service_role:
    name: warehouse-instance
    description: Instances of the warehouse
    managed_policies: [arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore]
    permissions_boundary: arn:aws:iam::123456789012:policy/hosts
    tags: {team: robotics}

- name: Delete the role
  digital_twin.robotics_lab.iam_service_role:
    name: warehouse-instance
    state: absent
"""

RETURN = r"""
actions:
  description: The actions of IAM that were called to change the role, in their order, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [iam:CreateRole, iam:AttachRolePolicy]
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import iam_role
from ..module_utils._aws.connection import client_of, region_of, run_module

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "description": {"type": "str"},
    "service": {"type": "str", "default": "ec2.amazonaws.com"},
    "trust_conditions": {"type": "dict", "default": {}},
    "managed_policies": {"type": "list", "elements": "str", "default": []},
    "detached_policies": {"type": "list", "elements": "str", "default": []},
    "permissions_boundary": {"type": "str"},
    "tags": {"type": "dict", "default": {}},
}


def wanted(parameters: dict[str, Any]) -> iam_role.WantedRole:
    """Return the role that a module's options describe."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"Service": parameters["service"]},
        "Action": "sts:AssumeRole",
    }
    if parameters["trust_conditions"]:
        statement["Condition"] = parameters["trust_conditions"]
    return iam_role.WantedRole(
        name=parameters["name"],
        description=parameters["description"],
        trust={"Version": "2012-10-17", "Statement": [statement]},
        tags={str(key): str(value) for key, value in parameters["tags"].items()},
        attach=parameters["managed_policies"],
        detach=parameters["detached_policies"],
        boundary=parameters["permissions_boundary"],
    )


def manage(module: AnsibleAWSModule) -> dict[str, Any]:
    """Read, compare, write; return the module's result.

    Raises:
        ReadError: IAM did not answer, or refused.
    """
    name, region = module.params["name"], region_of(module)
    client = client_of(module, "iam", "iam:GetRole")
    found = iam_role.read(client, name, region)
    calls: list[iam_role.Call] = []
    if module.params["state"] == "present":
        calls = iam_role.plan(found, wanted(module.params))
    elif found is not None:
        calls = iam_role.plan_removal(found, *iam_role.read_dependants(client, found, region))
    if not module.check_mode:
        iam_role.apply(client, calls, region)
    actions = [call.action for call in calls]
    diff = {
        "before_header": f"role {name}",
        "after_header": f"role {name}",
        "before": "",
        "after": "".join(f"{action}\n" for action in actions),
    }
    return {"changed": bool(calls), "actions": actions, "diff": diff}


def main() -> None:
    """Manage the role, or fail with one line."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), manage)


if __name__ == "__main__":
    main()
