# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter nvidia_driver_choice."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nvidia_driver_choice
short_description: Choose the packages of an NVIDIA driver
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Chooses the packages of a driver from those that a Debian or Ubuntu archive offers. Changes nothing.
  - Keeps an installed driver that matches. Otherwise prefers branch 580, then the archive's own driver, then its
    newest.
  - On Ubuntu, prefers Canonical's prebuilt and signed kernel modules to DKMS, and rejects transitional packages.
positional: search, madison, dpkg
options:
  _input:
    description: The request, and the host.
    type: dict
    required: true
    suboptions:
      distribution:
        description: The distribution, V(Debian) or V(Ubuntu).
        type: str
        required: true
      branch:
        description: The branch, such as V(580); empty for any.
        type: str
        default: ""
      version:
        description: The version or a prefix of it, such as V(580.173); empty for any.
        type: str
        default: ""
      flavour:
        description: V(server) or V(desktop); empty for the installed one, else V(server).
        type: str
        default: ""
      module:
        description: The kernel module, V(proprietary) or V(open).
        type: str
        default: proprietary
      capabilities:
        description: What programs can do with the GPU - V(compute), V(utility), V(graphics), V(video).
        type: list
        elements: str
        default: [compute, utility, graphics, video]
      minimum:
        description: The lowest version; empty for no limit.
        type: str
        default: ""
      below:
        description: The first version that is too new; empty for no limit.
        type: str
        default: ""
      kernel:
        description: The running kernel's release; empty where no kernel module is to be installed.
        type: str
        default: ""
      gpus:
        description: PCI device ids of the host's GPUs.
        type: list
        elements: int
        default: []
      replace:
        description: Read by P(digital_twin.robotics_lab.nvidia_driver_state#filter) only.
        type: bool
        default: false
  search:
    description: What C(apt-cache search --names-only) prints for packages that may belong to a driver or a kernel.
    type: str
    required: true
  madison:
    description: What C(apt-cache madison) prints for them.
    type: str
    required: true
  dpkg:
    description: Version by name of the installed packages.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Choose
  ansible.builtin.set_fact:
    choice: "{{ wanted | digital_twin.robotics_lab.nvidia_driver_choice(search.stdout, madison.stdout, installed) }}"
  vars:
    wanted: {distribution: Ubuntu, kernel: 6.8.0-1021-aws}
"""

RETURN = r"""
_value:
  description: The packages to install.
  type: dict
  contains:
    refusal:
      description: Why no driver matches, in one line; empty when one does. If it is set, the other keys are missing.
      type: str
      sample: "nvidia_driver_branch=999: the archive does not offer it. Available are 580 (580.173.02)."
    branch:
      description: The driver's branch.
      type: str
      sample: "580"
    version:
      description: The driver's version, as nvidia-smi shows it.
      type: str
      sample: 580.173.02
    packages:
      description: Version by package; empty where a package has its own version.
      type: dict
      sample: {nvidia-utils-580-server: 580.173.02-0ubuntu0.24.04.1}
    sources:
      description: The source packages from which the driver is built.
      type: list
      elements: str
      sample: [nvidia-graphics-drivers-580-server]
    module_from:
      description: Where the kernel module comes from - V(prebuilt), V(dkms), or V(host) when none is to be installed.
      type: str
      sample: prebuilt
    satisfied:
      description: Whether all of it is installed.
      type: bool
      sample: false
    notices:
      description: Notices for the user, each one line.
      type: list
      elements: str
      sample: ["NVIDIA has not supported driver branch 535 since 2026-06."]
"""

import datetime
from typing import Any

from ..plugin_utils._nvidia_driver.package_choice import (
    ChoiceError,
    Request,
    World,
    choose,
    parse_madison,
    transitional_packages,
)


def nvidia_driver_choice(wanted: dict[str, Any], search: str, madison: str, dpkg: dict[str, str]) -> dict[str, Any]:
    """Return the packages of a driver, or why none fits."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()
    }
    today = datetime.datetime.now(tz=datetime.UTC).date()
    try:
        choice = choose(Request(**values), World(parse_madison(madison), transitional_packages(search), dpkg, today))
    except ChoiceError as error:
        return {"refusal": str(error)}
    return {
        "refusal": "",
        "branch": choice.driver.branch,
        "version": choice.driver.version,
        "packages": choice.packages,
        "sources": choice.sources,
        "module_from": choice.module.source,
        "satisfied": choice.satisfied,
        "notices": choice.notices,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"nvidia_driver_choice": nvidia_driver_choice}
