# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quotas of an AWS account that a lab uses, and whether they leave room for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._aws.account import Instance, InstanceType
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
# The family is the part of an instance type before the first digit.
VCPU_QUOTAS = {"g": G_VCPUS, "gr": G_VCPUS, "vt": G_VCPUS, "p": P_VCPUS}
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
    """

    option: str
    quota: Quota
    in_use: int
    needed: int


def vcpu_quota(instance_type: str) -> Quota | None:
    """Return the quota that counts an instance type's vCPUs, or None when it is not one known here."""
    family = re.match(r"[a-z]+", instance_type)
    return VCPU_QUOTAS.get(family.group(0)) if family else None


def list_demands(lab: LabDescription, snapshot: AccountSnapshot) -> list[Demand]:
    """Return what the lab needs of every quota for which enough was read."""
    demands = []
    quota, vcpus = vcpu_quota(lab.instance_type), snapshot.type_info or {}
    if quota and lab.instance_type in vcpus and None not in (snapshot.instances, snapshot.running):
        counted = [
            instance
            for instance in snapshot.running or []
            if vcpu_quota(instance.instance_type) == quota and not instance.spot
        ]
        # A start counts as a launch.
        resting = [
            instance
            for instance in snapshot.instances or []
            if instance.state not in COUNTED_STATES and not is_excess(lab, instance)
        ]
        launched = len(missing_hosts(lab, snapshot)) * vcpus[lab.instance_type].vcpus
        demands.append(
            Demand("instance_count", quota, _sum_vcpus(counted, vcpus), launched + _sum_vcpus(resting, vcpus))
        )
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


def check_quotas(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the account's quotas leave room for what the lab needs."""
    problems = []
    for demand in list_demands(lab, snapshot):
        quota, total = demand.quota, demand.in_use + demand.needed
        limit = int(snapshot.limits.get(quota.code, total))
        if demand.needed <= 0 or total <= limit:
            continue
        reason = (
            f"needs more {quota.unit} in {lab.region} than the quota {shown(quota.title)} leaves: "
            f"{demand.needed} more, while {demand.in_use} of {limit} are in use"
        )
        allowed = f"at most {max(limit - demand.in_use, 0)} more"
        when = " (new accounts start at 0, and an answer can take days)" if limit == 0 else ""
        remedy = (
            f"{quota.relief}, or ask AWS for {total} or more{when}: aws service-quotas request-service-quota-increase "
            f"--service-code {quota.service} --quota-code {quota.code} --desired-value {total} --region {lab.region}"
        )
        # With a quota of 0 the account cannot use this family of types at all.
        option = "instance_type" if limit == 0 and quota in VCPU_QUOTAS.values() else demand.option
        problems.append(lab.problem(option, reason, allowed, remedy))
    return problems
