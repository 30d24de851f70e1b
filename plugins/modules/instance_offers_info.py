#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that reads which instance types a region offers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_offers_info
version_added: 1.0.0
short_description: Get the instance types with GPUs that a region offers
description:
  - Reads which instance types with NVIDIA GPUs a region offers, EC2's description of them, and the vCPUs that the
    account's quotas leave, for P(digital_twin.robotics_lab.stack_offers#filter).
  - Changes nothing. An account or region that cannot be read is not an error; RV(unread) then has the reason, and
    RV(lab_types) what could be read before.
options:
  name:
    description: Name of the lab, whose existing instances are looked for.
    type: str
    required: true
  region:
    description:
      - The AWS region to use, such as V(us-east-1).
      - The E(AWS_REGION) or E(AWS_DEFAULT_REGION) environment variables may also be used.
    type: str
    aliases:
      - aws_region
  availability_zone:
    description: The only zone to consider. When empty, all ordinary zones of the region.
    type: str
    default: ''
  market:
    description: The markets whose quotas count. With V(auto), that which leaves more.
    type: str
    choices: [on_demand, spot, auto]
    default: on_demand
  instance_types:
    description: Types to look for, besides all of the families g and p.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permissions C(ec2:DescribeAvailabilityZones), C(ec2:DescribeInstances), C(ec2:DescribeInstanceTypes) and
    C(ec2:DescribeInstanceTypeOfferings). Without C(servicequotas:GetServiceQuota) the quotas are null.
seealso:
  - module: digital_twin.robotics_lab.lab_preflight
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get what the region offers
  digital_twin.robotics_lab.instance_offers_info:
    name: warehouse
    region: eu-central-1
  register: offers

- name: Report the cheapest type for the simulator
  ansible.builtin.debug:
    msg: "{{ ('sim' | digital_twin.robotics_lab.stack_offers('eu-central-1', offers.offered)).table }}"
"""

RETURN = r"""
offered:
  description: Names of the instance types that the region or zone offers.
  returned: success
  type: list
  elements: str
  sample: [g5.xlarge, g6.xlarge]
described:
  description: Their descriptions, as EC2's DescribeInstanceTypes returns them, without what the filter does not use.
  returned: success
  type: list
  elements: dict
  sample: []
zones:
  description: The zones that offer each type.
  returned: success
  type: dict
  sample: {g5.xlarge: [us-east-1a, us-east-1b]}
quotas:
  description: The vCPUs that are left, by the family of an instance type; null where the quota could not be read.
  returned: success
  type: dict
  sample: {g: 8, gr: 8, vt: 8, p: 0}
lab_types:
  description:
    - The types of the instances that carry the lab's tags, in the order of its hosts. Empty for a new lab.
    - Tags alone do not prove that an instance belongs to the lab. M(digital_twin.robotics_lab.lab_preflight) checks it.
  returned: success
  type: list
  elements: str
  sample: []
unread:
  description: Why the offers could not be read, in one line; empty otherwise.
  returned: success
  type: str
  sample: ""
"""

from typing import Any

from ansible.module_utils.basic import env_fallback
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.account import Account
from ..module_utils._aws.connection import connector
from ..module_utils._aws.errors import DENIED, ReadError, describe_error
from ..module_utils._aws.names import region_fault
from ..module_utils._lab.record import MANAGED_BY
from ..module_utils._preflight.offers import read_lab_types, read_offers

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "region": {
        "type": "str",
        "aliases": ["aws_region"],
        "fallback": (env_fallback, ["AWS_REGION", "AWS_DEFAULT_REGION"]),
    },
    "availability_zone": {"type": "str", "default": ""},
    "market": {"type": "str", "choices": ["on_demand", "spot", "auto"], "default": "on_demand"},
    "instance_types": {"type": "list", "elements": "str", "default": []},
}
NOTHING: dict[str, Any] = {"offered": [], "zones": {}, "described": [], "quotas": {}}


def has_region(account: Account, region: str) -> bool:
    """Return whether the account has a region enabled. An organisation may deny this call outside its own regions."""
    try:
        return account.regions().get(region, False)
    except ReadError as error:
        if error.kind != DENIED:
            raise
        return True


def main() -> None:
    """Return the offers, or why they cannot be read."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    given = module.params
    region = given["region"] or ""
    if not region or region_fault(region, "availability_zone"):
        module.exit_json(changed=False, unread=f"region {region!r} is not valid", lab_types=[], **NOTHING)
    account = Account(connector(module), region)
    tags = {"digital_twin_lab": given["name"], "managed_by": MANAGED_BY}
    lab_types: list[str] = []
    try:
        # Credentials and the region's name are checked by calls that need no region: its own endpoint may not exist.
        account.caller()
        if not has_region(account, region):
            module.exit_json(changed=False, unread=f"region {region} is not enabled", lab_types=[], **NOTHING)
        # An existing lab keeps its type, so it needs no offers.
        lab_types = read_lab_types(account, tags)
        found = read_offers(account, given["availability_zone"], given["instance_types"], given["market"])
    except ReadError as error:
        module.exit_json(changed=False, unread=str(describe_error(error)), lab_types=lab_types, **NOTHING)
    module.exit_json(changed=False, unread="", lab_types=lab_types, **found)


if __name__ == "__main__":
    main()
