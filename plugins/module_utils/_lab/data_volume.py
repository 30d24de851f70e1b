# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device of a host's data volume, and whether it was created empty."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .record import FORMATTED_TAG

# The families with NVIDIA GPUs that are virtualized by Xen. All others are of Nitro, also p3dn.
XEN_FAMILIES = ("p2", "p3", "g2", "g3", "g3s")
BY_ID = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"


def device_of(instance_type: str, volume_id: str, attached_as: str) -> str:
    """Return the path of a data volume on its host; empty while it is not attached.

    On Nitro the volume is an NVMe device whose number can change at each boot, and whose serial number is the volume's
    id. On Xen it has the name with which it was attached, and no serial number.

    Args:
        instance_type: The type of the host.
        volume_id: The volume.
        attached_as: The device name of the attachment in EC2; empty for none.
    """
    if not attached_as:
        return ""
    if instance_type.partition(".")[0] in XEN_FAMILIES:
        return re.sub("^/dev/(sd|xvd)", "/dev/xvd", attached_as)
    return f"{BY_ID}{volume_id.replace('-', '')}"


def is_created_empty(source: str | None, tags: Mapping[str, str]) -> bool:
    """Return whether a data volume was created without a snapshot or another volume, and was not formatted since."""
    return not source and FORMATTED_TAG not in tags
