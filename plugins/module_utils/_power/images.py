# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image by which a stopped host moves to another zone: make it, wait for it, remove it with its snapshots.

Sources, read on 2026-11-30: EC2 user guide, "Create an Amazon EBS-backed AMI" (every attached volume comes along), and
EC2 API reference, CreateImage and Image (SourceInstanceId). Tags can be changed by other callers, an image's name and
source cannot, so these identify it.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .._aws.errors import ReadError, translated
from .._lab.last_action import MOVE_TAG
from .._launch.calls import call_patiently
from .._launch.errors import Refusal
from .._launch.request import tag_list
from .._launch.run import LOOK, StopError, lab_tags
from .calls import Host, Power

AVAILABLE, PENDING = "available", "pending"
# The image exists already: AWS has carried out a call whose answer was lost.
DUPLICATE = "InvalidAMIName.Duplicate"
# Codes of a removal that another run has done.
GONE_CODES = {"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound"}


@dataclass(frozen=True)
class Copy:
    """The image of a stopped host.

    Attributes:
        id: Its id.
        source: The instance of which it was made.
        state: Its state.
        created: When it was made; None if AWS does not describe that.
        root_device: Its root device.
        reason: Why it failed; empty otherwise.
        snapshots: Ids of its snapshots.
    """

    id: str
    source: str
    state: str
    created: datetime | None
    root_device: str
    reason: str = ""
    snapshots: tuple[str, ...] = ()


def image_name(lab: str, instance_id: str) -> str:
    """Return the name of the image by which an instance moves. AWS makes no second one of the same name."""
    return f"digital-twin-{lab}-move-{instance_id}"


def made_by(instance_id: str, image_id: str) -> str:
    """Return how EC2's description of a snapshot begins, with a space at its end; of any image if none is given."""
    return f"Created by CreateImage({instance_id}) for {f'{image_id} ' if image_id else ''}"


def read_copy(image: dict[str, Any]) -> Copy:
    """Return an image as EC2 describes it."""
    disks = [mapping.get("Ebs", {}) for mapping in image.get("BlockDeviceMappings", [])]
    created = str(image.get("CreationDate") or "")
    return Copy(
        id=str(image["ImageId"]),
        source=str(image.get("SourceInstanceId") or ""),
        state=str(image.get("State", "")),
        created=datetime.fromisoformat(created.replace("Z", "+00:00")) if created else None,
        root_device=str(image.get("RootDeviceName") or ""),
        reason=str((image.get("StateReason") or {}).get("Message", "")),
        snapshots=tuple(str(disk["SnapshotId"]) for disk in disks if disk.get("SnapshotId")),
    )


def is_outdated(copy: Copy, host: Host) -> bool:
    """Return whether a host may have run after its image was made, so that its disks have newer data."""
    launched = host.instance.get("LaunchTime")
    return copy.created is None or launched is None or launched >= copy.created


@dataclass
class Images:
    """The images of the hosts of a lab.

    Attributes:
        power: The calls.
        lab: The lab's name.
        tags: The user's tags.
        timeout: Seconds for an image to be available.
    """

    power: Power
    lab: str
    tags: dict[str, str]
    timeout: float

    def read(self, instances: Collection[str]) -> dict[str, Copy]:
        """Return the images of instances by the instance's id.

        Raises:
            StopError: Another image has the name of one.
            ReadError: AWS did not answer.
        """
        names = {image_name(self.lab, identifier): identifier for identifier in instances}
        if not names:
            return {}
        found = {}
        for image in self._images([{"Name": "name", "Values": sorted(names)}]):
            copy, source = read_copy(image), names.get(str(image.get("Name")), "")
            if copy.source != source:
                raise StopError(
                    f"{copy.id}: has the name {image.get('Name')}, and was not made of {source}. Nothing was changed. "
                    "Deregister it, or give its content another name."
                )
            found[source] = copy
        return found

    def create(self, host: Host) -> Copy:
        """Begin to make the image of a stopped host, and return it.

        Raises:
            StopError: AWS refuses.
            ReadError: AWS did not answer.
        """
        name = image_name(self.lab, host.id)
        tags = {**self.tags, **lab_tags(self.lab), "Name": f"{host.name} (move)", MOVE_TAG: host.id}
        answer = call_patiently(
            self.power.once.create_image,
            "ec2:CreateImage",
            self.power.region,
            self.power.patience,
            InstanceId=host.id,
            Name=name,
            Description=f"{host.name} on its way to another zone",
            NoReboot=True,
            TagSpecifications=[{"ResourceType": kind, "Tags": tag_list(tags)} for kind in ("image", "snapshot")],
        )
        if isinstance(answer, Refusal) and answer.code != DUPLICATE:
            raise StopError(self.power.explain(host, answer, "CreateImage"))
        self.power.changes += 1
        if not isinstance(answer, Refusal):
            return Copy(str(answer["ImageId"]), host.id, PENDING, None, "")
        end = time.monotonic() + self.power.patience
        while True:
            found = self.read([host.id]).get(host.id)
            if found:
                return found
            if time.monotonic() + LOOK > end:
                raise StopError(f"{host.name}: AWS does not describe the image {name} yet. Run this again.")
            time.sleep(LOOK)

    def await_available(self, host: Host, copy: Copy) -> Copy:
        """Wait until the image of a host is available, and return it.

        Raises:
            StopError: AWS cannot make it, or it takes longer than the time.
            ReadError: AWS did not answer.
        """
        end = time.monotonic() + self.timeout
        while True:
            # By a filter, as EC2 may not know a new image by its id yet.
            found = self._images([{"Name": "image-id", "Values": [copy.id]}])
            copy = read_copy(found[0]) if found else copy
            if copy.state == AVAILABLE:
                return copy
            if copy.state != PENDING:
                self.remove(host.id, copy)
                self.power.tag(host, {}, [MOVE_TAG])
                raise StopError(
                    f"{host.name}: AWS could not make its image ({copy.state}: {copy.reason or 'no reason'}). It "
                    "was deleted. The host is as it was. Run this again."
                )
            if time.monotonic() + LOOK > end:
                raise StopError(
                    f"{host.name}: its image {copy.id} is still {copy.state} after {self.timeout:.0f} s. The host is "
                    "as it was, and the image costs money. Run this again to go on, or raise "
                    f"{self.power.prefix}move_timeout."
                )
            time.sleep(LOOK)

    def remove(self, instance: str, copy: Copy | None, image: str = "") -> list[str]:
        """Remove the image of an instance and all of its snapshots, and return a line for each that stays.

        Args:
            instance: The instance.
            copy: Its image; None if it does not exist.
            image: The id of the only image of whose snapshots this removes; empty for any image of the instance.

        Raises:
            ReadError: AWS did not answer, or refused.
        """
        snapshots = list(copy.snapshots if copy else ())
        if copy:
            self._remove("deregister_image", "ec2:DeregisterImage", ImageId=copy.id)
        # Also those of an image that a killed run has deregistered.
        snapshots += [identifier for identifier in self.leftovers([instance], image) if identifier not in snapshots]
        lines = []
        for identifier in snapshots:
            try:
                self._remove("delete_snapshot", "ec2:DeleteSnapshot", SnapshotId=identifier)
            except ReadError as error:
                if error.code != "InvalidSnapshot.InUse":
                    raise
                lines.append(f"{identifier}: stays, as another image uses it")
        return lines

    def leftovers(self, instances: Collection[str], image: str = "") -> dict[str, str]:
        """Return the ids of the snapshots of images by which instances moved, with the instance of each.

        Args:
            instances: The instances.
            image: The id of the only image; empty for any.

        Raises:
            ReadError: AWS did not answer.
        """
        if not instances:
            return {}
        tags = {**{key: [value] for key, value in lab_tags(self.lab).items()}, MOVE_TAG: list(instances)}
        filters = [{"Name": f"tag:{key}", "Values": values} for key, values in tags.items()]
        with translated("ec2:DescribeSnapshots", self.power.region):
            pages = self.power.ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=filters)
            found = [snapshot for page in pages for snapshot in page["Snapshots"]]
        # Any caller that may tag can give the tags to other snapshots, but not EC2's description.
        return {
            str(row["SnapshotId"]): identifier
            for row in found
            for identifier in instances
            if f"{row.get('Description', '')} ".startswith(made_by(identifier, image))
        }

    def _images(self, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return images of this account."""
        with translated("ec2:DescribeImages", self.power.region):
            images: list[dict[str, Any]] = self.power.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
        return images

    def _remove(self, method: str, action: str, **given: str) -> None:
        """Remove something, unless it is gone."""
        try:
            with translated(action, self.power.region):
                getattr(self.power.ec2, method)(**given)
            self.power.changes += 1
        except ReadError as error:
            if error.code not in GONE_CODES:
                raise
