#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that reads the record of what a lab used."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_usage_info
version_added: 1.0.0
short_description: Get the record of what a lab used
description:
  - Returns the record that M(digital_twin.robotics_lab.lab_usage) keeps, of all months, as it was written last.
  - The record outlives the lab, unless it is deleted.
options:
  name:
    description: The name of the lab.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permission C(ssm:GetParametersByPath) on C(parameter/digital-twin/*).
seealso:
  - module: digital_twin.robotics_lab.lab_usage
  - plugin: digital_twin.robotics_lab.lab_month_cost
    plugin_type: filter
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the record of the usage
  digital_twin.robotics_lab.lab_usage_info:
    region: us-east-1
    name: warehouse
  register: usage

- name: Report the cost of October
  ansible.builtin.debug:
    msg: "{{ usage.record | digital_twin.robotics_lab.lab_month_cost('2026-10', 'us-east-1', now(utc=true)) }}"
"""

RETURN = r"""
record:
  description: The record of all months, as texts for the filter P(digital_twin.robotics_lab.lab_month_cost#filter).
  returned: success
  type: list
  elements: str
  sample: ["1 2026-11\ni i-0123456789abcdef0 g5.xlarge/on-demand\n+2gw0~uk0e"]
parameters:
  description: The parameters of the SSM Parameter Store that hold it.
  returned: success
  type: list
  elements: str
  sample: [/digital-twin/warehouse/usage/2026-11-1]
foreign:
  description: Parameters in the place of the record that are not part of it.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.connection import client_of, region_of, run_module
from ..module_utils._aws.errors import translated
from ..module_utils._lab.names import is_lab_name
from ..module_utils._usage import parameters
from ..module_utils._usage.record import RecordError

SPEC: dict[str, dict[str, Any]] = {"name": {"type": "str", "required": True}}


def get(module: AnsibleAWSModule) -> dict[str, Any]:
    """Return the module's result.

    Raises:
        ReadError: AWS did not answer, or refused.
        RecordError: The name is not that of a lab.
    """
    lab, region = module.params["name"], region_of(module)
    if not is_lab_name(lab):
        raise RecordError(f'name: "{lab}" is not the name of a lab.')
    client = client_of(module, "ssm", "ssm:GetParametersByPath")
    with translated("ssm:GetParametersByPath", region):
        stored = parameters.read(client, lab)
    names = sorted(stored.parts)
    return {
        "changed": False,
        "record": [stored.parts[name] for name in names],
        "parameters": names,
        "foreign": sorted(stored.foreign),
    }


def main() -> None:
    """Get the record, or fail with one line."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), get, RecordError)


if __name__ == "__main__":
    main()
