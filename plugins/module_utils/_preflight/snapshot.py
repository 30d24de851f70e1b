# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was read of an AWS account, and what it means for a lab. No function here makes a call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .._aws.errors import ReadError
from .._aws.names import partition_of
from .._aws.resources import (
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
    Volume,
    Vpc,
)
from .._lab.ownership import (
    INDEX_TAG,
    Claimed,
    Foreign,
    lab_keys,
    settle,
    wrong_with_address,
    wrong_with_data_volume,
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
        data_volumes: Data volumes with the lab's tags, and those that it has recorded.
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
    data_volumes: list[Volume] | None = None
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
        snapshot.data_volumes or [],
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
    for volume in snapshot.data_volumes or []:
        foreign["data volume", volume.volume_id] = wrong_with_data_volume(record, volume.volume_id)
    if snapshot.subnets is not None:
        snapshot.subnets = [item for item in snapshot.subnets if not foreign["subnet", item.subnet_id]]
    if snapshot.instances is not None:
        snapshot.instances = [item for item in snapshot.instances if not foreign["instance", item.instance_id]]
    snapshot.foreign = [Foreign(*key, reason) for key, reason in foreign.items() if reason]


def own_data_volumes(snapshot: AccountSnapshot) -> dict[str, Volume]:
    """Return the data volumes that belong to the lab and exist, by the numbers of their hosts."""
    there = {volume.volume_id: volume for volume in snapshot.data_volumes or []}
    recorded = snapshot.record.data_volumes if snapshot.record else {}
    return {host: there[name] for host, name in recorded.items() if name in there}


def misses_record(lab: LabDescription, snapshot: AccountSnapshot) -> bool:
    """Return whether any resource is yet to be created or recorded."""
    record = snapshot.record or Record()
    own_key = record.key_pair_id or lab.key_name
    hosts = own_addresses(lab, snapshot)
    complete = record.vpc_id and record.gateway_id and own_key and all(host in hosts for host in host_indexes(lab))
    if lab.data_volume_size:
        complete = complete and all(host in record.data_volumes for host in host_indexes(lab))
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


def list_zones(lab: LabDescription, snapshot: AccountSnapshot) -> list[str] | None:
    """Return the ordinary zones of the region that offer the lab's instance type, or None when that was not read."""
    if snapshot.offerings is None or snapshot.zones is None:
        return None
    return [zone for zone in snapshot.offerings.get(lab.instance_type, []) if zone in snapshot.zones]


def first_subnet(lab: LabDescription, snapshot: AccountSnapshot) -> Subnet | None:
    """Return the subnet that was created first: the one with the described network. Others are for want of capacity."""
    subnets = sorted(snapshot.subnets or [], key=lambda subnet: (subnet.cidr != lab.subnet_cidr, subnet.subnet_id))
    return subnets[0] if subnets else None


def choose_zone(lab: LabDescription, snapshot: AccountSnapshot) -> str:
    """Return the zone to try first.

    That is the zone of the lab's first subnet, the requested one, that of a kept data volume, or the first that offers
    the instance type.
    """
    subnet = first_subnet(lab, snapshot)
    if subnet:
        return subnet.zone
    kept = own_data_volumes(snapshot)
    bound = [kept[host].zone for host in host_indexes(lab) if host in kept]
    return lab.availability_zone or next(iter([*bound, *(list_zones(lab, snapshot) or [])]), "")


def region_is_usable(lab: LabDescription, snapshot: AccountSnapshot) -> bool:
    """Return whether the account has the lab's region enabled, as far as that could be read."""
    return snapshot.regions is None or snapshot.regions.get(lab.region, False)
