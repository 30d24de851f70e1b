#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that starts the stopped hosts of a lab in place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_start
version_added: 1.0.0
short_description: Start the stopped hosts of a lab where they are, as another type if need be
description:
  - Starts the hosts of a lab that are stopped, and waits until they run. Never creates an instance.
  - Where AWS has no capacity for a host's type in its zone, tries O(instance_types) there, one after the other, with
    one call each. What fails for one host is not tried for the next. If all fail, the host has its own type again.
  - A host that runs as another type has its own in the tag C(digital_twin_instance_type). The next start tries that one
    first, if it is one of O(instance_types).
  - The type of a stopped spot instance cannot change. One that AWS has stopped is started only by AWS.
  - Sets the tag C(digital_twin_last_action) of hosts that it starts, and C(digital_twin_last_error) of those that it
    cannot start. A success removes the latter.
  - M(amazon.aws.ec2_instance) repeats a start for about two minutes where a zone has no capacity, and never tries
    another type.
options:
  instance_types:
    description: The types to try after a host's own, in order. Its own can be one of them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the type.
        type: str
        required: true
      zones:
        description: The zones that offer it.
        type: list
        elements: str
        required: true
      gpus:
        description: The number of its GPUs. EC2's description decides.
        type: int
        default: 1
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
  - digital_twin.robotics_lab._instances
  - digital_twin.robotics_lab._instances.prefix
  - digital_twin.robotics_lab._instances.retry
notes:
  - Needs the permissions C(ec2:StartInstances), C(ec2:CreateTags), C(ec2:DeleteTags) and C(ec2:DescribeInstances).
  - With O(instance_types) also C(ec2:ModifyInstanceAttribute) and C(ec2:DescribeInstanceTypes).
  - For spot also C(ec2:DescribeSpotInstanceRequests).
seealso:
  - module: digital_twin.robotics_lab.instance_stop
  - module: digital_twin.robotics_lab.instance_resize
  - module: digital_twin.robotics_lab.instance_launch
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Start a host, as another type if its own is not to be had
  digital_twin.robotics_lab.instance_start:
    hosts:
      - {name: warehouse-1, instance_id: i-0123456789abcdef0}
    instance_types:
      - {name: g5.2xlarge, zones: [us-east-1a, us-east-1b]}
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
  description: The tries, one line each.
  returned: always
  type: list
  elements: str
  sample: ["warehouse-1: g5.xlarge in us-east-1a, on demand: started"]
reasons:
  description: What stopped the hosts that were stopped, one line each.
  returned: always
  type: list
  elements: str
  sample: ["warehouse-1 was stopped on 2026-11-30 at 19:30 UTC by its schedule."]
no_capacity:
  description: Whether this failed only because AWS has no capacity at the moment, so that a later call can succeed.
  returned: always
  type: bool
  sample: false
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.errors import ReadError, describe_error
from ..module_utils._launch.run import StopError
from ..module_utils._power.calls import RUNNING, STOPPED, STOPPING, Host
from ..module_utils._power.options import COMMON, Result, power_of
from ..module_utils._power.start import Starter

SPEC: dict[str, dict[str, Any]] = {
    **COMMON,
    "instance_types": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "zones": {"type": "list", "elements": "str", "required": True},
            "gpus": {"type": "int", "default": 1},
        },
    },
}


def start_hosts(module: AnsibleAWSModule, result: Result) -> str:
    """Start what is stopped, add to the result, and return why a host does not run; empty when all run.

    Raises:
        StopError: A failure that no other type can cure.
        ReadError: AWS did not answer, or refused.
    """
    power = power_of(module, "ec2:StartInstances")
    hosts = result.hosts = power.single_hosts(module.params["hosts"])
    stopped = [host for host in hosts if host.state in (STOPPED, STOPPING)]
    result.remember()
    result.more["reasons"] = [line for host in stopped for line in host.describe()]
    result.changed = bool(stopped)
    if module.check_mode:
        return ""
    starter = Starter(power, module.params["instance_types"])
    try:
        starter.start(hosts)
    finally:
        result.more["lines"] += starter.lines
        result.changed = power.changes > 0
    result.more["no_capacity"] = bool(starter.problems) and set(starter.problems) == set(starter.empty)
    return "\n".join([*starter.problems.values(), *describe_rest(hosts, starter.problems)])


def describe_rest(hosts: list[Host], problems: dict[str, str]) -> list[str]:
    """Return the line about the hosts that run while others do not, or nothing."""
    running = [host.name for host in hosts if host.state == RUNNING and host.name not in problems]
    if not problems or not running:
        return []
    verb = "runs, and costs" if len(running) == 1 else "run, and cost"
    return [f"{', '.join(running)} {verb} money. Run playbooks/stop.yml if the lab is of no use without the others."]


def main() -> None:
    """Start the hosts, or fail with one line for each that does not run."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    result = Result({"lines": [], "reasons": [], "no_capacity": False})
    try:
        problem = start_hosts(module, result)
    except StopError as error:
        problem = str(error)
    except ReadError as error:
        problem = str(describe_error(error))
    result.end(module, problem)


if __name__ == "__main__":
    main()
