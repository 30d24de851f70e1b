# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find what prevents a lab in an AWS account, from a snapshot of it. No function here makes a call.

Values that could not be read are None in the snapshot, and their checks are skipped.
"""

from __future__ import annotations

from .._aws.errors import describe_error
from .._aws.resources import Instance, InstanceProfile, Role
from .._lab.last_action import MOVE_TAG, TYPE_TAG
from .._lab.ownership import INDEX_TAG
from .._launch.offers import MARKETS, ON_DEMAND
from .._problem import Problem, listed, shown
from .description import LabDescription
from .facts import describe_instance_type
from .quotas import check_quotas, find_quota_warnings, vcpu_quota
from .snapshot import (
    AccountSnapshot,
    boundary_arn,
    first_subnet,
    host_indexes,
    is_excess,
    is_own,
    list_zones,
    missing_hosts,
    own_addresses,
    own_vpcs,
    region_is_usable,
)

# A key in the state Updating still encrypts.
USABLE_KEY_STATES = ("Enabled", "Updating")
# Isaac Sim renders with RT cores, which these GPUs lack.
GPUS_WITHOUT_RT_CORES = ("A100", "H100", "H200", "V100")


def check_region(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the region exists and that the account has it enabled."""
    if snapshot.regions is None or region_is_usable(lab, snapshot):
        return []
    allowed = listed(sorted(name for name, enabled in snapshot.regions.items() if enabled))
    if lab.region not in snapshot.regions:
        return [lab.problem("region", "is not an AWS region", allowed, "choose one of these")]
    account = snapshot.caller.account_id if snapshot.caller else "this account"
    remedy = (
        f"choose one of these, or enable it and wait until it is: aws account enable-region --region-name {lab.region}"
    )
    return [lab.problem("region", f"is not enabled for account {account}", allowed, remedy)]


def check_instance_type(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the region offers the instance type and that it is an x86_64 machine with an NVIDIA GPU."""
    zones = list_zones(lab, snapshot)
    if snapshot.type_info is None or zones is None:
        return []
    # Running hosts keep their type, even if AWS no longer offers it. Another type is checked as for a new host.
    if not missing_hosts(lab, snapshot) and _types_of_hosts(lab, snapshot) == {lab.instance_type}:
        return []
    examples = _offered_types(lab, snapshot)
    allowed = f"an x86_64 type with an NVIDIA GPU that {lab.region} offers"
    allowed += f", such as {listed(examples)}" if examples else ""
    remedy = "choose such a type"
    info = snapshot.type_info.get(lab.instance_type)
    if info is None or not zones:
        remedy = "choose such a type, or another region"
        return [lab.problem("instance_type", f"is not offered in {lab.region}", allowed, remedy)]
    problems = []
    makers = sorted({gpu.manufacturer for gpu in info.gpus})
    if "NVIDIA" not in makers:
        reason = f"has a GPU of {listed(makers)}, not of NVIDIA" if makers else "has no NVIDIA GPU"
        problems.append(lab.problem("instance_type", reason, allowed, remedy))
    if "x86_64" not in info.architectures:
        reason = f"is a machine of {listed(info.architectures)}, not of x86_64"
        problems.append(lab.problem("instance_type", reason, allowed, remedy))
    markets = MARKETS[lab.market]
    if info.usage_classes and not set(markets) & set(info.usage_classes):
        wanted = " or ".join(market.replace("-", " ") for market in markets)
        reason = f"is sold as {listed(info.usage_classes)} only, not {wanted}"
        problems.append(lab.problem("instance_type", reason, allowed, remedy))
    return problems or _check_what_is_known(lab, snapshot, allowed)


def _types_of_hosts(lab: LabDescription, snapshot: AccountSnapshot) -> set[str]:
    """Return the instance types of the lab's existing hosts."""
    return {instance.instance_type for instance in snapshot.instances or [] if not is_excess(lab, instance)}


def _check_what_is_known(lab: LabDescription, snapshot: AccountSnapshot, allowed: str) -> list[Problem]:
    """Check that a type has a whole GPU and a known amount of memory, as the stack depends on them."""
    known = describe_instance_type(lab, snapshot)
    if known["gpu_count"] < 1:
        reason = "has only a part of a GPU, which neither the driver's packages nor the stack support"
        return [lab.problem("instance_type", reason, allowed, "choose such a type")]
    unknown = [name for name in ("gpu_memory_gib", "memory_gib") if not known[name]]
    if unknown:
        reason = f"is a type for which EC2 does not report {listed(unknown)}"
        remedy = f"Choose another type, or add it with {listed(unknown)} to {lab.prefix}instance_catalogue."
        return [lab.problem("instance_type", reason, allowed, remedy)]
    return []


def check_default_key(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that EBS can encrypt new volumes. With an unusable key an instance terminates right after its start."""
    if not snapshot.default_key:
        return []
    faults = {"": "does not exist", "asymmetric": "is not symmetric"}
    state = snapshot.key.state if snapshot.key else ""
    if snapshot.key and not snapshot.key.symmetric:
        state = "asymmetric"
    if state in USABLE_KEY_STATES:
        return []
    return [
        Problem(
            f"default EBS key of {lab.region}",
            shown(snapshot.default_key),
            f"{faults.get(state, f'is in the state {state}')}, so that no encrypted volume can be created with it",
            "a symmetric KMS key in the state Enabled",
            "Enable the key (aws kms enable-key, or aws kms cancel-key-deletion before it), or name another: "
            f"aws ec2 reset-ebs-default-kms-key-id --region {lab.region}",
        )
    ]


def _offered_types(lab: LabDescription, snapshot: AccountSnapshot) -> list[str]:
    """Return the catalogue's types that the region offers."""
    zones = snapshot.zones or []
    offered = [name for name, places in (snapshot.offerings or {}).items() if set(places) & set(zones)]
    return [
        str(entry["type"])
        for entry in lab.instance_catalogue
        if entry["type"] in offered and entry["type"] != lab.instance_type
    ]


def check_zone(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the zone exists, offers the instance type and is that of an existing lab."""
    zones = list_zones(lab, snapshot)
    if not zones or snapshot.zones is None:
        return []
    if snapshot.subnets:
        return _check_existing_zone(lab, snapshot, zones)
    zone = lab.availability_zone
    remedy = "choose one of these or leave it empty"
    if zone and zone not in snapshot.zones:
        reason = f"is not a zone of {lab.region} for instances"
        return [lab.problem("availability_zone", reason, listed(zones), remedy)]
    if zone and zone not in zones:
        remedy = f"{remedy}, or choose another instance type"
        return [lab.problem("availability_zone", f"does not offer {lab.instance_type}", listed(zones), remedy)]
    return []


def _check_existing_zone(lab: LabDescription, snapshot: AccountSnapshot, zones: list[str]) -> list[Problem]:
    """Check that a requested zone is one of the existing lab and offers the instance type."""
    zone = lab.availability_zone
    existing = {subnet.zone: subnet.subnet_id for subnet in snapshot.subnets or []}
    if zone and zone not in existing:
        where = ", ".join(f"{identifier} in {place}" for place, identifier in existing.items())
        reason = f"is not where the existing lab is ({where})"
        remedy = "restore it or leave it empty, or destroy the lab first"
        return [lab.problem("availability_zone", reason, " or ".join(map(shown, existing)), remedy)]
    # Without a requested zone, new hosts are launched where the type is offered.
    if zone and zone not in zones and missing_hosts(lab, snapshot):
        reason = f"is not offered in {zone}, where the existing lab is, but in {listed(zones)}"
        remedy = "choose such a type, leave the zone empty, or destroy the lab first"
        return [lab.problem("instance_type", reason, f"a type that {zone} offers", remedy)]
    return []


def check_network(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the existing lab has one network and that it is the one described."""
    first = first_subnet(lab, snapshot)
    zones = [subnet.zone for subnet in snapshot.subnets or []]
    # A lab has a subnet in each zone in which one of its hosts is.
    same = [subnet for subnet in snapshot.subnets or [] if zones.count(subnet.zone) > 1]
    things = [
        ("vpc_cidr", [(vpc.vpc_id, vpc.cidr) for vpc in own_vpcs(lab, snapshot)], True),
        ("subnet_cidr", [(subnet.subnet_id, subnet.cidr) for subnet in same], False),
        ("subnet_cidr", [(first.subnet_id, first.cidr)] if first else [], True),
    ]
    problems = []
    for option, found, compared in things:
        if len(found) > 1:
            reason = f"has more than one network: {listed([identifier for identifier, cidr in found])}"
            remedy = "delete the one that is empty"
            problems.append(
                lab.problem("name", reason, "one VPC, and one subnet in a zone, with the lab's tags", remedy)
            )
        for identifier, cidr in found[:1]:
            if compared and cidr != getattr(lab, option):
                reason = f"is not what the existing lab has ({identifier}), and AWS cannot change an existing network"
                remedy = "restore it, or destroy the lab first"
                problems.append(lab.problem(option, reason, shown(cidr), remedy))
    return problems


def check_foreign(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that no instance carries the lab's tags without belonging to it, as it would count as a host."""
    allowed = "instances in the lab's VPC, with its key pair and its instance profile"
    return [
        lab.problem(
            "name",
            f"is in the tags of {thing}, which does not belong to the lab",
            allowed,
            f"Remove the tag digital_twin_lab from {thing.identifier}, or choose another name.",
        )
        for thing in snapshot.foreign
        if thing.kind == "instance"
    ]


def check_instances(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that no two instances claim to be the same host, and that each has the address of the host that it claims.

    The number is a tag, which decides which hosts are excess. Other callers can change tags, but not addresses.
    """
    by_index: dict[str, list[str]] = {}
    for instance in snapshot.instances or []:
        by_index.setdefault(instance.tags.get(INDEX_TAG, ""), []).append(instance.instance_id)
    problems = []
    for index in host_indexes(lab):
        if len(by_index.get(index, [])) > 1:
            reason = f"has more than one instance tagged {INDEX_TAG} {index}: {listed(by_index[index])}"
            moving = any(
                MOVE_TAG in item.tags for item in snapshot.instances or [] if item.instance_id in by_index[index]
            )
            remedy = (
                f"Its move to another zone has not ended: run playbooks/start.yml with {lab.prefix}move_zone_confirm"
                if moving
                else "terminate the one that is not in use"
            )
            problems.append(lab.problem("name", reason, "one instance for each host", remedy))
    if snapshot.record:
        numbers = {address.holder: host for host, address in own_addresses(lab, snapshot).items() if host.isdigit()}
        for instance in snapshot.instances or []:
            tag, number = instance.tags.get(INDEX_TAG, ""), numbers.get(instance.instance_id)
            if number is not None and tag != number:
                reason = (
                    f"has {instance.instance_id}, which has the address of host {number} and the tag {INDEX_TAG} {tag}"
                )
                remedy = f"Set its tag {INDEX_TAG} to {number}, and check which caller changed it."
                problems.append(lab.problem("name", reason, f"the tag {INDEX_TAG} {number}", remedy))
    return problems


def check_key(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the named key pair exists, or that the lab's own is its, with its private key on this machine."""
    problems = []
    if snapshot.key_pairs is not None and lab.key_name and not snapshot.key_pairs:
        remedy = f"import it, or empty {lab.prefix}key_name so that the role creates one"
        reason = f"is not a key pair in {lab.region}"
        problems.append(lab.problem("key_name", reason, "a key pair of that region, or empty", remedy))
    for pair in snapshot.key_pairs or []:
        if not lab.key_name and not is_own(lab, pair.tags):
            reason = f"is also the name of a key pair in {lab.region} that does not belong to this lab"
            remedy = f"choose another name, or set {lab.prefix}key_name to use that key pair"
            problems.append(lab.problem("name", reason, "a name that no other key pair has", remedy))
    if lab.private_key_missing and snapshot.instances:
        reason = f"does not exist here, and no other key opens {listed(_names(snapshot.instances))}"
        remedy = "copy it from the machine that created the lab, or destroy the lab first"
        problems.append(
            lab.problem("private_key_file", reason, "the private key that the lab was created with", remedy)
        )
    return problems


def _names(instances: list[Instance]) -> list[str]:
    """Return the names of some instances."""
    return [instance.tags.get("Name", instance.instance_id) for instance in instances]


def check_role(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the IAM role of this name, if there is one, is this lab's."""
    return _check_identity(lab, "role", snapshot.role)


def check_instance_profile(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the instance profile of this name, if any, is this lab's, as it would be destroyed with it."""
    return _check_identity(lab, "instance profile", snapshot.instance_profile)


def check_permissions_boundary(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the permissions boundary is a policy that IAM accepts for this account's roles."""
    arn = boundary_arn(lab, snapshot)
    if not arn or snapshot.caller is None:
        return []
    account_id = snapshot.caller.account_id
    allowed = f"a managed policy of the account {account_id} or of AWS, or empty"
    owner = arn.split(":")[4]
    if owner not in (account_id, "aws"):
        reason = f"is a policy of the account {owner}"
        remedy = f"Create the policy in the account {account_id}, and name that one."
        return [lab.problem("permissions_boundary", reason, allowed, remedy)]
    if snapshot.boundary_exists is False:
        remedy = "Create the policy first, or correct the name."
        return [lab.problem("permissions_boundary", f"does not exist ({arn})", allowed, remedy)]
    return []


def _check_identity(lab: LabDescription, kind: str, found: Role | InstanceProfile | None) -> list[Problem]:
    """Check that an IAM resource, if it exists, is this lab's. IAM has no regions."""
    if found is None:
        return []
    region = found.tags.get("digital_twin_region", lab.region)
    if is_own(lab, found.tags) and region == lab.region:
        return []
    whose = f"belongs to the lab of this name in {region}" if is_own(lab, found.tags) else "does not belong to this lab"
    reason = f"would share the IAM {kind} {found.name}, which {whose}"
    allowed = f"a name that no other lab or {kind} in the account has"
    return [lab.problem("name", reason, allowed, "choose another name")]


def check_image(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the image exists and that a host can boot from it."""
    if snapshot.image_id is None:
        return []
    if not snapshot.image_id:
        reason = f"is not published in {lab.region} ({lab.images[lab.image]['parameter']} does not exist)"
        remedy = f"choose another image, or name one by {lab.prefix}image_id"
        return [lab.problem("image", reason, listed(sorted(lab.images)), remedy)]
    option = "image_id" if lab.image_id else "image"
    which = "" if lab.image_id else f"means {snapshot.image_id}, which "
    allowed = "an available x86_64 Linux image with an EBS root volume"
    remedy = "choose another image"
    image = snapshot.image
    if image is None:
        if any(failure.action == "ec2:DescribeImages" for failure in snapshot.failures):
            return []
        reason = f"{which}does not exist in {lab.region}, or is not shared with this account"
        return [lab.problem(option, reason, allowed, remedy)]
    faults = [
        (image.state != "available", f"is {image.state}, not available"),
        (image.architecture != "x86_64", f"is of {image.architecture}, not of x86_64"),
        (image.root_device_type != "ebs", f"has a root device of {image.root_device_type}, not of ebs"),
        (image.platform.lower() == "windows", "is a Windows image"),
    ]
    problems = [lab.problem(option, which + reason, allowed, remedy) for fault, reason in faults if fault]
    if image.root_size > lab.volume_size:
        reason = f"is less than the root snapshot of {image.image_id} needs"
        allowed = f"{image.root_size} GiB or more"
        problems.append(lab.problem("volume_size", reason, allowed, "raise it, or choose another image"))
    return problems


def check_record(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Check that the VPC of a lab that an earlier release left without instances is known."""
    record = snapshot.record
    if record is None or not record.readable or record.started or record.vpc_id:
        return []
    return [
        lab.problem(
            "adopt",
            f"does not name {thing.identifier}, which carries the tags of {lab.name}, and the lab has no record",
            "the id of the VPC that the lab created",
            f"Add {thing.identifier} if the lab created it. Otherwise remove its tag digital_twin_lab.",
        )
        for thing in snapshot.foreign
        if thing.kind == "VPC"
    ]


CHECKS = (
    check_region,
    check_instance_type,
    check_zone,
    check_network,
    check_record,
    check_foreign,
    check_instances,
    check_key,
    check_role,
    check_instance_profile,
    check_permissions_boundary,
    check_image,
    check_default_key,
    check_quotas,
)


def check_account(lab: LabDescription, snapshot: AccountSnapshot) -> list[Problem]:
    """Return all problems that prevent the lab in the account."""
    caller = snapshot.caller.arn if snapshot.caller else ""
    problems = [describe_error(failure, caller) for failure in snapshot.failures]
    return [*problems, *(problem for check in CHECKS for problem in check(lab, snapshot))]


def find_account_warnings(lab: LabDescription, snapshot: AccountSnapshot) -> list[str]:
    """Return what a user should know about an account that is otherwise accepted."""
    warnings = [f"not checked: {what} ({why})" for what, why in snapshot.skipped.items()]
    info = (snapshot.type_info or {}).get(lab.instance_type)
    for market in MARKETS[lab.market]:
        if info and vcpu_quota(lab.instance_type, market) is None:
            which = "vCPU quota" if market == ON_DEMAND else "vCPU quota of spot instances"
            warnings.append(f"not checked: the {which} for {lab.instance_type} (its family is not known here)")
    warnings += find_quota_warnings(lab, snapshot)
    for gpu in info.gpus if info else []:
        if gpu.name in GPUS_WITHOUT_RT_CORES:
            warnings.append(
                f"{lab.prefix}instance_type: {shown(lab.instance_type)} has the GPU {gpu.name}, which lacks the RT "
                "cores that Isaac Sim renders with. Choose a type with a T4, A10G, L4 or L40S."
            )
    warnings += [
        f"{lab.prefix}name: {thing} carries the lab's tags without belonging to the lab, and is left alone. "
        f"{thing.remedy(f'{lab.prefix}adopt')}"
        for thing in snapshot.foreign
        if thing.kind != "instance"
    ]
    for instance in snapshot.instances or []:
        who = f"{_names([instance])[0]} ({instance.instance_id})"
        if is_excess(lab, instance):
            consequence = (
                "will be terminated with its volumes."
                if lab.remove_excess
                else f"stays and is paid for. Set {lab.prefix}remove_excess to true to terminate it."
            )
            warnings.append(
                f"{lab.prefix}instance_count: {lab.instance_count} does not include {who}, which {consequence}"
            )
        elif lab.instance_type not in (instance.instance_type, instance.tags.get(TYPE_TAG)):
            warnings.append(
                f"{lab.prefix}instance_type: {shown(lab.instance_type)} is not the type of {who}, which stays "
                f"{instance.instance_type}. Run playbooks/resize.yml to change it in place."
            )
    return warnings
