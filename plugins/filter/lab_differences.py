# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter that compares the AWS resources of a lab with its description."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_differences
version_added: 1.0.0
short_description: Compare the AWS resources of a lab with its description
description:
  - Returns in which attributes the resources of a lab differ from its description, by the part of the role
    P(digital_twin.robotics_lab.aws_infrastructure#role) that corrects them.
  - A part without differences needs no call of a module.
options:
  _input:
    description: RV(digital_twin.robotics_lab.lab_resources_info#module:resources), only what belongs to the lab.
    type: dict
    required: true
  declared:
    description: The description of the lab, as the role computes it.
    type: dict
    required: true
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
seealso:
  - module: digital_twin.robotics_lab.lab_resources_info
  - plugin: digital_twin.robotics_lab.lab_ownership
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Compare the lab with its description
  ansible.builtin.set_fact:
    differences: "{{ lab.resources | digital_twin.robotics_lab.lab_differences(declared) }}"
"""

RETURN = r"""
_value:
  description:
    - The differences in words, by V(iam_role), V(network), V(security_group), V(ssh_key), V(instances),
      V(data_volumes) and V(addresses).
    - V(plan) has the missing resources in words, in the order of their creation.
  type: dict
  sample: {iam_role: [], network: ["VPC: tags"], instances: ["warehouse-1: state"], plan: []}
"""

from typing import Any

from ..plugin_utils._lab.differences import find_differences
from ..plugin_utils._lab.plan import list_missing


def lab_differences(found: dict[str, Any], declared: dict[str, Any]) -> dict[str, list[str]]:
    """Return in which parts a lab differs, and what is missing."""
    return {**find_differences(found, declared), "plan": list_missing(found, declared)}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_differences": lab_differences}
