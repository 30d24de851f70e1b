# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read which instance types a region offers, and how many vCPUs the quotas leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._aws.account import Account
from .._aws.errors import CREDENTIALS, THROTTLED, UNREACHABLE, ReadError
from .._aws.resources import Instance
from .._lab.ownership import INDEX_TAG
from .._launch.offers import MARKETS
from .quotas import COUNTED_STATES, VCPU_QUOTAS, Quota, used_quota
from .read import LIVE_STATES

# Families of types with NVIDIA GPUs, for those that no table has.
OTHER_TYPES = ("g*", "p*")
# Half of what a filter of DescribeInstanceTypes accepts.
NAMES_PER_CALL = 100
# The parts of its answer that describe what a lab needs.
KEYS = (
    "InstanceType",
    "SupportedUsageClasses",
    "ProcessorInfo",
    "VCpuInfo",
    "MemoryInfo",
    "InstanceStorageInfo",
    "NetworkInfo",
    "GpuInfo",
)
NETWORK_KEYS = ("NetworkPerformance",)


def read_lab_types(account: Account, tags: Mapping[str, str]) -> list[str]:
    """Return the types of the instances with a lab's tags, in the order of its hosts."""
    own = account.instances(LIVE_STATES, dict(tags))
    own.sort(key=lambda instance: instance.tags.get(INDEX_TAG, ""))
    return list(dict.fromkeys(instance.instance_type for instance in own))


def read_offers(account: Account, zone: str, known: list[str], market: str) -> dict[str, Any]:
    """Return the offers of a region, in the form that the module documents.

    Args:
        account: The account in its region.
        zone: The only zone to consider; empty for all.
        known: The instance types to look for, besides the families that have GPUs.
        market: One of `MARKETS`. Of two markets, the quota that leaves more counts.
    """
    places = [zone] if zone else account.zones()
    answer = account.read(
        "ec2",
        "describe_instance_type_offerings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": [*known, *OTHER_TYPES]}],
    )
    offers = answer["InstanceTypeOfferings"]
    zones: dict[str, list[str]] = {}
    for offer in sorted(offers, key=lambda offer: str(offer["Location"])):
        if offer["Location"] in places:
            zones.setdefault(offer["InstanceType"], []).append(offer["Location"])
    offered = sorted(zones)
    described = _describe(account, offered)
    running = account.instances(COUNTED_STATES, {})
    return {
        "offered": offered,
        "zones": zones,
        "described": described,
        "quotas": _read_quotas(account, running, described, market),
    }


def _describe(account: Account, names: list[str]) -> list[dict[str, Any]]:
    """Return EC2's description of instance types, without what a lab does not need.

    By a filter, as one type that EC2 offers and no longer describes would make a call with names fail.
    """
    found: list[dict[str, Any]] = []
    for start in range(0, len(names), NAMES_PER_CALL):
        part = names[start : start + NAMES_PER_CALL]
        given = [{"Name": "instance-type", "Values": part}]
        found += account.read("ec2", "describe_instance_types", Filters=given)["InstanceTypes"]
    described = [{key: entry[key] for key in KEYS if key in entry} for entry in found]
    for entry in described:
        network = entry.get("NetworkInfo", {})
        entry["NetworkInfo"] = {key: network[key] for key in NETWORK_KEYS if key in network}
    return described


def _read_quotas(
    account: Account, running: list[Instance], described: list[dict[str, Any]], market: str
) -> dict[str, int | None]:
    """Return the vCPUs that are left by the family of an instance type; None where the quota could not be read."""
    counted = [item for item in running if used_quota(item)]
    vcpus = {entry["InstanceType"]: int(entry["VCpuInfo"]["DefaultVCpus"]) for entry in described}
    unknown = sorted({item.instance_type for item in counted} - vcpus.keys())
    vcpus |= {name: info.vcpus for name, info in (account.instance_types(unknown) if unknown else {}).items()}
    left: dict[str, int | None] = {}
    for quota in dict.fromkeys(quota for name in MARKETS[market] for quota in VCPU_QUOTAS[name].values()):
        limit = _read_limit(account, quota)
        used = sum(vcpus.get(item.instance_type, 0) for item in counted if used_quota(item) == quota)
        left[quota.code] = None if limit is None else int(limit) - used
    rooms = {
        family: [left[VCPU_QUOTAS[name][family].code] for name in MARKETS[market]]
        for family in VCPU_QUOTAS[MARKETS[market][0]]
    }
    return {
        family: None if None in found else max(room for room in found if room is not None)
        for family, found in rooms.items()
    }


def _read_limit(account: Account, quota: Quota) -> float | None:
    """Return a quota, or None where it could not be read. The launch may still work."""
    try:
        return account.quota(quota.service, quota.code)
    except ReadError as error:
        if error.kind in (CREDENTIALS, THROTTLED, UNREACHABLE):
            raise
        return None
