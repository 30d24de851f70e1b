# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter files_differ."""

from __future__ import annotations

DOCUMENTATION = r"""
name: files_differ
short_description: Find declared files and folders that differ from those of a host
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares declared files and folders with what M(digital_twin.robotics_lab.host_info) has read, and returns the paths
    of those that differ. The list is empty when all are as declared.
  - A path that is a link, or of another kind than declared, differs.
options:
  _input:
    description:
      - The declared files and folders. Each has C(path), or C(name) in O(folder), and optionally C(content), C(mode),
        C(uid) and C(gid).
      - Without C(content) it is a folder. With C(state=absent) nothing must be there.
      - C(mode) is V(0644) for a file and V(0755) for a folder, C(uid) and C(gid) are V(0).
      - V(none) as C(content), C(mode), C(uid) or C(gid) accepts every value. With C(content), it is then any file.
    type: list
    elements: dict
    required: true
  found:
    description: What host_info returns as C(files), with the content of the declared files.
    type: dict
    required: true
  folder:
    description: The folder of the files that have a C(name), as O(digital_twin.robotics_lab.file_set#module:path).
    type: str
    default: /
"""

EXAMPLES = r"""
- name: Write the unit
  ansible.builtin.include_tasks: unit.yml
  when: declared | digital_twin.robotics_lab.files_differ(host.files) | length > 0
  vars:
    declared:
      - path: /etc/systemd/system/robot.service
        content: "{{ lookup('ansible.builtin.template', 'robot.service.j2') }}"
      - {path: /etc/systemd/system/docker.service.d}
"""

RETURN = r"""
_value:
  description: The paths that differ, in the order of the declaration.
  type: list
  elements: str
  sample: [/etc/systemd/system/robot.service]
"""

from collections.abc import Mapping
from typing import Any


def differs(declared: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Return whether a file or folder differs from its declaration."""
    if declared.get("state") == "absent":
        return bool(found.get("exists") or found.get("link"))
    is_file = "content" in declared
    wanted = {"kind": "file" if is_file else "directory", "mode": "0644" if is_file else "0755", "uid": 0, "gid": 0}
    wanted |= {key: declared[key] for key in ("mode", "uid", "gid", "content") if key in declared}
    if not found.get("exists") or found.get("link"):
        return True
    return any(value is not None and str(found.get(key)) != str(value) for key, value in wanted.items())


def files_differ(declared: list[dict[str, Any]], found: Mapping[str, Any], folder: str = "/") -> list[str]:
    """Return the paths of the declared files and folders that differ from those of a host."""
    paths = [item.get("path") or f"{folder.rstrip('/')}/{item['name']}" for item in declared]
    return [path for path, item in zip(paths, declared, strict=True) if differs(item, found.get(path) or {})]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"files_differ": files_differ}
