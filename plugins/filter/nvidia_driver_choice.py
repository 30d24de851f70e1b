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
  - On Ubuntu, prefers Canonical's prebuilt and signed kernel module for the running kernel, then that for the newest
    kernel of its flavour, which a reboot starts, then DKMS. Rejects transitional packages.
  - Names and versions do not show whether packages can be installed together. Therefore the first choice is a proposal
    with RV(_value.sets), about which apt is asked. With its answers in O(simulation), the choice is the first set
    that apt can install, in the newest version for which it can.
positional: search, madison, dpkg, simulation
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
        description:
          - The kernel module, V(proprietary), V(open) or V(auto).
          - V(auto) is V(proprietary) for GPUs before Turing and V(open) for Grace Hopper, Blackwell and newer. For GPUs
            in between it is the installed one, else V(open) from branch 560 on. The other one is used where the first
            is not possible, or only by DKMS while the other is prebuilt.
        type: str
        default: auto
      capabilities:
        description: What programs can do with the GPU - V(compute), V(utility), V(graphics), V(video).
        type: list
        elements: str
        default: [compute, utility, graphics, video]
      minimum:
        description: The lowest version; empty for no limit.
        type: str
        default: ""
      minimum_for:
        description: What needs the lowest version, for messages.
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
  simulation:
    description:
      - What apt answered about RV(_value.sets), as files/simulate.sh of role
        P(digital_twin.robotics_lab.nvidia_driver#role) prints it. Without it, apt was not asked yet.
    type: str
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
      description:
        - Why no driver matches, in one line; empty when one does. If it is set, RV(_value.final) is the only other key.
      type: str
      sample: "nvidia_driver_branch=999: the archive does not offer it. Available are 580 (580.173.02)."
    final:
      description: Whether no archive can change a refusal, because of the host's GPUs.
      type: bool
      sample: false
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
      description:
        - Where the kernel module comes from - V(prebuilt) for the running kernel, V(flavour) for the newest kernel of
          its flavour, V(dkms), or V(host) when none is to be installed.
      type: str
      sample: prebuilt
    module:
      description: The kernel module, V(open) or V(proprietary).
      type: str
      sample: open
    rejected:
      description: The preferred ways that are not possible, each with V(module_from), V(version) and V(reason).
      type: list
      elements: dict
      sample:
        - module_from: prebuilt
          version: 580.173.02
          reason: >-
            apt reports: linux-modules-nvidia-580-server-6.17.0-1021-aws : Depends: nvidia-kernel-common-580-server
            (<= 580.126.20-1) but 580.173.02-0ubuntu0.24.04.1 is to be installed
    sets:
      description: The sets of packages about which to ask apt, a line each; empty when it need not be asked.
      type: list
      elements: str
      sample: [final nvidia-graphics-drivers-580-server 580.173.02 nvidia-utils-580-server=580.173.02-0ubuntu0.24.04.1]
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

from ..plugin_utils._nvidia_driver.drivers import Request, World
from ..plugin_utils._nvidia_driver.gpus import ChoiceError, GpuError
from ..plugin_utils._nvidia_driver.package_choice import choose, parse_madison, transitional_packages
from ..plugin_utils._nvidia_driver.simulation import parse_results


def nvidia_driver_choice(
    wanted: dict[str, Any], search: str, madison: str, dpkg: dict[str, str], simulation: str | None = None
) -> dict[str, Any]:
    """Return the packages of a driver, or why none fits."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()
    }
    today = datetime.datetime.now(tz=datetime.UTC).date()
    world = World(parse_madison(madison), transitional_packages(search), dpkg, today)
    results = None if simulation is None else parse_results(simulation)
    try:
        choice = choose(Request(**values), world, results)
    except ChoiceError as error:
        return {"refusal": str(error), "final": isinstance(error, GpuError)}
    return {
        "refusal": "",
        "final": False,
        "branch": choice.driver.branch,
        "version": choice.driver.version,
        "packages": choice.packages,
        "sources": choice.sources,
        "module": choice.module.kind,
        "module_from": choice.module.source,
        "satisfied": choice.satisfied,
        "notices": choice.notices,
        "rejected": [
            {"module_from": rejection.source, "version": rejection.version, "reason": rejection.reason}
            for rejection in choice.rejected
        ],
        "sets": choice.sets,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"nvidia_driver_choice": nvidia_driver_choice}
