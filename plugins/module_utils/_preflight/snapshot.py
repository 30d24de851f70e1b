# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read an AWS account before a lab is created in it, and derive facts from the snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from .._aws.account import (
    Account,
    Address,
    Caller,
    Gateway,
    Image,
    Instance,
    InstanceProfile,
    InstanceType,
    Key,
    KeyPair,
    Role,
    SecurityGroup,
    Subnet,
    Vpc,
)
from .._aws.errors import CREDENTIALS, DENIED, THROTTLED, UNREACHABLE, ReadError
from .._aws.names import partition_of
from .._lab.ownership import (
    INDEX_TAG,
    Claimed,
    Foreign,
    lab_keys,
    settle,
    wrong_with_address,
    wrong_with_gateway,
    wrong_with_group,
    wrong_with_instance,
    wrong_with_place,
    wrong_with_vpc,
)
from .._lab.record import MANAGED_BY, Record, read_record
from .description import LabDescription

# The description of a rule that admits the address of a caller ends like this.
CALLER_MARK = " (address of a caller)"
LIVE_STATES = ["pending", "running", "stopping", "stopped"]
# Stopped instances use no vCPUs of a quota.
COUNTED_STATES = ["pending", "running"]

# The alias of AWS's own EBS key in every account.
AWS_KEY = "alias/aws/ebs"

Answer = TypeVar("Answer")


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


@dataclass
class AccountSnapshot:
    """The values read from the account. None: not read, or no answer.

    Attributes:
        regions: Regions of the partition, and whether the account has each enabled.
        offerings: Zones by instance type, for the lab's type and those of the catalogue.
        type_info: EC2's description of the lab's type and of those that count towards the same quota.
        vpcs: All of the region.
        groups: Security groups that carry the lab's tags.
        gateways: Internet gateways that carry the lab's tags.
        subnets: The lab's.
        instances: The lab's that are not terminated.
        running: All of the region that count towards quotas.
        addresses: All of the region.
        key_pairs: The one that the lab names or would create, if it exists.
        role: The one that the lab would create, if it exists.
        instance_profile: The one that the lab would create, if it exists.
        boundary_exists: Whether the policy of the permissions boundary exists.
        image_id: From the image's SSM parameter or the user; empty when there is no such parameter.
        image: None also when there is no such image.
        record: What the lab has recorded, with what belongs to it although it is not recorded. None: not read.
        foreign: Resources with the lab's tags that do not belong to it.
        default_key: The key with which EBS would encrypt new volumes; empty for AWS's own, which always works.
        key: That key, where it is not AWS's own. None also when it does not exist.
        limits: Values of the quotas of which the lab needs more, by code.
        skipped: What could not be checked, and why, without preventing the lab.
        failures: Failed reads whose answers are required.
    """

    caller: Caller | None = None
    regions: dict[str, bool] | None = None
    zones: list[str] | None = None
    offerings: dict[str, list[str]] | None = None
    type_info: dict[str, InstanceType] | None = None
    vpcs: list[Vpc] | None = None
    groups: list[SecurityGroup] | None = None
    gateways: list[Gateway] | None = None
    subnets: list[Subnet] | None = None
    instances: list[Instance] | None = None
    running: list[Instance] | None = None
    addresses: list[Address] | None = None
    key_pairs: list[KeyPair] | None = None
    role: Role | None = None
    instance_profile: InstanceProfile | None = None
    boundary_exists: bool | None = None
    image_id: str | None = None
    image: Image | None = None
    default_key: str = ""
    key: Key | None = None
    record: Record | None = None
    foreign: list[Foreign] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: list[ReadError] = field(default_factory=list)


def own_tags(lab: LabDescription) -> dict[str, str]:
    """Return the tags by which the resources of a lab are found."""
    return {"digital_twin_lab": lab.name, "managed_by": MANAGED_BY}


def is_own(lab: LabDescription, tags: dict[str, str]) -> bool:
    """Return whether tags include the lab's. Tags alone are no proof, as other callers can set them as well."""
    return own_tags(lab).items() <= tags.items()


def own_vpcs(lab: LabDescription, snapshot: AccountSnapshot) -> list[Vpc]:
    """Return the VPCs that belong to the lab, regardless of tags; those with its tags if its record is unread."""
    if snapshot.record is None:
        return [vpc for vpc in snapshot.vpcs or [] if is_own(lab, vpc.tags)]
    return [vpc for vpc in snapshot.vpcs or [] if not wrong_with_vpc(snapshot.record, vpc.vpc_id)]


def boundary_arn(lab: LabDescription, snapshot: AccountSnapshot) -> str:
    """Return the ARN of the lab's permissions boundary, or nothing; a name means a policy of the caller's account."""
    if not lab.permissions_boundary or lab.permissions_boundary.startswith("arn:"):
        return lab.permissions_boundary
    account_id = snapshot.caller.account_id if snapshot.caller else ""
    return f"arn:{partition_of(lab.region)}:iam::{account_id}:policy/{lab.permissions_boundary}"


def own_addresses(lab: LabDescription, snapshot: AccountSnapshot) -> dict[str, Address]:
    """Return the Elastic IP addresses that belong to the lab, by the numbers of their hosts."""
    if snapshot.record is None:
        tagged = [address for address in snapshot.addresses or [] if is_own(lab, address.tags)]
        return {address.tags.get(INDEX_TAG, ""): address for address in tagged}
    there = {address.allocation_id: address for address in snapshot.addresses or []}
    return {host: there[name] for host, name in snapshot.record.addresses.items() if name in there}


def settle_record(lab: LabDescription, snapshot: AccountSnapshot) -> Record | None:
    """Return the lab's record, or None when the role, which has it, could not be read."""
    if any(failure.action == "iam:GetRole" for failure in snapshot.failures):
        return None
    record = read_record(lab.name, lab.region, snapshot.role.tags if snapshot.role else None)
    if snapshot.vpcs is not None and record.vpc_id not in {vpc.vpc_id for vpc in snapshot.vpcs}:
        record = replace(record, vpc_id="")
    if snapshot.key_pairs is not None and record.key_pair_id not in {pair.key_pair_id for pair in snapshot.key_pairs}:
        record = replace(record, key_pair_id="")
    if snapshot.gateways is not None and record.gateway_id not in {item.gateway_id for item in snapshot.gateways}:
        record = replace(record, gateway_id="")
    claimed = Claimed(
        [vpc for vpc in snapshot.vpcs or [] if is_own(lab, vpc.tags)],
        snapshot.instances or [],
        snapshot.gateways or [],
        [address for address in snapshot.addresses or [] if is_own(lab, address.tags)],
        [pair for pair in snapshot.key_pairs or [] if is_own(lab, pair.tags)],
    )
    return settle(lab.name, lab_keys(lab.name, lab.key_name), record, claimed, adopt=set(lab.adopt))


def sort_out(lab: LabDescription, snapshot: AccountSnapshot) -> None:
    """Reduce subnets and instances to those of the lab, and save what only carries its tags."""
    record = snapshot.record = settle_record(lab, snapshot)
    foreign = {}
    for vpc in snapshot.vpcs or []:
        if is_own(lab, vpc.tags):
            foreign["VPC", vpc.vpc_id] = wrong_with_vpc(record, vpc.vpc_id)
    for subnet in snapshot.subnets or []:
        foreign["subnet", subnet.subnet_id] = wrong_with_place(record, subnet.vpc_id)
    for group in snapshot.groups or []:
        foreign["security group", group.group_id] = wrong_with_group(lab.name, record, group)
    for gateway in snapshot.gateways or []:
        foreign["internet gateway", gateway.gateway_id] = wrong_with_gateway(record, gateway)
    keys = lab_keys(lab.name, lab.key_name)
    for instance in snapshot.instances or []:
        foreign["instance", instance.instance_id] = wrong_with_instance(lab.name, keys, record, instance)
    for address in snapshot.addresses or []:
        if is_own(lab, address.tags):
            foreign["address", address.public_ip] = wrong_with_address(record, address)
    if snapshot.subnets is not None:
        snapshot.subnets = [item for item in snapshot.subnets if not foreign["subnet", item.subnet_id]]
    if snapshot.instances is not None:
        snapshot.instances = [item for item in snapshot.instances if not foreign["instance", item.instance_id]]
    snapshot.foreign = [Foreign(*key, reason) for key, reason in foreign.items() if reason]


def misses_record(lab: LabDescription, snapshot: AccountSnapshot) -> bool:
    """Return whether any resource is yet to be created or recorded."""
    record = snapshot.record or Record()
    own_key = record.key_pair_id or lab.key_name
    hosts = own_addresses(lab, snapshot)
    complete = record.vpc_id and record.gateway_id and own_key and all(host in hosts for host in host_indexes(lab))
    return not complete or bool(record.secret)


def host_indexes(lab: LabDescription) -> list[str]:
    """Return the numbers of the lab's hosts, which their instances and addresses carry as a tag."""
    return [str(number) for number in range(1, lab.instance_count + 1)]


def missing_hosts(lab: LabDescription, snapshot: AccountSnapshot) -> list[str]:
    """Return the names of the hosts that have no instance."""
    there = {instance.tags.get(INDEX_TAG) for instance in snapshot.instances or []}
    return [f"{lab.name}-{index}" for index in host_indexes(lab) if index not in there]


def is_excess(lab: LabDescription, instance: Instance) -> bool:
    """Return whether an instance of the lab is beyond its number of hosts."""
    return instance.tags.get(INDEX_TAG) not in host_indexes(lab)


def vcpu_quota(instance_type: str) -> Quota | None:
    """Return the quota that counts an instance type's vCPUs, or None when it is not one known here."""
    family = re.match(r"[a-z]+", instance_type)
    return VCPU_QUOTAS.get(family.group(0)) if family else None


def read_account(account: Account, lab: LabDescription) -> AccountSnapshot:
    """Read everything that is compared with the lab.

    A missing permission does not stop reading, so that all of them are reported at once. Invalid credentials, endpoints
    that do not answer and throttling do, as every further read would fail alike.
    """
    snapshot = AccountSnapshot()
    try:
        snapshot.caller = account.caller()
        _read_regions(account, snapshot)
        if region_is_usable(lab, snapshot):
            _read_region(account, lab, snapshot)
            _read_limits(account, lab, snapshot)
    except ReadError as error:
        snapshot.failures.append(error)
    return snapshot


def _read_regions(account: Account, snapshot: AccountSnapshot) -> None:
    """Read the regions. An organisation may deny this call outside its own regions."""
    try:
        snapshot.regions = account.regions()
    except ReadError as error:
        if error.kind != DENIED:
            raise
        snapshot.skipped["whether the account has the region enabled"] = f"{error.action} is denied in {error.where}"


def _read_region(account: Account, lab: LabDescription, snapshot: AccountSnapshot) -> None:
    """Read everything in the lab's region except quotas."""

    def attempt(read: Callable[[], Answer]) -> Answer | None:
        try:
            return read()
        except ReadError as error:
            if error.kind in (CREDENTIALS, THROTTLED, UNREACHABLE):
                raise
            snapshot.failures.append(error)
            return None

    known_types = sorted({lab.instance_type, *(str(entry["type"]) for entry in lab.instance_catalogue)})
    snapshot.zones = attempt(account.zones)
    snapshot.offerings = attempt(lambda: account.offerings(known_types))
    snapshot.type_info = attempt(lambda: account.instance_types([lab.instance_type]))
    snapshot.vpcs = attempt(account.vpcs)
    snapshot.groups = attempt(lambda: account.security_groups(own_tags(lab)))
    snapshot.gateways = attempt(lambda: account.gateways(own_tags(lab)))
    snapshot.subnets = attempt(lambda: account.subnets(own_tags(lab)))
    snapshot.instances = attempt(lambda: account.instances(LIVE_STATES, own_tags(lab)))
    snapshot.running = attempt(lambda: account.instances(COUNTED_STATES, {}))
    snapshot.addresses = attempt(account.addresses)
    snapshot.key_pairs = attempt(lambda: account.key_pairs([lab.key_name or lab.name]))
    snapshot.role = attempt(lambda: account.role(f"{lab.name}-instance"))
    snapshot.instance_profile = attempt(lambda: account.instance_profile(f"{lab.name}-instance"))
    boundary = boundary_arn(lab, snapshot)
    # Only its own account can read a policy.
    if boundary and snapshot.caller and boundary.split(":")[4] in ("aws", snapshot.caller.account_id):
        snapshot.boundary_exists = attempt(lambda: account.has_policy(boundary))
    sort_out(lab, snapshot)
    # A running host keeps its image, even if AWS has withdrawn it since.
    if missing_hosts(lab, snapshot):
        snapshot.image_id = lab.image_id or attempt(lambda: account.image_id(lab.images[lab.image]["parameter"]))
        if snapshot.image_id:
            image_id = snapshot.image_id
            snapshot.image = attempt(lambda: account.image(image_id))
        _read_default_key(account, snapshot)
    counted = {
        instance.instance_type
        for instance in [*(snapshot.running or []), *(snapshot.instances or [])]
        if vcpu_quota(instance.instance_type) == vcpu_quota(lab.instance_type)
    }
    unknown = sorted(counted - (snapshot.type_info or {}).keys())
    if snapshot.type_info and unknown:
        snapshot.type_info.update(attempt(lambda: account.instance_types(unknown)) or {})


def _read_default_key(account: Account, snapshot: AccountSnapshot) -> None:
    """Read the key that would encrypt new volumes. A caller that may launch instances may lack the permission."""
    try:
        key_id = account.default_key()
        if not key_id.endswith(AWS_KEY):
            snapshot.key = account.key(key_id)
            snapshot.default_key = key_id
    except ReadError as error:
        if error.kind in (CREDENTIALS, THROTTLED, UNREACHABLE):
            raise
        reason = f"{error.action} in {error.where}: {error.code}"
        snapshot.skipped["whether the key with which EBS encrypts new volumes can be used"] = reason


def _read_limits(account: Account, lab: LabDescription, snapshot: AccountSnapshot) -> None:
    """Read the quotas of which the lab needs more. A failed read is not an error, as the launch may still work."""
    for demand in list_demands(lab, snapshot):
        quota = demand.quota
        if demand.needed <= 0:
            continue
        try:
            limit = account.quota(quota.service, quota.code)
        except ReadError as error:
            snapshot.skipped[f'the quota "{quota.title}"'] = f"{error.action} in {error.where}: {error.code}"
            continue
        if limit is None:
            snapshot.skipped[f'the quota "{quota.title}"'] = f"Service Quotas does not list {quota.code}"
        else:
            snapshot.limits[quota.code] = limit


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


def list_sources(lab: LabDescription, snapshot: AccountSnapshot) -> dict[str, list[str]]:
    """Return the sources from which each audience may reach the lab.

    If that is the caller's address, the addresses of earlier callers stay, so that a colleague's run locks no caller
    out. They come from the descriptions of the lab's own rules, because other callers can change tags.
    """
    vpc_ids = {vpc.vpc_id for vpc in own_vpcs(lab, snapshot)}
    rules = [
        rule
        for group in snapshot.groups or []
        if group.vpc_id in vpc_ids and group.name == f"{lab.name}-sg"
        for rule in group.rules
        if rule.description.endswith(CALLER_MARK)
    ]
    sources = {"admin": lab.admin_cidrs, "viewer": lab.viewer_cidrs}
    for audience in lab.caller_audiences:
        ports = {(port.protocol, port.from_port, port.to_port) for port in lab.ports if port.audience == audience}
        earlier = {rule.cidr for rule in rules if (rule.protocol, rule.from_port, rule.to_port) in ports}
        stay = earlier - set(lab.remove_sources) - set(sources[audience])
        sources[audience] = [*sources[audience], *sorted(cidr for cidr in stay if cidr.endswith("/32"))]
    return sources


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


def list_zones(lab: LabDescription, snapshot: AccountSnapshot) -> list[str] | None:
    """Return the ordinary zones of the region that offer the lab's instance type, or None when that was not read."""
    if snapshot.offerings is None or snapshot.zones is None:
        return None
    return [zone for zone in snapshot.offerings.get(lab.instance_type, []) if zone in snapshot.zones]


def choose_zone(lab: LabDescription, snapshot: AccountSnapshot) -> str:
    """Return the zone of the lab's hosts: that of its subnet, the requested one, or the first that offers them."""
    for subnet in snapshot.subnets or []:
        return subnet.zone
    return lab.availability_zone or next(iter(list_zones(lab, snapshot) or []), "")


def region_is_usable(lab: LabDescription, snapshot: AccountSnapshot) -> bool:
    """Return whether the account has the lab's region enabled, as far as that could be read."""
    return snapshot.regions is None or snapshot.regions.get(lab.region, False)
