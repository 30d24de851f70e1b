# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter stack_build."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_build
short_description: Get the context and the tag of an image that a host builds
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Reads the files that an image is built from. The tag has a hash of them and of the base, so an image is built again
    exactly when one of them has changed.
positional: folder, image, base
options:
  _input:
    description: Patterns of the names of the files.
    type: list
    elements: str
    required: true
  folder:
    description: The folder of the files, on the machine that runs Ansible.
    type: path
    required: true
  image:
    description: Name and tag of the image. A digest in it is left out.
    type: str
    required: true
  base:
    description: The image that it is built on.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Report the tag of the image
  ansible.builtin.debug:
    msg: "{{ (['Dockerfile'] | digital_twin.robotics_lab.stack_build('robot', 'lab/robot:1', 'debian:13')).image }}"
"""

RETURN = r"""
_value:
  description: C(image), the name with the tag, and C(files), name and content of each file.
  type: dict
  sample: {image: "lab/robot:1-4c1f0aa2b3d4", files: [{name: Dockerfile, content: "FROM ..."}]}
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any


def stack_build(patterns: list[str], folder: str, image: str, base: str) -> dict[str, Any]:
    """Return the image with its tag, and the files that it is built from."""
    root = Path(folder)
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file() and path.name[0] != "."}
    names = sorted((str(path.relative_to(root)) for path in found), key=str.lower)
    contents = [(root / name).read_bytes().decode() for name in names]
    read = json.dumps([str(base), names, [content.rstrip() for content in contents]])
    return {
        "image": f"{image.partition('@')[0]}-{sha256(read.encode()).hexdigest()[:12]}",
        "files": [{"name": name, "content": content} for name, content in zip(names, contents, strict=True)],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"stack_build": stack_build}
