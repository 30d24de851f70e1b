# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks that must not be formatted, and empty ones that are, on loop devices with the system's own tools."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._volume import content, creation, disk
from ansible_collections.digital_twin.robotics_lab.plugins.modules import grow_filesystem, volume_filesystem

from tests.support import disk_formats
from tests.support.disks import MIB, LoopDisk, command, may_resize_ext, own_mounts, write_resize2fs

TOOLS = (
    "losetup",
    "sfdisk",
    "partx",
    "blkid",
    "wipefs",
    "mkfs.ext4",
    "mkfs.xfs",
    "mkswap",
    "e2fsck",
    "xfs_repair",
    "gcc",
)
HERE = os.geteuid() == 0 and all(map(shutil.which, TOOLS)) and Path("/dev/loop-control").exists()
SIZE = 400 * MIB
KNOWN_SERIAL = "vol-0123456789abcdef0"
# Of no other test that runs on this machine: the UUID of a new file system follows from it.
SERIAL = f"vol-0{uuid.uuid4().hex[:16]}"
OTHER_SERIAL = f"vol-0{uuid.uuid4().hex[:16]}"
EBS = "nvme-Amazon_Elastic_Block_Store_"
EBS_LINK = EBS + SERIAL.replace("-", "")
OTHER_LINK = EBS + OTHER_SERIAL.replace("-", "")
STORE_SERIAL = f"AWS{uuid.uuid4().hex[:17].upper()}"
STORE_LINK = f"nvme-Amazon_EC2_NVMe_Instance_Storage_{STORE_SERIAL}"
WANTED = creation.Wanted(SERIAL, "ext4", "data", "", created=True)
MEMBER = "linux_raid_member"

Run = Callable[..., dict[str, Any]]


@dataclass
class Host:
    """What the tests attach to this machine."""

    folder: Path
    by_id: Path
    disks: list[LoopDisk]

    def disk(self, *, size: int = SIZE, link: str = EBS_LINK) -> LoopDisk:
        """Create a disk that is not attached yet."""
        made = LoopDisk(self.folder / f"disk{len(self.disks)}", size)
        made.link = self.by_id / (link or f"none{len(self.disks)}")
        self.disks.append(made)
        return made

    def attach(self, made: LoopDisk) -> str:
        """Attach a disk with its link, and return the link's path."""
        made.link.symlink_to(made.attach())
        return str(made.link)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Return a host, whose disks are removed afterwards."""
    if not HERE:
        pytest.fail(f"needs root, loop devices, and {', '.join(TOOLS)}: make tools")
    made = Host(tmp_path, tmp_path / "by-id", [])
    made.by_id.mkdir()
    monkeypatch.setattr(disk, "BY_ID", made.by_id)
    with own_mounts():
        yield made
        subprocess.run(["umount", str(tmp_path / "mounted")], capture_output=True, check=False)
        for one in made.disks:
            one.detach()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module, which must succeed unless `fails`, and return its result."""

    def run_module(
        *, fails: bool = False, main: Callable[[], None] = volume_filesystem.main, **given: object
    ) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit):
            main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(result.get("failed")) is fails, result
        return result

    return run_module


def options(device: str, **other: object) -> dict[str, object]:
    """Return the options that let an empty disk be formatted."""
    return {"device": device, "serial": SERIAL, "label": "data", "created": True, **other}


def table(label: str) -> Callable[[LoopDisk], None]:
    """Return what gives a disk a partition table, with a partition that is empty."""

    def prepare(made: LoopDisk) -> None:
        command("sfdisk", "--quiet", str(made.file), text=f"label: {label}\nstart=2048, size=64M\n")

    return prepare


def written(place: int, data: bytes) -> Callable[[LoopDisk], None]:
    """Return what writes bytes to a disk."""
    return lambda made: made.write(place, data)


def tool(*words: str, erase: tuple[tuple[int, int], ...] = ()) -> Callable[[LoopDisk], None]:
    """Return what runs a command for a disk, and then overwrites parts of it with zeros."""

    def prepare(made: LoopDisk) -> None:
        command(*words, str(made.file))
        for place, length in erase:
            made.write(place, bytes(length))

    return prepare


def gpt_backup(made: LoopDisk) -> None:
    """Write a GPT, and erase all of it but its backup."""
    table("gpt")(made)
    made.write(0, bytes(34 * 512))


def ext_backup(made: LoopDisk) -> None:
    """Write an ext4, and erase all of it but one backup of the superblock."""
    command("mkfs.ext4", "-q", "-b", "4096", str(made.file))
    with made.file.open("rb") as stream:
        stream.seek(3 * 128 * MIB)
        backup = stream.read(4096)
    with made.file.open("wb") as stream:
        stream.truncate(SIZE)
    made.write(3 * 128 * MIB, backup)


def ext_and_btrfs(made: LoopDisk) -> None:
    """Write two file systems, of which blkid cannot choose one."""
    command("mkfs.ext4", "-q", "-L", "data", str(made.file))
    made.write(65536, disk_formats.btrfs(65536))


def xfs_group(made: LoopDisk) -> None:
    """Write an xfs, and erase the superblock and what follows it."""
    command("mkfs.xfs", "-q", str(made.file))
    made.write(0, bytes(20 * MIB))


MD_0_PLACE = (SIZE & ~0xFFFF) - 0x10000
MD_10_PLACE = SIZE - 8192
NOISE = hashlib.shake_256(b"noise").digest(4 * MIB)

# What is on the disk, how it gets there, and what the refusal names. Formats without a tool are written as documented.
DISKS: dict[str, tuple[Callable[[LoopDisk], None], str]] = {
    "MBR with an empty partition": (table("dos"), "dos at byte 510"),
    "GPT with an empty partition": (table("gpt"), "gpt at byte 512"),
    "backup of a GPT": (gpt_backup, f"gpt at byte {SIZE - 512}"),
    "LVM": (written(512, disk_formats.lvm()), "LVM2_member (UUID AAAAAA-"),
    "RAID 0.90": (written(MD_0_PLACE, disk_formats.md_0()), f"at byte {MD_0_PLACE}"),
    "RAID 1.0": (written(MD_10_PLACE, disk_formats.md_1(MD_10_PLACE // 512)), f"{MEMBER} (label host:0"),
    "RAID 1.2": (written(4096, disk_formats.md_1(8)), f"{MEMBER} (label host:0"),
    "LUKS1": (written(0, disk_formats.luks_1()), "crypto_LUKS"),
    "LUKS2": (written(0, disk_formats.luks_2()), "crypto_LUKS (label vault"),
    "second header of LUKS2": (written(16384, disk_formats.luks_2(secondary=True)), "crypto_LUKS"),
    "ZFS": (written(128 * 1024, disk_formats.zfs()), "zfs_member"),
    "last label of ZFS": (written(SIZE - 384 * 1024, disk_formats.zfs()), "zfs_member"),
    "swap": (tool("mkswap", "--label", "swap"), "swap (label swap"),
    "ext4 without label": (tool("mkfs.ext4", "-q"), "To use it, set fstype to ext4 and give it that label"),
    "ext4 with another label": (tool("mkfs.ext4", "-q", "-L", "models"), "set fstype to ext4 and label to models"),
    "xfs with the same label": (tool("mkfs.xfs", "-q", "-L", "data"), "To use it, set fstype to xfs and label to data"),
    "btrfs": (written(65536, disk_formats.btrfs(65536)), "btrfs (UUID 6c1f6a57"),
    "mirror of a btrfs": (written(64 * MIB, disk_formats.btrfs(64 * MIB)), f"byte {64 * MIB} is not zero"),
    "FAT": (written(0, disk_formats.fat()), "vfat (UUID 1234-ABCD)"),
    "ISO 9660": (written(32768, disk_formats.iso()), "iso9660 (label DISC)"),
    # Neither blkid nor wipefs finds anything on these.
    "ext4 without its magic": (
        tool("mkfs.ext4", "-q", "-L", "data", erase=((1080, 2),)),
        "has no signature and is not empty",
    ),
    "ext4 without its first groups": (ext_backup, f"byte {3 * 128 * MIB + 1} is not zero"),
    "xfs without its superblock": (tool("mkfs.xfs", "-q", "-L", "data", erase=((0, 512),)), "byte 512 is not zero"),
    "xfs without its first group's headers": (xfs_group, f"byte {SIZE // 4} is not zero"),
    "data in the middle": (written(150 * MIB + 12345, NOISE), f"byte {151 * MIB} is not zero"),
    "data in the last MiB": (written(-1, b"x"), f"byte {SIZE - 1} is not zero"),
    "ext4 and btrfs": (ext_and_btrfs, "several formats"),
}


@pytest.mark.parametrize("name", DISKS)
def test_a_disk_that_is_not_empty_is_refused(host: Host, run: Run, name: str) -> None:
    prepare, found = DISKS[name]
    made = host.disk()
    prepare(made)
    before = made.checksum()
    device = host.attach(made)
    message = run(fails=True, **options(device))["msg"]
    assert run(fails=True, **options(device), _ansible_check_mode=True)["msg"] == message
    assert found in message
    assert message.startswith(device)
    assert "Allowed: an empty disk, or ext4 with the label data" in message
    assert message.endswith(".")
    made.detach()
    assert made.checksum() == before


def test_tools_find_nothing_on_damaged_disks(host: Host) -> None:
    """Else the reading of the disk itself would not be tested."""
    for name in ("ext4 without its magic", "ext4 without its first groups", "data in the middle"):
        made = host.disk()
        DISKS[name][0](made)
        assert subprocess.run(["blkid", "-p", str(made.file)], capture_output=True, check=False).returncode == 2
        assert command("wipefs", "--no-act", str(made.file)) == ""


def test_another_disk_is_refused(host: Host, run: Run) -> None:
    """By its serial number, and an instance store by its link."""
    other = host.disk(link=f"{OTHER_LINK}_1")
    message = run(fails=True, **options(host.attach(other)))["msg"]
    assert f"{OTHER_LINK}_1, and {SERIAL} is expected" in message
    unknown = host.disk(link="")
    assert "has the serial number none0" not in run(fails=True, **options(host.attach(unknown)))["msg"]
    store = host.disk(link=STORE_LINK)
    device = host.attach(store)
    given = options(device, serial=STORE_SERIAL)
    before = store.checksum()
    assert f"is an instance store ({STORE_LINK}), which loses its content" in run(fails=True, **given)["msg"]
    assert store.checksum() == before
    assert run(**given, scratch=True)["changed"] is True


def test_a_disk_in_use_is_refused(host: Host, run: Run) -> None:
    mounted = host.folder / "mounted"
    mounted.mkdir()
    made = host.disk()
    command("mkfs.ext4", "-q", "-L", "models", str(made.file))
    device = host.attach(made)
    command("mount", made.device, str(mounted))
    assert f"is mounted at {mounted} and holds ext4 (label models" in run(fails=True, **options(device))["msg"]
    # As a container on the same kernel does.
    with own_mounts():
        command("umount", str(mounted))
        before = made.checksum()
        assert "is in use or cannot be opened" in run(fails=True, **options(device))["msg"]
        assert made.checksum() == before
    command("umount", str(mounted))


def test_a_disk_that_another_program_has_opened_is_refused(host: Host, run: Run) -> None:
    """As a device mapper, a RAID, or another mkfs has."""
    made = host.disk()
    device = host.attach(made)
    holder = os.open(made.device, os.O_RDONLY | os.O_EXCL)
    before = made.checksum()
    try:
        assert "is in use or cannot be opened: Device or resource busy" in run(fails=True, **options(device))["msg"]
    finally:
        os.close(holder)
    assert made.checksum() == before


def test_swap_is_refused(host: Host, run: Run) -> None:
    made = host.disk()
    command("mkswap", str(made.file))
    device = host.attach(made)
    Path(made.device).chmod(0o600)
    command("swapon", made.device)
    try:
        assert "is in use as swap" in run(fails=True, **options(device))["msg"]
    finally:
        command("swapoff", made.device)


def test_partitions_that_only_the_kernel_knows_are_refused(host: Host, run: Run) -> None:
    made = host.disk()
    device = host.attach(made)
    command("addpart", made.device, "1", "2048", "131072")
    part = f"{made.device}p1"
    assert f"has the partitions {Path(part).name}" in run(fails=True, **options(device))["msg"]
    message = run(fails=True, **options(part, serial=""))["msg"]
    assert message == f"{part} is a partition. Allowed: a whole disk. Set device to the disk, or mount it yourself."


def test_what_is_not_a_disk_is_refused(host: Host, run: Run) -> None:
    file = host.disk()
    before = file.checksum()
    gone = host.by_id / "gone"
    gone.symlink_to("/dev/nvme99n1")
    for path, reason in (
        (str(file.file), "is a file. Allowed: a whole disk"),
        (str(host.folder), "is a folder"),
        ("/dev/null", "is a character device"),
        (str(gone), "does not exist. Allowed: a disk that is attached"),
        (host.attach(host.disk(size=0)), "has 0 bytes"),
    ):
        assert f"{path} {reason}" in run(fails=True, **options(path, serial=""))["msg"]
    assert file.checksum() == before


@pytest.mark.parametrize(("fstype", "size", "least"), [("ext4", 32 * MIB, 64), ("xfs", 256 * MIB, 320)])
def test_a_small_disk_is_refused(host: Host, run: Run, fstype: str, size: int, least: int) -> None:
    device = host.attach(host.disk(size=size))
    message = run(fails=True, **options(device, fstype=fstype))["msg"]
    assert f"has {size} bytes. Allowed for {fstype}: at least {least} MiB" in message


def test_an_empty_disk_is_refused_unless_the_caller_vouches(host: Host, run: Run) -> None:
    made = host.disk()
    before = made.checksum()
    message = run(fails=True, **options(host.attach(made), created=False))["msg"]
    assert "seems empty, and created is false. Allowed: a disk that was created empty. Set created to true" in message
    made.detach()
    assert made.checksum() == before


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"label": "data volume"}, "label is 'data volume'. Allowed with ext4: 1 to 16 of"),
        ({"label": "thirteen-long", "fstype": "xfs"}, "Allowed with xfs: 1 to 12 of"),
        ({"label": "-f"}, "beginning with a letter"),
        ({"uuid": "{6C1F6A57-3F54-4B6B-9F58-0D0B6A7C1A11}"}, "Allowed: a UUID in lower case"),
    ],
)
def test_options_are_checked(host: Host, run: Run, given: dict[str, str], reason: str) -> None:
    assert reason in run(fails=True, **options(host.attach(host.disk()), **given))["msg"]


def is_sound(made: LoopDisk, fstype: str) -> bool:
    """Return whether the check program of a file system finds no error."""
    words = ["xfs_repair", "-n"] if fstype == "xfs" else ["e2fsck", "-f", "-n"]
    return subprocess.run([*words, made.device], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_an_empty_disk_is_formatted_once(host: Host, run: Run, fstype: str) -> None:
    made = host.disk()
    before = made.checksum()
    device = host.attach(made)
    given = options(device, fstype=fstype)
    planned = run(**given, _ansible_check_mode=True)
    assert planned["changed"] is True
    assert made.checksum() == before

    created = run(**given)
    assert (created["changed"], created["uuid"]) == (True, planned["uuid"])
    assert command("blkid", "-p", "-o", "value", "-s", "UUID", "-s", "LABEL", made.device).split() == [
        "data",
        created["uuid"],
    ]
    assert is_sound(made, fstype)
    again = run(**given)
    assert (again["changed"], again["uuid"]) == (False, created["uuid"])
    # As after a restore from a snapshot: created is false, and the volume has another serial number.
    made.link.rename(host.by_id / OTHER_LINK)
    restored = options(str(host.by_id / OTHER_LINK), serial=OTHER_SERIAL)
    assert run(**{**restored, "fstype": fstype, "created": False})["changed"] is False
    # The whole disk is the file system's, but for the marker's place, where nothing is left.
    assert made.size - content.filesystem_size(made.size) == MIB
    with made.file.open("rb") as stream:
        stream.seek(content.filesystem_size(made.size))
        assert not stream.read().strip(b"\0")


def test_a_disk_without_serial_number_gets_a_random_uuid(host: Host, run: Run) -> None:
    first, second = (run(**options(host.attach(host.disk(link="")), serial=""))["uuid"] for _turn in range(2))
    assert first != second
    planned = run(**options(host.attach(host.disk(link="")), serial=""), _ansible_check_mode=True)
    assert (planned["changed"], planned["uuid"]) == (True, "")


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_mounted_volume_grows(host: Host, run: Run, monkeypatch: pytest.MonkeyPatch, fstype: str) -> None:
    mounted = host.folder / "mounted"
    mounted.mkdir()
    made = host.disk()
    given = options(host.attach(made), fstype=fstype)
    run(**given)
    command("mount", made.device, str(mounted))
    if not may_resize_ext():
        write_resize2fs(host.folder / "bin", mounted)
        monkeypatch.setenv("PATH", str(host.folder / "bin"), prepend=os.pathsep)
    (mounted / "kept").write_bytes(NOISE)
    assert run(**given)["mounts"] == [str(mounted)]
    assert run(main=grow_filesystem.main, path=str(mounted))["changed"] is False
    made.enlarge(200 * MIB)
    assert run(main=grow_filesystem.main, path=str(mounted))["changed"] is True
    assert os.statvfs(mounted).f_blocks * os.statvfs(mounted).f_frsize > 500 * MIB
    assert (mounted / "kept").read_bytes() == NOISE
    assert run(**given)["changed"] is False
    command("umount", str(mounted))
    assert is_sound(made, fstype)


def test_a_restored_twin_of_a_mounted_volume_is_refused(host: Host, run: Run) -> None:
    """The kernel mounts no second xfs with the same UUID."""
    mounted = host.folder / "mounted"
    mounted.mkdir()
    made = host.disk(link=OTHER_LINK)
    run(**options(host.attach(made), serial=OTHER_SERIAL, fstype="xfs"))
    made.detach()
    twin = host.disk()
    shutil.copyfile(made.file, twin.file)
    command("mount", made.attach(), str(mounted))
    before = twin.checksum()
    message = run(fails=True, **options(host.attach(twin), fstype="xfs", created=False))["msg"]
    assert f"is also that of {made.device}, as after restoring a snapshot" in message
    assert f"Detach one of them, or run `xfs_admin -U generate {twin.link}`" in message
    assert twin.checksum() == before
    command("umount", str(mounted))
    command("xfs_admin", "-U", "generate", twin.device)
    assert run(**options(str(twin.link), fstype="xfs", created=False))["changed"] is False


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void count(void) {
    static int calls;
    if (++calls == atoi(getenv("KILL_AT")))
        kill(getpid(), SIGKILL);
    FILE *log = fopen(getenv("KILL_LOG"), "w");
    fprintf(log, "%d", calls);
    fclose(log);
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t place) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    count();
    return real(file, data, length, place);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t place) {
    return pwrite64(file, data, length, place);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library that kills its process at some write."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    command("gcc", "-shared", "-fPIC", "-o", str(folder / "shim.so"), str(folder / "shim.c"), "-ldl")
    return folder / "shim.so"


@dataclass
class Mkfs:
    """A script that the module finds in place of mkfs."""

    folder: Path
    library: Path
    monkeypatch: pytest.MonkeyPatch

    def replace(self, fstype: str, script: str) -> Path:
        """Write the script; {real} stands for mkfs."""
        wrapper = self.folder / "bin" / f"mkfs.{fstype}"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f"#!/bin/sh\n{script.format(real=shutil.which(f'mkfs.{fstype}'))}\n")
        wrapper.chmod(0o755)
        self.monkeypatch.setenv("PATH", str(wrapper.parent), prepend=os.pathsep)
        return wrapper

    def count(self, fstype: str) -> Path:
        """Count the writes of mkfs."""
        self.monkeypatch.setenv("KILL_LOG", str(self.folder / "writes"))
        self.kill_at(0)
        return self.replace(fstype, f'LD_PRELOAD="{self.library}" exec {{real}} "$@"')

    def kill_at(self, write: int) -> None:
        """Kill mkfs at one of its writes, counted from 1."""
        self.monkeypatch.setenv("KILL_AT", str(write))

    def writes(self) -> int:
        """Return the number of writes of the last mkfs."""
        return int((self.folder / "writes").read_text())


@pytest.fixture
def mkfs(host: Host, library: Path, monkeypatch: pytest.MonkeyPatch) -> Mkfs:
    """Return what replaces mkfs."""
    return Mkfs(host.folder, library, monkeypatch)


# At the first writes, in the middle, and before the last: of the superblock, or of the flag that ends its creation.
@pytest.mark.parametrize("at", [1, 2, 5, -10, -2, -1])
@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_killed_mkfs_is_repeated(host: Host, run: Run, mkfs: Mkfs, fstype: str, at: int) -> None:
    wrapper = mkfs.count(fstype)
    if at < 0:
        trial = host.disk(link=f"{EBS_LINK}_1")
        run(**options(host.attach(trial), fstype=fstype))
        trial.link.unlink()
        trial.detach()
        at += mkfs.writes() + 1
    made = host.disk()
    device = host.attach(made)
    given = options(device, fstype=fstype)
    mkfs.kill_at(at)
    killed = run(fails=True, **given)
    assert f"mkfs.{fstype} ended with status" in killed["msg"]
    assert "Run this again" in killed["msg"]
    before = made.checksum()
    assert "created is false" in run(fails=True, **{**given, "created": False})["msg"]
    assert run(**given, _ansible_check_mode=True)["changed"] is True
    assert made.checksum() == before
    wrapper.unlink()
    finished = run(**given)
    assert finished["changed"] is True
    assert is_sound(made, fstype)
    assert run(**given)["changed"] is False


@pytest.mark.parametrize("script", ['kill -9 "$MODULE"', '{real} "$@"; kill -9 "$MODULE"'])
@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_killed_module_is_repeated(run: Run, host: Host, mkfs: Mkfs, fstype: str, script: str) -> None:
    # Its size is not a multiple of anything.
    made = host.disk(size=SIZE + 777 * 512)
    given = options(host.attach(made), fstype=fstype)
    wrapper = mkfs.replace(fstype, script)
    child = os.fork()
    if child == 0:
        os.environ["MODULE"] = str(os.getpid())
        with patch_module_args(given):
            volume_filesystem.main()
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    wrapper.unlink()
    # A complete file system is not created again, so created may be false.
    if "real" in script:
        kept = command("blkid", "-p", made.device)
        assert run(**{**given, "created": False})["changed"] is True
        assert command("blkid", "-p", made.device) == kept
    else:
        assert run(**given)["changed"] is True
    assert is_sound(made, fstype)
    assert run(**given)["changed"] is False


def leave_marker(made: LoopDisk, fstype: str, **other: Any) -> content.Marker:
    """Write a marker as a run leaves it that was killed."""
    marker = replace(content.Marker(SERIAL, fstype, str(disk_formats.SOME), made.size), **other)
    made.write(content.filesystem_size(made.size), marker.encode())
    return marker


def used(made: LoopDisk, host: Host, fstype: str) -> None:
    """Create a file system, and use it."""
    command(
        *creation.make_command(
            replace(WANTED, fstype=fstype), str(disk_formats.SOME), disk.Disk(str(made.file), size=made.size)
        )
    )
    device = made.attach()
    (host.folder / "mounted").mkdir()
    command("mount", device, str(host.folder / "mounted"))
    for number in range(64):
        (host.folder / "mounted" / str(number)).write_bytes(NOISE)
    command("umount", str(host.folder / "mounted"))
    made.detach()


@pytest.mark.parametrize(
    ("fstype", "damage", "reason"),
    [
        # As if the run had been killed after mkfs, and the file system was then mounted by hand, used, and damaged.
        ("ext4", ((1080, 2),), "contains more than that, as when it was completed and damaged"),
        ("ext4", ((1024, 1024),), "contains more than that, as when it was completed and damaged"),
        ("ext4", ((4096, 4 * MIB),), "it was completed and is damaged"),
        ("xfs", ((0, 4096),), "contains more than that, as when it was completed and damaged"),
        ("xfs", ((512, 512),), "it was completed and is damaged"),
    ],
)
def test_a_marker_is_no_licence_to_format(
    host: Host, run: Run, fstype: str, damage: tuple[tuple[int, int], ...], reason: str
) -> None:
    made = host.disk()
    used(made, host, fstype)
    for place, length in damage:
        made.write(place, bytes(length))
    leave_marker(made, fstype)
    before = made.checksum()
    assert reason in run(fails=True, **options(host.attach(made), fstype=fstype))["msg"]
    made.detach()
    assert made.checksum() == before


@pytest.mark.parametrize(
    ("other", "more", "reason"),
    [
        ({"serial": "vol-0aaaaaaaaaaaaaaaa"}, (0, b""), "of a disk with the serial number vol-0aaaaaaaaaaaaaaaa"),
        ({"size": SIZE + MIB}, (0, b""), f"and {SIZE + MIB} bytes, and this one has"),
        ({}, (-1, b"x"), f"byte {SIZE - 1} behind its end is not zero"),
        ({}, (65536, disk_formats.btrfs(65536)), "contains something else: btrfs"),
        ({}, (0, b"x"), "contains more than that"),
    ],
)
def test_a_marker_of_something_else_is_refused(
    host: Host, run: Run, other: dict[str, Any], more: tuple[int, bytes], reason: str
) -> None:
    made = host.disk()
    leave_marker(made, "ext4", **other)
    made.write(*more)
    before = made.checksum()
    assert reason in run(fails=True, **options(host.attach(made)))["msg"]
    made.detach()
    assert made.checksum() == before


def test_a_damaged_marker_is_data(host: Host, run: Run) -> None:
    made = host.disk()
    leave_marker(made, "ext4")
    made.write(content.filesystem_size(made.size) + 100, b"x")
    assert "has no signature and is not empty" in run(fails=True, **options(host.attach(made)))["msg"]


def test_another_run_waits_for_the_first(host: Host, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = host.disk()
    device = host.attach(made)
    monkeypatch.setattr(volume_filesystem, "LOCK_SECONDS", 0)
    with subprocess.Popen(
        ["flock", "--exclusive", made.device, "sh", "-c", "echo; read line"], stdin=-1, stdout=-1
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert "is locked by another process" in run(fails=True, **options(device))["msg"]
        first.communicate(b"\n")
    assert run(**options(device))["changed"] is True


@pytest.mark.parametrize("size", [64 * MIB, 8 * content.GIB + 4096, 1024 * content.GIB, 16384 * content.GIB])
def test_places_lie_on_the_disk_and_are_few(size: int) -> None:
    places = content.places(size)
    assert all(content.EDGE <= place <= size - content.EDGE for place in places)
    assert len(places) <= content.SPREAD + 200
    gaps = [after - before for before, after in pairwise(places)]
    assert not gaps or max(gaps) <= max(MIB, size // content.SPREAD + content.BLOCK)


def sysfs(folder: Path, number: str, **files: str) -> Path:
    """Create the directory of a block device in a copy of /sys."""
    home = folder / number
    for name, text in {"size": "2048\n", "ro": "0\n", **files}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(text.encode("latin-1"))
    return home


@pytest.mark.parametrize(
    ("files", "serial", "problem"),
    [
        ({"device/serial": "vol0123456789abcdef0  \n"}, KNOWN_SERIAL, ""),
        ({"device/serial": "vol0aaaaaaaaaaaaaaaa\n"}, KNOWN_SERIAL, "has the serial number vol0aaaaaaaaaaaaaaaa, and"),
        ({"serial": "disk-1"}, "disk-1", ""),
        ({"device/vpd_pg80": "\0\x80\0\x06disk-1"}, "disk-1", ""),
        ({"device/model": "Amazon EC2 NVMe Instance Storage  \n"}, "", "is an instance store (Amazon EC2 NVMe"),
        ({"dm/name": "vg-lv\n"}, "", "is a device-mapper device (LVM, LUKS). Allowed: a whole disk"),
        ({"md/level": "raid1\n"}, "", "is a RAID"),
        ({"bcache/state": "clean\n"}, "", "is a cache"),
        ({"size": "0\n"}, "", "has 0 bytes"),
    ],
)
def test_a_disk_is_identified(
    host: Host, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], serial: str, problem: str
) -> None:
    """Kinds of disks that this machine does not have."""
    device = host.disk(link="").attach()
    status = Path(device).stat()
    monkeypatch.setattr(disk, "SYS_BLOCK", host.folder / "sys")
    sysfs(host.folder / "sys", f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}", **files)
    found = disk.find_identity_problem(disk.read_disk(device), serial, scratch=False)
    assert problem in found
    assert bool(problem) is bool(found)


def test_holders_are_named() -> None:
    held = disk.Disk("/dev/sdb", "disk", holders=("dm-0",), parts=("sdb1",), read_only=True)
    found = creation.find_use_problem(held, content.Content(), WANTED)
    assert found.startswith(
        "/dev/sdb is part of dm-0 and has the partitions sdb1 and is read-only. Allowed: an empty disk"
    )
