# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter nvidia_driver_state."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nvidia_driver_state
short_description: Assess the NVIDIA driver that a host already has
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Decides whether a driver is left alone, replaced or refused. Reads nothing from the host, and changes nothing.
  - A driver that answers, whose module and libraries have the same version, and that matches the request is left alone,
    wherever it came from - packages of the distribution, of NVIDIA or of another vendor, NVIDIA's installer, an image,
    a driver container, Windows below WSL.
  - A driver that role P(digital_twin.robotics_lab.nvidia_driver#role) installed, which its pin shows, may be changed
    by the role. Any other that does not work or does not match is refused, or replaced where that is permitted.
positional: probe, dpkg, modprobe
options:
  _input:
    description:
      - The request, as for P(digital_twin.robotics_lab.nvidia_driver_choice#filter), with O(_input.replace).
    type: dict
    required: true
    suboptions:
      replace:
        description: Whether a driver of the distribution that the role did not install may be replaced.
        type: bool
        default: false
  probe:
    description: The output of the role's probe.
    type: str
    required: true
  dpkg:
    description:
      - Rows of C(dpkg-query) with status, name, version, source package, selection and maintainer.
    type: str
    required: true
  modprobe:
    description: The errors of C(modprobe nvidia), where it was tried.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Judge the driver
  ansible.builtin.set_fact:
    state: "{{ wanted | digital_twin.robotics_lab.nvidia_driver_state(probe.stdout, dpkg.stdout) }}"
  vars:
    wanted: {distribution: Ubuntu, kernel: 6.8.0-1021-aws, minimum: "580.95.05", gpus: [7864]}
"""

RETURN = r"""
_value:
  description: What to do about the driver.
  type: dict
  contains:
    verdict:
      description:
        - V(absent) without a driver, V(own) when the role installed it, V(kept) when another one works and matches,
          V(replaced) when another one may be replaced, V(refused) otherwise.
      type: str
      sample: kept
    version:
      description: The version of the driver in use, else of the installed one; empty for none.
      type: str
      sample: 580.95.05
    gpus:
      description: How many GPUs nvidia-smi lists.
      type: int
      sample: 1
    loaded:
      description: Whether a module of NVIDIA's is loaded.
      type: bool
      sample: true
    problem:
      description: Why the driver does not work, in sentences; empty when it does.
      type: str
      sample: ""
    reboot_helps:
      description: Whether a reboot may make an installed driver work.
      type: bool
      sample: true
    packages:
      description: The packages of the driver, when it is kept.
      type: list
      elements: str
      sample: [libnvidia-compute-580, nvidia-driver-580]
    message:
      description: The decision for the user, in one line; empty for V(absent) and V(own).
      type: str
      sample: NVIDIA driver 580.95.05 of NVIDIA's installer (/usr/bin/nvidia-uninstall) works, and is left as it is.
"""

import dataclasses
from typing import Any

from ..plugin_utils._nvidia_driver.drivers import Request
from ..plugin_utils._nvidia_driver.existing import judge, parse_packages, parse_probe


def nvidia_driver_state(wanted: dict[str, Any], probe: str, dpkg: str, modprobe: str = "") -> dict[str, Any]:
    """Return what to do about the driver of a host."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()
    }
    state = judge(parse_probe(probe, parse_packages(dpkg), modprobe), Request(**values))
    return dataclasses.asdict(state)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"nvidia_driver_state": nvidia_driver_state}
