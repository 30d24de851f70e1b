# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter that returns the tags with which a lab's role records what the lab created."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_record
version_added: 1.0.0
short_description: Record what a lab created as tags
description:
  - Returns the tags with which the IAM role of a lab records its resources when all of them are created.
  - The secret of the run that created them is removed.
options:
  _input:
    description: Allocation ids of the Elastic IP addresses, by the number of their host.
    type: dict
    required: true
  vpc_id:
    description: Id of the VPC.
    type: str
    required: true
  gateway_id:
    description: Id of the internet gateway.
    type: str
    required: true
  key_pair_id:
    description: Id of the lab's own key pair. Empty when it has none.
    type: str
    default: ''
  data_volumes:
    description: Ids of the lab's data volumes, by the number of their host.
    type: dict
    default: {}
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
seealso:
  - module: digital_twin.robotics_lab.iam_service_role
"""

EXAMPLES = r"""
- name: Record what was created
  digital_twin.robotics_lab.iam_service_role:
    name: warehouse-instance
    tags: "{{ {'1': 'eipalloc-1'} | digital_twin.robotics_lab.lab_record('vpc-1', 'igw-1') }}"
"""

RETURN = r"""
_value:
  description: The tags.
  type: dict
  sample: {digital_twin_vpc: vpc-1, digital_twin_gateway: igw-1, digital_twin_pending: ''}
"""

from collections.abc import Mapping
from typing import Any

from ..module_utils._lab.record import PENDING_TAG, Record, write_record


def lab_record(
    addresses: Mapping[str, str],
    vpc_id: str,
    gateway_id: str,
    key_pair_id: str = "",
    data_volumes: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the tags of a complete record."""
    record = Record(vpc_id, gateway_id, key_pair_id, addresses, data_volumes or {})
    return {**write_record(record), PENDING_TAG: ""}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_record": lab_record}
