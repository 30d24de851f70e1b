# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Describe an AWS account in which the lab can exist: the module's return values."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import Any

from .._aws.names import partition_of
from .._lab.ownership import INDEX_TAG
from .._lab.record import Record, claim, write_record
from .description import LabDescription
from .quotas import list_demands
from .snapshot import (
    AccountSnapshot,
    boundary_arn,
    choose_zone,
    first_subnet,
    host_indexes,
    list_sources,
    list_zones,
    misses_record,
    missing_hosts,
    own_addresses,
    own_vpcs,
)


def describe_account(lab: LabDescription, snapshot: AccountSnapshot) -> dict[str, Any]:
    """Return the facts about an account in which the lab can exist."""
    facts: dict[str, Any] = {
        "region": lab.region,
        "partition": partition_of(lab.region),
        "availability_zone": choose_zone(lab, snapshot),
        "availability_zones": list_zones(lab, snapshot) or [],
        "instance": describe_instance_type(lab, snapshot),
        "existing": describe_existing(lab, snapshot),
        "permissions_boundary": boundary_arn(lab, snapshot),
        "sources": list_sources(lab, snapshot),
        **describe_record(lab, snapshot, secrets.token_hex(16)),
        "quotas": describe_quotas(lab, snapshot),
    }
    if snapshot.caller:
        facts.update(account_id=snapshot.caller.account_id, caller_arn=snapshot.caller.arn)
    image = snapshot.image
    if image:
        facts["image"] = {"image_id": image.image_id, "name": image.name, "root_size": image.root_size}
    return facts


def describe_instance_type(lab: LabDescription, snapshot: AccountSnapshot) -> dict[str, Any]:
    """Return the facts about the lab's instance type, from the catalogue's entry and, for the rest, from EC2."""
    known: dict[str, Any] = {
        "type": lab.instance_type,
        "in_catalogue": False,
        "gpu": "",
        "gpu_count": 0,
        "gpu_memory_gib": 0.0,
        "vcpus": 0,
        "memory_gib": 0.0,
        "network_gbps": None,
    }
    info = (snapshot.type_info or {}).get(lab.instance_type)
    if info:
        nvidia = [gpu for gpu in info.gpus if gpu.manufacturer == "NVIDIA"]
        known.update(
            gpu=nvidia[0].name if nvidia else "",
            gpu_count=sum(gpu.count for gpu in nvidia),
            gpu_memory_gib=round(sum(gpu.count * gpu.memory_mib for gpu in nvidia) / 1024, 1),
            vcpus=info.vcpus,
            memory_gib=round(info.memory_mib / 1024, 1),
            network_gbps=read_gbps(info.network),
        )
    for entry in lab.instance_catalogue:
        if entry["type"] == lab.instance_type:
            known.update({key: value for key, value in entry.items() if value is not None}, in_catalogue=True)
    # For a type that EC2 no longer describes, the catalogue names the GPU, but rarely their number.
    if not info and known["gpu"]:
        known["gpu_count"] = known["gpu_count"] or 1
    return known


def read_gbps(phrase: str) -> float | None:
    """Return the Gbit/s in EC2's description of a network ("Up to 25 Gigabit", "4x 100 Gigabit"), or None."""
    match = re.search(r"(?:([0-9]+)x )?([0-9.]+) Gigabit", phrase)
    return int(match.group(1) or 1) * float(match.group(2)) if match else None


def describe_existing(lab: LabDescription, snapshot: AccountSnapshot) -> dict[str, Any]:
    """Return what exists of the lab, in the form that the module documents."""
    own = own_vpcs(lab, snapshot)
    first = first_subnet(lab, snapshot)
    return {
        "vpc_id": own[0].vpc_id if own else "",
        "gateway_id": snapshot.record.gateway_id if snapshot.record else "",
        "key_pair_id": snapshot.record.key_pair_id if snapshot.record else "",
        "subnet_id": first.subnet_id if first else "",
        "subnets": [
            {"subnet_id": subnet.subnet_id, "availability_zone": subnet.zone, "cidr": subnet.cidr}
            for subnet in snapshot.subnets or []
        ],
        "instances": [
            {
                "name": instance.tags.get("Name", ""),
                "instance_id": instance.instance_id,
                "instance_type": instance.instance_type,
                "state": instance.state,
            }
            for instance in snapshot.instances or []
        ],
        "addresses": [
            {
                "name": f"{lab.name}-{host}",
                "index": host,
                "allocation_id": address.allocation_id,
                "public_ip": address.public_ip,
            }
            for host, address in own_addresses(lab, snapshot).items()
        ],
        "root_volumes": [
            instance.root_volume
            for instance in snapshot.instances or []
            if instance.root_volume and instance.tags.get(INDEX_TAG) in host_indexes(lab)
        ],
        "data_volumes": snapshot.record.data_volumes if snapshot.record else {},
        "missing_hosts": missing_hosts(lab, snapshot),
    }


def describe_record(lab: LabDescription, snapshot: AccountSnapshot, secret: str) -> dict[str, Any]:
    """Return the tags of the lab's role with its record, and the tokens of the resources to create.

    Args:
        lab: The lab.
        snapshot: What was read from the account.
        secret: The secret from which tokens are derived, unless there is nothing to create.
    """
    record = replace(snapshot.record or Record(), secret=secret if misses_record(lab, snapshot) else "")
    things = ["vpc", "gateway", "key_pair", *(f"address-{host}" for host in host_indexes(lab))]
    things += [f"data-{host}" for host in host_indexes(lab)] if lab.data_volume_size else []
    return {
        "record": write_record(record),
        "claims": {thing: claim(record.secret, thing) for thing in things if record.secret},
    }


def describe_quotas(lab: LabDescription, snapshot: AccountSnapshot) -> list[dict[str, Any]]:
    """Return the quotas that the lab uses, in the form that the module documents."""
    return [
        {
            "service": demand.quota.service,
            "code": demand.quota.code,
            "title": demand.quota.title,
            "unit": demand.quota.unit,
            "limit": snapshot.limits.get(demand.quota.code),
            "in_use": demand.in_use,
            "needed": demand.needed,
        }
        for demand in list_demands(lab, snapshot)
    ]
