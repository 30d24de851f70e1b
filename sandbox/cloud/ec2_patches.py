"""EC2 where moto differs: volumes have a source, performance and a key, and things are deleted with their owners.

The latter are a launch's network interface, with its instance, and the ACL of a VPC. That EC2 deletes the former by
default is inferred from published answers of DescribeInstances, in which primary interfaces are deleted on termination.
"""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import elastic_block_store as volume_models
from moto.ec2.models import instances as instance_models
from moto.ec2.models import vpcs as vpc_models
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.kms.models import kms_backends

from sandbox.cloud import image_api, market_api, tokens, volumes_api

# EC2's defaults for a gp3 volume (IOPS, MiB/s).
GP3_IOPS = 3000
GP3_THROUGHPUT = 125
AWS_KEY = "alias/aws/ebs"


def complete(instance: Any, mappings: list[dict[str, Any]]) -> None:
    """Complete the volumes of a launched instance.

    :param mappings: the launch request's block device mappings.
    """
    asked = {mapping["DeviceName"]: mapping.get("Ebs") or {} for mapping in mappings}
    backend = instance.ec2_backend
    image = backend.amis.get(instance.image_id)
    instance.origin = image_api.origin(image, instance.image_id)
    for device, attachment in instance.block_device_mapping.items():
        volume = backend.volumes[attachment.volume_id]
        if volume.volume_type == "gp3":
            volume.iops = int(asked.get(device, {}).get("Iops") or GP3_IOPS)
            volume.throughput = int(asked.get(device, {}).get("Throughput") or GP3_THROUGHPUT)
        if image and device == instance.root_device_name and not volume.snapshot_id:
            volume.snapshot_id = image.ebs_snapshot.id
        copied = image_api.disks(image).get(device)
        if copied:
            volume.snapshot_id, volume.encrypted = copied["snapshot"].id, copied["snapshot"].encrypted


def default_key(self: Any) -> ActionResult:
    """Answer GetEbsDefaultKmsKeyId: AWS's own key, unless another is configured."""
    return ActionResult({"KmsKeyId": self.ec2_backend.default_kms_key_id or AWS_KEY})


def end_without_key(instance: Any) -> None:
    """Terminate an instance whose encrypted volumes cannot be created, as EC2 does shortly after the launch."""
    backend = instance.ec2_backend
    key_id = backend.default_kms_key_id
    volumes = [backend.volumes[attachment.volume_id] for attachment in instance.block_device_mapping.values()]
    if not key_id or not any(volume.encrypted for volume in volumes):
        return
    keys = kms_backends[backend.account_id][backend.region_name]
    if keys.describe_key(key_id).key_state == "Enabled":
        return
    instance.terminate()
    code = "Client.InvalidKMSKey.InvalidState"
    instance.state_reason.code = code
    instance.state_reason.message = f"{code}: The KMS key provided is in an incorrect state"


def install() -> None:
    """Patch moto in this process."""
    models: Any = instance_models
    launch = models.InstanceBackend.run_instances

    def run_instances(self: Any, *arguments: Any, **options: Any) -> Any:
        reservation = launch(self, *arguments, **options)
        for instance in reservation.instances:
            complete(instance, options.get("block_device_mappings") or [])
            if not options.get("nics"):
                for interface in instance.nics.values():
                    interface.delete_on_termination = True
            end_without_key(instance)
        return reservation

    machines: Any = models.Instance
    end = machines.terminate

    def terminate(self: Any, *arguments: Any, **options: Any) -> Any:
        ended = end(self, *arguments, **options)
        # moto would delete them again when a terminated instance is terminated, which EC2 accepts.
        for interface in self.nics.values():
            interface.delete_on_termination = False
        return ended

    machines.terminate = terminate
    networks: Any = vpc_models
    delete = networks.VPCBackend.delete_vpc

    def delete_vpc(self: Any, vpc_id: str) -> Any:
        deleted = delete(self, vpc_id)
        for acl_id in [acl.id for acl in self.network_acls.values() if acl.vpc_id == vpc_id]:
            del self.network_acls[acl_id]
        return deleted

    disks: Any = volume_models
    create = disks.EBSBackend.create_volume

    def create_volume(self: Any, *arguments: Any, **options: Any) -> Any:
        volume = create(self, *arguments, **options)
        # EC2 reports an empty source for an empty volume, moto reports none.
        volume.snapshot_id = volume.snapshot_id or ""
        return volume

    disks.EBSBackend.create_volume = create_volume
    responses: Any = ElasticBlockStore
    responses.get_ebs_default_kms_key_id = default_key
    models.InstanceBackend.run_instances = run_instances
    networks.VPCBackend.delete_vpc = delete_vpc
    image_api.install()
    market_api.install()
    tokens.install()
    volumes_api.install()
