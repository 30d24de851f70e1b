# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the data volumes of a lab's hosts: what to create, attach and grow, and what prevents it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...module_utils._lab.ownership import INDEX_TAG
from ...module_utils._lab.record import DATA_TAG, DATA_TAGS, IDS_PER_TAG, Record, write_record
from ...module_utils._values import whole_number
from .._cost.prices import Prices, own_types, prices_of
from .differences import plain

Item = Mapping[str, Any]

# The device names that EC2 recommends for data volumes.
DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")
ENDING = "shutting-down"


@dataclass(frozen=True)
class Wanted:
    """The described data volumes.

    Attributes:
        name: The lab's name.
        region: Its region.
        hosts: The numbers of its hosts.
        size: GiB of each volume; 0 for none.
        iops: Operations a second.
        throughput: MiB/s.
        tags: The lab's tags.
        recorded: Ids of the volumes by the number of their host, also of those that no longer exist.
        zones: The zones that offer a type for new hosts; None if that is not known.
        prefix: How the user's variables begin.
    """

    name: str
    region: str
    hosts: Sequence[str]
    size: int
    iops: int
    throughput: int
    tags: Mapping[str, str]
    recorded: Mapping[str, str]
    zones: Sequence[str] | None = None
    prefix: str = "aws_infrastructure_"

    def host(self, index: str) -> str:
        """Return the name of a host."""
        return f"{self.name}-{index}"

    def tags_of(self, index: str) -> dict[str, str]:
        """Return the tags of a host's data volume."""
        return {**self.tags, "Name": f"{self.host(index)}-data", INDEX_TAG: index, DATA_TAG: "true"}


def read_wanted(lab: Item) -> Wanted:
    """Return the described data volumes from the mapping that the filter lab_data_volumes documents."""
    zones = lab.get("zones")
    return Wanted(
        name=str(lab["name"]),
        region=str(lab["region"]),
        hosts=[str(index) for index in lab["hosts"]],
        size=whole_number(lab["size"]) or 0,
        iops=whole_number(lab["iops"]) or 0,
        throughput=whole_number(lab["throughput"]) or 0,
        tags={str(key): str(value) for key, value in lab["tags"].items()},
        recorded={str(key): str(value) for key, value in lab["recorded"].items()},
        zones=None if zones is None else [str(zone) for zone in zones],
    )


def plan_data_volumes(found: Item, others: Sequence[Item], lab: Item) -> dict[str, Any]:
    """Return the plan, as the filter lab_data_volumes documents it.

    Args:
        found: The lab's own instances and data volumes.
        others: Data volumes that carry its tags and do not belong to it.
        lab: Its description.
    """
    found, others, lab = plain(found), plain(others), plain(lab)
    wanted = read_wanted(lab)
    volumes = {str(volume["index"]): volume for volume in found.get("data_volumes") or ()}
    live = [item for item in found.get("instances") or () if item["state"]["name"] != ENDING]
    hosts = {str(item["tags"].get(INDEX_TAG, "")): item for item in live}
    ending = {item["instance_id"] for item in found.get("instances") or ()} - {item["instance_id"] for item in live}
    prices = prices_of(wanted.region, lab["prices"], own_types(lab["instance_catalogue"]), lab.get("listed"))
    used = wanted.hosts if wanted.size else ()
    present = {index: volumes[index] for index in used if index in volumes}
    problems = [line for index in used if index not in present for line in _check_missing(wanted, index, others)]
    for index, volume in present.items():
        problems += _check_present(wanted, index, volume, hosts.get(index), ending)
    problems += [line for item in live for line in check_kept(item, volumes)]
    steps = [
        _describe_step(wanted, index, present.get(index), hosts.get(index))
        for index in used
        if index in present or index not in wanted.recorded
    ]
    return {
        "problems": problems,
        "notes": _list_notes(wanted, volumes, hosts, prices),
        "zones": {index: volume["zone"] for index, volume in present.items()},
        "create": [step for step in steps if not step["volume_id"]],
        "attach": [step for step in steps if step["volume_id"] and step["device"]],
        "modify": [step for step in steps if step["modify"]],
        "differences": [line for step in steps for line in _describe_difference(step)],
        "lines": _list_volumes(wanted, volumes, prices),
    }


def _check_missing(wanted: Wanted, index: str, others: Sequence[Item]) -> list[str]:
    """Return why a data volume cannot be created."""
    option = f"{wanted.prefix}data_volume_size: {wanted.size}"
    host = wanted.host(index)
    if index in wanted.recorded:
        left = {number: name for number, name in wanted.recorded.items() if number != index}
        part = DATA_TAGS[(int(index) - 1) // IDS_PER_TAG]
        value = write_record(Record(data_volumes=left)).get(part, "")
        return [
            f"{option}, and {wanted.recorded[index]}, the data volume of {host}, no longer exists in {wanted.region}. "
            "It is not replaced automatically. To create an empty one, run `aws iam tag-role --role-name "
            f"{wanted.name}-instance --tags 'Key={part},Value={value}'`, and this again."
        ]
    same = sorted(item["id"] for item in others if (item.get("tags") or {}).get(INDEX_TAG, index) == index)
    if not same:
        return []
    verb = "is" if len(same) == 1 else "are"
    return [
        f"{option}, and {' and '.join(same)} with the tags of the data volume of {host} {verb} not in the lab's "
        f"record. Allowed: one recorded data volume for each host. If one of them is the lab's, add it to "
        f"{wanted.prefix}adopt. Remove the tag digital_twin_lab from all others."
    ]


def _check_present(wanted: Wanted, index: str, volume: Item, instance: Item | None, ending: set[str]) -> list[str]:
    """Return why a data volume cannot be used as described."""
    host, identifier, zone = wanted.host(index), volume["id"], volume["zone"]
    problems = []
    if volume["size"] > wanted.size:
        problems.append(
            f"{wanted.prefix}data_volume_size: {wanted.size} is less than {identifier}, the data volume of {host}, "
            f"has, and AWS cannot shrink volumes. Allowed: {volume['size']} GiB or more, or 0 to leave it as it is. "
            "Raise it."
        )
    holder = _holder(volume)
    if holder and holder not in ending and (instance is None or holder != instance["instance_id"]):
        problems.append(
            f"{identifier}, the data volume of {host}, is attached to {holder}, which is not this host"
            f"{'' if instance is None else ' (' + instance['instance_id'] + ')'}. Unmount it there, and run `aws ec2 "
            f"detach-volume --volume-id {identifier}`."
        )
    if instance is not None and instance["placement"]["availability_zone"] != zone:
        problems.append(
            f"{host} ({instance['instance_id']}) is in {instance['placement']['availability_zone']}, and {identifier}, "
            f"its data volume, in {zone}. AWS attaches no volume across zones. To use it, terminate the instance and "
            f"provision again, which launches the host in {zone}. To go on without it, set "
            f"{wanted.prefix}data_volume_size to 0."
        )
    if instance is None and wanted.zones is not None and zone not in wanted.zones:
        problems.append(
            f"{host} can be launched in {zone} only, where {identifier}, its data volume, is. Possible by instance "
            f"type and {wanted.prefix}availability_zone: {', '.join(wanted.zones) or 'no zone'}. Choose a type that "
            f"{zone} offers, and leave {wanted.prefix}availability_zone empty or set it to {zone}."
        )
    return problems


def check_kept(instance: Item, volumes: Mapping[str, Item]) -> list[str]:
    """Return which data volumes AWS would delete with an instance.

    Args:
        instance: An instance of the lab.
        volumes: The lab's data volumes by the number of their host.
    """
    own = {volume["id"] for volume in volumes.values()}
    problems = []
    for mapping in instance.get("block_device_mappings") or ():
        disk = mapping.get("ebs") or {}
        if disk.get("volume_id") in own and disk.get("delete_on_termination"):
            change = json.dumps([{"DeviceName": mapping["device_name"], "Ebs": {"DeleteOnTermination": False}}])
            problems.append(
                f"{disk['volume_id']}, a data volume, would be deleted with {instance['instance_id']} "
                "(DeleteOnTermination). Run `aws ec2 modify-instance-attribute --instance-id "
                f"{instance['instance_id']} --block-device-mappings '{change}'`."
            )
    return problems


def _list_volumes(wanted: Wanted, volumes: Mapping[str, Item], prices: Prices) -> list[str]:
    """Return the volumes in words."""
    return [
        f"{describe_volume(volume, prices)}, the data volume of {wanted.host(index)}"
        for index, volume in sorted(volumes.items(), key=lambda entry: (len(entry[0]), entry[0]))
    ]


def _list_notes(wanted: Wanted, volumes: Mapping[str, Item], hosts: Mapping[str, Item], prices: Prices) -> list[str]:
    """Return what the user should know."""
    notes = []
    for index, volume in sorted(volumes.items(), key=lambda entry: (len(entry[0]), entry[0])):
        what = f"{describe_volume(volume, prices)}, the data volume of {wanted.host(index)}"
        if index not in wanted.hosts:
            notes.append(f"{what}, which is beyond {wanted.prefix}instance_count, stays.")
        elif not wanted.size:
            notes.append(f"{what}, stays as it is, although {wanted.prefix}data_volume_size is 0.")
        elif index not in hosts:
            notes.append(f"{what}, is kept. The host is launched in {volume['zone']} only.")
    return notes


def month_price(volume: Item, prices: Prices) -> float:
    """Return the price of a volume a month."""
    sizes = [whole_number(volume.get(key)) or 0 for key in ("size", "iops", "throughput")]
    return round(prices.volume_month(*sizes), 2)


def describe_volume(volume: Item, prices: Prices) -> str:
    """Return a volume in words: its id, size and price."""
    price = month_price(volume, prices)
    return f"{volume['id']} ({volume['size']} GiB in {volume['zone']}, ${price:.2f} a month)"


def _holder(volume: Item) -> str:
    """Return the instance that a volume is attached to, or nothing."""
    return next((item.get("instance_id") or "" for item in volume.get("attachment_set") or ()), "")


def _describe_step(wanted: Wanted, index: str, volume: Item | None, instance: Item | None) -> dict[str, Any]:
    """Return what is to be done for a host. Empty values where nothing is."""
    step: dict[str, Any] = {
        "index": index,
        "host": wanted.host(index),
        "volume_id": volume["id"] if volume else "",
        "zone": volume["zone"] if volume else instance["placement"]["availability_zone"] if instance else "",
        "instance_id": instance["instance_id"] if instance else "",
        "device": "",
        "tags": wanted.tags_of(index),
        "modify": [],
    }
    if instance and (volume is None or _holder(volume) != instance["instance_id"]):
        taken = {mapping["device_name"] for mapping in instance.get("block_device_mappings") or ()}
        step["device"] = next((name for name in DEVICES if name not in taken and not _alias(name) & taken), "")
    if volume:
        has = [volume["type"], *(whole_number(volume.get(key)) or 0 for key in ("size", "iops", "throughput"))]
        same = has == ["gp3", wanted.size, wanted.iops, wanted.throughput]
        step["modify"] += [] if same else ["performance"]
        step["modify"] += [] if step["tags"].items() <= (volume.get("tags") or {}).items() else ["tags"]
    return step


def _alias(name: str) -> set[str]:
    """Return the other name of a device."""
    return {name.replace("/dev/sd", "/dev/xvd")}


def _describe_difference(step: Item) -> list[str]:
    """Return what a host's data volume lacks."""
    name = f"data volume of {step['host']}"
    if not step["volume_id"]:
        return [f"{name}: missing"]
    lines = [f"{name}: {attribute}" for attribute in step["modify"]]
    # A missing host gets it after its launch.
    return lines + ([f"{name}: attachment"] if step["device"] or not step["instance_id"] else [])
