# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter ros2_findings."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ros2_findings
short_description: Find where a host's ROS 2 networking differs from what is declared
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Assesses the state of a host. The entry points C(verify) and C(diagnose) of the role C(ros2_networking) both
    use it, so that they agree. Contacts nothing, changes nothing.
options:
  _input:
    description: The state of the host. A part that is left out is not assessed.
    type: dict
    required: true
    suboptions:
      kernel:
        description: What M(digital_twin.robotics_lab.sysctl_settings) returns in check mode.
        type: dict
      sysctl_file:
        description: The file of kernel settings, for messages.
        type: str
        default: ""
      strict:
        description: Whether a kernel setting that this host cannot change is a finding. Otherwise it is a notice.
        type: bool
        default: false
      wanted_files:
        description: The declared files, as O(digital_twin.robotics_lab.file_set#module:files), below C(/).
        type: list
        elements: dict
        default: []
      files:
        description: What M(digital_twin.robotics_lab.host_info) returns of them, with their content.
        type: dict
        default: {}
      units:
        description: What M(digital_twin.robotics_lab.host_info) returns of each unit that should run.
        type: dict
        default: {}
      exchange:
        description: >-
          The result of an exchange of samples - C(rc), C(stdout) and C(stderr) of its program, and its C(payload),
          C(domain_id), C(discovery) and C(timeout).
        type: dict
      traffic:
        description: What M(digital_twin.robotics_lab.ros2_network_info) returns.
        type: dict
      addresses:
        description: >-
          Addresses of the hosts that exchanged samples. A silent peer that is not listed is a notice, because it may be
          switched off.
        type: list
        elements: str
        default: []
      hosts:
        description: >-
          Hosts that should receive each other's samples, as for
          P(digital_twin.robotics_lab.ros2_network_mismatches#filter).
        type: dict
        default: {}
      machine_ids:
        description: Content of the C(/etc/machine-id) of each of O(_input.hosts).
        type: dict
        default: {}
"""

EXAMPLES = r"""
- name: Show findings about the kernel
  ansible.builtin.debug:
    msg: "{{ ({'kernel': kernel} | digital_twin.robotics_lab.ros2_findings).findings }}"
"""

RETURN = r"""
_value:
  description: The assessment.
  type: dict
  contains:
    findings:
      description: The problems, each with C(symptom), C(cause), C(remedy), and its subject C(about).
      type: list
      elements: dict
      sample:
        - symptom: the kernel settings do not suit DDS
          cause: net.core.rmem_max is 212992 and should be 33554432
          remedy: apply the role
          about: kernel
    notices:
      description: What is correct but worth knowing, in the same format, such as settings that a container cannot
        change.
      type: list
      elements: dict
      sample: []
    lines:
      description: The findings, each as one line.
      type: list
      elements: str
      sample:
        - >-
          the kernel settings do not suit DDS. Cause: net.core.rmem_max is 212992 and should be 33554432. Remedy: apply
          the role.
    notice_lines:
      description: The notices, each as one line.
      type: list
      elements: str
      sample: []
"""

from typing import Any

from ..module_utils._ros2.environment import Ros2Finding
from ..plugin_utils._ros2_findings import assess_host


def ros2_findings(state: dict[str, Any]) -> dict[str, list[Any]]:
    """Return where a host's ROS 2 networking differs from what is declared."""
    assessment = assess_host(state)
    return {
        "findings": [vars(finding) for finding in assessment.findings],
        "notices": [vars(notice) for notice in assessment.notices],
        "lines": [_line(finding) for finding in assessment.findings],
        "notice_lines": [f"Notice: {_line(notice)}" for notice in assessment.notices],
    }


def _line(finding: Ros2Finding) -> str:
    """Return a finding as one line."""
    return f"{finding.symptom}. Cause: {finding.cause}. Remedy: {finding.remedy}."


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"ros2_findings": ros2_findings}
