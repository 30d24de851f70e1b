#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that stops the hosts of a lab."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_stop
version_added: 1.0.0
short_description: Stop the hosts of a lab, and record who stopped them
description:
  - Stops the hosts of a lab that are not stopped, and waits until they are. Their disks and addresses stay.
  - Sets the tag C(digital_twin_last_action) of hosts that it stops, before it stops them.
  - Stops no host if AWS would terminate one, or refuses to stop it - the instances of one-time spot requests, and those
    whose spot request was cancelled.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
  - digital_twin.robotics_lab._instances
  - digital_twin.robotics_lab._instances.prefix
  - digital_twin.robotics_lab._instances.retry
notes:
  - Needs the permissions C(ec2:StopInstances), C(ec2:CreateTags), C(ec2:DeleteTags) and C(ec2:DescribeInstances).
  - For spot also C(ec2:DescribeSpotInstanceRequests).
seealso:
  - module: digital_twin.robotics_lab.instance_start
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Stop a host
  digital_twin.robotics_lab.instance_stop:
    hosts:
      - {name: warehouse-1, instance_id: i-0123456789abcdef0}
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
  description: Hosts that AWS may start again by itself, one line each.
  returned: always
  type: list
  elements: str
  sample: []
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.errors import ReadError, describe_error
from ..module_utils._launch.run import StopError
from ..module_utils._power.calls import RESIZE_TAG, STOPPED
from ..module_utils._power.options import COMMON, Result, power_of
from ..module_utils._power.stop import stop_hosts


def stop(module: AnsibleAWSModule, result: Result) -> None:
    """Stop what runs, and add to the result.

    Raises:
        StopError: A host cannot be stopped.
        ReadError: AWS did not answer, or refused.
    """
    power = power_of(module, "ec2:StopInstances")
    hosts = result.hosts = power.hosts(module.params["hosts"])
    result.remember()
    result.changed = any(host.state != STOPPED for host in hosts)
    if module.check_mode:
        return
    try:
        result.more["lines"] += stop_hosts(power, hosts)
        for host in hosts:
            # So that the repetition of an interrupted resize does not start it.
            power.tag(host, {}, [RESIZE_TAG])
    finally:
        result.changed = power.changes > 0


def main() -> None:
    """Stop the hosts, or fail with one line for each that does not stop."""
    module = AnsibleAWSModule(argument_spec=COMMON, supports_check_mode=True)
    result, problem = Result({"lines": []}), ""
    try:
        stop(module, result)
    except StopError as error:
        problem = str(error)
    except ReadError as error:
        problem = str(describe_error(error))
    result.end(module, problem)


if __name__ == "__main__":
    main()
