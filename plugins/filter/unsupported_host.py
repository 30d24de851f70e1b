# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter unsupported_host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: unsupported_host
short_description: Find why a role of this collection does not support a host
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns one line for each reason why a role does not support a host. The list is empty for a supported host.
  - The roles support Debian 12 and 13, Ubuntu 22.04 and 24.04.
options:
  _input:
    description:
      - Facts of the host, with C(distribution), C(distribution_release), C(distribution_version) and C(service_mgr).
    type: dict
    required: true
  role:
    description: Name of the role, for the message.
    type: str
    required: true
  systemd:
    description: Whether the role needs systemd as the first process.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Check that the role supports this host
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ ansible_facts | digital_twin.robotics_lab.unsupported_host('docker') }}"
"""

RETURN = r"""
_value:
  description: Why the host is not supported, one line for each reason.
  type: list
  elements: str
  sample: ["This host runs Fedora 43. Role docker supports Debian 12 and 13, Ubuntu 22.04 and 24.04."]
"""

from typing import Any

RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13", "jammy": "Ubuntu 22.04", "noble": "Ubuntu 24.04"}


def unsupported_host(facts: dict[str, Any], role: str, *, systemd: bool = True) -> list[str]:
    """Return why a role does not support a host, one line for each reason."""
    found = []
    if facts.get("distribution_release") not in RELEASES:
        runs = f"{facts.get('distribution', 'an unknown distribution')} {facts.get('distribution_version', '')}".strip()
        found.append(f"This host runs {runs}. Role {role} supports Debian 12 and 13, Ubuntu 22.04 and 24.04.")
    manager = facts.get("service_mgr", "unknown")
    if systemd and manager != "systemd":
        found.append(f"The first process of this host is {manager}. Role {role} needs systemd.")
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"unsupported_host": unsupported_host}
