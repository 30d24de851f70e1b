# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter ros2_verdict."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ros2_verdict
short_description: Judge whether a host's ROS 2 networking is as declared
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Judges what was read of a host. The entry points C(verify) and C(diagnose) of the role C(ros2_networking) both take
    their answer from here, so that they agree. Contacts nothing, changes nothing.
options:
  _input:
    description: What was read. A part that is left out is not judged.
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
        description: Whether a kernel setting that cannot be changed from this host is wrong, and not only a notice.
        type: bool
        default: false
      directory:
        description: The folder of the files.
        type: str
      documents:
        description: The text of each file by its name; empty where there should be none.
        type: dict
      stats:
        description: What M(ansible.builtin.stat) returns of each of them, with its name as C(item).
        type: list
        elements: dict
        default: []
      units:
        description: >-
          What M(ansible.builtin.systemd_service) returns of each unit that should run, with its name as C(item).
        type: list
        elements: dict
        default: []
      exchange:
        description: >-
          How an exchange of samples ended, with C(rc), C(stdout) and C(stderr) of its program, and its C(payload),
          C(domain_id), C(discovery) and C(timeout).
        type: dict
      traffic:
        description: What M(digital_twin.robotics_lab.ros2_network_info) returns.
        type: dict
      addresses:
        description: >-
          Addresses of the hosts that were asked to exchange samples. Whether any other peer answers is a notice, as it
          may be switched off.
        type: list
        elements: str
        default: []
      hosts:
        description: >-
          Hosts that should hear one another, as P(digital_twin.robotics_lab.ros2_network_mismatches#filter) takes them.
        type: dict
        default: {}
"""

EXAMPLES = r"""
- name: Judge the kernel alone
  ansible.builtin.debug:
    msg: "{{ ({'kernel': kernel} | digital_twin.robotics_lab.ros2_verdict).findings }}"
"""

RETURN = r"""
_value:
  description: The judgement.
  type: dict
  contains:
    findings:
      description: What is wrong, each with its C(symptom), C(cause), C(remedy), and what it is C(about).
      type: list
      elements: dict
      sample:
        - symptom: the kernel settings do not suit DDS
          cause: net.core.rmem_max is 212992 and should be 33554432
          remedy: apply the role
          about: kernel
    lines:
      description: The findings, each as one line.
      type: list
      elements: str
      sample:
        - >-
          the kernel settings do not suit DDS. Cause: net.core.rmem_max is 212992 and should be 33554432. Remedy: apply
          the role.
    notices:
      description: What is not wrong but worth knowing, such as a setting that a container cannot change.
      type: list
      elements: dict
      sample: []
"""

from typing import Any

from ..plugin_utils._ros2_judgement import judge_host


def ros2_verdict(state: dict[str, Any]) -> dict[str, list[Any]]:
    """Judge a host's ROS 2 networking."""
    judgement = judge_host(state)
    return {
        "findings": [vars(finding) for finding in judgement.findings],
        "lines": [f"{entry.symptom}. Cause: {entry.cause}. Remedy: {entry.remedy}." for entry in judgement.findings],
        "notices": [vars(notice) for notice in judgement.notices],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"ros2_verdict": ros2_verdict}
