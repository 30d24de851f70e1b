# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and write a lab's record of the resources that it created: tags of its IAM role.

A caller that may only tag EC2 resources can add a lab's tags to any of them, but cannot write a role's tags.

A resource is created before it can be recorded. A run that is killed in between leaves a secret in the record, and a
token derived from it on the resource. Each run has a new secret, which is removed when everything is recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MANAGED_BY = "digital_twin.robotics_lab"
# The tags of the role.
VPC_TAG = "digital_twin_vpc"
GATEWAY_TAG = "digital_twin_gateway"
KEY_PAIR_TAG = "digital_twin_key_pair"
PENDING_TAG = "digital_twin_pending"
# The name of the lab's budget.
BUDGET_TAG = "digital_twin_budget"
# A tag's value has at most 256 characters, enough for 8 addresses with their host numbers.
ADDRESS_TAGS = tuple(f"digital_twin_addresses_{part}" for part in range(1, 5))
IDS_PER_TAG = 8
# The same for data volumes, whose ids are shorter.
DATA_TAGS = tuple(f"digital_twin_data_volumes_{part}" for part in range(1, 5))
RECORD_TAGS = (VPC_TAG, GATEWAY_TAG, KEY_PAIR_TAG, PENDING_TAG, *ADDRESS_TAGS, *DATA_TAGS)
# The tag of a data volume, with the value "true", and the tag with the time in UTC at which it was formatted.
DATA_TAG = "digital_twin_data"
FORMATTED_TAG = "digital_twin_formatted"
# The tag of an EC2 resource that may not be recorded yet.
CLAIM_TAG = "digital_twin_claim"


@dataclass(frozen=True)
class Record:
    """A lab's record. Empty values: nothing of that kind is recorded.

    Attributes:
        started: Whether the role is the lab's and has a record. The roles of earlier releases have none.
        readable: Whether the role is the lab's.
        addresses: Allocation ids of Elastic IP addresses, by the number of their host.
        data_volumes: Ids of data volumes, by the number of their host.
        secret: The secret from which the tokens of an unfinished run are derived.
    """

    vpc_id: str = ""
    gateway_id: str = ""
    key_pair_id: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    data_volumes: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    started: bool = False
    readable: bool = False


def read_record(lab: str, region: str, tags: Mapping[str, str] | None) -> Record:
    """Return the record in a role's tags; an empty one without a role, or when it is another lab's.

    Args:
        lab: The lab's name.
        region: Its region. IAM has no regions, so the role may belong to a lab of the same name in another one.
        tags: The tags of the role, or None.
    """
    tags = tags or {}
    own = {"digital_twin_lab": lab, "managed_by": MANAGED_BY, "digital_twin_region": region}
    if any(tags.get(name) != value for name, value in own.items()):
        return Record()
    return Record(
        vpc_id=tags.get(VPC_TAG, ""),
        gateway_id=tags.get(GATEWAY_TAG, ""),
        key_pair_id=tags.get(KEY_PAIR_TAG, ""),
        addresses=_read_ids(tags, ADDRESS_TAGS),
        data_volumes=_read_ids(tags, DATA_TAGS),
        secret=tags.get(PENDING_TAG, ""),
        started=any(tags.get(name) for name in RECORD_TAGS),
        readable=True,
    )


def _read_ids(tags: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the ids in some tags by the number of their host."""
    entries = " ".join(tags.get(name, "") for name in names).split()
    return {host: identifier for host, _equals, identifier in (entry.partition("=") for entry in entries)}


def _write_ids(ids: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the tags with ids by the number of their host."""
    tags = {}
    for part, name in enumerate(names):
        hosts = [str(part * IDS_PER_TAG + number) for number in range(1, IDS_PER_TAG + 1)]
        tags[name] = " ".join(f"{host}={ids[host]}" for host in hosts if host in ids)
    return tags


def write_record(record: Record) -> dict[str, str]:
    """Return the tags of a record."""
    tags = {
        VPC_TAG: record.vpc_id,
        GATEWAY_TAG: record.gateway_id,
        KEY_PAIR_TAG: record.key_pair_id,
        PENDING_TAG: record.secret,
    }
    tags |= _write_ids(record.addresses, ADDRESS_TAGS) | _write_ids(record.data_volumes, DATA_TAGS)
    return {name: value for name, value in tags.items() if value}


def clear_record(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags with which a role no longer records anything but data volumes."""
    names = [*(name for name in RECORD_TAGS if name not in DATA_TAGS), BUDGET_TAG]
    return {name: "" for name in names if tags.get(name)}


def claim(secret: str, thing: str) -> str:
    """Return the token of a resource to create: "vpc", "gateway", "key_pair", "address-1", "data-1"."""
    return hashlib.sha256(f"{secret}/{thing}".encode()).hexdigest()[:32]
