#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets an IAM role."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iam_service_role_info
version_added: 1.0.0
short_description: Get an IAM role
description:
  - Gets an IAM role with its tags. For a role that does not exist, the result is an empty list.
  - M(amazon.aws.iam_role_info) prints a deprecation in every run, which none of its options avoids.
options:
  name:
    description: The name of the role.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permissions C(iam:GetRole) and C(iam:ListAttachedRolePolicies).
seealso:
  - module: amazon.aws.iam_role_info
  - module: digital_twin.robotics_lab.iam_service_role
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the role of the instances
  digital_twin.robotics_lab.iam_service_role_info:
    name: warehouse-instance
  register: role
"""

RETURN = r"""
roles:
  description: The role. Empty when it does not exist.
  returned: success
  type: list
  elements: dict
  contains:
    role_name:
      description: Its name.
      type: str
      sample: warehouse-instance
    arn:
      description: Its ARN.
      type: str
      sample: arn:aws:iam::123456789012:role/warehouse-instance
    tags:
      description: Its tags.
      type: dict
      sample: {team: robotics}
    managed_policies:
      description: ARNs of the managed policies that are attached.
      type: list
      elements: str
      sample: [arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore]
    permissions_boundary:
      description: ARN of the permissions boundary. Empty when the role has none.
      type: str
      sample: arn:aws:iam::123456789012:policy/hosts
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import iam_role
from ..module_utils._aws.connection import client_of, region_of, run_module

SPEC: dict[str, dict[str, Any]] = {"name": {"type": "str", "required": True}}


def read(module: AnsibleAWSModule) -> dict[str, Any]:
    """Return the role in the form that the module documents.

    Raises:
        ReadError: IAM did not answer.
    """
    role = iam_role.read(client_of(module, "iam", "iam:GetRole"), module.params["name"], region_of(module))
    if role is None:
        return {"changed": False, "roles": []}
    described = {
        "role_name": role.name,
        "arn": role.arn,
        "tags": role.tags,
        "managed_policies": sorted(role.managed),
        "permissions_boundary": role.boundary,
    }
    return {"changed": False, "roles": [described]}


def main() -> None:
    """Return the role, or fail with one line."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), read)


if __name__ == "__main__":
    main()
