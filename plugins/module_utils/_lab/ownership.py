# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide which resources with a lab's tags belong to the lab.

A lab is found by tags, and any caller that may tag resources can add them to others. What belongs to a lab is also in
its record (record.py), or has properties that tagging cannot give: a place in the recorded VPC, the lab's key pair and
its instance profile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, field, replace

from .._aws.resources import Address, Gateway, Instance, KeyPair, SecurityGroup, Volume, Vpc
from .._problem import shown
from .record import CLAIM_TAG, Record, claim

INDEX_TAG = "digital_twin_index"
# The kinds that a user may adopt. All others belong to the lab by their VPC.
ADOPTABLE = ("VPC", "internet gateway", "address", "key pair", "volume", "data volume", "snapshot", "image")
NOT_RECORDED = "it is not in the lab's record"


@dataclass(frozen=True)
class Foreign:
    """A resource that carries a lab's tags and does not belong to it.

    Attributes:
        kind: Its kind, such as "volume".
        identifier: Its identifier in AWS.
        reason: Why it does not belong to the lab, continuing a sentence.
    """

    kind: str
    identifier: str
    reason: str

    def __str__(self) -> str:
        """Return a phrase for messages."""
        return f"{self.kind} {self.identifier} ({self.reason})"

    def remedy(self, adopt: str) -> str:
        """Return the remedy.

        Args:
            adopt: The user's variable for resources to adopt.
        """
        or_else = f", or, if the lab created it, add it to {adopt}" if self.kind in ADOPTABLE else ""
        return f"Remove its tag digital_twin_lab{or_else}."


@dataclass(frozen=True)
class Claimed:
    """Resources that carry a lab's tags. VPCs are None if they were not read. The volumes are data volumes."""

    vpcs: Sequence[Vpc] | None = None
    instances: Sequence[Instance] = ()
    gateways: Sequence[Gateway] = ()
    addresses: Sequence[Address] = ()
    key_pairs: Sequence[KeyPair] = field(default_factory=tuple)
    volumes: Sequence[Volume] = ()


def settle(
    lab: str,
    keys: Collection[str] | None,
    record: Record,
    claimed: Claimed,
    *,
    adopt: Set[str] = frozenset(),
    public_key: str = "",
) -> Record:
    """Return a lab's record with what a run could not record before it ended, and with the adopted resources.

    Args:
        lab: The lab's name.
        keys: Names of the key pairs that its instances may have; None for any.
        record: What is recorded.
        claimed: Resources that carry the lab's tags.
        adopt: Ids of resources that the user adopts.
        public_key: The lab's public key, if known.
    """
    vpc_ids = None if claimed.vpcs is None else [vpc.vpc_id for vpc in claimed.vpcs]
    vpc_id = (
        record.vpc_id
        or _only([vpc.vpc_id for vpc in claimed.vpcs or [] if _is_claimed(record, vpc.tags, "vpc")])
        or _only([identifier for identifier in vpc_ids or [] if identifier in adopt])
    )
    # A lab of an earlier release. The right to tag is not enough to launch an instance with the lab's profile.
    earlier = record.readable and not record.started
    if not vpc_id and earlier:
        own = [item for item in claimed.instances if not _wrong_with_launch(lab, keys, item)]
        vpc_id = _only(sorted({item.vpc_id or "" for item in own}))
        vpc_id = vpc_id if vpc_ids is None or vpc_id in vpc_ids else ""
    gateways = [
        item
        for item in claimed.gateways
        if _is_claimed(record, item.tags, "gateway") or item.gateway_id in adopt or (vpc_id and vpc_id in item.vpc_ids)
    ]
    pairs = [
        pair
        for pair in claimed.key_pairs
        if _is_claimed(record, pair.tags, "key_pair")
        or not adopt.isdisjoint((pair.key_pair_id, pair.name))
        or (earlier and pair.name == lab and public_key and same_key(pair.public_key, public_key))
    ]
    settled = replace(
        record,
        vpc_id=vpc_id,
        gateway_id=record.gateway_id or _only([item.gateway_id for item in gateways]),
        key_pair_id=record.key_pair_id or _only([pair.key_pair_id for pair in pairs]),
    )
    ids = own_instance_ids(lab, keys, settled, claimed.instances)
    return replace(
        settled,
        addresses=_settle_addresses(settled, ids if earlier else {}, claimed, adopt),
        data_volumes=_settle_volumes(settled, claimed.volumes, adopt),
    )


def _settle_volumes(record: Record, volumes: Sequence[Volume], adopt: Set[str]) -> dict[str, str]:
    """Return the data volumes by host, recorded or not yet recorded. Of several for a host, none: it has one at most.

    A recorded volume that no longer exists stays recorded, so that no empty one replaces it silently.

    Args:
        record: The lab's record.
        volumes: Data volumes that carry the lab's tags.
        adopt: Ids of resources that the user adopts.
    """
    known = dict(record.data_volumes)
    found: dict[str, list[str]] = {}
    for volume in volumes:
        number = volume.tags.get(INDEX_TAG, "")
        if number in known or volume.volume_id in known.values():
            continue
        if volume.volume_id in adopt or _is_claimed(record, volume.tags, f"data-{number}"):
            found.setdefault(number, []).append(volume.volume_id)
    return {**known, **{host: ids[0] for host, ids in found.items() if host.isdecimal() and len(ids) == 1}}


def _settle_addresses(record: Record, hosts: dict[str, str], claimed: Claimed, adopt: Set[str]) -> dict[str, str]:
    """Return the addresses by host, recorded or not yet recorded.

    Args:
        record: The lab's record.
        hosts: For a lab without a record, the numbers of the instances that hold its addresses.
        claimed: Resources that carry the lab's tags.
        adopt: Ids of resources that the user adopts.
    """
    addresses = dict(record.addresses)
    found: dict[str, list[str]] = {}
    for address in claimed.addresses:
        number = address.tags.get(INDEX_TAG, "")
        if address.allocation_id in addresses.values():
            continue
        if _is_claimed(record, address.tags, f"address-{number}") or hosts.get(address.holder, "") == number != "":
            found.setdefault(number, []).append(address.allocation_id)
        elif not adopt.isdisjoint((address.allocation_id, address.public_ip)):
            free = number and number not in addresses
            found.setdefault(number if free else address.allocation_id, []).append(address.allocation_id)
    return {**addresses, **{host: ids[0] for host, ids in found.items() if len(ids) == 1}}


def _is_claimed(record: Record, tags: dict[str, str], thing: str) -> bool:
    """Return whether a resource has the token of a run that ended before it could record the resource."""
    return bool(record.secret and thing) and tags.get(CLAIM_TAG) == claim(record.secret, thing)


def _only(found: Sequence[str]) -> str:
    """Return the only item; nothing for several, as one may be a copy."""
    return found[0] if len(found) == 1 else ""


def same_key(one: str, other: str) -> bool:
    """Return whether two public keys are the same, regardless of their comments."""
    return one.split()[:2] == other.split()[:2]


def own_instance_ids(
    lab: str, keys: Collection[str] | None, record: Record, instances: Sequence[Instance]
) -> dict[str, str]:
    """Return the numbers of the instances that belong to a lab, by their ids."""
    own = [item for item in instances if not wrong_with_instance(lab, keys, record, item)]
    return {item.instance_id: item.tags.get(INDEX_TAG, "") for item in own}


def wrong_with_vpc(record: Record | None, vpc_id: str) -> str:
    """Return why a tagged VPC does not belong to a lab, or nothing. None: the record was not read."""
    if record is None or vpc_id == record.vpc_id:
        return ""
    return f"the lab's VPC is {record.vpc_id}" if record.vpc_id else NOT_RECORDED


def wrong_with_place(record: Record | None, vpc_id: str | None) -> str:
    """Return why a resource in a VPC does not belong to a lab, or nothing."""
    if record is None or vpc_id is None or (vpc_id and vpc_id == record.vpc_id):
        return ""
    where = f"it is in {vpc_id}" if vpc_id else "it is not in a VPC"
    return f"{where}, not in the lab's VPC{f' {record.vpc_id}' if record.vpc_id else ', of which there is no record'}"


def wrong_with_group(lab: str, record: Record | None, group: SecurityGroup) -> str:
    """Return why a tagged security group does not belong to a lab, or nothing. Its name cannot be edited."""
    place = wrong_with_place(record, group.vpc_id)
    return place or ("" if group.name == f"{lab}-sg" else f"its name is {shown(group.name)}, not {shown(f'{lab}-sg')}")


def wrong_with_gateway(record: Record | None, gateway: Gateway) -> str:
    """Return why a tagged internet gateway does not belong to a lab, or nothing."""
    if record is None or gateway.gateway_id == record.gateway_id:
        return ""
    return next(filter(None, (wrong_with_place(record, place) for place in gateway.vpc_ids)), NOT_RECORDED)


def wrong_with_key_pair(record: Record | None, pair: KeyPair) -> str:
    """Return why a tagged key pair does not belong to a lab, or nothing."""
    return "" if record is None or pair.key_pair_id == record.key_pair_id else NOT_RECORDED


def wrong_with_instance(lab: str, keys: Collection[str] | None, record: Record | None, instance: Instance) -> str:
    """Return why a tagged instance does not belong to a lab, or nothing.

    Args:
        lab: The lab's name.
        keys: Names of the key pairs that its instances may have been launched with; None for any.
        record: The lab's record; None if it was not read.
        instance: The instance.
    """
    # An instance that is shutting down has already left its VPC.
    gone = instance.state == "shutting-down" and not instance.vpc_id
    reasons = ["" if gone else wrong_with_place(record, instance.vpc_id), _wrong_with_launch(lab, keys, instance)]
    return "; ".join(filter(None, reasons))


def _wrong_with_launch(lab: str, keys: Collection[str] | None, instance: Instance) -> str:
    """Return why an instance was not launched by a lab, or nothing."""
    reasons = []
    if keys is not None and instance.key_name is not None and instance.key_name not in keys:
        reasons.append(f"its key pair is {shown(instance.key_name)}, not {' or '.join(map(shown, sorted(keys)))}")
    if instance.profile is not None and instance.profile != f"{lab}-instance":
        reasons.append(f"its instance profile is {shown(instance.profile)}, not {shown(f'{lab}-instance')}")
    return "; ".join(reasons)


def wrong_with_address(record: Record | None, address: Address) -> str:
    """Return why a tagged Elastic IP does not belong to a lab, or nothing."""
    if record is None or address.allocation_id in record.addresses.values():
        return ""
    return f"{NOT_RECORDED}{f', and {address.holder} has it' if address.holder else ''}"


def wrong_with_data_volume(record: Record | None, volume_id: str) -> str:
    """Return why a tagged data volume does not belong to a lab, or nothing."""
    return "" if record is None or volume_id in record.data_volumes.values() else NOT_RECORDED


def lab_keys(lab: str, key_name: str) -> set[str]:
    """Return the key pairs that a lab's instances may have: its own, and the one that is named."""
    return {lab, key_name or lab}
