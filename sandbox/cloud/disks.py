"""The disks in the sandbox's hosts: EBS volumes, and the instance store of the types that have one.

A disk is a file with a loop device. In the host it is ``/dev/nvme<N>n1``, with the links that udev makes from model and
serial number. N is drawn at each boot, because the order of the disks on an instance is not stable either.

Sources. Read on 2026-11-30: EBS User Guide, "Amazon EBS volumes and NVMe" (names in the order in which the devices
respond, which can change at each boot; model, and the volume's id without its dash as serial number); EC2 User
Guide, "Instance store" (data is lost when the instance stops or terminates, and is preserved at a reboot); systemd's
60-persistent-storage.rules (the links; that with the namespace since version 254); moto's copy of
DescribeInstanceTypes (number and size of the disks). Inferred: the form of an instance store's serial number.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sandbox.cloud import block_devices
from sandbox.cloud.block_devices import GIB, Loop, NoLoopDeviceError
from sandbox.errors import SandboxError
from sandbox.waiting import wait_until

LOG = logging.getLogger(__name__)
EBS_MODEL = "Amazon_Elastic_Block_Store"
STORE_MODEL = "Amazon_EC2_NVMe_Instance_Storage"
UNMOUNT_SECONDS = 10


@dataclass(frozen=True)
class Disk:
    """A disk in a host.

    :param name: model and serial number, as in the name of its link.
    """

    name: str
    loop: Loop

    @property
    def row(self) -> str:
        """What a host needs for making its node and links."""
        major, minor = self.loop.number
        return f"{major} {minor} {self.name}"


class Ports(Protocol):
    """The hosts, as far as disks are concerned: ``sandbox.cloud.hosts.Hosts``."""

    def write_disks(self, instance_id: str, table: str) -> None:
        """Write the disks that a host has from its next boot on."""

    def plug(self, instance_id: str, row: str) -> None:
        """Make a disk's node and links in a running host."""

    def unplug(self, instance_id: str, name: str) -> None:
        """Remove a disk's node and links from a running host."""


def link_name(volume_id: str) -> str:
    """Return model and serial number of a volume, such as Amazon_Elastic_Block_Store_vol0123456789abcdef0."""
    return f"{EBS_MODEL}_{volume_id.replace('-', '', 1)}"


class Disks:
    """The disks of one sandbox."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        """Keep the files of all disks in a folder of the sandbox's state."""
        self._folder = folder
        self._ports = ports
        self._lock = threading.RLock()
        # Instance: its disks by volume id, or by the name of the file of an instance store.
        self._loaded: dict[str, dict[str, Disk]] = {}

    def volume(self, volume_id: str) -> Path:
        """Return the file of a volume."""
        return self._folder / "volumes" / volume_id

    def snapshot(self, snapshot_id: str) -> Path:
        """Return the file of a snapshot."""
        return self._folder / "snapshots" / snapshot_id

    def create(self, volume_id: str, gibibytes: int, snapshot_id: str = "") -> None:
        """Create the file of a volume: zeros, or the content of a snapshot that has one."""
        file = self.volume(volume_id)
        if snapshot_id and self.snapshot(snapshot_id).exists():
            block_devices.copy(self.snapshot(snapshot_id), file)
            block_devices.grow(file, gibibytes * GIB)
        else:
            block_devices.create(file, gibibytes * GIB)

    def preserve(self, volume_id: str, snapshot_id: str) -> int:
        """Copy the content of a volume to a snapshot, and return its size in bytes; a root volume has none."""
        file = self.volume(volume_id)
        if not file.exists():
            return 0
        block_devices.copy(file, self.snapshot(snapshot_id))
        return block_devices.used(file)

    def duplicate(self, snapshot_id: str, copy_id: str) -> None:
        """Copy a snapshot that has content."""
        if self.snapshot(snapshot_id).exists():
            block_devices.copy(self.snapshot(snapshot_id), self.snapshot(copy_id))

    def grow(self, volume_id: str, gibibytes: int) -> None:
        """Enlarge a volume, also while it is mounted."""
        with self._lock:
            file = self.volume(volume_id)
            if file.exists():
                block_devices.grow(file, gibibytes * GIB)
                for device in {loop.device for loop in self._loops(volume_id)}:
                    block_devices.refresh(device)

    def delete(self, file: Path) -> None:
        """Delete the file of a volume or snapshot."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            file.unlink()

    def _loops(self, key: str) -> list[Loop]:
        return [disks[key].loop for disks in self._loaded.values() if key in disks]

    def held(self, volume_id: str, instance_id: str = "") -> bool:
        """Return whether a host still has a volume, that of an instance or any."""
        loaded = self._loaded.items()
        return any(volume_id in disks for name, disks in loaded if instance_id in ("", name))

    def busy(self, volume_id: str) -> bool:
        """Return whether a host uses a volume, which it does while it is mounted."""
        return any(block_devices.busy(loop.device) for loop in self._loops(volume_id))

    def _open(self, key: str, file: Path, name: str) -> Disk:
        """Return a disk over a file; the hosts that share a volume share its device."""
        shared = self._loops(key)
        return Disk(name, shared[0] if shared else block_devices.attach(file))

    def load(self, instance_id: str, volume_ids: Iterable[str], stores: Iterable[int] = ()) -> None:
        """Give a host its disks before it boots.

        :param stores: the sizes in bytes of its instance store's disks.
        :raises NoLoopDeviceError: it has volumes, and the machine has no loop device.
        """
        with self._lock:
            disks = self._loaded.setdefault(instance_id, {})
            for volume_id in volume_ids:
                if volume_id not in disks:
                    disks[volume_id] = self._open(volume_id, self.volume(volume_id), link_name(volume_id))
            for index, size in enumerate(stores):
                file = self._folder / "instance-store" / f"{instance_id}-{index}"
                if file.name in disks:
                    continue
                if not file.exists():
                    block_devices.create(file, size)
                serial = f"AWS{secrets.token_hex(9)[:17].upper()}"
                try:
                    disks[file.name] = self._open(file.name, file, f"{STORE_MODEL}_{serial}")
                except NoLoopDeviceError as error:
                    # Hosts boot on machines without loop devices, as long as no volume is attached.
                    LOG.warning("%s has no instance store: %s", instance_id, error)
            self._write(instance_id)

    def unload(self, instance_id: str) -> None:
        """Take the disks out of a host that is off; its instance store loses its content."""
        with self._lock:
            for key, disk in self._loaded.pop(instance_id, {}).items():
                if not self._loops(key):
                    self._release_idle(disk.loop)
            for file in self._folder.glob(f"instance-store/{instance_id}-*"):
                file.unlink()

    def plug(self, instance_id: str, volume_id: str) -> None:
        """Put a volume into a running host.

        :raises NoLoopDeviceError: the machine has no loop device.
        """
        with self._lock:
            disk = self._open(volume_id, self.volume(volume_id), link_name(volume_id))
            self._loaded.setdefault(instance_id, {})[volume_id] = disk
            try:
                # A host that boots now makes the disk's node itself.
                self._write(instance_id)
                self._ports.plug(instance_id, disk.row)
            except SandboxError:
                self._take(instance_id, volume_id)
                self._write(instance_id)
                raise

    def check(self, volume_id: str) -> None:
        """Check that a volume can be put into a host.

        :raises NoLoopDeviceError: the machine has no loop device.
        """
        with self._lock:
            if not self._loops(volume_id):
                block_devices.release(block_devices.attach(self.volume(volume_id)).device)

    def unplug(self, instance_id: str, volume_id: str) -> None:
        """Take a volume out of a running host.

        What the host still writes to a mounted file system of it is lost: the volume has the content of this moment.
        """
        with self._lock:
            disk = self._loaded.get(instance_id, {}).get(volume_id)
            if disk is None:
                return
            file, last = self.volume(volume_id), len(self._loops(volume_id)) == 1
            if last and file.exists() and block_devices.busy(disk.loop.device):
                apart = file.with_suffix(".apart")
                block_devices.copy(file, apart)
                apart.replace(file)
            self._take(instance_id, volume_id)
            try:
                self._write(instance_id)
                self._ports.unplug(instance_id, disk.name)
            except SandboxError:  # its link is left in a host that does not answer
                LOG.exception("%s", instance_id)

    def _take(self, instance_id: str, volume_id: str) -> None:
        disk = self._loaded[instance_id].pop(volume_id)
        if not self._loops(volume_id):
            block_devices.release(disk.loop.device)

    def _release_idle(self, loop: Loop) -> None:
        """Release the device of a host that is off, once the kernel has unmounted its file systems."""
        try:
            wait_until(lambda: not block_devices.busy(loop.device), what=f"{loop.device}", seconds=UNMOUNT_SECONDS)
        except SandboxError:
            LOG.warning("%s over %s is still in use; the kernel releases it after that", loop.device, loop.file)
        try:
            block_devices.release(loop.device)
        except OSError:  # `down` releases it
            LOG.exception("%s", loop.device)

    def _write(self, instance_id: str) -> None:
        rows = [f"{disk.row}\n" for disk in self._loaded[instance_id].values()]
        self._ports.write_disks(instance_id, "".join(rows))


# What the cloud's volumes are made of; None in a cloud without hosts, whose volumes have no content.
DISKS: Disks | None = None
