# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quotas of an AWS account that a lab uses, and whether they leave room for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._aws.resources import Instance, InstanceType
from .._launch.offers import MARKETS, ON_DEMAND, SPOT
from .._problem import Problem, shown
from .description import LabDescription
from .snapshot import (
    AccountSnapshot,
    host_indexes,
    is_excess,
    list_sources,
    missing_hosts,
    own_addresses,
    own_vpcs,
)

# Stopped instances use no vCPUs of a quota.
COUNTED_STATES = ["pending", "running"]


@dataclass(frozen=True)
class Quota:
    """A quota of Service Quotas.

    Attributes:
        service: Code of the service.
        code: Its own code.
        title: Its name in the console.
        unit: What it counts.
        relief: How to free some of it, other than a higher quota.
    """

    service: str
    code: str
    title: str
    unit: str
    relief: str


FEWER_VCPUS = "use fewer or smaller instances, or stop others"
G_VCPUS = Quota("ec2", "L-DB2E81BA", "Running On-Demand G and VT instances", "vCPUs", FEWER_VCPUS)
P_VCPUS = Quota("ec2", "L-417A185B", "Running On-Demand P instances", "vCPUs", FEWER_VCPUS)
SPOT_G_VCPUS = Quota("ec2", "L-3819A6DF", "All G and VT Spot Instance Requests", "vCPUs", FEWER_VCPUS)
SPOT_P_VCPUS = Quota("ec2", "L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests", "vCPUs", FEWER_VCPUS)
# By market, then by family: the part of an instance type before the first digit.
VCPU_QUOTAS = {
    ON_DEMAND: {"g": G_VCPUS, "gr": G_VCPUS, "vt": G_VCPUS, "p": P_VCPUS},
    SPOT: {"g": SPOT_G_VCPUS, "gr": SPOT_G_VCPUS, "vt": SPOT_G_VCPUS, "p": SPOT_P_VCPUS},
}
# Newer ones have quotas of their own in the spot market.
OLDER_P = re.compile(r"p[2-4]")
ADDRESS_QUOTA = Quota("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", "Elastic IP addresses", "release unused addresses")
VPC_QUOTA = Quota("vpc", "L-F678F1CE", "VPCs per Region", "VPCs", "delete an unused VPC")
RULE_QUOTA = Quota(
    "vpc",
    "L-0EA8095F",
    "Inbound or outbound rules per security group",
    "rules",
    "name fewer and wider networks, or remove addresses of earlier callers",
)
# Every account has at least this many rules, so the quota is read only beyond them.
RULES_OF_EVERY_ACCOUNT = 60


@dataclass(frozen=True)
class Demand:
    """What a lab needs of a quota.

    Attributes:
        option: The option to change if the quota is too small.
        in_use: How much of it is in use, by any lab or service.
        needed: How much more the lab needs; 0 skips the check.
        movable: How much of that the other market of the lab could provide.
    """

    option: str
    quota: Quota
    in_use: int
    needed: int
    movable: int = 0

    def exceeds(self, limit: int, without: int = 0) -> bool:
        """Return whether the demand exceeds a limit.

        Args:
            limit: The value of the quota.
            without: How much is not needed after all.
        """
        return self.needed - without > 0 and self.in_use + self.needed - without > limit


def vcpu_quota(instance_type: str, market: str = ON_DEMAND) -> Quota | None:
    """Return the quota that counts an instance type's vCPUs in a market, or None when it is not one known here."""
    family = re.match(r"[a-z]+", instance_type)
    if not family or (market == SPOT and family.group(0) == "p" and not OLDER_P.match(instance_type)):
        return None
    return VCPU_QUOTAS[market].get(family.group(0))


def used_quota(instance: Instance) -> Quota | None:
    """Return the quota that counts an instance, or None when it is not one known here."""
    return vcpu_quota(instance.instance_type, SPOT if instance.spot else ON_DEMAND)


def list_demands(lab: LabDescription, snapshot: AccountSnapshot) -> list[Demand]:
    """Return what the lab needs of every quota for which enough was read."""
    demands = _list_vcpu_demands(lab, snapshot)
    if snapshot.addresses is not None:
        there = own_addresses(lab, snapshot)
        needed = len([index for index in host_indexes(lab) if index not in there])
        demands.append(Demand("instance_count", ADDRESS_QUOTA, len(snapshot.addresses), needed))
    if snapshot.vpcs is not None:
        needed = 0 if own_vpcs(lab, snapshot) else 1
        demands.append(Demand("name", VPC_QUOTA, len(snapshot.vpcs), needed))
    rules = lab.ingress_rules + _count_rules_of_callers(lab, snapshot)
    if rules > RULES_OF_EVERY_ACCOUNT:
        demands.append(Demand("viewer_cidrs", RULE_QUOTA, 0, rules))
    return demands


def _list_vcpu_demands(lab: LabDescription, snapshot: AccountSnapshot) -> list[Demand]:
    """Return the vCPUs that the lab needs in each of its markets, that of launches first."""
    vcpus = snapshot.type_info or {}
    if lab.instance_type not in vcpus or None in (snapshot.instances, snapshot.running):
        return []
    launched = len(missing_hosts(lab, snapshot)) * vcpus[lab.instance_type].vcpus
    markets = MARKETS[lab.market]
    demands = []
    for market in (*markets, *(other for other in VCPU_QUOTAS if other not in markets)):
        quota = vcpu_quota(lab.instance_type, market)
        counted = [instance for instance in snapshot.running or [] if used_quota(instance) == quota]
        # A start counts as a launch, in the market of the instance.
        resting = [
            instance
            for instance in snapshot.instances or []
            if instance.state not in COUNTED_STATES and not is_excess(lab, instance) and used_quota(instance) == quota
        ]
        needed = _sum_vcpus(resting, vcpus) + (launched if market in markets else 0)
        if quota and (needed or market in markets):
            movable = launched if len(markets) > 1 else 0
            demands.append(Demand("instance_count", quota, _sum_vcpus(counted, vcpus), needed, movable))
    return demands


def _count_rules_of_callers(lab: LabDescription, snapshot: AccountSnapshot) -> int:
    """Return the number of rules for the addresses of earlier callers."""
    sources = list_sources(lab, snapshot)
    more = {
        "admin": len(sources["admin"]) - len(lab.admin_cidrs),
        "viewer": len(sources["viewer"]) - len(lab.viewer_cidrs),
    }
    return sum(more[port.audience] for port in lab.ports)


def _sum_vcpus(instances: list[Instance], type_info: dict[str, InstanceType]) -> int:
    """Return the total vCPUs of some instances."""
    return sum(type_info[item.instance_type].vcpus for item in instances if item.instance_type in type_info)


def _list_exceeded(lab: LabDescription, snapshot: AccountSnapshot) -> tuple[list[Demand], list[Demand]]:
    """Return the demands that exceed their quota: those that prevent the lab, and those that another market covers."""
    demands = list_demands(lab, snapshot)
    limits = {
        demand.quota.code: int(snapshot.limits.get(demand.quota.code, demand.in_use + demand.needed))
        for demand in demands
    }
    # A launch needs only one of its markets.
    covered = any(demand.movable and not demand.exceeds(limits[demand.quota.code]) for demand in demands)
    exceeded = [demand for demand in demands if demand.exceeds(limits[demand.quota.code])]
    prevented = [
        demand for demand in exceeded if demand.exceeds(limits[demand.quota.code], demand.movable if covered else 0)
    ]
    return prevented, [demand for demand in exceeded if demand not in prevented]


def find_quota_warnings(lab: LabDescription, snapshot: AccountSnapshot) -> list[str]:
    """Return a line for each market whose quota is too small while that of the other one suffices."""
    lines = []
    for demand in _list_exceeded(lab, snapshot)[1]:
        quota, total = demand.quota, demand.in_use + demand.needed
        room = max(int(snapshot.limits[quota.code]) - demand.in_use, 0)
        lines.append(
            f"{lab.prefix}market: {shown(lab.market)} has one market only, as the quota {shown(quota.title)} has room "
            f"for {room} of {demand.needed} {quota.unit}. To use both, {_request(quota, total, lab.region)}"
        )
    return lines


def _request(quota: Quota, total: int, region: str, when: str = "") -> str:
    """Return how to ask for a higher quota."""
    return (
        f"ask AWS for {total} or more{when}: aws service-quotas request-service-quota-increase --service-code "
        f"{quota.service} --quota-code {quota.code} --desired-value {total} --region {region}"
    )


def check_quotas(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the account's quotas leave room for what the lab needs."""
    problems = []
    for demand in _list_exceeded(lab, snapshot)[0]:
        quota, total = demand.quota, demand.in_use + demand.needed
        limit = int(snapshot.limits[quota.code])
        reason = (
            f"needs more {quota.unit} in {lab.region} than the quota {shown(quota.title)} leaves: "
            f"{demand.needed} more, while {demand.in_use} of {limit} are in use"
        )
        allowed = f"at most {max(limit - demand.in_use, 0)} more"
        when = " (new accounts start at 0, and an answer can take days)" if limit == 0 else ""
        remedy = f"{quota.relief}, or {_request(quota, total, lab.region, when)}"
        # With a quota of 0 the account cannot use this family of types at all.
        option = "instance_type" if limit == 0 and quota.unit == "vCPUs" else demand.option
        problems.append(lab.problem(option, reason, allowed, remedy))
    return problems
