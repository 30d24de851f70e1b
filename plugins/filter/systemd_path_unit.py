# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter systemd_path_unit."""

from __future__ import annotations

DOCUMENTATION = r"""
name: systemd_path_unit
short_description: Get the name of the systemd unit of a path
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns what C(systemd-escape --path --suffix=mount) prints. The mount unit of a path must have this name.
options:
  _input:
    description: An absolute path.
    type: str
    required: true
  suffix:
    description: Type of the unit.
    type: str
    default: mount
"""

EXAMPLES = r"""
- name: Mount the models
  ansible.builtin.systemd_service:
    name: "{{ '/srv/my-models' | digital_twin.robotics_lab.systemd_path_unit }}"
    state: started
"""

RETURN = r"""
_value:
  description: The name of the unit.
  type: str
  sample: srv-my\x2dmodels.mount
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils._volume.units import unit_of_path


def systemd_path_unit(path: Any, suffix: str = "mount") -> str:
    """Return the name of the unit of a path."""
    if not isinstance(path, str) or not path.startswith("/") or ".." in path.split("/"):
        raise AnsibleFilterError(f"systemd_path_unit: {path!r} must be an absolute path without ..")
    return unit_of_path(path, suffix)


class FilterModule:
    """The filter that this file provides."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"systemd_path_unit": systemd_path_unit}
