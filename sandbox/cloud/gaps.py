"""What EC2 does and moto leaves out: volumes have a source and their performance, a VPC takes its ACL along."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import instances as instance_models
from moto.ec2.models import vpcs as vpc_models

# What EC2 gives a gp3 volume of which the launch says nothing more (IOPS, MiB/s).
GP3_IOPS = 3000
GP3_THROUGHPUT = 125


def complete(instance: Any, mappings: list[dict[str, Any]]) -> None:
    """Complete the volumes of a launched instance.

    :param mappings: the launch request's block device mappings.
    """
    asked = {mapping["DeviceName"]: mapping.get("Ebs") or {} for mapping in mappings}
    backend = instance.ec2_backend
    for device, attachment in instance.block_device_mapping.items():
        volume = backend.volumes[attachment.volume_id]
        if volume.volume_type == "gp3":
            volume.iops = int(asked.get(device, {}).get("Iops") or GP3_IOPS)
            volume.throughput = int(asked.get(device, {}).get("Throughput") or GP3_THROUGHPUT)
        if device == instance.root_device_name and not volume.snapshot_id:
            volume.snapshot_id = backend.amis[instance.image_id].ebs_snapshot.id


def install() -> None:
    """Fill the gaps for this process."""
    models: Any = instance_models
    launch = models.InstanceBackend.run_instances

    def run_instances(self: Any, *arguments: Any, **options: Any) -> Any:
        reservation = launch(self, *arguments, **options)
        for instance in reservation.instances:
            complete(instance, options.get("block_device_mappings") or [])
        return reservation

    networks: Any = vpc_models
    delete = networks.VPCBackend.delete_vpc

    def delete_vpc(self: Any, vpc_id: str) -> Any:
        deleted = delete(self, vpc_id)
        for acl_id in [acl.id for acl in self.network_acls.values() if acl.vpc_id == vpc_id]:
            del self.network_acls[acl_id]
        return deleted

    models.InstanceBackend.run_instances = run_instances
    networks.VPCBackend.delete_vpc = delete_vpc
