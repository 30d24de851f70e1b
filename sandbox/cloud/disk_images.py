"""The disks of images that were made of hosts: a local Docker image and a volume for each, so that a host can move.

A host's container is its root disk, and the volume with its Docker engine's data is a part of that. Both are copied
when the image is made, and an instance of the image begins with copies of them, with the host's identity.
"""

from __future__ import annotations

import contextlib
from typing import Any

from docker import DockerClient
from docker.errors import APIError, ImageNotFound, NotFound

from sandbox.builds import HOSTS
from sandbox.settings import Sandbox

IMAGE_LABEL = "digital_twin.machine_image"
NOT_FOUND, IN_USE = 404, 409
# With extended attributes and device nodes, which the layers of an engine have.
COPY = ["cp", "-a", "/from/.", "/to/"]


def disk_of(sandbox: Sandbox, part: str) -> str:
    """Return the name of the volume with the engine's data of an instance or image."""
    return sandbox.name(f"{part}-docker")


class DiskImages:
    """The disks of one sandbox's images of hosts."""

    def __init__(self, sandbox: Sandbox, client: DockerClient) -> None:
        """Manage the images of one sandbox through one engine."""
        self._sandbox = sandbox
        self._client = client

    def find(self, image_id: str) -> str:
        """Return the local image with the root disk of an image; empty for an image that was not made of a host."""
        tag = self._tag(image_id)
        try:
            self._client.images.get(tag)
        except ImageNotFound:
            return ""
        return tag

    def make(self, image_id: str, instance_id: str) -> None:
        """Copy the disks of a stopped host."""
        container = self._client.containers.get(self._sandbox.name(instance_id))
        labels = {**self._sandbox.labels, IMAGE_LABEL: image_id}
        changes = [f"LABEL {name}={value}" for name, value in labels.items()]
        repository, _colon, version = self._tag(image_id).rpartition(":")
        container.commit(repository, version, changes=changes)
        self.copy(instance_id, image_id)

    def copy(self, source: str, target: str) -> None:
        """Copy the engine's data of an instance or image to another one."""
        made = self._client.volumes.create(disk_of(self._sandbox, target), labels=self._sandbox.labels)
        self._client.containers.run(
            HOSTS["debian13"].tag,
            COPY,
            labels=self._sandbox.labels,
            cap_add=["SYS_ADMIN"],
            network_mode="none",
            remove=True,
            volumes={
                disk_of(self._sandbox, source): {"bind": "/from", "mode": "ro"},
                made.name: {"bind": "/to", "mode": "rw"},
            },
        )

    def remove(self, image_id: str) -> None:
        """Remove the disks of an image. What a host of it needs stays until ``sandbox down``."""
        try:
            self._client.images.remove(self._tag(image_id))
        except APIError as error:
            if error.status_code not in (NOT_FOUND, IN_USE):
                raise
        with contextlib.suppress(NotFound):
            self._client.volumes.get(disk_of(self._sandbox, image_id)).remove(force=True)

    def _tag(self, image_id: str) -> str:
        """Return the name of the local image."""
        return f"{self._sandbox.name(image_id)}:disk"


def remove_images(sandbox: Sandbox, client: DockerClient) -> None:
    """Remove all local images of a sandbox's hosts, found by their label."""
    wanted: dict[str, Any] = {"label": [sandbox.label_filter, IMAGE_LABEL]}
    for image in client.images.list(filters=wanted):
        client.images.remove(str(image.id), force=True)
