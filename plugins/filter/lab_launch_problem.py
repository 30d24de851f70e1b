# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_launch_problem."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_launch_problem
short_description: Explain in one line why AWS did not start a host, and what to change
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Reads the results of a loop of M(amazon.aws.ec2_instance), and the state reasons of instances that have ended.
    Contacts nothing, changes nothing.
options:
  _input:
    description: The results, each with its C(item), a host's name or a mapping with C(name) and C(availability_zone).
    type: list
    elements: dict
    required: true
  launch:
    description: The hosts that were to start.
    type: dict
    required: true
    suboptions:
      zone:
        description: The zone of the lab.
        type: str
        required: true
      instance_type:
        description: The type of those hosts that are not in O(existing).
        type: str
        required: true
      zones:
        description: The zones that offer the type.
        type: list
        elements: str
        default: []
  existing:
    description: Instances that existed before, each with its C(name), C(instance_id) and C(instance_type).
    type: list
    elements: dict
    default: []
  ended:
    description: Instances as they are now, as M(amazon.aws.ec2_instance_info) returns them, including those that ended.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Report why a host did not start
  ansible.builtin.debug:
    msg: "{{ launched.results | digital_twin.robotics_lab.lab_launch_problem(launch) }}"
  vars:
    launch: {zone: eu-central-1a, instance_type: g5.xlarge}
"""

RETURN = r"""
_value:
  description: One line for each host that did not start.
  type: list
  elements: str
  sample:
    - "aws_infrastructure_instance_type: AWS has no g5.xlarge for warehouse-1 in eu-central-1a at the moment
      (InsufficientInstanceCapacity). AWS lists zones with capacity: eu-central-1b. Run this again later, choose
      another type, or set aws_infrastructure_availability_zone to eu-central-1b."
"""

from typing import Any

from ..module_utils._launch.problem import Launch, describe_end, describe_refusal

ENDED = ("shutting-down", "terminated", "stopping", "stopped")


def lab_launch_problem(
    results: list[dict[str, Any]],
    launch: dict[str, Any],
    existing: list[dict[str, Any]] | None = None,
    ended: list[dict[str, Any]] | None = None,
) -> list[str]:
    """Return one line for each host that did not start."""
    before = {instance["name"]: instance for instance in existing or []}
    now = {instance["instance_id"]: instance for instance in ended or []}
    lines = []
    for result in results:
        if result.get("skipped"):
            continue
        item = result.get("item", "")
        about = item if isinstance(item, dict) else {"name": item}
        host = str(about["name"])
        asked = Launch(
            host=host,
            instance_type=str(before.get(host, {}).get("instance_type", launch["instance_type"])),
            zone=str(about.get("availability_zone") or launch["zone"]),
            zones=tuple(launch.get("zones") or ()),
            exists=host in before,
        )
        if not result.get("instance_ids") and "spec" not in result:
            message = str(result.get("msg", "no answer"))
            lines.append(describe_refusal(message, asked) or f"{host}: {' '.join(message.split())}")
        lines += [
            _describe_state(now[identifier], asked)
            for identifier in result.get("instance_ids") or []
            if identifier in now
        ]
    return [line for line in lines if line]


def _describe_state(instance: dict[str, Any], launch: Launch) -> str:
    """Return why an instance does not run, or nothing when it does."""
    state = (instance.get("state") or {}).get("name", "")
    if state not in ENDED:
        return ""
    reason = instance.get("state_reason") or {}
    return describe_end(str(reason.get("code") or ""), str(reason.get("message") or ""), launch)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"lab_launch_problem": lab_launch_problem}
