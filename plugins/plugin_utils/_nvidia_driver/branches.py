# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The driver branches: the preferred one, NVIDIA's support, the packages, and the kernel module for each GPU.

``preference`` in plans.py chooses the branch: the installed one, else PREFERRED_BRANCH, else the archive's own
driver, else its newest. A GPU decides which branches and which kernel module it can have (gpus.py):

- older than Turing, such as V100 and P100: proprietary, up to LAST_BEFORE_TURING
- Turing to Hopper, such as T4, A10G, L4 and H100: proprietary or open
- Grace Hopper, Blackwell and newer: open

Sources, read on 2026-11-30: NVIDIA's driver installation guide, chapter Kernel Modules (what each module supports; open
is the default and suggested one since 560); README.md of NVIDIA/open-gpu-kernel-modules (the lowest id is 1E02, a GH200
is 2342; in 550 the open module is of beta quality on workstations). The NixOS wiki, which cites NVIDIA: Grace Hopper
and Blackwell need the open module, and branches after 580 support no GPU before Turing.
"""

from __future__ import annotations

PREFERRED_BRANCH = 580
# The last month with support, from https://docs.nvidia.com/datacenter/tesla/drivers. Branches below 580 that are not
# listed ended before the latest of these was published.
SUPPORTED_UNTIL = {535: (2026, 6), 580: (2028, 6), 595: (2027, 3), 620: (2029, 9)}
# PCI device ids: the first of Turing, before which the open module has no support, the first of Blackwell, which
# requires it, and those of GH200, which does so too.
FIRST_TURING, FIRST_BLACKWELL, GRACE_HOPPER = 0x1E00, 0x2900, frozenset({0x2342, 0x2348})
# The branch since which NVIDIA suggests the open module, the first for Blackwell, and the last for GPUs before Turing.
OPEN_FIRST, FIRST_FOR_BLACKWELL, LAST_BEFORE_TURING = 560, 570, 580

# The packages of a branch by purpose.
# Debian's own driver has plain names, and its other drivers have their branch in the name.
DEBIAN = {
    "compute": ["libcuda1", "nvidia-persistenced"],
    "utility": ["libnvidia-ml1", "nvidia-smi"],
    "graphics": ["libnvidia-rtcore", "libnvoptix1", "nvidia-driver-libs", "nvidia-vulkan-icd"],
    "video": ["libnvcuvid1", "libnvidia-encode1"],
    "display": ["nvidia-driver"],
    "proprietary": ["nvidia-kernel-dkms"],
    "open": ["nvidia-open-kernel-dkms"],
}
DEBIAN_TESLA = {
    "compute": ["libnvidia-{series}-cuda1", "nvidia-persistenced"],
    "utility": ["libnvidia-{series}-ml1", "nvidia-{series}-smi"],
    "graphics": [
        "libnvidia-{series}-rtcore",
        "libnvidia-{series}-nvoptix1",
        "nvidia-{series}-driver-libs",
        "nvidia-{series}-vulkan-icd",
    ],
    "video": ["libnvidia-{series}-nvcuvid1", "libnvidia-{series}-encode1"],
    "display": ["nvidia-{series}-driver"],
    "proprietary": ["nvidia-{series}-kernel-dkms"],
    "open": [],
}
UBUNTU = {
    "compute": ["nvidia-headless-no-dkms-{series}{open}"],
    "utility": ["nvidia-utils-{series}"],
    "graphics": ["libnvidia-extra-{series}", "libnvidia-gl-{series}"],
    "video": ["libnvidia-decode-{series}", "libnvidia-encode-{series}"],
    "display": ["nvidia-driver-{series}{open}"],
    "proprietary": ["nvidia-dkms-{series}"],
    "open": ["nvidia-dkms-{series}-open"],
}
DEBIAN_SOURCES = ["nvidia-graphics-drivers", "nvidia-open-gpu-kernel-modules"]
