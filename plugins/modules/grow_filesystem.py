#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that grows a mounted file system, and its partition, into a disk that has grown."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grow_filesystem
version_added: 1.0.0
short_description: Grow a mounted file system into a disk that has grown
description:
  - Grows the partition of a mounted file system to the end of its disk, then the file system, while both are in use.
  - Supports ext2, ext3, ext4 and xfs, on the last partition of a disk with a GPT or an MBR, or on a whole disk.
  - Where this may not be safe, or where something else must be grown first (LVM, LUKS, RAID, another
    file system, a partition behind this one, a container's own root), nothing is changed and RV(reason) is set.
  - Up to 16 MiB at the end may stay unused. If the unused space is not larger, nothing is changed.
options:
  path:
    description: Where the file system is mounted.
    type: path
    default: /
  disk_gib:
    description:
      - Expected size of the disk in GiB. The module waits until the kernel reports it.
      - V(0) means the size that the kernel reports.
    type: int
    default: 0
  timeout:
    description: How long to wait for this size, in seconds. In check mode it does not wait.
    type: int
    default: 60
extends_documentation_fragment: digital_twin.robotics_lab._attributes
requirements:
  - C(growpart) (Debian package cloud-guest-utils) where a partition grows
  - C(resize2fs) (e2fsprogs) or C(xfs_growfs) (xfsprogs)
notes:
  - Needs root.
seealso:
  - module: amazon.aws.ec2_vol
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Grow the root file system
  digital_twin.robotics_lab.grow_filesystem:
    disk_gib: 300
  become: true
  register: grown

- name: Report what stays unused
  ansible.builtin.debug:
    msg: "{{ grown.reason }}"
  when: grown.reason | length > 0
"""

RETURN = r"""
filesystem:
  description: The kind of the file system; empty when nothing is mounted there.
  returned: success
  type: str
  sample: ext4
device:
  description: Name of the block device that it is on, or empty where that cannot be grown.
  returned: success
  type: str
  sample: nvme0n1p1
disk_bytes:
  description: Size of the disk in bytes, or 0 where that is not known.
  returned: success
  type: int
  sample: 322122547200
size_bytes:
  description: Size of the file system in bytes; in check mode before the change; 0 where it is not known.
  returned: success
  type: int
  sample: 322120433152
partition_grows:
  description: Whether the partition was, or in check mode would be, grown.
  returned: success
  type: bool
  sample: true
reason:
  description:
    - Why a part of the disk stays unused, or why the unused size is not known, with the remedy. Otherwise empty.
    - It has no full stop at its end.
  returned: success
  type: str
  sample: the file system is mounted read-only. Run `mount -o remount,rw /`
"""

import contextlib
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._volume.growth import (
    MIB,
    SLACK,
    XFS,
    FilesystemState,
    GrowthError,
    Run,
    disk_of,
    ext_size,
    find_node,
    find_reason,
    grow,
    make_plan,
    read_disk,
    read_mount,
    xfs_size,
)

GIB = 1024 * MIB
PAUSE_SECONDS = 1


def main() -> None:
    """Read, plan, grow, and verify the result."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/"},
            "disk_gib": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module))
    except (GrowthError, OSError, ValueError) as error:
        module.fail_json(msg=f"{module.params['path']}: {error}.")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of the module."""

    def run(words: list[str]) -> tuple[int, str, str]:
        """Run a command of the system."""
        words[0] = module.get_bin_path(words[0], required=True)
        status, out, err = module.run_command(words, environ_update={"LC_ALL": "C"})
        return int(status), str(out), str(err)

    path = module.params["path"]
    result = {
        "changed": False,
        "filesystem": "",
        "device": "",
        "disk_bytes": 0,
        "size_bytes": 0,
        "partition_grows": False,
        "reason": "nothing is mounted there",
    }
    mount = read_mount(path, Path("/proc/self/mountinfo").read_text("utf-8"))
    if mount is None:
        return result
    device = Path("/sys/dev/block") / mount.number
    reason = find_reason(mount, device)
    node = find_node(device)
    if reason or not node:
        reason = reason or f"there is no /dev/{device.resolve().name}"
        return {**result, "filesystem": mount.filesystem, "reason": reason}
    if not module.check_mode:
        wait_for_size(device, module.params["disk_gib"] * GIB, module.params["timeout"])

    def read() -> FilesystemState:
        """Read the current state."""
        if mount.filesystem == XFS:
            size = xfs_size(run(["xfs_growfs", "-n", path])[1])
        else:
            with Path(node).open("rb") as stream:
                stream.seek(1024)
                size = ext_size(stream.read(1024))
        return FilesystemState(mount, size, *read_disk(device, read_table(disk_of(device), run)), node)

    state = read()
    plan = make_plan(state)
    result |= {
        "filesystem": mount.filesystem,
        "device": device.resolve().name,
        "disk_bytes": state.disk.size,
        "size_bytes": state.size,
        "partition_grows": plan.partition,
        "reason": plan.reason,
    }
    if not plan.partition and not plan.filesystem:
        return result
    sizes = {"before": f"{state.size // MIB} MiB at {path}\n", "after": f"{plan.size // MIB} MiB at {path}\n"}
    if module.check_mode:
        return {**result, "changed": True, "diff": sizes}
    # The file system is grown even if the partition was grown by an earlier, interrupted run.
    grow(plan, state, run)
    after = read()
    if make_plan(after).partition or plan.size - after.size >= SLACK:
        raise GrowthError(
            f"it has {after.size // MIB} MiB after growing, not {plan.size // MIB}; see dmesg on the host"
        )
    return {**result, "changed": True, "size_bytes": after.size, "diff": sizes}


def read_table(disk: str, run: Run) -> str:
    """Return the kind of a disk's partition table, empty without one."""
    status, out, _err = run(["blkid", "-p", "-s", "PTTYPE", "-o", "value", f"/dev/{disk}"])
    return out.strip() if status == 0 else ""


def wait_for_size(device: Path, least: int, seconds: int) -> None:
    """Wait until the kernel sees a disk of at least some size.

    Raises:
        GrowthError: the kernel did not see it in time.
    """
    disk = Path("/sys/class/block") / disk_of(device)
    deadline = time.monotonic() + seconds
    while (size := int((disk / "size").read_text("ascii")) * 512) < least:
        if time.monotonic() >= deadline:
            raise GrowthError(
                f"the kernel sees {size // GIB} GiB of {disk.name}, and {least // GIB} were requested. Check that "
                "the volume has been modified, then run this again"
            )
        # Some NVMe controllers report the new size only after a rescan.
        with contextlib.suppress(OSError):
            (disk / "device" / "rescan_controller").write_text("1", "ascii")
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
