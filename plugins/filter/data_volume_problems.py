# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter data_volume_problems."""

from __future__ import annotations

DOCUMENTATION = r"""
name: data_volume_problems
short_description: Find what is wrong with the paths of a data volume
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns one sentence for each reason why the role P(digital_twin.robotics_lab.data_volume#role) cannot mount a
    volume and its folders as declared. Contacts nothing.
options:
  _input:
    description: Where the volume is mounted.
    type: str
    required: true
  directories:
    description: The folders on it, each with C(name), C(path) and optionally C(owner), C(group) and C(mode).
    type: list
    elements: dict
    required: true
  services:
    description: Units that must not start without the volume.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Check the paths
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ '/data' | digital_twin.robotics_lab.data_volume_problems(folders, ['docker.service']) }}"
    folders: [{name: models, path: /srv/models}]
"""

RETURN = r"""
_value:
  description: The sentences.
  type: list
  elements: str
  sample:
    - 'data_volume_path has the path "/etc". Allowed: the absolute path of a folder that the system does not need, such
      as /data. Correct the path.'
"""

from collections.abc import Callable
from typing import Any

from ..module_utils._volume.units import find_volume_problems


def data_volume_problems(path: str, directories: list[dict[str, Any]], services: list[str]) -> list[str]:
    """Return what is wrong with the paths of a data volume."""
    return find_volume_problems(path, directories, services)


class FilterModule:
    """The filter that this file provides."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"data_volume_problems": data_volume_problems}
