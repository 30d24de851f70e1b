# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter container_toolkit_nodes."""

from __future__ import annotations

DOCUMENTATION = r"""
name: container_toolkit_nodes
short_description: Find device nodes by which a CDI specification and a host differ
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares the device nodes of a CDI specification with those of the host, and returns one sentence for each that a
    container does not get, or that keeps a container from starting.
  - C(nvidia-ctk cdi generate) lists only nodes that exist when it runs, and reports no error for the others.
positional: files, required, patterns
options:
  _input:
    description: The specification. Empty when there is none.
    type: dict
    required: true
  files:
    description: What M(digital_twin.robotics_lab.host_info) returns as C(files), for O(required) and O(patterns).
    type: dict
    required: true
  required:
    description: Paths of nodes that containers need.
    type: list
    elements: str
    required: true
  patterns:
    description: Patterns of the other nodes in O(files). Nodes of the specification that match none are not compared.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check that containers get the nodes of CUDA
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: >-
      {{ lookup('file', '/run/cdi/nvidia.yaml') | from_yaml
         | digital_twin.robotics_lab.container_toolkit_nodes(host.files, ['/dev/nvidia-uvm'], ['/dev/nvidia*']) }}
"""

RETURN = r"""
_value:
  description: One sentence for each node.
  type: list
  elements: str
  sample: ["/dev/nvidia-uvm is not in the specification, and the host has it."]
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any


def nodes_of(specification: Mapping[str, Any]) -> list[str]:
    """Return the paths on the host of all device nodes of a specification, each once."""
    edits = [specification.get("containerEdits")]
    edits += [device.get("containerEdits") for device in specification.get("devices") or []]
    nodes = [node for edit in edits for node in (edit or {}).get("deviceNodes") or []]
    return list(dict.fromkeys(str(node.get("hostPath") or node["path"]) for node in nodes))


def compare(listed: list[str], present: set[str], required: Iterable[str], patterns: list[str]) -> Iterator[str]:
    """Yield a sentence for each node by which the specification and the host differ."""
    for node in required:
        if node not in listed:
            state = "has it" if node in present else "does not have it either"
            yield f"{node} is not in the specification, and the host {state}."
    for node in listed:
        known = node in required or any(PurePosixPath(node).match(pattern) for pattern in patterns)
        if known and node not in present:
            yield f"{node} is in the specification, but is not a device on the host."


def container_toolkit_nodes(
    specification: Mapping[str, Any] | None,
    files: Mapping[str, Any],
    required: list[str],
    patterns: list[str] | None = None,
) -> list[str]:
    """Return one sentence for each node by which a specification and a host differ."""
    # A device is neither a file nor a folder.
    present = {path for path, found in files.items() if found["exists"] and found["kind"] == "other"}
    return list(compare(nodes_of(specification or {}), present, required, patterns or []))


class FilterModule:
    """Find device nodes by which a CDI specification and a host differ."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"container_toolkit_nodes": container_toolkit_nodes}
