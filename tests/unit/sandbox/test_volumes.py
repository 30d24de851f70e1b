# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's volumes: AWS's documented rules, through botocore, and their content on real loop devices.

A host is a mount namespace with an empty /dev, in which the program of the sandbox's hosts makes nodes and links.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import amis, ec2_backends

from sandbox import lifecycle
from sandbox.cloud import block_devices, disks, volumes, volumes_api
from sandbox.cloud.hosts import DISKS
from sandbox.errors import SandboxError
from sandbox.settings import PROJECT, REGION, Sandbox

from .conftest import AWS, code_of

ZONE, OTHER_ZONE = f"{REGION}a", f"{REGION}b"
GIB, MIB = 1024**3, 1024**2
PROGRAM = PROJECT / "sandbox/images/host/host-disks"
GENERATOR = PROJECT / "sandbox/images/host/host-mounts"
TOOLS = (
    "losetup",
    "unshare",
    "nsenter",
    "flock",
    "shuf",
    "blkid",
    "mkfs.ext4",
    "mkfs.xfs",
    "xfs_growfs",
    "systemd-escape",
)
HERE = os.geteuid() == 0 and all(map(shutil.which, TOOLS)) and Path("/dev/loop-control").exists()
BY_ID = "/dev/disk/by-id/nvme-"


@dataclass
class Host:
    """A mount namespace, whose process is the host's first."""

    root: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def boot(self) -> None:
        """Make the devices that a host has when it boots."""
        # The files of the host's disk are the test's, and /dev and /run are empty.
        shell = (
            f"mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mount -t tmpfs none /run && "
            f"mount --bind {self.root} {DISKS.parent} && sh {self.root}/program boot && echo up && exec sleep 600"
        )
        shutil.copy(PROGRAM, self.root / "program")
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", shell]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stdout.readline() == b"up\n"

    def run(self, command: str) -> str:
        """Run a shell command in the host."""
        inside = ["nsenter", "--mount", "--target", str(self.process.pid), "sh", "-ec", command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def off(self) -> None:
        """End the host, as a stop does."""
        self.process.kill()
        self.process.communicate(timeout=10)

    def disks(self) -> dict[str, str]:
        """Return the host's disks: the name in each link, and its node."""
        lines = self.run(f"for link in {BY_ID}*; do [ -e $link ] && echo $link $(readlink -f $link); done; true")
        return {name.removeprefix(BY_ID): node for name, node in (line.split() for line in lines.splitlines())}

    def nodes(self) -> list[str]:
        """Return all block devices of the host."""
        return self.run("find /dev -type b | sort").split()


@dataclass
class Hosts:
    """The hosts of a cloud: what its reconciler does with them, at once."""

    folder: Path
    running: dict[str, Host] = field(default_factory=dict)

    def write_disks(self, instance_id: str, table: str) -> None:
        """Write the disks that a host has from its next boot on."""
        root = self.folder / instance_id
        root.mkdir(exist_ok=True)
        (root / DISKS.name).write_text(table)

    def plug(self, instance_id: str, row: str) -> None:
        """Make a disk's node and links in a running host."""
        self.running[instance_id].run(f"sh {DISKS.parent}/program plug {row}")

    def unplug(self, instance_id: str, name: str) -> None:
        """Remove a disk's node and links from a running host."""
        self.running[instance_id].run(f"sh {DISKS.parent}/program unplug {name}")

    def follow(self) -> None:
        """Change the hosts to the state of their instances."""
        for reservation in list(ec2_backends[DEFAULT_ACCOUNT_ID][REGION].reservations.values()):
            for instance in reservation.instances:
                host = self.running.get(instance.id)
                if instance.state == "running" and host is None:
                    volumes.load(instance)
                    self.running[instance.id] = Host(self.folder / instance.id)
                    self.running[instance.id].boot()
                elif instance.state in ("stopped", "terminated") and host is not None:
                    self.running.pop(instance.id).off()
                    volumes.unload(instance.id)

    def reboot(self, ids: Any) -> None:
        """Reboot the hosts of these instances."""
        for instance_id in ids:
            self.running[instance_id].off()
            self.running[instance_id].boot()


@dataclass
class Cloud:
    """A cloud with real disks."""

    aws: AWS
    hosts: Hosts
    folder: Path
    now: timedelta = timedelta()

    def volume(self, size: int = 1, **more: Any) -> str:
        """Create a volume and return its id."""
        wanted = {"AvailabilityZone": ZONE, "Size": size, "VolumeType": "gp3", **more}
        return str(self.aws.ec2.create_volume(**wanted)["VolumeId"])

    def attach(self, volume_id: str, instance_id: str, device: str = "/dev/sdf") -> str:
        """Attach a volume and return the path of its link."""
        answer = self.aws.ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device=device)
        assert answer["State"] == "attaching"
        return link(volume_id)

    def detach(self, volume_id: str, **more: Any) -> None:
        """Detach a volume."""
        assert self.aws.ec2.detach_volume(VolumeId=volume_id, **more)["State"] == "detaching"

    def look(self, volume_id: str) -> dict[str, Any]:
        """Return the description of a volume."""
        (found,) = self.aws.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
        return dict(found)

    def attachment(self, volume_id: str) -> str:
        """Return the state of a volume and of its attachments."""
        found = self.look(volume_id)
        return " ".join([found["State"], *(row["State"] for row in found["Attachments"])])

    def snapshot(self, volume_id: str, **more: Any) -> str:
        """Create a snapshot and return its id."""
        return str(self.aws.ec2.create_snapshot(VolumeId=volume_id, **more)["SnapshotId"])

    def look_at_snapshot(self, snapshot_id: str) -> dict[str, Any]:
        """Return the description of a snapshot."""
        (found,) = self.aws.ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
        return dict(found)

    def modification(self, volume_id: str) -> dict[str, Any]:
        """Return the last modification of a volume."""
        (found,) = self.aws.ec2.describe_volumes_modifications(VolumeIds=[volume_id])["VolumesModifications"]
        return dict(found)

    def host(self, instance_id: str) -> Host:
        """Return the host of an instance."""
        return self.hosts.running[instance_id]

    def loops(self) -> list[str]:
        """Return the names of the files with a loop device."""
        return sorted(loop.file.name for loop in block_devices.loops(self.folder))


def link(volume_id: str) -> str:
    """Return the path of a volume's link in its host."""
    return f"{BY_ID}Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"


@pytest.fixture
def cloud(aws: AWS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Return a cloud whose clock stands, without devices of other tests."""
    if not HERE:
        pytest.fail(f"needs root, loop devices, and {', '.join(TOOLS)}: make tools")
    volumes_api.install()
    folder = tmp_path / "disks"
    hosts = Hosts(tmp_path / "hosts")
    hosts.folder.mkdir()
    made = Cloud(aws, hosts, folder)
    start = volumes.now()
    monkeypatch.setattr(volumes, "now", lambda: start + made.now)
    monkeypatch.setattr(volumes, "PACE", volumes.Pace(optimizing=10))
    monkeypatch.setattr(disks, "DISKS", disks.Disks(folder, hosts))
    monkeypatch.setattr(aws.proxy, "_hosts", hosts)
    yield made
    for host in hosts.running.values():
        host.off()
    block_devices.release_all(folder)


def pattern(size: int = MIB) -> tuple[str, str]:
    """Return a shell command that prints some bytes, and their checksum."""
    word = os.urandom(16).hex()
    text = (word * (size // len(word)))[:size]
    return f"yes {word} | tr -d '\\n' | head -c {size}", hashlib.sha256(text.encode()).hexdigest()


def test_a_volume_keeps_its_content_from_one_host_to_the_next(cloud: Cloud) -> None:
    first, second = cloud.aws.run(InstanceType="t3.micro"), cloud.aws.run(InstanceType="t3.micro")
    volume = cloud.volume()
    assert (cloud.look(volume)["State"], cloud.loops()) == ("available", [])
    path = cloud.attach(volume, first)
    host = cloud.host(first)
    assert cloud.attachment(volume) == "in-use attached"
    assert host.run(f"blockdev --getsize64 {path}").strip() == str(GIB)
    node = host.run(f"readlink -f {path}_1").strip()
    assert (host.nodes(), host.run(f"readlink -f {path}").strip()) == ([node], node)
    assert node.startswith("/dev/nvme")
    data, checksum = pattern()
    host.run(f"mkfs.ext4 -q -L mine {path} && mkdir /run/data && mount {path} /run/data && {data} > /run/data/file")
    host.run("umount /run/data")
    cloud.detach(volume)
    assert (cloud.attachment(volume), host.nodes(), host.disks(), cloud.loops()) == ("available", [], {}, [])
    cloud.attach(volume, second, "/dev/sdg")
    cloud.host(second).run("mkdir /run/data && mount /dev/disk/by-label/mine /run/data")
    assert cloud.host(second).run("sha256sum < /run/data/file").split()[0] == checksum
    cloud.aws.ec2.reboot_instances(InstanceIds=[second])
    cloud.host(second).run("mkdir -p /run/data && mount /dev/disk/by-uuid/* /run/data && umount /run/data")
    cloud.detach(volume)
    assert cloud.host(second).run("find /dev/disk -type l") == ""


def test_a_mounted_volume_is_busy_until_it_is_unmounted(cloud: Cloud) -> None:
    instance, volume = cloud.aws.run(InstanceType="t3.micro"), cloud.volume()
    path, host = cloud.attach(volume, instance), cloud.host(instance)
    host.run(f"mkfs.ext4 -q {path} && mkdir /run/data && mount {path} /run/data")
    cloud.detach(volume)
    assert cloud.attachment(volume) == "in-use busy"
    assert [row["Ebs"]["Status"] for row in cloud.aws.instance(instance)["BlockDeviceMappings"]][1:] == ["busy"]
    assert (
        code_of(cloud.aws.ec2.attach_volume, VolumeId=volume, InstanceId=instance, Device="/dev/sdg") == "VolumeInUse"
    )
    host.run("echo still > /run/data/file && umount /run/data")
    assert (cloud.attachment(volume), host.nodes(), cloud.loops()) == ("available", [], [])


def test_a_forced_detachment_loses_what_is_written_later(cloud: Cloud) -> None:
    first, second, volume = (
        cloud.aws.run(InstanceType="t3.micro"),
        cloud.aws.run(InstanceType="t3.micro"),
        cloud.volume(),
    )
    path, host = cloud.attach(volume, first), cloud.host(first)
    host.run(f"mkfs.ext4 -q {path} && mkdir /run/data && mount {path} /run/data && echo kept > /run/data/a && sync")
    cloud.detach(volume, Force=True)
    assert (cloud.attachment(volume), host.nodes()) == ("available", [])
    host.run("echo lost > /run/data/b && sync")
    cloud.attach(volume, second)
    cloud.host(second).run(f"mkdir /run/data && mount {path} /run/data")
    assert cloud.host(second).run("cat /run/data/a; ls /run/data").split() == ["kept", "a", "lost+found"]


def test_names_of_nodes_change_and_links_do_not(cloud: Cloud) -> None:
    instance = cloud.aws.run(InstanceType="t3.micro")
    three = [cloud.volume() for _number in range(3)]
    for volume, device in zip(three, ("/dev/sdf", "/dev/sdg", "/dev/sdh"), strict=True):
        path = cloud.attach(volume, instance, device)
        cloud.host(instance).run(f"echo {volume} | dd of={path} conv=fsync 2>/dev/null")
    seen = {tuple(cloud.host(instance).disks().items())}
    for _number in range(8):
        cloud.aws.ec2.reboot_instances(InstanceIds=[instance])
        seen.add(tuple(cloud.host(instance).disks().items()))
        for volume in three:
            assert cloud.host(instance).run(f"head -c 21 {link(volume)}") == volume
    assert len(seen) > 1
    assert len(cloud.host(instance).nodes()) == 3


def test_a_stop_takes_the_disks_and_a_start_brings_them_back(cloud: Cloud) -> None:
    instance, volume = cloud.aws.run(InstanceType="t3.micro"), cloud.volume()
    path = cloud.attach(volume, instance)
    data, checksum = pattern()
    cloud.host(instance).run(f"{data} | dd of={path} conv=fsync 2>/dev/null")
    cloud.aws.ec2.stop_instances(InstanceIds=[instance])
    assert (cloud.loops(), cloud.attachment(volume)) == ([], "in-use attached")
    other = cloud.volume()
    cloud.attach(other, instance, "/dev/sdg")
    cloud.aws.ec2.start_instances(InstanceIds=[instance])
    assert cloud.host(instance).run(f"head -c {MIB} {path} | sha256sum").split()[0] == checksum
    assert cloud.loops() == sorted([volume, other])
    cloud.aws.ec2.stop_instances(InstanceIds=[instance])
    cloud.detach(volume)
    assert cloud.attachment(volume) == "available"
    cloud.aws.ec2.start_instances(InstanceIds=[instance])
    assert list(cloud.host(instance).disks()) == [link(other).removeprefix(BY_ID) + end for end in ("", "_1")]


@pytest.mark.parametrize("deleted", [True, False])
def test_a_termination_deletes_a_volume_only_if_asked(cloud: Cloud, deleted: bool) -> None:
    mapping = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": deleted}}]
    instance = cloud.aws.run(InstanceType="t3.micro", BlockDeviceMappings=mapping)
    (block,) = cloud.aws.instance(instance)["BlockDeviceMappings"]
    volume = block["Ebs"]["VolumeId"]
    assert cloud.look(volume)["Attachments"][0]["DeleteOnTermination"] is deleted
    path = link(volume)
    cloud.host(instance).run(
        f"mkfs.ext4 -q {path} && mkdir /run/data && mount {path} /run/data && echo a > /run/data/a"
    )
    cloud.aws.ec2.terminate_instances(InstanceIds=[instance])
    assert cloud.loops() == []
    if deleted:
        assert code_of(cloud.aws.ec2.describe_volumes, VolumeIds=[volume]) == "InvalidVolume.NotFound"
    else:
        assert cloud.attachment(volume) == "available"
    assert (cloud.folder / "volumes" / volume).exists() is not deleted


def test_an_instance_store_is_emptied_by_a_stop_only(cloud: Cloud) -> None:
    instance = cloud.aws.run(InstanceType="g5.xlarge")
    stores = [name for name in cloud.host(instance).disks() if not name.endswith("_1")]
    assert len(stores) == 1
    assert stores[0].startswith("Amazon_EC2_NVMe_Instance_Storage_AWS")
    path = f"{BY_ID}Amazon_EC2_NVMe_Instance_Storage_*_1"
    assert cloud.host(instance).run(f"blockdev --getsize64 {path}").strip() == str(250 * 10**9)
    data, checksum = pattern()
    cloud.host(instance).run(f"{data} | dd of=$(readlink -f {path}) conv=fsync 2>/dev/null")
    cloud.aws.ec2.reboot_instances(InstanceIds=[instance])
    assert cloud.host(instance).run(f"head -c {MIB} {path} | sha256sum").split()[0] == checksum
    cloud.aws.ec2.stop_instances(InstanceIds=[instance])
    assert (cloud.loops(), list((cloud.folder / "instance-store").iterdir())) == ([], [])
    cloud.aws.ec2.start_instances(InstanceIds=[instance])
    assert cloud.host(instance).run(f"head -c {MIB} {path} | tr -d '\\0' | wc -c").strip() == "0"


def test_a_snapshot_has_the_content_and_size_of_its_moment(cloud: Cloud) -> None:
    instance, volume = cloud.aws.run(InstanceType="t3.micro"), cloud.volume(Encrypted=True)
    path, host = cloud.attach(volume, instance), cloud.host(instance)
    data, checksum = pattern()
    host.run(f"{data} | dd of={path} conv=fsync 2>/dev/null")
    snapshot = cloud.snapshot(volume)
    host.run(f"echo changed | dd of={path} conv=fsync,notrunc 2>/dev/null")
    cloud.aws.ec2.modify_volume(VolumeId=volume, Size=3)
    found = cloud.look_at_snapshot(snapshot)
    assert (found["VolumeSize"], found["State"], found["Progress"], found["Encrypted"]) == (
        1,
        "completed",
        "100%",
        True,
    )
    assert MIB <= found["FullSnapshotSizeInBytes"] < 2 * MIB
    assert (cloud.folder / "snapshots" / snapshot).stat().st_blocks * 512 < 2 * MIB
    small = cloud.aws.ec2.describe_snapshots(Filters=[{"Name": "volume-size", "Values": ["1"]}])["Snapshots"]
    assert snapshot in [row["SnapshotId"] for row in small]
    copy = cloud.aws.ec2.copy_snapshot(SourceSnapshotId=snapshot, SourceRegion=REGION)["SnapshotId"]
    cloud.aws.ec2.delete_snapshot(SnapshotId=snapshot)
    restored = str(cloud.aws.ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=copy, Size=2)["VolumeId"])
    assert (cloud.look(restored)["Encrypted"], cloud.look(restored)["SnapshotId"]) == (True, copy)
    cloud.attach(restored, instance, "/dev/sdg")
    assert host.run(f"head -c {MIB} {link(restored)} | sha256sum").split()[0] == checksum
    assert host.run(f"blockdev --getsize64 {link(restored)}").strip() == str(2 * GIB)


def test_snapshots_of_all_volumes_of_an_instance(cloud: Cloud) -> None:
    instance = cloud.aws.run(InstanceType="t3.micro")
    ids = [
        cloud.volume(TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "n", "Value": n}]}]) for n in "ab"
    ]
    for volume, device in zip(ids, ("/dev/sdf", "/dev/sdg"), strict=True):
        cloud.host(instance).run(
            f"echo {volume} | dd of={cloud.attach(volume, instance, device)} conv=fsync 2>/dev/null"
        )
    spec = {"InstanceId": instance, "ExcludeBootVolume": True}
    made = cloud.aws.ec2.create_snapshots(InstanceSpecification=spec, CopyTagsFromSource="volume")["Snapshots"]
    assert {row["VolumeId"]: row["Tags"] for row in made} == {
        volume: [{"Key": "n", "Value": n}] for volume, n in zip(ids, "ab", strict=True)
    }
    assert len({row["StartTime"] for row in made}) == 1
    for row in made:
        with (cloud.folder / "snapshots" / row["SnapshotId"]).open("rb") as content:
            assert content.read(21).decode() == row["VolumeId"]
    without = {**spec, "ExcludeDataVolumeIds": ids[:1]}
    (one,) = cloud.aws.ec2.create_snapshots(InstanceSpecification=without)["Snapshots"]
    assert (one["VolumeId"], one.get("Tags", [])) == (ids[1], [])
    root = cloud.aws.instance(instance)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    refused = {"InstanceId": instance, "ExcludeDataVolumeIds": [root]}
    assert code_of(cloud.aws.ec2.create_snapshots, InstanceSpecification=refused) == "InvalidParameterValue"


@pytest.mark.parametrize(("kind", "size", "most"), [("gp3", 1, 5), ("st1", 125, 1)])
def test_few_snapshots_of_a_volume_can_be_pending(cloud: Cloud, kind: str, size: int, most: int) -> None:
    cloud.aws.control("POST", "volumes/pace", {"snapshot": 60})
    volume = cloud.volume(size, VolumeType=kind)
    made = [cloud.snapshot(volume) for _number in range(most)]
    assert code_of(cloud.aws.ec2.create_snapshot, VolumeId=volume) == "ConcurrentSnapshotLimitExceeded"
    assert {row["State"] for row in cloud.aws.ec2.describe_snapshots(SnapshotIds=made)["Snapshots"]} == {"pending"}
    assert code_of(cloud.aws.ec2.create_volume, AvailabilityZone=ZONE, SnapshotId=made[0]) == "IncorrectState"
    cloud.now += timedelta(seconds=61)
    assert cloud.look_at_snapshot(cloud.snapshot(volume))["State"] == "pending"
    assert cloud.look_at_snapshot(made[0])["State"] == "completed"


def test_a_snapshot_of_an_image_is_not_deleted(cloud: Cloud) -> None:
    image = cloud.aws.ec2.create_image(InstanceId=cloud.aws.run(InstanceType="t3.micro"), Name="mine")["ImageId"]
    (found,) = cloud.aws.ec2.describe_images(ImageIds=[image])["Images"]
    snapshot = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert code_of(cloud.aws.ec2.delete_snapshot, SnapshotId=snapshot) == "InvalidSnapshot.InUse"
    cloud.aws.ec2.deregister_image(ImageId=image)
    cloud.aws.ec2.delete_snapshot(SnapshotId=snapshot)


def test_a_snapshot_of_a_data_volume_of_an_image_is_not_deleted(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    image = cloud.aws.ec2.create_image(InstanceId=cloud.aws.run(InstanceType="t3.micro"), Name="mine")["ImageId"]
    snapshot = cloud.snapshot(cloud.volume())
    models: Any = amis
    rows = [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": snapshot}}]
    monkeypatch.setattr(models.Ami, "block_device_mappings", rows)
    with pytest.raises(ClientError, match=f"The snapshot {snapshot} is currently in use by ami-") as caught:
        cloud.aws.ec2.delete_snapshot(SnapshotId=snapshot)
    assert caught.value.response["Error"]["Code"] == "InvalidSnapshot.InUse"
    monkeypatch.undo()
    cloud.aws.ec2.deregister_image(ImageId=image)


def test_a_mounted_volume_grows_when_its_modification_optimizes(cloud: Cloud) -> None:
    cloud.aws.control("POST", "volumes/pace", {"modifying": 30, "optimizing": 60})
    instance, volume = cloud.aws.run(InstanceType="t3.micro"), cloud.volume()
    path, host = cloud.attach(volume, instance), cloud.host(instance)
    host.run(f"mkfs.xfs -q {path} && mkdir /run/data && mount {path} /run/data && echo kept > /run/data/file")
    before = int(host.run("stat --file-system --format %b /run/data"))
    change = cloud.aws.ec2.modify_volume(VolumeId=volume, Size=2)["VolumeModification"]
    shown = (change["ModificationState"], change["OriginalSize"], change["TargetSize"], change["Progress"])
    assert shown == ("modifying", 1, 2, 0)
    assert cloud.look(volume)["Size"] == 1
    assert code_of(cloud.aws.ec2.modify_volume, VolumeId=volume, Size=3) == "IncorrectModificationState"
    cloud.now += timedelta(seconds=31)
    assert cloud.modification(volume)["ModificationState"] == "optimizing"
    assert cloud.look(volume)["Size"] == 2
    assert host.run(f"blockdev --getsize64 {path}").strip() == str(2 * GIB)
    host.run("xfs_growfs /run/data")
    assert int(host.run("stat --file-system --format %b /run/data")) > 1.9 * before
    assert host.run("cat /run/data/file") == "kept\n"
    assert code_of(cloud.aws.ec2.modify_volume, VolumeId=volume, Size=3) == "IncorrectModificationState"
    cloud.now += timedelta(seconds=60)
    done = cloud.modification(volume)
    assert (done["ModificationState"], done["Progress"]) == ("completed", 100)
    assert done["EndTime"] - done["StartTime"] == timedelta(seconds=90)
    cloud.aws.ec2.modify_volume(VolumeId=volume, Size=3)


def test_four_modifications_in_a_day(cloud: Cloud) -> None:
    volume = cloud.volume()
    for size in (2, 3, 4, 5):
        cloud.aws.ec2.modify_volume(VolumeId=volume, Size=size)
        cloud.now += timedelta(hours=1)
    assert code_of(cloud.aws.ec2.modify_volume, VolumeId=volume, Size=6) == "VolumeModificationRateExceeded"
    cloud.now += timedelta(hours=20)
    cloud.aws.ec2.modify_volume(VolumeId=volume, Size=6)
    assert (cloud.look(volume)["Size"], (cloud.folder / "volumes" / volume).stat().st_size) == (6, 6 * GIB)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"Size": 1}, "InvalidParameterValue"),
        ({}, "InvalidParameterValue"),
        ({"VolumeType": "st1"}, "InvalidParameterValue"),
        ({"Iops": 2999}, "InvalidParameterValue"),
        ({"Throughput": 2001}, "InvalidParameterValue"),
        ({"Iops": 3001}, "InvalidParameterCombination"),
        ({"VolumeType": "gp2", "Throughput": 200}, "InvalidParameterCombination"),
        ({"VolumeType": "gp9"}, "UnknownVolumeType"),
    ],
)
def test_modifications_that_aws_refuses(cloud: Cloud, wanted: dict[str, Any], code: str) -> None:
    volume = cloud.volume(2)
    assert code_of(cloud.aws.ec2.modify_volume, VolumeId=volume, **wanted) == code
    assert cloud.aws.ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"] == []


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({}, ("gp2", 100, None)),
        ({"Size": 100}, ("gp2", 300, None)),
        ({"VolumeType": "gp3"}, ("gp3", 3000, 125)),
        ({"VolumeType": "gp3", "Size": 10, "Iops": 5000, "Throughput": 1000}, ("gp3", 5000, 1000)),
        ({"VolumeType": "io2", "Size": 4, "Iops": 4000}, ("io2", 4000, None)),
        ({"VolumeType": "st1", "Size": 125}, ("st1", None, None)),
    ],
)
def test_volumes_that_aws_creates(cloud: Cloud, wanted: dict[str, Any], shown: tuple[Any, ...]) -> None:
    volume = cloud.aws.ec2.create_volume(**{"AvailabilityZone": ZONE, "Size": 1, **wanted})["VolumeId"]
    found = cloud.look(volume)
    assert (found["VolumeType"], found.get("Iops"), found.get("Throughput")) == shown
    file = (cloud.folder / "volumes" / volume).stat()
    assert (file.st_size, file.st_blocks) == (found["Size"] * GIB, 0)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"AvailabilityZone": "us-east-1z"}, "InvalidZone.NotFound"),
        ({"AvailabilityZone": ZONE, "AvailabilityZoneId": "use1-az1"}, "InvalidParameterCombination"),
        ({"VolumeType": "gp9"}, "UnknownVolumeType"),
        ({"VolumeType": "gp2", "Size": 16385}, "InvalidParameterValue"),
        ({"VolumeType": "io1", "Size": 3, "Iops": 100}, "InvalidParameterValue"),
        ({"VolumeType": "st1", "Size": 124}, "InvalidParameterValue"),
        ({"VolumeType": "io2", "Size": 4}, "MissingParameter"),
        ({"VolumeType": "gp2", "Iops": 3000}, "InvalidParameterCombination"),
        ({"VolumeType": "gp3", "Iops": 2999}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "Throughput": 1000}, "InvalidParameterCombination"),
        ({"VolumeType": "io1", "Size": 4, "Iops": 201}, "InvalidParameterCombination"),
    ],
)
def test_volumes_that_aws_refuses(cloud: Cloud, wanted: dict[str, Any], code: str) -> None:
    assert code_of(cloud.aws.ec2.create_volume, **{"AvailabilityZone": ZONE, "Size": 1, **wanted}) == code
    assert cloud.aws.ec2.describe_volumes()["Volumes"] == []


def test_a_volume_is_not_smaller_than_its_snapshot(cloud: Cloud) -> None:
    snapshot = cloud.snapshot(cloud.volume(2))
    wanted = {"AvailabilityZone": OTHER_ZONE, "SnapshotId": snapshot}
    assert code_of(cloud.aws.ec2.create_volume, **wanted, Size=1) == "InvalidParameterValue"
    made = cloud.aws.ec2.create_volume(**wanted)
    assert (made["Size"], made["AvailabilityZone"]) == (2, OTHER_ZONE)


def test_one_client_token_creates_one_volume(cloud: Cloud) -> None:
    wanted = {"AvailabilityZone": ZONE, "Size": 1, "ClientToken": "one"}
    made = {cloud.aws.ec2.create_volume(**wanted)["VolumeId"] for _number in range(2)}
    assert len(made) == 1
    assert code_of(cloud.aws.ec2.create_volume, **{**wanted, "Size": 2}) == "IdempotentParameterMismatch"


@pytest.mark.parametrize(
    ("device", "zone", "code"),
    [
        ("/dev/sdf", OTHER_ZONE, "InvalidVolume.ZoneMismatch"),
        ("/dev/sdi1", ZONE, "InvalidParameterValue"),
        ("/dev/nvme1n1", ZONE, "InvalidParameterValue"),
        ("/dev/sdg", ZONE, "InvalidParameterValue"),
        ("sdg", ZONE, "InvalidParameterValue"),
    ],
)
def test_attachments_that_aws_refuses(cloud: Cloud, device: str, zone: str, code: str) -> None:
    instance = cloud.aws.run(InstanceType="t3.micro", Placement={"AvailabilityZone": ZONE})
    cloud.attach(cloud.volume(), instance, "/dev/sdg")
    volume = cloud.volume(AvailabilityZone=zone)
    assert code_of(cloud.aws.ec2.attach_volume, VolumeId=volume, InstanceId=instance, Device=device) == code
    assert (cloud.attachment(volume), len(cloud.host(instance).nodes())) == ("available", 1)


def test_a_volume_has_one_host_unless_it_is_shared(cloud: Cloud) -> None:
    first, second = cloud.aws.run(InstanceType="t3.micro"), cloud.aws.run(InstanceType="t3.micro")
    volume = cloud.volume()
    cloud.attach(volume, first)
    assert code_of(cloud.aws.ec2.attach_volume, VolumeId=volume, InstanceId=second, Device="/dev/sdf") == "VolumeInUse"
    assert code_of(cloud.aws.ec2.delete_volume, VolumeId=volume) == "VolumeInUse"
    shared = cloud.volume(4, VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    for instance in (first, second):
        path = cloud.attach(shared, instance, "/dev/sdg")
    cloud.host(first).run(f"echo both | dd of={path} conv=fsync 2>/dev/null")
    assert cloud.host(second).run(f"head -c 4 {path}") == "both"
    assert code_of(cloud.aws.ec2.detach_volume, VolumeId=shared) == "MissingParameter"
    cloud.detach(shared, InstanceId=first)
    assert [row["InstanceId"] for row in cloud.look(shared)["Attachments"]] == [second]
    assert (cloud.loops(), len(cloud.host(first).nodes())) == (sorted([volume, shared]), 1)


def test_an_instance_that_boots_takes_no_volume(cloud: Cloud) -> None:
    instance, volume = cloud.aws.run(InstanceType="t3.micro"), cloud.volume()
    state = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_instance(instance)._state
    state.name, state.code = "pending", 0
    with pytest.raises(ClientError, match="is not 'running'") as caught:
        cloud.attach(volume, instance)
    assert caught.value.response["Error"]["Code"] == "IncorrectState"
    state.name, state.code = "running", 16
    cloud.attach(volume, instance)


def test_detachments_that_aws_refuses(cloud: Cloud) -> None:
    instance, volume = cloud.aws.run(InstanceType="t3.micro"), cloud.volume()
    assert code_of(cloud.aws.ec2.detach_volume, VolumeId=volume) == "IncorrectState"
    root = cloud.aws.instance(instance)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert code_of(cloud.aws.ec2.detach_volume, VolumeId=root) == "OperationNotPermitted"
    cloud.attach(volume, instance)
    wrong = {"VolumeId": volume, "InstanceId": instance, "Device": "/dev/sdz"}
    assert code_of(cloud.aws.ec2.detach_volume, **wrong) == "InvalidAttachment.NotFound"
    assert cloud.attachment(volume) == "in-use attached"


def test_a_deleted_volume_has_no_file(cloud: Cloud) -> None:
    volume = cloud.volume()
    cloud.aws.ec2.delete_volume(VolumeId=volume)
    assert list((cloud.folder / "volumes").iterdir()) == []


def test_a_machine_without_loop_devices_says_so_at_the_attachment(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "bin" / "losetup"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho 'losetup: cannot find an unused loop device' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    instance, stopped, volume = cloud.aws.run(InstanceType="g5.xlarge"), cloud.aws.run(), cloud.volume()
    assert cloud.host(instance).nodes() == []
    cloud.aws.ec2.stop_instances(InstanceIds=[stopped])
    for host in (instance, stopped):
        with pytest.raises(ClientError, match=r"needs a loop device.*cannot find.*Run the sandbox as root") as caught:
            cloud.attach(volume, host)
        assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert cloud.attachment(volume) == "available"
    monkeypatch.undo()


@pytest.mark.parametrize("kind", ["volumes", "snapshots"])
def test_what_has_no_space_is_not_created(cloud: Cloud, kind: str) -> None:
    cloud.folder.mkdir()
    (cloud.folder / kind).write_text("a file in place of the folder")
    with pytest.raises(ClientError, match=r"The sandbox cannot .* content of vol-") as caught:
        cloud.snapshot(cloud.volume())
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert len(cloud.aws.ec2.describe_volumes()["Volumes"]) == (kind == "snapshots")
    mine = [{"Name": "volume-size", "Values": ["1"]}]
    assert cloud.aws.ec2.describe_snapshots(Filters=mine)["Snapshots"] == []


def test_a_crashed_sandbox_leaves_no_devices(tmp_path: Path) -> None:
    mine, other = Sandbox(tmp_path / "mine"), Sandbox(tmp_path / "mine-too")
    for sandbox in (mine, other):
        file = sandbox.disks / "volumes" / "vol-1"
        block_devices.create(file, MIB)
        block_devices.attach(file)
        deleted = sandbox.disks / "volumes" / "vol-2"
        block_devices.create(deleted, MIB)
        block_devices.attach(deleted)
        deleted.unlink()
    try:
        lifecycle.remove_disks(mine)
        assert (list(block_devices.loops(mine.state)), mine.disks.exists()) == ([], False)
        assert len(list(block_devices.loops(other.state))) == 2
    finally:
        lifecycle.remove_disks(other)
    assert list(block_devices.loops(tmp_path)) == []


@pytest.mark.parametrize("pace", [{"snapshot": -1}, {"snapshot": "1"}, {"snapshots": 1}])
def test_a_pace_is_seconds(aws: AWS, pace: dict[str, Any]) -> None:
    with pytest.raises(SandboxError, match=r"snapshots?"):
        aws.control("POST", "volumes/pace", pace)


def test_a_host_mounts_what_its_fstab_says(tmp_path: Path) -> None:
    """systemd itself leaves devices out in a container."""
    fstab, units = tmp_path / "fstab", tmp_path / "units"
    units.mkdir()
    fstab.write_text(
        "# comment\n"
        "UUID=1-2 /srv/data ext4 defaults,nofail 0 2\n"
        "LABEL=a /srv/a xfs defaults 0 2\n"
        "/dev/nvme1n1 /srv/b ext4 noauto 0 2\n"
        "/dev/nvme2n1 none swap sw 0 0\n"
        "tmpfs /srv/c tmpfs defaults 0 0\n"
    )
    script = GENERATOR.read_text(encoding="utf-8").replace("/etc/fstab", str(fstab))
    subprocess.run(["sh", "-c", script, "generator", str(units)], check=True, timeout=30)
    found = sorted(str(path.relative_to(units)) for path in units.rglob("*") if not path.is_dir())
    assert found == [
        "local-fs.target.requires/srv-a.mount",
        "local-fs.target.wants/srv-data.mount",
        "srv-a.mount",
        "srv-b.mount",
        "srv-data.mount",
    ]
    text = (units / "srv-data.mount").read_text(encoding="utf-8")
    assert "What=UUID=1-2\nWhere=/srv/data\nType=ext4\nOptions=defaults,nofail\n" in text
