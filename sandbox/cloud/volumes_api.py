"""EC2's answers about volumes and snapshots: ``sandbox.cloud.volumes`` put into moto."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ec2.models import elastic_block_store as volume_models
from moto.ec2.models import instances as instance_models
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import generic_filter

from sandbox.cloud import disks, volumes


def answer_of(attachment: Any, state: str) -> ActionResult:
    """Return the answer about an attachment."""
    return ActionResult(
        {
            "VolumeId": attachment.volume.id,
            "InstanceId": attachment.instance.id,
            "Device": attachment.device,
            "State": state,
            "AttachTime": attachment.attach_time,
        }
    )


def attach_volume(self: Any) -> ActionResult:
    """Answer AttachVolume."""
    backend, device = self.ec2_backend, self._get_param("Device") or ""
    volume, instance = (
        backend.get_volume(self._get_param("VolumeId")),
        backend.get_instance(self._get_param("InstanceId")),
    )
    volumes.check_attach(volume, instance, device)
    self.error_on_dryrun()
    if disks.DISKS:
        volumes.plug(disks.DISKS, volume, instance)
    return answer_of(backend.attach_volume(volume.id, instance.id, device), "attaching")


def attachment_of(volume: Any, instance_id: str, device: str) -> Any:
    """Return the attachment that a request names.

    :raises EC2ClientError: the volume has no such attachment.
    """
    if not volume.attachments:
        raise volumes.wrong(f"Volume '{volume.id}' is in the 'available' state.", "IncorrectState")
    if len(volume.attachments) > 1 and not instance_id:
        raise volumes.wrong("The request must contain the parameter instanceId", "MissingParameter")
    for attachment in volume.attachments:
        if instance_id in ("", attachment.instance.id) and device in ("", attachment.device):
            return attachment
    raise volumes.wrong(
        f"The volume '{volume.id}' is not attached to instance '{instance_id}' as device '{device}'.",
        "InvalidAttachment.NotFound",
    )


def detach_volume(self: Any) -> ActionResult:
    """Answer DetachVolume."""
    backend = self.ec2_backend
    volume = backend.get_volume(self._get_param("VolumeId"))
    attachment = attachment_of(volume, self._get_param("InstanceId") or "", self._get_param("Device") or "")
    instance = attachment.instance
    if volume.id == volumes.root_of(instance) and instance.state not in volumes.OFF:
        raise volumes.wrong(
            f"Unable to detach root volume '{volume.id}' from instance '{instance.id}'", "OperationNotPermitted"
        )
    self.error_on_dryrun()
    volumes.show(attachment, volumes.DETACHING)
    volumes.detach(backend, attachment, force=self._get_bool_param("Force", False))
    return answer_of(attachment, volumes.DETACHING)


def create_volume(self: Any) -> ActionResult:
    """Answer CreateVolume."""
    backend, token = self.ec2_backend, self._get_param("ClientToken") or ""
    asked = {
        "size": volumes.number(self._get_param("Size")),
        "zone_name": zone_of(backend, self._get_param("AvailabilityZone"), self._get_param("AvailabilityZoneId")),
        "snapshot_id": self._get_param("SnapshotId"),
        "encrypted": self._get_bool_param("Encrypted", False),
        "kms_key_id": self._get_param("KmsKeyId"),
        "volume_type": self._get_param("VolumeType") or "gp2",
        "iops": volumes.number(self._get_param("Iops")),
        "throughput": volumes.number(self._get_param("Throughput")),
        "multi_attach_enabled": self._get_bool_param("MultiAttachEnabled", False),
    }
    if token:
        for volume in backend.volumes.values():
            if getattr(volume, "token", None) == token:
                if volume.asked != asked:
                    raise volumes.wrong(
                        "The request uses the same client token as a previous, but non-identical request.",
                        "IdempotentParameterMismatch",
                    )
                return ActionResult(volume)
    if not asked["size"] and not asked["snapshot_id"]:
        raise volumes.wrong("The request must contain the parameter size/snapshot", "MissingParameter")
    size = asked["size"] or 0
    if asked["snapshot_id"]:
        size = volumes.check_snapshot(backend, asked["snapshot_id"], asked["size"])
    volumes.check_performance(asked["volume_type"], size, asked["iops"], asked["throughput"])
    self.error_on_dryrun()
    volume = backend.create_volume(**{**asked, "size": size})
    volume.token, volume.asked = token, asked
    if asked["volume_type"] == "gp3":
        volume.throughput = asked["throughput"] or 125
    volume.add_tags(self._parse_tag_specification().get("volume", {}))
    volumes.fill(volume)
    return ActionResult(volume)


def zone_of(backend: Any, name: str | None, zone_id: str | None) -> str:
    """Return the name of the zone of a request.

    :raises EC2ClientError: it names none of the region's, or two.
    """
    if bool(name) == bool(zone_id):
        code = "InvalidParameterCombination" if name else "MissingParameter"
        raise volumes.wrong("Either AvailabilityZone or AvailabilityZoneId must be specified, but not both.", code)
    for zone in backend.describe_availability_zones():
        if name == zone.name or (zone_id and zone_id == zone.zone_id):
            return str(zone.name)
    raise volumes.wrong(f"The zone '{name or zone_id}' does not exist.", "InvalidZone.NotFound")


def create_snapshots(self: Any) -> ActionResult:
    """Answer CreateSnapshots: one point in time for all volumes of an instance."""
    backend, spec = self.ec2_backend, self._get_param("InstanceSpecification", {}) or {}
    instance = backend.get_instance(spec.get("InstanceId"))
    root, left_out = volumes.root_of(instance), set(spec.get("ExcludeDataVolumeIds") or [])
    ids = [block.volume_id for _device, block in instance.get_block_device_mapping]
    if root in left_out:
        raise volumes.wrong(f"{root} is the root volume. To exclude it, use ExcludeBootVolume.")
    if unknown := left_out - set(ids):
        raise volumes.wrong(f"{', '.join(sorted(unknown))}: not attached to instance '{instance.id}'.")
    if spec.get("ExcludeBootVolume") in volumes.TRUE:
        left_out.add(root)
    wanted = [backend.get_volume(name) for name in ids if name not in left_out]
    if not wanted:
        raise volumes.wrong(f"No volume of instance '{instance.id}' is left for a snapshot.")
    for volume in wanted:
        volumes.check_pending(backend, volume)
    self.error_on_dryrun()
    tags = self._parse_tag_specification().get("snapshot", {})
    found = [backend.create_snapshot(volume.id, self._get_param("Description", "")) for volume in wanted]
    for volume, snapshot in zip(wanted, found, strict=True):
        snapshot.start_time = found[0].start_time
        if self._get_param("CopyTagsFromSource") == "volume":
            snapshot.add_tags({tag["key"]: tag["value"] for tag in volume.get_tags()})
        snapshot.add_tags(tags)
    return ActionResult({"Snapshots": found})


def modify(self: Any, volume_id: str, *given: Any) -> Any:
    """Begin a modification; moto's model calls it with size, type, IOPS, throughput and Multi-Attach."""
    volumes.settle()
    volume = self.get_volume(volume_id)
    size, kind, iops, throughput, multi = given
    if all(value in (None, "") for value in given):
        raise volumes.wrong(
            "Invalid input: Must specify at least one of size, type, iops, throughput, multi_attach_enabled"
        )
    size, kind = volumes.number(size) or volume.size, kind or volume.volume_type
    iops, throughput = volumes.number(iops), volumes.number(throughput)
    if size < volume.size:
        raise volumes.wrong("New size cannot be smaller than existing size")
    volumes.check_modifiable(volume)
    if kind not in volumes.KINDS:
        volumes.check_kind(kind, size)
    has_iops, has_throughput = volumes.KINDS[kind].iops is not None, volumes.KINDS[kind].throughput is not None
    if iops is None and has_iops:
        iops = (volume.iops if kind == volume.volume_type else None) or 3000
    if throughput is None and has_throughput:
        throughput = (volume.throughput if kind == volume.volume_type else None) or 125
    volumes.check_performance(kind, size, iops, throughput)
    shared = volume.multi_attach_enabled if multi in (None, "") else multi in volumes.TRUE
    volume.modifications.append(
        volumes.Modification(
            volume,
            size=size,
            volume_type=kind,
            iops=volumes.usual_iops(kind, size, iops),
            throughput=throughput if has_throughput else None,
            multi_attach_enabled=shared,
        )
    )
    volume.modifications[-1].apply()
    return volume


def latest(rows: list[Any]) -> Iterator[Any]:
    """Yield the most recent modification of each volume that has one."""
    for volume in rows:
        if volume.modifications:
            yield volume.modifications[-1]


@cache
def install() -> None:
    """Patch moto in this process, once."""
    responses: Any = ElasticBlockStore
    responses.attach_volume = attach_volume
    responses.detach_volume = detach_volume
    responses.create_volume = create_volume
    responses.create_snapshots = create_snapshots
    install_volumes()
    install_snapshots()
    install_launch()


def install_volumes() -> None:
    """Patch moto's model of volumes."""
    backends: Any = volume_models.EBSBackend
    kind: Any = volume_models.Volume
    create, attach, end = backends.create_volume, backends.attach_volume, backends.detach_volume
    attachments: Any = volume_models.VolumeAttachment
    delete = backends.delete_volume

    def create_model(self: Any, *arguments: Any, **options: Any) -> Any:
        volume = create(self, *arguments, **options)
        volume.born = volumes.now()
        if volume.volume_type == "gp2":
            volume.iops = volumes.usual_iops("gp2", int(volume.size), None)
        return volume

    def attach_model(
        self: Any, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
    ) -> Any:
        volume = self.get_volume(volume_id)
        earlier = volume.attachments
        attachment = attach(self, volume_id, instance_id, device_path, delete_on_termination)
        volume.others = earlier
        return attachment

    def detach_model(self: Any, volume_id: str, instance_id: str, device_path: str) -> Any:
        volume = self.get_volume(volume_id)
        rest = [row for row in volume.attachments if row.instance.id != instance_id]
        if len(rest) < len(volume.attachments):
            (volume.attachment,) = (row for row in volume.attachments if row.instance.id == instance_id)
        ended = end(self, volume_id, instance_id, device_path)
        if rest:
            volume.attachment, volume.others = rest[0], rest[1:]
        return ended

    def delete_model(self: Any, volume_id: str) -> Any:
        volume = self.volumes.get(volume_id)
        ends = volume is not None and not volume.attachment and volumes.held(volume)
        if ends and not getattr(volume, "ends_with_instance", False):
            raise volumes.wrong(f"Volume {volume_id} is currently attached to an instance", "VolumeInUse")
        deleted = delete(self, volume_id)
        if disks.DISKS:
            disks.DISKS.delete(disks.DISKS.volume(volume_id))
        return deleted

    def status(self: Any) -> str:
        if self.attachment or volumes.held(self):
            return "in-use"
        return (
            "available" if volumes.older(getattr(self, "born", self.create_time), volumes.PACE.creating) else "creating"
        )

    def modifications(self: Any, volume_ids: list[str] | None = None, filters: Any = None) -> list[Any]:
        found = list(latest(self.describe_volumes(volume_ids)))
        return list(generic_filter(filters, found)) if filters else found

    kind.others = ()
    kind.attachments = property(lambda self: [self.attachment, *self.others] if self.attachment else [])
    kind.status = property(status)
    attachments.delete_on_termination = property(volumes.ends_with_instance)
    backends.create_volume, backends.attach_volume, backends.detach_volume = create_model, attach_model, detach_model
    backends.delete_volume, backends.modify_volume = delete_model, modify
    backends.describe_volumes_modifications = modifications


def install_snapshots() -> None:
    """Patch moto's model of snapshots."""
    backends: Any = volume_models.EBSBackend
    kind: Any = volume_models.Snapshot
    create, duplicate, delete = backends.create_snapshot, backends.copy_snapshot, backends.delete_snapshot
    filtered = kind.get_filter_value

    def create_model(
        self: Any, volume_id: str, description: str, owner_id: str | None = None, from_ami: str | None = None
    ) -> Any:
        volume = self.get_volume(volume_id)
        if not from_ami:
            volumes.check_pending(self, volume)
        snapshot = create(self, volume_id, description, owner_id, from_ami)
        snapshot.size, snapshot.kms_key_id = volume.size, volume.kms_key_id
        snapshot.begun, snapshot.from_image = volumes.now(), bool(from_ami)
        if disks.DISKS:
            volumes.preserve(disks.DISKS, snapshot)
        return snapshot

    def copy_model(self: Any, source_snapshot_id: str, source_region: str, *more: Any, **options: Any) -> Any:
        source = ec2_backends[self.account_id][source_region].get_snapshot(source_snapshot_id)
        copied = duplicate(self, source_snapshot_id, source_region, *more, **options)
        copied.size, copied.begun = source.volume_size, volumes.now()
        if disks.DISKS:
            disks.DISKS.duplicate(source.id, copied.id)
        return copied

    def delete_model(self: Any, snapshot_id: str) -> Any:
        if image := volumes.image_of(self, snapshot_id):
            raise volumes.wrong(f"The snapshot {snapshot_id} is currently in use by {image}", "InvalidSnapshot.InUse")
        deleted = delete(self, snapshot_id)
        if disks.DISKS:
            disks.DISKS.delete(disks.DISKS.snapshot(snapshot_id))
        return deleted

    def get_filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
        return self.volume_size if filter_name == "volume-size" else filtered(self, filter_name, method_name)

    def status(self: Any) -> str:
        begun = getattr(self, "begun", None)
        pending = begun and not getattr(self, "from_image", False) and not volumes.older(begun, volumes.PACE.snapshot)
        return "pending" if pending else "completed"

    kind.volume_size = property(lambda self: getattr(self, "size", None) or self.volume.size)
    kind.status = property(status, lambda self, value: None)
    kind.progress = property(lambda self: "100%" if self.status == "completed" else "0%")
    kind.get_filter_value = get_filter_value
    backends.create_snapshot, backends.copy_snapshot, backends.delete_snapshot = create_model, copy_model, delete_model


def install_launch() -> None:
    """Patch moto's model of instances: volumes of a launch have content, and end as their instance does."""
    models: Any = instance_models
    launch, teardown = models.InstanceBackend.run_instances, models.Instance.teardown_defaults

    def run_instances(self: Any, *arguments: Any, **options: Any) -> Any:
        reservation = launch(self, *arguments, **options)
        for instance in reservation.instances:
            if root := volumes.root_of(instance):
                self.volumes[root].was_root = True
            for volume_id in volumes.data_volumes(instance):
                volumes.fill(self.volumes[volume_id])
        return reservation

    def teardown_defaults(self: Any) -> None:
        for block in self.block_device_mapping.values():
            if block.delete_on_termination and block.volume_id in self.ec2_backend.volumes:
                self.ec2_backend.volumes[block.volume_id].ends_with_instance = True
        teardown(self)

    models.InstanceBackend.run_instances = run_instances
    models.Instance.teardown_defaults = teardown_defaults
