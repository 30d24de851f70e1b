#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that cancels spot requests, whatever the state of their instances is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: spot_requests_cancel
version_added: 1.0.0
short_description: Cancel spot requests before their instances are terminated
description:
  - Cancels spot requests, so that none launches another instance after its instance is terminated.
  - EC2 terminates the instance of a request when that instance is stopped, and lets a running one run.
  - M(amazon.aws.ec2_spot_instance) leaves the request of a stopped instance uncancelled. When that instance is
    terminated, the request launches another one.
options:
  ids:
    description: The ids of requests. Those that have ended or do not exist are ignored.
    type: list
    elements: str
    default: []
  tags:
    description: Tags of further requests, all of which a request must have. Without tags there are none.
    type: dict
    default: {}
  subnets:
    description:
      - The subnets of the requests that O(tags) select. Those for other subnets are left alone, as any caller that may
        tag can write tags.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
notes:
  - Needs the permissions C(ec2:DescribeSpotInstanceRequests) and C(ec2:CancelSpotInstanceRequests).
seealso:
  - module: digital_twin.robotics_lab.instance_launch
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Cancel a request
  digital_twin.robotics_lab.spot_requests_cancel:
    region: us-east-1
    ids: [sir-0123abcd]

- name: Cancel the requests of a lab
  digital_twin.robotics_lab.spot_requests_cancel:
    region: us-east-1
    tags: {digital_twin_lab: warehouse, managed_by: digital_twin.robotics_lab}
    subnets: [subnet-0123456789abcdef0]
"""

RETURN = r"""
cancelled:
  description: The requests that were cancelled. In check mode those that would be.
  returned: success
  type: list
  elements: str
  sample: [sir-0123abcd]
instances:
  description: The instances that the selected requests have launched, also since they were first read.
  returned: success
  type: list
  elements: str
  sample: [i-0123456789abcdef0]
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.connection import client_of, region_of, run_module
from ..module_utils._launch.spot import cancel, find_live, launched, tagged

SPEC: dict[str, dict[str, Any]] = {
    "ids": {"type": "list", "elements": "str", "default": []},
    "tags": {"type": "dict", "default": {}},
    "subnets": {"type": "list", "elements": "str", "default": []},
}


def cancel_all(module: AnsibleAWSModule) -> dict[str, Any]:
    """Cancel the requests that a module's options name.

    Raises:
        ReadError: AWS refused or did not answer.
    """
    region = region_of(module)
    ec2 = client_of(module, "ec2", "ec2:CancelSpotInstanceRequests")
    tags = {str(key): str(value) for key, value in module.params["tags"].items()}
    more = tagged(ec2, region, tags, module.params["subnets"]) if tags else []
    found = find_live(ec2, region, [*module.params["ids"], *(row["SpotInstanceRequestId"] for row in more)])
    if not module.check_mode:
        cancel(ec2, region, found)
    return {"changed": bool(found), "cancelled": found, "instances": launched(ec2, region, found)}


def main() -> None:
    """Cancel the requests."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), cancel_all)


if __name__ == "__main__":
    main()
