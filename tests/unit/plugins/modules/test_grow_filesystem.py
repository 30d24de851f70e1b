# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real file systems on loop devices that grow, and tables of disks that are better left alone."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._volume import growth
from ansible_collections.digital_twin.robotics_lab.plugins.modules import grow_filesystem

from tests.support.disks import MIB, command, may_resize_ext, own_mounts, write_resize2fs

TOOLS = ("losetup", "sfdisk", "partx", "blkid", "growpart", "mkfs.ext4", "mkfs.xfs", "resize2fs", "xfs_growfs")
HERE = os.geteuid() == 0 and all(map(shutil.which, TOOLS)) and Path("/dev/loop-control").exists()
# xfs refuses to be smaller.
SIZE = 320
TABLES = {
    "gpt": "label: gpt\nstart=2048, size={size}M\n",
    "dos": "label: dos\nstart=2048, size={size}M, type=83\n",
}

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module, which must succeed unless `fails`, and return its result."""

    def run_module(*, fails: bool = False, **given: object) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit):
            grow_filesystem.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        if not fails:
            assert not result.get("failed"), result["msg"]
        return result

    return run_module


@dataclass
class Disk:
    """A file that is a disk, and what is mounted of it."""

    file: Path
    mounted: Path
    device: str = ""
    parts: list[str] = field(default_factory=list)

    def make(self, mebibytes: int, table: str) -> None:
        """Make a disk with a partition table, or without one."""
        with self.file.open("wb") as stream:
            stream.truncate(mebibytes * MIB)
        if table:
            command("sfdisk", "--quiet", str(self.file), text=table)
        self.device = command("losetup", "--find", "--show", "--partscan", str(self.file))
        if table:
            # Not every kernel reads partition tables by itself.
            if not list(Path("/dev").glob(f"{Path(self.device).name}p*")):
                command("partx", "--add", self.device)
            self.parts = sorted(map(str, Path("/dev").glob(f"{Path(self.device).name}p*")))

    def mount(self, filesystem: str, where: str = "", **more: str) -> None:
        """Make a file system on the disk or a partition, with a file in it, and mount it."""
        self.mounted.mkdir(exist_ok=True)
        where = where or self.device
        command(f"mkfs.{filesystem}", "-q", where)
        command("mount", *(["-o", more["options"]] if more else []), where, str(self.mounted))
        if not more:
            (self.mounted / "kept").write_bytes(os.urandom(MIB))

    def enlarge(self, octets: int) -> None:
        """Make the disk larger by some bytes, as AWS does to a volume."""
        os.truncate(self.file, self.file.stat().st_size + octets)
        command("losetup", "--set-capacity", self.device)

    def layout(self) -> tuple[str, int]:
        """Return what shows whether anything was grown: the partition table, and the size of the file system."""
        return command("sfdisk", "--dump", self.device) if self.parts else "", self.size()

    def size(self) -> int:
        """Return the size in bytes that the mounted file system reports."""
        told = os.statvfs(self.mounted)
        return told.f_blocks * told.f_frsize

    def remove(self) -> None:
        """Remove everything."""
        if self.mounted.is_mount():
            command("umount", str(self.mounted))
        if self.device:
            subprocess.run(["partx", "--delete", self.device], capture_output=True, check=False)
            command("losetup", "--detach", self.device)


@pytest.fixture
def resize2fs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ext4 grown while it is not mounted, where the kernel does not let this process grow it otherwise."""
    if not HERE or may_resize_ext():
        return
    write_resize2fs(tmp_path / "bin", tmp_path / "mounted")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)


@pytest.fixture
def mounts() -> Iterator[None]:
    """Give the test a mount namespace of its own."""
    if not HERE:
        pytest.fail(f"needs root, loop devices, and {', '.join(TOOLS)}: make tools")
    with own_mounts():
        yield


@pytest.fixture
def disk(tmp_path: Path, mounts: None, resize2fs: None) -> Iterator[Disk]:
    """Return a disk to create, and remove it afterwards."""
    made = Disk(tmp_path / "disk", tmp_path / "mounted")
    yield made
    made.remove()


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
@pytest.mark.parametrize("table", ["gpt", "dos", ""])
def test_it_grows_while_it_is_used_and_only_once(disk: Disk, run: Run, filesystem: str, table: str) -> None:
    disk.make(SIZE + 8, TABLES[table].format(size=SIZE) if table else "")
    disk.mount(filesystem, disk.parts[0] if table else "")
    kept = (disk.mounted / "kept").read_bytes()
    path = str(disk.mounted)
    before = disk.size()
    assert run(path=path)["changed"] is False

    disk.enlarge(200 * MIB)
    planned = run(path=path, _ansible_check_mode=True)
    assert (planned["changed"], planned["partition_grows"]) == (True, bool(table))
    assert disk.size() == before
    grown = run(path=path)
    assert (grown["changed"], grown["reason"], grown["filesystem"]) == (True, "", filesystem)
    assert disk.size() - before > 150 * MIB
    assert grown["disk_bytes"] - grown["size_bytes"] < growth.SLACK + 2 * MIB
    assert (disk.mounted / "kept").read_bytes() == kept
    again = run(path=path)
    assert (again["changed"], again["size_bytes"]) == (False, grown["size_bytes"])
    # Still there after the next boot.
    command("umount", path)
    command("mount", disk.parts[0] if table else disk.device, path)
    assert run(path=path)["changed"] is False
    assert (disk.mounted / "kept").read_bytes() == kept


@pytest.mark.parametrize("octets", [0, 512, 4096, 4 * MIB])
@pytest.mark.parametrize("table", ["gpt", "dos", ""])
def test_nothing_is_touched_when_it_fits(disk: Disk, run: Run, table: str, octets: int) -> None:
    disk.make(SIZE + 2, TABLES[table].format(size=SIZE) if table else "")
    disk.mount("ext4", disk.parts[0] if table else "")
    if octets:
        disk.enlarge(octets)
    before = disk.layout()
    result = run(path=str(disk.mounted))
    assert (result["changed"], result["reason"]) == (False, "")
    assert disk.layout() == before


def test_a_run_that_died_between_partition_and_file_system_is_finished(disk: Disk, run: Run) -> None:
    disk.make(SIZE + 8, TABLES["gpt"].format(size=SIZE))
    disk.mount("ext4", disk.parts[0])
    disk.enlarge(100 * MIB)
    command("growpart", disk.device, "1")
    result = run(path=str(disk.mounted))
    assert (result["changed"], result["partition_grows"]) == (True, False)
    assert run(path=str(disk.mounted))["changed"] is False


def test_a_partition_with_another_behind_it_is_left_alone(disk: Disk, run: Run) -> None:
    table = f"label: gpt\nstart=2048, size={SIZE}M\nstart={2048 * (SIZE + 1)}, size=16M\n"
    disk.make(SIZE + 20, table)
    disk.mount("ext4", disk.parts[0])
    assert run(path=str(disk.mounted))["reason"] == ""
    disk.enlarge(100 * MIB)
    before = disk.layout()
    result = run(path=str(disk.mounted))
    assert result["changed"] is False
    assert f"are behind {Path(disk.parts[1]).name}, which is behind {Path(disk.parts[0]).name}" in result["reason"]
    assert disk.layout() == before


def test_the_last_partition_need_not_have_the_last_number(disk: Disk, run: Run) -> None:
    """As on Ubuntu's images, whose root is number 1 and behind those of the boot loader."""
    disk.make(
        SIZE + 60,
        f"label: gpt\n1: start={2048 * 50}, size={SIZE}M\n14: start=2048, size=4M\n15: start=20480, size=20M\n",
    )
    root = next(part for part in disk.parts if part.endswith("p1"))
    disk.mount("ext4", root)
    disk.enlarge(100 * MIB)
    assert run(path=str(disk.mounted))["changed"] is True
    assert disk.size() > (SIZE + 50) * MIB


def test_a_logical_partition_is_left_alone(disk: Disk, run: Run) -> None:
    table = f"label: dos\nstart=2048, size={SIZE + 10}M, type=5\nstart=4096, size={SIZE}M, type=83\n"
    disk.make(SIZE + 20, table)
    disk.mount("ext4", next(part for part in disk.parts if part.endswith("p5")))
    disk.enlarge(100 * MIB)
    result = run(path=str(disk.mounted))
    assert result["changed"] is False
    assert "is a logical partition" in result["reason"]


def test_a_read_only_file_system_is_left_alone(disk: Disk, run: Run) -> None:
    disk.make(SIZE, "")
    disk.mount("ext4", options="ro")
    disk.enlarge(100 * MIB)
    result = run(path=str(disk.mounted))
    remedy = f"Run `mount -o remount,rw {disk.mounted}`"
    assert (result["changed"], result["reason"]) == (False, f"the file system is mounted read-only. {remedy}")


def test_a_disk_that_stays_smaller_than_expected_is_reported(disk: Disk, run: Run) -> None:
    disk.make(SIZE, "")
    disk.mount("ext4")
    name = Path(disk.device).name
    refused = run(fails=True, path=str(disk.mounted), disk_gib=300, timeout=0)
    assert refused["msg"].startswith(f"{disk.mounted}: the kernel sees 0 GiB of {name}, and 300 were requested.")
    # Checking what would be done the volume has not grown.
    assert run(path=str(disk.mounted), disk_gib=300, _ansible_check_mode=True)["changed"] is False


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/proc", "the file system is proc, and only ext4 and xfs can be grown"),
        ("/nonexistent", "nothing is mounted there"),
    ],
)
def test_mounts_without_a_disk_are_left_alone(run: Run, path: str, reason: str) -> None:
    result = run(path=path)
    assert (result["changed"], result["device"], result["reason"]) == (False, "", reason)


MOUNT = growth.Mount("/", "ext4", "259:1", "/", False)
ROOT = growth.Part("nvme0n1p1", 1, MIB, 8 * 1024 * MIB)
DISK = growth.Disk("nvme0n1", 16 * 1024 * MIB, "gpt", (ROOT,))
STATE = growth.FilesystemState(MOUNT, ROOT.end - ROOT.start, DISK, ROOT)
GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("line", "reason", "remedy"),
    [
        (
            "1 0 0:30 / / rw,relatime - overlay overlay rw",
            "the file system is overlay, and only ext4 and xfs can be grown",
            "Grow the disk of the container's host",
        ),
        (
            "1 0 0:30 /@rootfs / rw - btrfs /dev/vda1 rw",
            "the file system is btrfs, and only ext4 and xfs can be grown",
            "Run `growpart` for its partition, then `btrfs filesystem resize max /`",
        ),
        (
            "1 0 0:30 / / rw - zfs rpool/root rw",
            "the file system is zfs, and only ext4 and xfs can be grown",
            "Run `growpart` for its partition, then `zpool online -e` for its pool and device",
        ),
        (
            "1 0 259:1 / / rw - f2fs /dev/vda1 rw",
            "the file system is f2fs, and only ext4 and xfs can be grown",
            "Run `growpart` for its partition, then the file system's own tool",
        ),
        ("1 0 0:30 / / rw - tmpfs tmpfs rw", "the file system is tmpfs, and only ext4 and xfs can be grown", ""),
        (
            "1 0 259:1 /var/lib/machines/x / rw - ext4 /dev/vda1 rw",
            "only a part of the file system (/var/lib/machines/x) is mounted here",
            "Set path to where / of it is mounted",
        ),
        (
            "1 0 259:1 / / rw - ext4 /dev/vda1 ro",
            "the file system is mounted read-only",
            "Run `mount -o remount,rw /`",
        ),
        (
            "1 0 999:1 / / rw - ext4 /dev/vda1 rw",
            "its block device (999:1) is not visible from here",
            "Run this outside the container",
        ),
    ],
)
def test_mounts_that_are_left_alone(line: str, reason: str, remedy: str) -> None:
    mount = growth.read_mount("/", f"9 0 8:1 / /other rw - ext4 /dev/sda1 rw\n{line}\n")
    assert mount is not None
    assert growth.find_reason(mount, Path("/nonexistent")) == ". ".join(filter(None, [reason, remedy]))


def test_a_device_may_have_another_name_than_the_kernels(disk: Disk, tmp_path: Path) -> None:
    """As a disk of the machine has in a container."""
    disk.make(SIZE, "")
    rdev = Path(disk.device).stat().st_rdev
    device = Path("/sys/dev/block") / f"{os.major(rdev)}:{os.minor(rdev)}"
    assert growth.find_node(device) == disk.device
    assert growth.find_node(device, tmp_path) == ""
    os.mknod(tmp_path / "nvme1n1", 0o600 | stat.S_IFBLK, rdev)
    os.mknod(tmp_path / "nvme0n1", 0o600 | stat.S_IFBLK, os.makedev(7, 255))
    assert growth.find_node(device, tmp_path) == str(tmp_path / "nvme1n1")


def test_a_mount_point_may_have_a_blank_and_the_last_mount_counts() -> None:
    info = "1 0 8:1 / /a\\040b rw shared:1 - ext4 /dev/sda1 rw\n2 1 8:2 / /a\\040b rw - xfs /dev/sda2 rw,noatime\n"
    assert growth.read_mount("/a b", info) == growth.Mount("/a b", "xfs", "8:2", "/", False)


@pytest.mark.parametrize(
    ("kind", "title", "remedy"),
    [
        ("dm", "LVM, LUKS", "`pvresize` and `lvextend --resizefs`"),
        ("dm", "LVM, LUKS", "`cryptsetup resize`"),
        ("md", "a RAID", "`mdadm --grow --size=max`"),
        ("bcache", "a cache", "Grow its backing device"),
    ],
)
def test_mappings_are_left_alone(tmp_path: Path, kind: str, title: str, remedy: str) -> None:
    (tmp_path / "dm-0" / kind).mkdir(parents=True)
    reason = growth.find_reason(MOUNT, tmp_path / "dm-0")
    assert reason.startswith(f"it is on {title}")
    assert remedy in reason


@pytest.mark.parametrize("name", ["nvme0n1p1", "xvda1", "sda1", "vda1"])
def test_a_partition_knows_its_disk_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    home = tmp_path / name.removesuffix("1").removesuffix("p")
    part = home / name
    part.mkdir(parents=True)
    (home / "queue").mkdir()
    values = {"size": 4096000, "queue/logical_block_size": 512, f"{name}/partition": 1, f"{name}/start": 2048}
    for path, value in {**values, f"{name}/size": 2048000}.items():
        (home / path).write_text(f"{value}\n")
    disk, found = growth.read_disk(part, "gpt")
    assert (disk.name, disk.size, growth.disk_of(part)) == (home.name, 4096000 * 512, home.name)
    assert found == growth.Part(name, 1, 2048 * 512, (2048 + 2048000) * 512)
    assert growth.read_disk(home, "gpt") == (disk, None)


BEHIND = replace(DISK, parts=(ROOT, growth.Part("nvme0n1p2", 2, 9 * GIB, 10 * GIB)))
LARGE = replace(DISK, table="dos", size=3 * 1024 * GIB)


@pytest.mark.parametrize(
    ("state", "partition", "filesystem", "reason"),
    [
        (STATE, True, True, ""),
        (replace(STATE, size=STATE.size - GIB, disk=BEHIND), False, True, "6143 MiB of nvme0n1 are behind nvme0n1p2"),
        (replace(STATE, disk=replace(DISK, table="")), False, False, "the partition table of nvme0n1 is not known"),
        (replace(STATE, disk=replace(DISK, table="sun")), False, False, "the partition table of nvme0n1 is sun"),
        (replace(STATE, disk=replace(DISK, size=ROOT.end + 4 * MIB)), False, False, ""),
        # What an MBR can address is used, the rest stays.
        (replace(STATE, disk=LARGE), True, True, "an MBR ends at 2097151 MiB, and nvme0n1 has 3145728"),
        (replace(STATE, part=None), False, False, "nvme0n1 holds a file system and partitions"),
        (growth.FilesystemState(MOUNT, 8 * GIB, replace(DISK, parts=()), None), False, True, ""),
    ],
)
def test_plans(state: growth.FilesystemState, partition: bool, filesystem: bool, reason: str) -> None:
    plan = growth.make_plan(state)
    assert (plan.partition, plan.filesystem) == (partition, filesystem)
    assert plan.reason.startswith(reason) if reason else not plan.reason


def test_a_command_that_fails_is_reported() -> None:
    with pytest.raises(growth.GrowthError, match="growpart could not grow nvme0n1p1: FAILED: no room"):
        growth.grow(growth.GrowthPlan(partition=True), STATE, lambda _words: (2, "", "FAILED:\n no room"))
    with pytest.raises(growth.GrowthError, match="resize2fs could not grow /: no"):
        growth.grow(growth.GrowthPlan(filesystem=True), STATE, lambda _words: (1, "", "no"))
    growth.grow(growth.GrowthPlan(partition=True), STATE, lambda _words: (1, "NOCHANGE: it is at the end", ""))
