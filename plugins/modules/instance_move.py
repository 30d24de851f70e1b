#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that moves the stopped hosts of a lab to another zone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_move
version_added: 1.0.0
short_description: Move the stopped hosts of a lab to another zone by an image
description:
  - Makes an image of a stopped host with all of its volumes, launches an instance from it in another zone, gives it the
    host's Elastic IP, and only then terminates the old instance and deletes the image with its snapshots.
  - The new instance has the tags, security groups, key pair, instance profile, metadata options, disks and termination
    protection of the old one. Its id and its private address are new. A subnet is created where the lab has none.
  - Zones and types are tried as by M(digital_twin.robotics_lab.instance_launch), without the zone of the host. If none
    has capacity, the image is deleted, and the host is as it was.
  - A run that was killed at any moment is continued by the next one, also for hosts that are not in O(move). A host
    with an unfinished move is listed twice in O(hosts), once with each instance. The old instance stays stopped, and
    nothing is deleted while it is not clear which instance has the newer data.
  - A move that was begun is given up, and its image deleted, if the host runs again where it was.
  - The user data of the new instance preserves the SSH host keys, which cloud-init replaces otherwise.
  - A volume that AWS does not delete with the old instance stays, and is reported.
  - Spot instances are refused, and instances with several network interfaces.
options:
  name:
    description: The name of the lab.
    type: str
    required: true
  move:
    description: The names of the hosts to move. The others are checked for unfinished moves only.
    type: list
    elements: str
    default: []
  zones:
    description: The zones that offer each type, for the hosts' own types.
    type: dict
    default: {}
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
  availability_zones:
    description: Zones to try before the others, in order.
    type: list
    elements: str
    default: []
  tags:
    description: Tags of images, snapshots and new subnets, in addition to those by which the lab is found.
    type: dict
    default: {}
  image_timeout:
    description: How long to wait for an image, in seconds. The first one of a large disk takes long.
    type: int
    default: 3600
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
  - digital_twin.robotics_lab._instances
  - digital_twin.robotics_lab._instances.prefix
  - digital_twin.robotics_lab._instances.retry
notes:
  - Needs the permissions C(ec2:CreateImage), C(ec2:DeregisterImage), C(ec2:DeleteSnapshot), C(ec2:RunInstances),
    C(ec2:TerminateInstances), C(ec2:StartInstances), C(ec2:ModifyInstanceAttribute), C(ec2:AssociateAddress),
    C(ec2:CreateTags), C(ec2:DeleteTags), C(ec2:CreateSubnet), C(ec2:DeleteSubnet), C(ec2:AssociateRouteTable),
    C(ec2:Describe*), and C(iam:PassRole) for hosts with an instance profile.
seealso:
  - module: digital_twin.robotics_lab.instance_start
  - module: digital_twin.robotics_lab.instance_launch
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Move a host to a zone that has a machine for it
  digital_twin.robotics_lab.instance_move:
    name: warehouse
    hosts:
      - {name: warehouse-1, instance_id: i-0123456789abcdef0}
    move: [warehouse-1]
    zones: {g5.xlarge: [us-east-1a, us-east-1b]}
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
      sample: i-0123456789abcdef1
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
moves:
  description: The hosts of which something changes, or would change in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The host's name.
      type: str
      sample: warehouse-1
    step:
      description: V(begin) a move, V(end) one that was begun, or V(clean) removes the image of one that was cancelled.
      type: str
      sample: begin
    instance_id:
      description: Its old instance.
      type: str
      sample: i-0123456789abcdef0
    zone:
      description: The zone of that instance; empty when it is gone.
      type: str
      sample: us-east-1a
    zones:
      description: The zones to try, in order, or that of the new instance.
      type: list
      elements: str
      sample: [us-east-1b, us-east-1c]
    gib:
      description: The size of the old instance's volumes, of which there are snapshots meanwhile.
      type: int
      sample: 200
    staying:
      description: Ids of the volumes that AWS does not delete with the old instance.
      type: list
      elements: str
      sample: []
    protected:
      description: Whether the old instance has termination protection, which the move removes from it.
      type: bool
      sample: false
lines:
  description: What was done, one line each.
  returned: always
  type: list
  elements: str
  sample: ["warehouse-1: moved from us-east-1a to us-east-1b: i-0123456789abcdef1 replaces i-0123456789abcdef0"]
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
from ..module_utils._power.images import Images
from ..module_utils._power.move import Mover
from ..module_utils._power.move_plan import Step
from ..module_utils._power.options import COMMON, Result, power_of

SPEC: dict[str, dict[str, Any]] = {
    **COMMON,
    "name": {"type": "str", "required": True},
    "move": {"type": "list", "elements": "str", "default": []},
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
    "zones": {"type": "dict", "default": {}},
    "availability_zones": {"type": "list", "elements": "str", "default": []},
    "tags": {"type": "dict", "default": {}},
    "image_timeout": {"type": "int", "default": 3600},
}


def build_mover(module: AnsibleAWSModule) -> Mover:
    """Return the mover that a module's options describe.

    Raises:
        ReadError: The options or the environment do not describe a connection.
    """
    given = module.params
    power = power_of(module, "ec2:CreateImage")
    tags = {str(key): str(value) for key, value in given["tags"].items()}
    return Mover(
        power=power,
        images=Images(power, given["name"], tags, given["image_timeout"]),
        lab=given["name"],
        tags=tags,
        types=given["instance_types"],
        offering=given["zones"],
        zones=given["availability_zones"],
    )


def move_hosts(module: AnsibleAWSModule, result: Result) -> str:
    """Move the hosts, add to the result, and return why one has not moved; empty when all have.

    Raises:
        StopError: A failure that no other host is spared.
        ReadError: AWS did not answer.
    """
    mover = build_mover(module)
    hosts = result.hosts = mover.power.hosts(module.params["hosts"])
    result.remember()
    steps: list[Step] = []
    try:
        steps = mover.plan(hosts, module.params["move"])
        result.more["moves"] = mover.describe(steps)
        result.changed = bool(steps)
        if not module.check_mode:
            mover.run(steps)
    finally:
        result.more["lines"] += mover.lines
        if not module.check_mode:
            result.changed = mover.power.changes > 0
        replace_hosts(result, steps)
    result.more["no_capacity"] = bool(mover.problems) and set(mover.problems) == set(mover.empty)
    return "\n".join(mover.problems.values())


def replace_hosts(result: Result, steps: list[Step]) -> None:
    """Put the new instances of a result in the place of the old ones."""
    moved = {step.source: step.new for step in steps if step.new}
    new = {host.id for host in moved.values()}
    kept = [moved.get(host.id, host) for host in result.hosts if host.id not in new or host.id in moved]
    result.hosts = list({host.id: host for host in kept}.values()) + [
        host for host in moved.values() if host.id not in {other.id for other in kept}
    ]


def main() -> None:
    """Move the hosts, or fail with one line for each that has not moved."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    result = Result({"lines": [], "moves": [], "no_capacity": False})
    try:
        problem = move_hosts(module, result)
    except StopError as error:
        problem = str(error)
    except ReadError as error:
        problem = f"{describe_error(error)} The next run continues a move that has begun."
    result.end(module, problem)


if __name__ == "__main__":
    main()
