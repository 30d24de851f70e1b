# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter data_volume_findings."""

from __future__ import annotations

DOCUMENTATION = r"""
name: data_volume_findings
short_description: Find units of a data volume that are not as they should be
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns one sentence for each mount that is not enabled and active, and for each service that would start without
    the mounts. Contacts nothing.
options:
  _input:
    description:
      - What M(digital_twin.robotics_lab.host_info) returns as C(units) for the mounts and the services, with the
        property C(RequiresMountsFor).
    type: dict
    required: true
  targets:
    description: The paths where something is mounted.
    type: list
    elements: str
    required: true
  services:
    description: Units that must not start without the mounts. One that is not installed is not looked at.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Check the units
  ansible.builtin.assert:
    that: host.units | digital_twin.robotics_lab.data_volume_findings(['/data'], ['docker.service']) | length == 0
"""

RETURN = r"""
_value:
  description: The sentences.
  type: list
  elements: str
  sample: ["data.mount should be enabled and active. It is enabled and failed. Run systemctl status."]
"""

from collections.abc import Callable
from typing import Any

from ..module_utils._volume.units import find_unit_problems


def data_volume_findings(units: dict[str, dict[str, str]], targets: list[str], services: list[str]) -> list[str]:
    """Return which units of a data volume are not as they should be."""
    return find_unit_problems(units, targets, services)


class FilterModule:
    """The filter that this file provides."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"data_volume_findings": data_volume_findings}
