#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that changes the instance type of a lab's hosts in place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_resize
version_added: 1.0.0
short_description: Change the instance type of a lab's hosts, with their disks and addresses
description:
  - Stops each host that has another type, changes its type, and starts it again if it ran. One host after the other.
  - If AWS does not start a host as the new type, it gets its old type again and is started. The hosts after it stay as
    they are.
  - Before the first change, checks that the zone of each host offers the type, that the type has the architecture of
    the hosts, and that they are not spot instances, whose type AWS does not change.
  - A call that was killed in the middle is completed by the next one. If AWS does not start the new type then, the host
    stays stopped. The message names the type that the tag C(digital_twin_resize) names, which is not set by itself.
  - Data on local disks of an instance type is lost whenever it stops. Root disks of labs are EBS volumes, and stay.
options:
  instance_type:
    description: The type that the hosts get.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
  - digital_twin.robotics_lab._instances
  - digital_twin.robotics_lab._instances.prefix
  - digital_twin.robotics_lab._instances.retry
notes:
  - Needs the permissions C(ec2:StartInstances), C(ec2:StopInstances), C(ec2:ModifyInstanceAttribute),
    C(ec2:CreateTags), C(ec2:DeleteTags), C(ec2:DescribeInstances), C(ec2:DescribeInstanceTypes) and
    C(ec2:DescribeInstanceTypeOfferings).
seealso:
  - module: digital_twin.robotics_lab.instance_start
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Give a host a larger type
  digital_twin.robotics_lab.instance_resize:
    hosts:
      - {name: warehouse-1, instance_id: i-0123456789abcdef0}
    instance_type: g5.2xlarge
"""

RETURN = r"""
hosts:
  description: The hosts as they are now.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The host's name.
      type: str
      sample: warehouse-1
    instance_id:
      description: Its instance.
      type: str
      sample: i-0123456789abcdef0
    instance_type:
      description: Its type.
      type: str
      sample: g5.xlarge
    previous_type:
      description: Its type before.
      type: str
      sample: g5.xlarge
    state:
      description: Its state.
      type: str
      sample: running
lines:
  description: The changes, one line each.
  returned: always
  type: list
  elements: str
  sample: ["warehouse-1: g5.xlarge is now g5.2xlarge, running"]
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.errors import ReadError, describe_error
from ..module_utils._launch.run import StopError
from ..module_utils._power.options import COMMON, Result, power_of
from ..module_utils._power.resize import check, resize, to_change

SPEC: dict[str, dict[str, Any]] = {**COMMON, "instance_type": {"type": "str", "required": True}}


def change_types(module: AnsibleAWSModule, result: Result) -> None:
    """Change what has another type, and add to the result.

    Raises:
        StopError: A host cannot have the type, or did not start with it.
        ReadError: AWS did not answer, or refused.
    """
    power, wanted = power_of(module, "ec2:ModifyInstanceAttribute"), module.params["instance_type"]
    hosts = result.hosts = power.single_hosts(module.params["hosts"])
    result.remember()
    differing = to_change(hosts, wanted)
    if not differing:
        return
    problems, kind = check(power, differing, wanted)
    if problems or kind is None:
        raise StopError("\n".join(problems))
    result.changed = True
    if module.check_mode:
        result.more["lines"] += [
            f"{host.name}: is {wanted} already, and would keep this type"
            if host.type == wanted
            else f"{host.name}: {host.type} would become {wanted}"
            for host in differing
        ]
        return
    try:
        for host in differing:
            result.more["lines"].append(resize(power, host, kind))
    finally:
        result.changed = power.changes > 0


def main() -> None:
    """Change the types, or fail with one line for each host that cannot have it."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    result, problem = Result({"lines": []}), ""
    try:
        change_types(module, result)
    except StopError as error:
        problem = str(error)
    except ReadError as error:
        problem = str(describe_error(error))
    result.end(module, problem)


if __name__ == "__main__":
    main()
