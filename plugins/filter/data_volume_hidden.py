# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter data_volume_hidden."""

from __future__ import annotations

DOCUMENTATION = r"""
name: data_volume_hidden
short_description: Find what the mounts of a data volume would hide
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns one sentence for each path that is in use already, by content or by another mount. Contacts nothing.
options:
  _input:
    description: The paths where something is to be mounted.
    type: list
    elements: str
    required: true
  files:
    description:
      - What M(digital_twin.robotics_lab.host_info) returns as C(files) for the paths, for the pattern C(*) in each of
        them, and for the content of C(/proc/self/mountinfo).
    type: dict
    required: true
  mounted:
    description: The paths where the volume is mounted already.
    type: list
    elements: str
    required: true
  roots:
    description: The path within the volume that each of the paths is to show, such as C(/) and C(/models).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Check that nothing would be hidden
  ansible.builtin.assert:
    that: paths | digital_twin.robotics_lab.data_volume_hidden(host.files, disk.mounts, ['/']) | length == 0
  vars:
    paths: [/data]
"""

RETURN = r"""
_value:
  description: The sentences.
  type: list
  elements: str
  sample:
    - "/data contains old.txt, which a mount would hide. Allowed: a folder that is empty or missing. Stop what uses it,
      rename it, apply the role, then copy its content to the new one with `cp -a`."
"""

from collections.abc import Callable
from typing import Any

from ..module_utils._volume.units import find_hidden


def data_volume_hidden(
    targets: list[str], files: dict[str, dict[str, Any]], mounted: list[str], roots: list[str]
) -> list[str]:
    """Return what the mounts of a data volume would hide."""
    return find_hidden(targets, files, mounted, roots)


class FilterModule:
    """The filter that this file provides."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"data_volume_hidden": data_volume_hidden}
