# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide what the move of each host needs next, and describe its new instance.

The next step follows from what exists, so that the next run continues one that was killed at any moment:

* an instance that was launched from the image of another one: end the move,
* only the image of a stopped instance: continue the move, or remove the image once the instance runs,
* neither: begin the move, if it is requested.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._aws.resources import profile_name, read_tags
from .._lab.last_action import ACTION_TAG, ERROR_TAG, MOVE_TAG, TYPE_TAG
from .._lab.record import DATA_TAG
from .._launch.offers import ON_DEMAND, Offer, list_offers
from .._launch.request import Machine
from .._launch.run import GPUS_TAG, StopError
from .calls import PENDING, RESIZE_TAG, RUNNING, STOPPED, STOPPING, Host, Type
from .images import Copy, is_outdated

BEGIN, END, CLEAN = "begin", "end", "clean"
FROM = re.compile(r"from (i-[0-9a-f]+) (ami-[0-9a-f]+)")
# Of the old instance, and not of the new one.
LEFT_OUT = {ACTION_TAG, ERROR_TAG, MOVE_TAG, RESIZE_TAG, GPUS_TAG}
# Types of volumes whose performance can be set.
WITH_IOPS, WITH_THROUGHPUT = {"gp3", "io1", "io2"}, {"gp3"}
# The disk is the same, and so are its host keys. cloud-init takes an instance with another id for a new machine.
USER_DATA = "#cloud-config\nssh_deletekeys: false\napt: {preserve_sources_list: true}\n"


@dataclass
class Step:
    """What the move of a host needs next.

    Attributes:
        kind: One of the three above.
        old: Its old instance; None when that is gone.
        new: Its new instance, or None before the launch.
        source: The id of its old instance.
        copy: The image of the old instance, or None if it does not exist.
    """

    kind: str
    source: str
    old: Host | None = None
    new: Host | None = None
    copy: Copy | None = None

    @property
    def host(self) -> Host:
        """The instance that a result names: the new one, if there is one."""
        found = self.new or self.old
        if found is None:
            raise StopError(f"{self.source}: has neither an old nor a new instance.")
        return found


def source_of(host: Host) -> str:
    """Return the instance from which a host has moved, by its tag, or nothing."""
    match = FROM.fullmatch(host.tags.get(MOVE_TAG, ""))
    return match[1] if match else ""


def next_step(
    instances: Sequence[Host], wanted: bool, copies: Mapping[str, Copy], snapshots: Collection[str]
) -> Step | None:
    """Return what the move of a host needs next, or None for nothing.

    Args:
        instances: The instances of the host: one, or the old and the new one.
        wanted: Whether it is to move.
        copies: The images by which instances moved, by the instance.
        snapshots: Ids of the instances of whose images there are snapshots.

    Raises:
        StopError: It cannot be decided which instance to keep.
    """
    pairs = [
        (old, new, copies[old.id])
        for old in instances
        for new in instances
        if old is not new and old.id in copies and new.instance.get("ImageId") == copies[old.id].id
    ]
    name = instances[0].name
    if len(instances) > 2 or (len(instances) == 2 and len(pairs) != 1):
        ids = ", ".join(host.id for host in instances)
        raise StopError(f"{name}: has several instances ({ids}). Nothing was changed. Terminate all but one of them.")
    if pairs:
        old, new, copy = pairs[0]
        refuse_doubt(old, new, copy)
        return Step(END, old.id, old, new, copy)
    (host,) = instances
    source = source_of(host)
    if source:
        # The old one is gone: it is terminated last.
        copy_of_it = copies.get(source)
        ours = copy_of_it and copy_of_it.id == host.instance.get("ImageId")
        return Step(END, source, None, host, copy_of_it if ours else None)
    found = copies.get(host.id)
    if wanted and host.state in (STOPPED, STOPPING):
        return Step(BEGIN, host.id, host, None, found)
    if host.state in (RUNNING, PENDING) and (found or host.id in snapshots or MOVE_TAG in host.tags):
        return Step(CLEAN, host.id, host, None, found)
    return None


def refuse_doubt(old: Host, new: Host, copy: Copy) -> None:
    """Check that the old instance of a host has nothing that the new one lacks.

    Raises:
        StopError: It runs, or has run after its image was made.
    """
    reason = ""
    if old.state in (RUNNING, PENDING):
        reason = f"is {old.state} while {new.id} in {new.zone} is {new.state}"
    elif is_outdated(copy, old):
        reason = f"has run after the image of {new.id} in {new.zone} was made, so that both may have newer data"
    if reason:
        raise StopError(
            f"{old.name}: its old instance {old.id} in {old.zone} {reason}. Nothing was deleted. Decide which "
            "instance has the data that you need, terminate the other one, run this again, and then site.yml, which "
            "assigns the address."
        )


def obstacle(host: Host, volumes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why a host cannot move, or nothing.

    Args:
        host: The host.
        volumes: Its volumes as EC2 describes them, by their ids.
    """
    data = [name for name, volume in volumes.items() if read_tags(volume.get("Tags")).get(DATA_TAG) == "true"]
    interfaces = host.instance.get("NetworkInterfaces", [])
    tenancy = host.instance.get("Placement", {}).get("Tenancy") or "default"
    if host.market != ON_DEMAND:
        reason = f"it is a {host.market} instance. Allowed: an instance on demand. Run this again later"
    elif host.instance.get("RootDeviceType", "ebs") != "ebs":
        reason = "its root disk is in its machine, so that no image can be made of it. Run this again later"
    elif data:
        reason = (
            f"its data volume {', '.join(data)} stays in {host.zone}, and the lab's role records it there. Run this "
            "again later"
        )
    elif len(interfaces) > 1:
        reason = f"it has {len(interfaces)} network interfaces, and the new instance would have one. Detach the others"
    elif any(len(row.get("PrivateIpAddresses", [])) > 1 for row in interfaces):
        reason = "it has several private addresses, and the new instance would have one. Remove the others"
    elif tenancy != "default":
        reason = f"its tenancy is {tenancy}. Allowed: default. Run this again later"
    else:
        return ""
    return f"{host.name}: {host.id} cannot move to another zone: {reason}."


def offers_of(
    host: Host, places: Mapping[str, Sequence[str]], kinds: Mapping[str, Type], zones: Sequence[str]
) -> list[Offer]:
    """Return the places to which a host can move, in order: every zone but its own.

    Args:
        host: The host.
        places: The types to try, in order, with the zones that offer each.
        kinds: The types as EC2 describes them.
        zones: The zones to try first.
    """
    needed = str(host.instance.get("Architecture") or "")
    fit = [name for name in places if name in kinds and (not needed or needed in kinds[name].architectures)]
    elsewhere = [(name, [zone for zone in places[name] if zone != host.zone]) for name in fit]
    return list_offers(elsewhere, "on_demand", list(zones))


def own_type(host: Host, known: Collection[str]) -> str:
    """Return a host's own type. The tag counts for a type that may be tried only: any caller may be able to tag."""
    tagged = host.tags.get(TYPE_TAG, "")
    return tagged if tagged in known else host.type


def disk_mappings(host: Host, volumes: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the disks of a new instance: those of the old one as they are now, from the image's snapshots."""
    found = []
    for mapping in host.instance.get("BlockDeviceMappings", []):
        volume, disk = volumes[mapping["Ebs"]["VolumeId"]], mapping["Ebs"]
        kind = str(volume["VolumeType"])
        performance = {
            key: volume[key]
            for key, kinds in (("Iops", WITH_IOPS), ("Throughput", WITH_THROUGHPUT))
            if kind in kinds and volume.get(key)
        }
        size = {"VolumeType": kind, "VolumeSize": volume["Size"], **performance}
        ebs = {**size, "DeleteOnTermination": bool(disk.get("DeleteOnTermination"))}
        found.append({"DeviceName": mapping["DeviceName"], "Ebs": ebs})
    return found


def machine_of(host: Host, copy: Copy, disks: list[dict[str, Any]], shutdown: str, protected: bool) -> Machine:
    """Return the description of a host's new instance: its old one from the image.

    Args:
        host: The host with its old instance.
        copy: The image.
        disks: The disks of the new instance.
        shutdown: What the old one does when it shuts itself down.
        protected: Whether it is protected from termination.
    """
    old = host.instance
    options, names = old.get("MetadataOptions") or {}, old.get("PrivateDnsNameOptions") or {}
    keys = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "InstanceMetadataTags")
    metadata = {key: options[key] for key in keys if options.get(key)}
    more: dict[str, Any] = {"BlockDeviceMappings": disks, "InstanceInitiatedShutdownBehavior": shutdown}
    more |= {"MetadataOptions": metadata} if metadata else {}
    more |= {"EbsOptimized": True} if old.get("EbsOptimized") else {}
    more |= {"PrivateDnsNameOptions": names} if names.get("HostnameType") == "resource-name" else {}
    return Machine(
        vpc_id=str(old["VpcId"]),
        image_id=copy.id,
        root_device=copy.root_device,
        key_name=str(old.get("KeyName") or ""),
        groups=[str(group["GroupId"]) for group in old.get("SecurityGroups", [])],
        profile=profile_name((old.get("IamInstanceProfile") or {}).get("Arn", "")),
        # The disks above replace it.
        volume={"size": 0, "iops": 0, "throughput": 0},
        user_data=USER_DATA,
        monitoring=(old.get("Monitoring") or {}).get("State") in ("enabled", "pending"),
        protection=protected,
        # Each volume gets the tags of the one that it replaces.
        tagged=("instance",),
        more=more,
        origin=copy.id,
    )


def tags_of(host: Host, copy: Copy, own: str) -> dict[str, str]:
    """Return the tags of a host's new instance. They depend on nothing that changes between two runs.

    Args:
        host: The host with its old instance.
        copy: The image.
        own: The host's own type.
    """
    kept = {key: value for key, value in host.tags.items() if key not in LEFT_OUT and not key.startswith("aws:")}
    return {**kept, TYPE_TAG: own, MOVE_TAG: f"from {host.id} {copy.id}"}


def missing_disks(old: Host, new: Host) -> list[str]:
    """Return the devices of an old instance that the new one lacks."""
    names = {mapping["DeviceName"] for mapping in new.instance.get("BlockDeviceMappings", [])}
    devices = [str(mapping["DeviceName"]) for mapping in old.instance.get("BlockDeviceMappings", [])]
    return [device for device in devices if device not in names]


def staying(host: Host) -> list[str]:
    """Return the volumes that AWS does not delete with the old instance of a host."""
    mappings = host.instance.get("BlockDeviceMappings", [])
    return [str(row["Ebs"]["VolumeId"]) for row in mappings if not row["Ebs"].get("DeleteOnTermination")]
