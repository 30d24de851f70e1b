"""EC2's images of instances where moto differs: they have a snapshot of every attached volume.

moto creates one empty snapshot of 15 GiB for any instance, rejects tags of snapshots, and permits duplicate names.

Sources. Read on 2026-11-30: EC2 API reference, CreateImage, and the user guide, "Create an Amazon EBS-backed AMI".
"""

from __future__ import annotations

from functools import cache
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import amis as image_models
from moto.ec2.models.amis import Ami


def disks(image: Any) -> dict[str, Any]:
    """Return the snapshots of an image of an instance by their device; empty for other images."""
    found: dict[str, Any] = getattr(image, "disks", {})
    return found


def mappings(image: Any) -> list[dict[str, Any]]:
    """Return the block device mappings of an image of an instance."""
    return [
        {
            "DeviceName": device,
            "Ebs": {
                "SnapshotId": disk["snapshot"].id,
                "VolumeSize": disk["size"],
                "VolumeType": disk["type"],
                "Encrypted": disk["snapshot"].encrypted,
                "DeleteOnTermination": disk["delete_on_termination"],
            },
        }
        for device, disk in disks(image).items()
    ]


def origin(thing: Any, image_id: str) -> str:
    """Return the public image from which an instance or an image comes, also over several moves.

    :param image_id: the image, if it is a public one.
    """
    return str(getattr(thing, "origin", image_id))


def fill(backend: Any, image: Any, instance: Any, tags: list[dict[str, str]]) -> None:
    """Give an image snapshots of the volumes of its instance, in place of moto's."""
    del backend.snapshots[image.ebs_snapshot.id]
    image.root_device_name, image.root_device_type = instance.root_device_name, "ebs"
    image.origin = origin(instance, instance.image_id)
    image.disks = {}
    for device, attachment in instance.block_device_mapping.items():
        volume = backend.volumes[attachment.volume_id]
        description = f"Created by CreateImage({instance.id}) for {image.id}"
        snapshot = backend.create_snapshot(volume.id, description, from_ami=image.id)
        for tag in tags:
            snapshot.add_tag(tag["Key"], tag["Value"])
        image.disks[device] = {
            "snapshot": snapshot,
            "size": volume.size,
            "type": volume.volume_type,
            "delete_on_termination": attachment.delete_on_termination,
        }
        if device == instance.root_device_name:
            image.ebs_snapshot = snapshot


@cache
def install() -> None:
    """Patch moto in this process, once."""
    backends: Any = image_models.AmiBackend
    kinds: Any = Ami
    create, plain = backends.create_image, kinds.block_device_mappings

    def create_image(
        self: Any, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
    ) -> Any:
        for image in self.amis.values():
            if image.name == name and image.owner_id == self.account_id:
                raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image.id}")
        given = {row["ResourceType"]: row["Tags"] for row in tag_specifications}
        tagged = [{"ResourceType": "image", "Tags": given.get("image", [])}]
        made = create(self, instance_id, name, description, tag_specifications=tagged)
        fill(self, made, self.get_instance(instance_id), given.get("snapshot", []))
        return made

    backends.create_image = create_image
    kinds.block_device_mappings = property(lambda self: mappings(self) or plain.fget(self))
