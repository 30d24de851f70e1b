# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter stack_pins."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_pins
short_description: Add digests to the variables that name images
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns image variables with the digests that M(digital_twin.robotics_lab.image_digest_info) has found.
positional: values, digests
options:
  _input:
    description: The full name of the image of each variable.
    type: dict
    required: true
  values:
    description: The values of the variables. A digest in them is kept where O(digests) does not have another.
    type: dict
    required: true
  digests:
    description: The digests by the full names of the images.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the pin
  ansible.builtin.debug:
    msg: "{{ images | digital_twin.robotics_lab.stack_pins({'robot_image': 'lab/robot:1.0.0'}, found.digests) }}"
  vars:
    images: {robot_image: "docker.io/lab/robot:1.0.0"}
"""

RETURN = r"""
_value:
  description: The values with their digests, without the variables that have none.
  type: dict
  sample: {robot_image: "lab/robot:1.0.0@sha256:..."}
"""

from typing import Any


def stack_pins(images: dict[str, str], values: dict[str, str], digests: dict[str, str]) -> dict[str, str]:
    """Return the values of variables with the digests of their images."""
    pins = {}
    for variable, image in images.items():
        name, *earlier = values[variable].split("@")
        digest = digests.get(image, earlier[0] if earlier else "")
        if digest:
            pins[variable] = f"{name}@{digest}"
    return pins


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"stack_pins": stack_pins}
