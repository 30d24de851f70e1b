# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read everything that carries a lab's tags, each item in the form that the modules of amazon.aws return."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict

from .._aws.account import Account
from .._aws.errors import DENIED, ReadError
from .._aws.resources import read_tags
from .record import DATA_TAG, MANAGED_BY, read_record

Item = dict[str, Any]

LIVE_STATES = ["pending", "running", "stopping", "stopped", "shutting-down"]
VOLUME_STATES = ["creating", "available", "in-use", "error"]
# An instance that is shutting down no longer has attributes.
ENDED_STATES = ("shutting-down", "terminated")
GONE = ("InvalidInstanceID.NotFound", "IncorrectInstanceState")


def read_resources(account: Account, lab: str, region: str, kinds: Collection[str], key_name: str) -> Item:
    """Return the resources of some kinds by kind.

    Args:
        account: The account to read.
        lab: The lab's name.
        region: Its region.
        kinds: Some of KINDS and BACKUPS.
        key_name: The key pair to return with its public key, regardless of its tags.

    Raises:
        ReadError: AWS did not answer.
    """
    filters = [_filter("tag:digital_twin_lab", lab), _filter("tag:managed_by", MANAGED_BY)]
    found: Item = {}
    for kind in (kind for kind in (*KINDS, *BACKUPS) if kind in kinds):
        if kind == "data_volumes":
            # The role has their ids, and is read last.
            continue
        if kind in DESCRIBED:
            found[kind] = read_described(account, kind, filters)
        elif kind in READERS:
            found.update(READERS[kind](account, filters))
        else:
            found[kind] = [item for item in IAM_READERS[kind](account, f"{lab}-instance") if _is_own(item, lab, region)]
    if "data_volumes" in kinds:
        found["data_volumes"] = read_data_volumes(account, lab, region, found, filters)
    if "volumes" in kinds:
        data = {item["id"] for item in found.get("data_volumes", [])}
        found["volumes"] = [item for item in found["volumes"] if item["id"] not in data]
    if "instances" in kinds and "volumes" in kinds:
        found["root_volumes"] = read_root_volumes(account, found["instances"], found["volumes"])
    if "key_pairs" in kinds and key_name:
        found["named_key_pairs"] = _describe_key_pairs(account, [_filter("key-name", key_name)])
    return found


def _is_own(item: Item, lab: str, region: str) -> bool:
    """Return whether an IAM resource, which has no region, has the tags of a lab in a region."""
    own = {"digital_twin_lab": lab, "digital_twin_region": region}
    return bool(own.items() <= item["tags"].items())


def _filter(name: str, *values: str) -> Item:
    """Return one filter of EC2."""
    return {"Name": name, "Values": list(values)}


def normalize(raw: Item) -> Item:
    """Return an item of the API in the form of amazon.aws, with its keys and tags."""
    item: Item = camel_dict_to_snake_dict({key: value for key, value in raw.items() if key != "Tags"})
    return {**item, "tags": read_tags(raw.get("Tags"))}


def read_described(account: Account, kind: str, filters: list[Item]) -> list[Item]:
    """Return the resources of a kind that one call describes. Gateways by tag, as an unattached one has no VPC."""
    call, key = DESCRIBED[kind]
    return [normalize(item) for item in account.read("ec2", call, Filters=filters)[key]]


def read_instances(account: Account, filters: list[Item]) -> Item:
    """Return the instances that are not terminated, with their termination protection."""
    answer = account.read("ec2", "describe_instances", Filters=[*filters, _filter("instance-state-name", *LIVE_STATES)])
    instances = [normalize(item) for reservation in answer["Reservations"] for item in reservation["Instances"]]
    for item in instances:
        item["attributes"] = {"disable_api_termination": {"value": _is_protected(account, item)}}
    return {"instances": instances}


def _is_protected(account: Account, instance: Item) -> bool:
    """Return whether an instance has termination protection."""
    if instance["state"]["name"] in ENDED_STATES:
        return False
    names = {"InstanceId": instance["instance_id"], "Attribute": "disableApiTermination"}
    answer = account.find(GONE, "ec2", "describe_instance_attribute", **names)
    return bool(answer.get("DisableApiTermination", {}).get("Value"))


def read_volumes(account: Account, filters: list[Item]) -> Item:
    """Return the volumes."""
    answer = account.read("ec2", "describe_volumes", Filters=[*filters, _filter("status", *VOLUME_STATES)])
    return {"volumes": [normalize_volume(item) for item in answer["Volumes"]]}


def read_data_volumes(account: Account, lab: str, region: str, found: Item, filters: list[Item]) -> list[Item]:
    """Return the volumes that are tagged as the lab's data volumes, and those that it has recorded as such.

    Recorded volumes are returned even if they have lost their tags. A root volume does not count, whatever its tags.

    Args:
        account: The account to read.
        lab: The lab's name.
        region: Its region.
        found: Its roles and instances, as far as they were read.
        filters: The lab's tags.
    """
    roles = found.get("roles", [])
    recorded = read_record(lab, region, roles[0]["tags"] if roles else None).data_volumes
    answer = account.read("ec2", "describe_volumes", Filters=[*filters, _filter(f"tag:{DATA_TAG}", "true")])
    volumes = {item["VolumeId"]: item for item in answer["Volumes"]}
    if missing := sorted(set(recorded.values()) - volumes.keys()):
        answer = account.read("ec2", "describe_volumes", Filters=[_filter("volume-id", *missing)])
        volumes |= {item["VolumeId"]: item for item in answer["Volumes"]}
    roots = set(root_volume_ids(found.get("instances", []))) - set(recorded.values())
    return [normalize_volume(item) for identifier, item in volumes.items() if identifier not in roots]


def normalize_volume(raw: Item) -> Item:
    """Return a volume with the keys of amazon.aws.ec2_vol_info."""
    item = normalize(raw)
    return {
        "id": item["volume_id"],
        "size": item["size"],
        "type": item["volume_type"],
        "iops": item.get("iops"),
        "throughput": item.get("throughput"),
        "encrypted": item.get("encrypted"),
        "snapshot_id": item.get("snapshot_id"),
        "status": item.get("state"),
        "zone": item["availability_zone"],
        "tags": item["tags"],
        "attachment_set": [
            {key: attachment.get(key) for key in ("instance_id", "device", "delete_on_termination")}
            for attachment in item.get("attachments", [])
        ],
    }


def root_volume_ids(instances: list[Item]) -> list[str]:
    """Return the ids of the root volumes of instances."""
    return [
        mapping["ebs"]["volume_id"]
        for item in instances
        for mapping in item.get("block_device_mappings", [])
        if mapping.get("device_name") == item.get("root_device_name") and mapping.get("ebs", {}).get("volume_id")
    ]


def read_root_volumes(account: Account, instances: list[Item], tagged: list[Item]) -> list[Item]:
    """Return the root volumes of instances, even if they have lost their tags."""
    roots = root_volume_ids(instances)
    known = {item["id"]: item for item in tagged}
    missing = [volume for volume in roots if volume not in known]
    if missing:
        answer = account.read("ec2", "describe_volumes", Filters=[_filter("volume-id", *missing)])
        known.update({item["VolumeId"]: normalize_volume(item) for item in answer["Volumes"]})
    return [known[volume] for volume in roots if volume in known]


def read_vpcs(account: Account, filters: list[Item]) -> Item:
    """Return the VPCs with their DNS attributes."""
    vpcs = [normalize(item) for item in account.read("ec2", "describe_vpcs", Filters=filters)["Vpcs"]]
    for item in vpcs:
        for key, name in (("enable_dns_support", "EnableDnsSupport"), ("enable_dns_hostnames", "EnableDnsHostnames")):
            attribute = {"VpcId": item["vpc_id"], "Attribute": name[0].lower() + name[1:]}
            item[key] = account.read("ec2", "describe_vpc_attribute", **attribute)[name]["Value"]
    return {"vpcs": vpcs}


def read_key_pairs(account: Account, filters: list[Item]) -> Item:
    """Return the key pairs with their public keys."""
    return {"key_pairs": _describe_key_pairs(account, filters)}


def _describe_key_pairs(account: Account, filters: list[Item]) -> list[Item]:
    """Return key pairs with their public keys."""
    answer = account.read("ec2", "describe_key_pairs", Filters=filters, IncludePublicKey=True)
    return [normalize(item) for item in answer["KeyPairs"]]


def read_images(account: Account, filters: list[Item]) -> Item:
    """Return the images of the account, and their snapshots, which have no tags of their own."""
    images = [normalize(i) for i in account.read("ec2", "describe_images", Owners=["self"], Filters=filters)["Images"]]
    ids = [
        mapping["ebs"]["snapshot_id"]
        for image in images
        for mapping in image.get("block_device_mappings", [])
        if mapping.get("ebs", {}).get("snapshot_id")
    ]
    copies = read_described(account, "snapshots", [_filter("snapshot-id", *ids)]) if ids else []
    return {"images": images, "image_snapshots": copies}


def read_profiles(account: Account, name: str) -> list[Item]:
    """Return an instance profile, if it exists, with the names of its roles."""
    answer = account.find(("NoSuchEntity",), "iam", "get_instance_profile", InstanceProfileName=name)
    if not answer:
        return []
    profile = normalize(answer["InstanceProfile"])
    return [{**profile, "roles": [role["RoleName"] for role in answer["InstanceProfile"].get("Roles", [])]}]


def read_roles(account: Account, name: str) -> list[Item]:
    """Return a role, if it exists. Its own policies are None if the caller may not read them."""
    answer = account.find(("NoSuchEntity",), "iam", "get_role", RoleName=name)
    if not answer:
        return []
    role = answer["Role"]
    attached = account.read("iam", "list_attached_role_policies", RoleName=name)["AttachedPolicies"]
    item = {
        "role_name": role["RoleName"],
        "arn": role["Arn"],
        "description": role.get("Description", ""),
        "trust_policy": role["AssumeRolePolicyDocument"],
        "tags": read_tags(role.get("Tags")),
        "managed_policies": sorted(policy["PolicyArn"] for policy in attached),
        "permissions_boundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
    }
    return [{**item, "inline_policies": read_inline_policies(account, name)}]


def read_inline_policies(account: Account, name: str) -> Item | None:
    """Return a role's own policies by name, or None for a caller that may only read the role."""
    try:
        names = account.read("iam", "list_role_policies", RoleName=name)["PolicyNames"]
        return {
            policy: account.read("iam", "get_role_policy", RoleName=name, PolicyName=policy)["PolicyDocument"]
            for policy in names
        }
    except ReadError as error:
        if error.kind != DENIED:
            raise
        return None


# The call that describes each kind, and the key of its answer.
DESCRIBED = {
    "addresses": ("describe_addresses", "Addresses"),
    "security_groups": ("describe_security_groups", "SecurityGroups"),
    "subnets": ("describe_subnets", "Subnets"),
    "route_tables": ("describe_route_tables", "RouteTables"),
    "internet_gateways": ("describe_internet_gateways", "InternetGateways"),
    "snapshots": ("describe_snapshots", "Snapshots"),
}
READERS: dict[str, Callable[[Account, list[Item]], Item]] = {
    "instances": read_instances,
    "volumes": read_volumes,
    "vpcs": read_vpcs,
    "key_pairs": read_key_pairs,
    "images": read_images,
}
# IAM has no filters by tag, so these are found by name, which a lab in another region may also have.
IAM_READERS: dict[str, Callable[[Account, str], list[Item]]] = {
    "instance_profiles": read_profiles,
    "roles": read_roles,
}
BACKUPS = ("images", "snapshots")
KINDS = (
    "instances",
    "addresses",
    "volumes",
    "data_volumes",
    "security_groups",
    "subnets",
    "route_tables",
    "internet_gateways",
    "vpcs",
    "key_pairs",
    *IAM_READERS,
)
