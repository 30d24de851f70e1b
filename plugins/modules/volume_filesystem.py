#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that creates a file system on an empty disk."""

from __future__ import annotations

DOCUMENTATION = r"""
module: volume_filesystem
version_added: 1.0.0
short_description: Create a file system on an empty disk
description:
  - Creates a file system on a whole disk, without a partition table, if the disk is empty and the caller vouches for
    that by O(created).
  - A disk is empty if nothing uses it, if neither C(wipefs) nor C(blkid) finds a signature, and if it reads zeros at
    its first and last 16 MiB, at every place where a known format has a copy of its header, and in up to 4096 places
    at equal distances. A damaged disk without a signature is not empty. The disk is not read completely, which is why
    O(created) is necessary too.
  - A disk that contains exactly the declared file system is left alone, whether it is mounted or not.
  - Everything else fails with what was found, and the disk is not changed. No option overrides that.
  - A run that is killed while the file system is created can be repeated. A marker at the end of the disk, which is
    erased when the file system is complete, identifies what such a run has left.
options:
  device:
    description:
      - Path of the disk.
      - Best a link in C(/dev/disk/by-id), since names such as V(/dev/nvme1n1) can change at each boot.
    type: path
    required: true
  serial:
    description:
      - Expected serial number of the disk, such as the id of an EBS volume, with or without its dash.
      - Without it, the disk is not compared.
    type: str
    default: ""
  fstype:
    description: Type of the file system.
    type: str
    choices: [ext4, xfs]
    default: ext4
  label:
    description: Label of the file system, of up to 16 characters with ext4 and 12 with xfs.
    type: str
    required: true
  uuid:
    description:
      - UUID of the file system, in lower case.
      - Without it, an existing file system may have any. The UUID of a new one follows from the serial number, or is
        random for a disk without serial number.
    type: str
    default: ""
  created:
    description:
      - Whether the caller knows that the disk was created empty and that nothing has written to it since.
      - For an EBS volume, that it was created without a snapshot, and was never formatted before.
    type: bool
    default: false
  scratch:
    description: Whether the disk may be an instance store of EC2, whose content is lost when the instance stops.
    type: bool
    default: false
  timeout:
    description: Seconds that each command may take.
    type: int
    default: 600
extends_documentation_fragment: digital_twin.robotics_lab._attributes
requirements:
  - C(blkid) and C(wipefs) (util-linux)
  - C(mkfs.ext4) and C(e2fsck) (e2fsprogs) or C(mkfs.xfs) and C(xfs_repair) (xfsprogs)
notes:
  - Needs root.
  - 1 to 2 MiB at the end of the disk stay unused until the file system is grown.
seealso:
  - module: digital_twin.robotics_lab.grow_filesystem
  - module: amazon.aws.ec2_vol
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Create the file system of a new EBS volume
  digital_twin.robotics_lab.volume_filesystem:
    device: /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0
    serial: vol-0123456789abcdef0
    label: data
    created: true
  become: true
  register: volume
"""

RETURN = r"""
uuid:
  description: UUID of the file system. In check mode it is empty if a new one would be random.
  returned: success
  type: str
  sample: 4bc97c42-4c1c-5d2d-9b0a-6fd8a5bb1d54
name:
  description: Name of the disk in C(/sys/class/block).
  returned: success
  type: str
  sample: nvme1n1
size_bytes:
  description: Size of the disk in bytes.
  returned: success
  type: int
  sample: 107374182400
serial:
  description: Serial number that the host reports, or an empty string.
  returned: success
  type: str
  sample: vol0123456789abcdef0
mounts:
  description: Where the disk is mounted.
  returned: success
  type: list
  elements: str
  sample: [/data]
"""

import fcntl
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._volume.content import Content, ContentError, Marker, Run, read_content
from ..module_utils._volume.creation import (
    CreationError,
    Wanted,
    choose_uuid,
    create,
    erase_marker,
    find_content_problem,
    find_marker_problem,
    find_twin_problem,
    find_use_problem,
    find_vouch_problem,
    find_wanted_problem,
    is_complete,
    is_wanted,
    opened,
    write_marker,
)
from ..module_utils._volume.disk import Disk, find_identity_problem, read_disk

# udev locks a disk while it reads it.
LOCK_SECONDS = 30
PAUSE_SECONDS = 0.1


def main() -> None:
    """Read, decide, create, and verify the result."""
    module = AnsibleModule(
        argument_spec={
            "device": {"type": "path", "required": True},
            "serial": {"type": "str", "default": ""},
            "fstype": {"type": "str", "choices": ["ext4", "xfs"], "default": "ext4"},
            "label": {"type": "str", "required": True},
            "uuid": {"type": "str", "default": ""},
            "created": {"type": "bool", "default": False},
            "scratch": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module))
    except (CreationError, ContentError) as error:
        module.fail_json(msg=f"{error}.")
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{module.params['device']}: {error}.")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of the module."""

    def run(words: list[str]) -> tuple[int, str, str]:
        """Run a command of the system within the limit."""
        program = module.get_bin_path(words[0], required=True)
        limit = ["timeout", "--signal=KILL", str(module.params["timeout"])]
        status, out, err = module.run_command([*limit, program, *words[1:]], environ_update={"LC_ALL": "C"})
        return int(status), str(out), str(err)

    given = module.params
    wanted = Wanted(given["serial"], given["fstype"], given["label"], given["uuid"], given["created"])
    disk = read_disk(given["device"])
    refuse(find_wanted_problem(wanted) or find_identity_problem(disk, wanted.serial, scratch=given["scratch"]))
    result = {
        "changed": False,
        "uuid": "",
        "name": disk.name,
        "size_bytes": disk.size,
        "serial": disk.serial,
        "mounts": list(disk.mounts),
    }
    with opened(disk, os.O_RDONLY) as descriptor:
        lock(descriptor, disk)
        content = read_content(descriptor, disk.size, disk.path, run)
        superblock = os.pread(descriptor, 1024, 0 if content.value("TYPE") == "xfs" else 1024)
        if is_wanted(content, wanted, superblock) and (disk.mounts or not content.marker):
            refuse(find_twin_problem(disk, content, read_twins(disk, content.value("UUID"), run)))
            return {**result, "uuid": content.value("UUID")}
        refuse(find_use_problem(disk, content, wanted))
        with opened(disk, os.O_RDONLY | os.O_EXCL):
            pass
        marker = content.marker
        complete = marker is not None and bool(content.signatures) and is_complete(marker, disk.path, superblock, run)
        if marker and complete:
            if not is_wanted(content, wanted, superblock):
                raise CreationError(find_content_problem(disk, content, wanted, superblock))
            chosen = marker.uuid
        else:
            refuse(find_problem(disk, content, wanted, superblock))
            chosen = choose_uuid(wanted, disk)
        chosen_now = not (complete or wanted.uuid or wanted.serial or disk.serial)
        result |= {"changed": True, "uuid": "" if module.check_mode and chosen_now else chosen}
        result["diff"] = {"before": "", "after": f"{wanted.fstype} with the label {wanted.label} on {disk.path}\n"}
        if module.check_mode:
            return result
        if not complete:
            serial = wanted.serial or disk.serial
            write_marker(disk, Marker(serial, wanted.fstype, chosen, disk.size), restart=marker is not None)
            create(wanted, chosen, disk, run)
    # udev reads a disk again when a program closes it after the lock was released.
    erase_marker(disk)
    return result


def find_problem(disk: Disk, content: Content, wanted: Wanted, superblock: bytes) -> str:
    """Return why no file system may be created on a disk, or nothing."""
    if content.marker:
        problem = find_marker_problem(disk, content, content.marker, wanted, superblock)
    else:
        problem = find_content_problem(disk, content, wanted, superblock)
    return problem or find_vouch_problem(disk, wanted)


def refuse(problem: str) -> None:
    """Fail if there is a problem.

    Raises:
        CreationError: There is one.
    """
    if problem:
        raise CreationError(problem)


def lock(descriptor: int, disk: Disk) -> None:
    """Lock a disk against udev and against another run of this module.

    Raises:
        CreationError: Another process keeps it locked.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise CreationError(
                    f"{disk.path} is locked by another process. Wait until it has ended, then run this again"
                ) from error
        else:
            return
        time.sleep(PAUSE_SECONDS)


def read_twins(disk: Disk, uuid: str, run: Run) -> list[str]:
    """Return other disks with a file system of the same UUID."""
    # Its cache may be out of date.
    out = run(["blkid", "-c", "/dev/null", "-o", "device", "-t", f"UUID={uuid}"])[1]
    return sorted(path for path in out.split() if read_disk(path).number != disk.number)


if __name__ == "__main__":
    main()
