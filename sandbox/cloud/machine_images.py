"""The public machine images of the sandbox's AWS: data, and the form in which moto loads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CANONICAL = "099720109477"
DEBIAN = "136693071363"


@dataclass(frozen=True)
class MachineImage:
    """A public machine image.

    :param parameters: the public SSM parameters with its id.
    :param user: the user that its cloud-init creates.
    :param host: the simulated host's image, a key of ``sandbox.builds.HOSTS``: all hosts are Debian.
    """

    id: str
    name: str
    owner: str
    root_device: str
    user: str
    host: str
    parameters: tuple[str, ...]


UBUNTU = "/aws/service/canonical/ubuntu/server"
MACHINE_IMAGES = (
    MachineImage(
        "ami-0d7a2404000000001",
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261101",
        CANONICAL,
        "/dev/sda1",
        "ubuntu",
        "debian13",
        (f"{UBUNTU}/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",),
    ),
    MachineImage(
        "ami-0d7a2204000000001",
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20261101",
        CANONICAL,
        "/dev/sda1",
        "ubuntu",
        "debian12",
        (f"{UBUNTU}/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",),
    ),
    MachineImage(
        "ami-0d7a1300000000001",
        "debian-13-amd64-20261101-2200",
        DEBIAN,
        "/dev/xvda",
        "admin",
        "debian13",
        ("/aws/service/debian/release/13/latest/amd64",),
    ),
    MachineImage(
        "ami-0d7a1200000000001",
        "debian-12-amd64-20261101-2200",
        DEBIAN,
        "/dev/xvda",
        "admin",
        "debian12",
        ("/aws/service/debian/release/12/latest/amd64",),
    ),
)


def machine_image_rows() -> list[dict[str, Any]]:
    """Return the machine images in the form of moto's ``MOTO_AMIS_PATH`` file."""
    return [
        {
            "ami_id": image.id,
            "name": image.name,
            "description": image.name,
            "owner_id": image.owner,
            "public": True,
            "state": "available",
            "architecture": "x86_64",
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            "root_device_type": "ebs",
            "root_device_name": image.root_device,
            "image_type": "machine",
            "image_location": f"amazon/{image.name}",
            "sriov": "simple",
            "creation_date": "2026-11-01T00:00:00.000Z",
        }
        for image in MACHINE_IMAGES
    ]


def machine_image(image_id: str) -> MachineImage:
    """Return a machine image by id; Debian 13 for any other id, such as one that was made from a host."""
    return next((image for image in MACHINE_IMAGES if image.id == image_id), MACHINE_IMAGES[2])
