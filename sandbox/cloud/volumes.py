"""EBS volumes and snapshots: AWS's rules where moto has none, and their content, which ``sandbox.cloud.disks`` keeps.

Root volumes follow the rules as well, but have no content here: a host's root disk is its container.

Sources. Read on 2026-11-30: botocore 1.44.5, ec2 2016-11-15 (CreateVolume and ModifyVolume: types, sizes, IOPS and
throughput, no smaller size, four modifications in 24 hours, each after the last has completed; AttachVolume: zone,
running or stopped; DetachVolume: busy until the file system is unmounted or the detachment is forced; CreateSnapshot:
the data at the time of the call; CreateSnapshots; DeleteSnapshot of an image in use). EBS User Guide: "Monitor the
progress of volume modifications" (a new size is there from the state optimizing on) and "Quotas for Amazon EBS" (five
concurrent snapshots per volume, one for st1 and sc1). AWS's messages were read in public issues: linuxkit 2388 (zone),
amazon.aws 497 (instance not running), build-debian-cloud 85 (volume not available), terraform-provider-aws 8565 (in
use) and 1011 (not attached), nanovms/ops 1189 and sous-chefs/aws 134 (device names), aws-cli 4216 (size), strato 1094
and 1120 (modifications) and backup-monkey 10 (snapshot in use); that about concurrent snapshots in a public log.
Inferred: the ratios of IOPS and throughput, the messages about types and ranges, and those about a root volume and a
snapshot that has not completed.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES

from sandbox.cloud import disks
from sandbox.errors import SandboxError

LOG = logging.getLogger(__name__)
ATTACHED, DETACHING, BUSY = "attached", "detaching", "busy"
OFF = ("stopped", "terminated")
DEVICE = re.compile(r"(/dev/)?(sd[a-z]|xvd[a-z]{1,2}|sda1)")
MODIFICATIONS, WINDOW = 4, timedelta(hours=24)
MOST_HOSTS = 16  # of a volume with Multi-Attach
UNSUPPORTED = "UnsupportedOperation"
TRUE = ("true", "True", True)


@dataclass(frozen=True)
class Kind:
    """A type of volume.

    :param sizes: in GiB.
    :param iops: the allowed IOPS, None where a request has none.
    :param ratio: the most IOPS for a GiB, above the lowest.
    :param throughput: in MiB/s, None where a request has none.
    :param pending: how many of its snapshots can be pending.
    """

    sizes: tuple[int, int]
    iops: tuple[int, int] | None = None
    ratio: int = 0
    throughput: tuple[int, int] | None = None
    pending: int = 5


KINDS = {
    "gp2": Kind((1, 16384)),
    "gp3": Kind((1, 65536), iops=(3000, 80000), ratio=500, throughput=(125, 2000)),
    "io1": Kind((4, 16384), iops=(100, 64000), ratio=50),
    "io2": Kind((4, 65536), iops=(100, 256000), ratio=1000),
    "st1": Kind((125, 16384), pending=1),
    "sc1": Kind((125, 16384), pending=1),
    "standard": Kind((1, 1024)),
}
REQUIRED_IOPS = ("io1", "io2")
IOPS_OF_A_MIB = 4  # of throughput, per second


@dataclass
class Pace:
    """How many seconds AWS's changes take.

    :param creating: until a volume is available.
    :param snapshot: until a snapshot has completed; its content is that of the call.
    :param modifying: until a volume has its new size.
    :param optimizing: then, until it can be modified again.
    """

    creating: float = 0.0
    snapshot: float = 0.0
    modifying: float = 0.0
    optimizing: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        :raises SandboxError: one is not a duration.
        """
        for name, value in vars(self).items():
            if not isinstance(value, int | float) or value < 0:
                raise SandboxError(f"{name}: {value!r}. Allowed: a number of seconds, 0 or more")


PACE = Pace()


def set_pace(**seconds: float) -> None:
    """Change how long AWS's changes take.

    :raises SandboxError: one is not a duration.
    """
    vars(PACE).update(vars(replace(PACE, **seconds)))


def now() -> datetime:
    """Return the time, as moto's models have it."""
    moment: datetime = utcnow()
    return moment


def older(moment: datetime, seconds: float) -> bool:
    """Return whether a moment is that long ago."""
    return now() - moment >= timedelta(seconds=seconds)


def wrong(message: str, code: str = "InvalidParameterValue") -> EC2ClientError:
    """Return an error of EC2."""
    return EC2ClientError(code, message)


def check_kind(kind: str, size: int) -> Kind:
    """Check the type and size of a volume.

    :raises EC2ClientError: EC2 has no such volume.
    """
    if kind not in KINDS:
        raise wrong(f"Unsupported volume type '{kind}' for volume creation.", "UnknownVolumeType")
    least, most = KINDS[kind].sizes
    if size < least:
        raise wrong(f"Volume of {size}GiB is too small; minimum is {least}GiB.")
    if size > most:
        raise wrong(f"Volume of {size}GiB is too large for volume type {kind}; maximum is {most}GiB.")
    return KINDS[kind]


def check_performance(kind: str, size: int, iops: int | None, throughput: int | None) -> None:
    """Check what a request asks of a volume; None for what it does not name.

    :raises EC2ClientError: EC2 has no such volume.
    """
    allowed = check_kind(kind, size)
    if iops is None and kind in REQUIRED_IOPS:
        raise wrong(f"The parameter iops must be specified for {kind} volumes.", "MissingParameter")
    if iops is not None and allowed.iops is None:
        raise wrong(f"The parameter iops is not supported for {kind} volumes.", "InvalidParameterCombination")
    if throughput is not None and allowed.throughput is None:
        raise wrong(f"The parameter throughput is not supported for {kind} volumes.", "InvalidParameterCombination")
    if iops is not None and allowed.iops:
        within("Volume iops", iops, allowed.iops)
        if iops > allowed.iops[0] and iops > size * allowed.ratio:
            raise wrong(
                f"Iops to volume size ratio of {iops / size:.6f} is too high; maximum is {allowed.ratio:.6f}",
                "InvalidParameterCombination",
            )
    if throughput is not None and allowed.throughput and allowed.iops:
        within("Volume throughput", throughput, allowed.throughput)
        if throughput * IOPS_OF_A_MIB > (iops or allowed.iops[0]):
            raise wrong(
                f"Throughput (MiBps) to iops ratio of {throughput / (iops or allowed.iops[0]):.6f} is too high; "
                f"maximum is {1 / IOPS_OF_A_MIB:.6f} MiBps per iops",
                "InvalidParameterCombination",
            )


def within(name: str, value: int, allowed: tuple[int, int]) -> None:
    """Check a number.

    :raises EC2ClientError: it is outside of its range.
    """
    if value < allowed[0]:
        raise wrong(f"{name} of {value} is too low; minimum is {allowed[0]}.")
    if value > allowed[1]:
        raise wrong(f"{name} of {value} is too high; maximum is {allowed[1]}.")


def number(given: Any) -> int | None:
    """Return a number of a request, None without one."""
    return None if given in (None, "") else int(given)


def usual_iops(kind: str, size: int, asked: int | None) -> int | None:
    """Return the IOPS of a volume, as DescribeVolumes shows them."""
    if kind == "gp2":
        return max(100, min(16000, 3 * size))
    allowed = KINDS[kind].iops
    return asked or (allowed[0] if kind == "gp3" and allowed else None)


def root_of(instance: Any) -> str:
    """Return the id of an instance's root volume, empty without one."""
    for device in (instance.root_device_name, "/dev/sda1"):
        if device in instance.block_device_mapping:
            return str(instance.block_device_mapping[device].volume_id)
    return ""


def data_volumes(instance: Any) -> list[str]:
    """Return the ids of an instance's volumes without its root volume."""
    root = root_of(instance)
    return [block.volume_id for _device, block in instance.get_block_device_mapping if block.volume_id != root]


def instance_stores(instance: Any) -> list[int]:
    """Return the sizes in bytes of the disks of an instance's store."""
    found = INSTANCE_TYPES.get(instance.instance_type, {}).get("InstanceStorageInfo", {}).get("Disks", [])
    return [disk["SizeInGB"] * 10**9 for disk in found for _number in range(disk["Count"])]


def load(instance: Any) -> None:
    """Give an instance's host its disks before it boots."""
    if disks.DISKS:
        disks.DISKS.load(instance.id, data_volumes(instance), instance_stores(instance))


def unload(instance_id: str) -> None:
    """Take the disks out of a host that is off."""
    if disks.DISKS:
        disks.DISKS.unload(instance_id)


def held(volume: Any) -> bool:
    """Return whether a host still has a volume that is not attached: it shuts down."""
    return disks.DISKS is not None and disks.DISKS.held(volume.id)


class Modification:
    """A modification of a volume, in the form in which moto answers."""

    def __init__(self, volume: Any, **targets: Any) -> None:
        """Begin a modification.

        :param targets: size, volume_type, iops, throughput and multi_attach_enabled of the volume after it.
        """
        self.volume = volume
        self.targets = targets
        self.start_time = now()
        self.applied = False
        for name, value in targets.items():
            setattr(self, f"original_{name}", getattr(volume, name))
            setattr(self, f"target_{name}", value)

    @property
    def volume_id(self) -> str:
        """The volume's id."""
        return str(self.volume.id)

    @property
    def modification_state(self) -> str:
        """How far it is."""
        if not older(self.start_time, PACE.modifying):
            return "modifying"
        return "completed" if older(self.start_time, PACE.modifying + PACE.optimizing) else "optimizing"

    @property
    def progress(self) -> int:
        """How far it is, in percent."""
        return {"modifying": 0, "optimizing": 50}.get(self.modification_state, 100)

    @property
    def end_time(self) -> datetime | None:
        """When it has completed."""
        if self.modification_state != "completed":
            return None
        moment: datetime = self.start_time + timedelta(seconds=PACE.modifying + PACE.optimizing)
        return moment

    def get_filter_value(self, filter_name: str) -> Any:
        """Return what a filter of DescribeVolumesModifications compares."""
        return getattr(self, filter_name.replace("-", "_"), None)

    def apply(self) -> None:
        """Change the volume once its new size is there."""
        if self.applied or self.modification_state == "modifying":
            return
        self.applied = True
        for name, value in self.targets.items():
            setattr(self.volume, name, value)
        if disks.DISKS:
            disks.DISKS.grow(self.volume_id, self.volume.size)


def settle() -> None:
    """Apply new sizes that are due, and detach volumes that were unmounted."""
    for backend in list(ec2_backends[DEFAULT_ACCOUNT_ID].values()):
        for volume in list(backend.volumes.values()):
            modifications: list[Any] = volume.modifications
            for modification in modifications:
                modification.apply()
            for attachment in volume.attachments:
                if attachment.status in (DETACHING, BUSY):
                    detach(backend, attachment)


def detach(backend: Any, attachment: Any, *, force: bool = False) -> None:
    """End an attachment, unless its volume is in use by the host."""
    volume, instance = attachment.volume, attachment.instance
    there = disks.DISKS is not None and disks.DISKS.held(volume.id, instance.id)
    if disks.DISKS and there and instance.state not in OFF:
        if instance.state != "running":
            return  # a host that boots or shuts down is asked again
        if not force and disks.DISKS.busy(volume.id):
            show(attachment, BUSY)
            return
        disks.DISKS.unplug(instance.id, volume.id)
    elif instance.state not in (*OFF, "running"):
        return
    backend.detach_volume(volume.id, instance.id, attachment.device)


def show(attachment: Any, state: str) -> None:
    """Set the state of an attachment, which instances show as well."""
    attachment.status = state
    if block := attachment.instance.block_device_mapping.get(attachment.device):
        block.status = state


def check_attach(volume: Any, instance: Any, device: str) -> None:
    """Check that a volume can be attached.

    :raises EC2ClientError: it cannot.
    """
    if instance.state not in ("running", "stopped"):
        raise wrong(f"Instance '{instance.id}' is not 'running'.", "IncorrectState")
    if volume.status == "creating":
        raise wrong(f"{volume.id} is not 'available'.", "IncorrectState")
    here = any(attachment.instance.id == instance.id for attachment in volume.attachments)
    shared = volume.multi_attach_enabled in TRUE and len(volume.attachments) < MOST_HOSTS and not here
    if volume.status != "available" and not shared:
        raise wrong(f"{volume.id} is already attached to an instance", "VolumeInUse")
    if volume.availability_zone != instance.availability_zone:
        raise wrong(
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
            "InvalidVolume.ZoneMismatch",
        )
    if not device:
        raise wrong("The request must contain the parameter device", "MissingParameter")
    if not DEVICE.fullmatch(device):
        raise wrong(f"Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name.")
    if device.removeprefix("/dev/") in {name.removeprefix("/dev/") for name in instance.block_device_mapping}:
        raise wrong(f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use")


def plug(all_disks: disks.Disks, volume: Any, instance: Any) -> None:
    """Put a volume into an instance's host if it runs; otherwise check that the machine can do so later.

    :raises EC2ClientError: the sandbox cannot.
    """
    if not all_disks.volume(volume.id).exists():
        if getattr(volume, "was_root", False):
            raise wrong(f"{volume.id} was a root volume, whose content the sandbox does not keep.", UNSUPPORTED)
        fill(volume)
    try:
        if instance.state == "running":
            all_disks.plug(instance.id, volume.id)
        else:
            all_disks.check(volume.id)
    except (SandboxError, OSError) as error:
        raise wrong(str(error), UNSUPPORTED) from error


def fill(volume: Any) -> None:
    """Create the content of a volume.

    :raises EC2ClientError: the machine has no space for it; the volume is deleted.
    """
    if disks.DISKS:
        try:
            disks.DISKS.create(volume.id, volume.size, volume.snapshot_id or "")
        except OSError as error:
            disks.DISKS.delete(disks.DISKS.volume(volume.id))
            del volume.ec2_backend.volumes[volume.id]
            raise wrong(f"The sandbox cannot create the content of {volume.id}: {error}", UNSUPPORTED) from error


def check_snapshot(backend: Any, snapshot_id: str, size: int | None) -> int:
    """Return the size of a new volume from a snapshot.

    :param size: what the request asks for, None without it.

    :raises EC2ClientError: it does not exist, is not complete, or is larger than the volume.
    """
    snapshot = backend.get_snapshot(snapshot_id)
    if snapshot.status != "completed":
        raise wrong(f"Snapshot {snapshot_id} is not in state 'completed'.", "IncorrectState")
    if size is not None and size < snapshot.volume_size:
        raise wrong(
            f"Volume of size {size}GB is smaller than snapshot '{snapshot_id}', expect size >= {snapshot.volume_size}GB"
        )
    return size or int(snapshot.volume_size)


def check_pending(backend: Any, volume: Any) -> None:
    """Check that a volume can have another snapshot.

    :raises EC2ClientError: it cannot now.
    """
    if volume.status not in ("available", "in-use"):
        raise wrong(f"Volume '{volume.id}' is in the '{volume.status}' state.", "IncorrectState")
    pending = [row for row in backend.snapshots.values() if row.volume is volume and row.status == "pending"]
    if len(pending) >= KINDS[volume.volume_type].pending:
        raise wrong(
            "Maximum allowed in-progress snapshots for a single volume exceeded.", "ConcurrentSnapshotLimitExceeded"
        )


def preserve(all_disks: disks.Disks, snapshot: Any) -> None:
    """Copy the content of a snapshot's volume.

    :raises EC2ClientError: the machine has no space for it; the snapshot is deleted.
    """
    try:
        snapshot.full_snapshot_size_in_bytes = all_disks.preserve(snapshot.volume.id, snapshot.id)
    except OSError as error:
        all_disks.delete(all_disks.snapshot(snapshot.id))
        del snapshot.ec2_backend.snapshots[snapshot.id]
        raise wrong(f"The sandbox cannot copy the content of {snapshot.volume.id}: {error}", UNSUPPORTED) from error


def image_of(backend: Any, snapshot_id: str) -> str:
    """Return the id of an image that uses a snapshot, empty without one."""
    for image in backend.amis.values():
        if any((row.get("Ebs") or {}).get("SnapshotId") == snapshot_id for row in image.block_device_mappings):
            return str(image.id)
    return ""


def check_modifiable(volume: Any) -> None:
    """Check that a volume can be modified now.

    :raises EC2ClientError: it cannot.
    """
    if volume.status not in ("available", "in-use"):
        raise wrong(f"Volume '{volume.id}' is in the '{volume.status}' state.", "IncorrectState")
    state = volume.modifications[-1].modification_state if volume.modifications else "completed"
    if state != "completed":
        raise wrong(
            f"Volume {volume.id} cannot be modified in modification state {state.upper()}", "IncorrectModificationState"
        )
    recent = [row.start_time for row in volume.modifications if now() - row.start_time < WINDOW]
    if len(recent) >= MODIFICATIONS:
        raise wrong(
            "You've reached the maximum modification rate per volume limit. "
            f"The volume can be modified again after {recent[-MODIFICATIONS] + WINDOW:%Y-%m-%dT%H:%M:%SZ}.",
            "VolumeModificationRateExceeded",
        )


def ends_with_instance(attachment: Any) -> bool:
    """Return whether a volume is deleted with its instance."""
    block = attachment.instance.block_device_mapping.get(attachment.device)
    return bool(block and block.delete_on_termination)
