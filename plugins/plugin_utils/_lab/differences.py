# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the resources of a lab in AWS with its description.

All attributes are compared that the modules of role aws_infrastructure compare. A false difference costs a call that
changes nothing. A missed one leaves a manual change in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]

METADATA_OPTIONS = {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1}
ALL_TRAFFIC = {("-1", None, None, "ip_ranges", "0.0.0.0/0", "")}
# The fields of a rule that hold its sources, and the key of a source in each.
SOURCES = {
    "ip_ranges": "cidr_ip",
    "ipv6_ranges": "cidr_ipv6",
    "prefix_list_ids": "prefix_list_id",
    "user_id_group_pairs": "group_id",
}

Rule = tuple[str, int | None, int | None, str, str, str]


def find_differences(found: Item, declared: Item) -> dict[str, list[str]]:
    """Return the differences, by the part of the role that corrects them.

    Args:
        found: The resources that belong to the lab, as the module lab_resources_info returns them.
        declared: The description of the lab.
    """
    found, declared = plain(found), plain(declared)
    return {
        "iam_role": [*compare_role(found, declared["role"]), *compare_profile(found, declared["role"])],
        "network": [
            *compare_vpc(found, declared),
            *compare_gateway(found, declared),
            *compare_subnet(found, declared),
            *compare_routes(found, declared),
        ],
        "security_group": compare_group(found, declared),
        "ssh_key": compare_key_pair(found, declared),
        "instances": [
            *(line for name in declared["hosts"] for line in compare_host(found, declared, name)),
            *compare_volumes(found, declared),
        ],
        "data_volumes": list(declared.get("data_volumes") or ()),
        "addresses": compare_addresses(found, declared),
    }


def plain(value: Any) -> Any:
    """Return a value with plain mappings and lists. Those of Ansible's templates resolve their items lazily."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _only(items: list[Item] | None) -> Item:
    """Return the only item of a list, else an empty one, so that the module handles several of a kind."""
    return items[0] if items and len(items) == 1 else {}


def _lacks_tags(item: Item, tags: Mapping[str, str]) -> bool:
    """Return whether an item lacks one of some tags. Other tags are ignored."""
    return not tags.items() <= (item.get("tags") or {}).items()


def _differing(kind: str, checks: Mapping[str, bool]) -> list[str]:
    """Return descriptions of the attributes of a kind that differ."""
    return [f"{kind}: {attribute}" for attribute, same in checks.items() if not same]


def compare_role(found: Item, declared: Item) -> list[str]:
    """Compare the role of the instances. Policies that are neither attached nor detached here stay."""
    role = _only(found.get("roles"))
    if not role:
        return ["role: missing"]
    inline, attached = role.get("inline_policies"), set(role["managed_policies"])
    wanted = {
        f"{declared['name']}-{policy['name']}": {"Version": "2012-10-17", "Statement": [policy["statement"]]}
        for policy in declared["inline_policies"]
        if policy["wanted"]
    }
    unwanted = {f"{declared['name']}-{policy['name']}" for policy in declared["inline_policies"]} - wanted.keys()
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    boundary = declared["permissions_boundary"]
    return _differing(
        "role",
        {
            "description": role.get("description") == declared["description"],
            "trust policy": role.get("trust_policy") == {"Version": "2012-10-17", "Statement": [trust]},
            "tags": not _lacks_tags(role, declared["tags"] | declared["record"]),
            "managed policies": set(declared["attach"]) <= attached and attached.isdisjoint(declared["detach"]),
            "permissions boundary": not boundary or role.get("permissions_boundary") == boundary,
            "inline policies": inline is not None
            and all(inline.get(name) == document for name, document in wanted.items())
            and unwanted.isdisjoint(inline),
        },
    )


def compare_profile(found: Item, declared: Item) -> list[str]:
    """Compare the instance profile."""
    profile = _only(found.get("instance_profiles"))
    if not profile:
        return ["instance profile: missing"]
    return _differing(
        "instance profile",
        {"role": profile["roles"] == [declared["name"]], "tags": not _lacks_tags(profile, declared["tags"])},
    )


def compare_vpc(found: Item, declared: Item) -> list[str]:
    """Compare the VPC. Networks that were added to it stay."""
    vpc = _only(found.get("vpcs"))
    if not vpc or vpc["vpc_id"] != declared["vpc_id"]:
        return ["VPC: missing"]
    networks = {
        entry.get("cidr_block")
        for entry in vpc.get("cidr_block_association_set") or []
        if entry.get("cidr_block_state", {}).get("state") == "associated"
    }
    return _differing(
        "VPC",
        {
            "network": declared["vpc_cidr"] in networks,
            "DNS support": vpc.get("enable_dns_support") is True,
            "DNS hostnames": vpc.get("enable_dns_hostnames") is True,
            "tags": not _lacks_tags(vpc, declared["tags"] | {"Name": f"{declared['name']}-vpc"}),
        },
    )


def compare_gateway(found: Item, declared: Item) -> list[str]:
    """Compare the internet gateway."""
    gateway = _only(found.get("internet_gateways"))
    if not gateway or gateway["internet_gateway_id"] != declared["gateway_id"]:
        return ["internet gateway: missing"]
    attached = [entry.get("vpc_id") for entry in gateway.get("attachments") or []]
    return _differing(
        "internet gateway",
        {
            "VPC": attached == [declared["vpc_id"]],
            "tags": not _lacks_tags(gateway, declared["tags"] | {"Name": f"{declared['name']}-igw"}),
        },
    )


def compare_subnet(found: Item, declared: Item) -> list[str]:
    """Compare the subnets: one has the declared network, further ones are in other zones."""
    subnets = found.get("subnets") or []
    if not subnets:
        return ["subnet: missing"]
    tags = declared["tags"] | {"Name": f"{declared['name']}-subnet"}
    return _differing(
        "subnet",
        {
            "VPC": all(subnet.get("vpc_id") == declared["vpc_id"] for subnet in subnets),
            "network": declared["subnet_cidr"] in [subnet.get("cidr_block") for subnet in subnets],
            "public addresses": all(subnet.get("map_public_ip_on_launch") is False for subnet in subnets),
            "IPv6": all(
                subnet.get("assign_ipv6_address_on_creation") is False
                and not subnet.get("ipv6_cidr_block_association_set")
                for subnet in subnets
            ),
            "tags": not any(_lacks_tags(subnet, tags) for subnet in subnets),
        },
    )


def compare_routes(found: Item, declared: Item) -> list[str]:
    """Compare the route table: the default route, no other route that was created, and the lab's subnets alone."""
    table = _only(found.get("route_tables"))
    subnets = sorted(str(subnet.get("subnet_id", "")) for subnet in found.get("subnets") or [])
    if not table:
        return ["route table: missing"]
    created = [
        (route.get("destination_cidr_block"), route.get("gateway_id"), route.get("state"))
        for route in table.get("routes") or []
        if route.get("origin") != "CreateRouteTable"
    ]
    associated = sorted(
        str(entry.get("subnet_id") or entry.get("gateway_id"))
        for entry in table.get("associations") or []
        if not entry.get("main")
    )
    return _differing(
        "route table",
        {
            "VPC": table.get("vpc_id") == declared["vpc_id"],
            "routes": created == [("0.0.0.0/0", declared["gateway_id"], "active")],
            "subnets": associated == subnets,
            "tags": not _lacks_tags(table, declared["tags"] | {"Name": f"{declared['name']}-routes"}),
        },
    )


def read_rules(permissions: list[Item] | None) -> set[Rule]:
    """Return the rules of a security group, one for each source."""
    return {
        (
            str(permission.get("ip_protocol")),
            permission.get("from_port"),
            permission.get("to_port"),
            field,
            str(source.get(key)),
            source.get("description") or "",
        )
        for permission in permissions or []
        for field, key in SOURCES.items()
        for source in permission.get(field) or []
    }


def read_declared_rules(rules: list[Item], group_id: str) -> set[Rule]:
    """Return the same for rules in the form of amazon.aws.ec2_security_group. A named group is the lab's own."""
    declared: set[Rule] = set()
    for rule in rules:
        ports = (int(rule["from_port"]), int(rule["to_port"]))
        networks = rule.get("cidr_ip") or []
        for network in [networks] if isinstance(networks, str) else networks:
            declared.add((str(rule["proto"]), *ports, "ip_ranges", network, rule["rule_desc"]))
        if rule.get("group_name"):
            declared.add((str(rule["proto"]), *ports, "user_id_group_pairs", group_id, rule["rule_desc"]))
    return declared


def compare_group(found: Item, declared: Item) -> list[str]:
    """Compare the security group."""
    group, name = _only(found.get("security_groups")), f"{declared['name']}-sg"
    if not group:
        return ["security group: missing"]
    return _differing(
        "security group",
        {
            "name": group.get("group_name") == name,
            "VPC": group.get("vpc_id") == declared["vpc_id"],
            "description": group.get("description") == f"Hosts of the lab {declared['name']}",
            "inbound rules": read_rules(group.get("ip_permissions"))
            == read_declared_rules(declared["rules"], group["group_id"]),
            "outbound rules": read_rules(group.get("ip_permissions_egress")) == ALL_TRAFFIC,
            "tags": not _lacks_tags(group, declared["tags"] | {"Name": name}),
        },
    )


def compare_key_pair(found: Item, declared: Item) -> list[str]:
    """Compare the lab's own key pair. One that the user names is never changed."""
    key = declared["key_pair"]
    if not key["own"]:
        return []
    pair = _only(found.get("key_pairs"))
    if not pair:
        return ["key pair: missing"]
    public_key = pair.get("public_key", "").split()[:2]
    return _differing(
        "key pair",
        {
            "id": pair.get("key_pair_id") == key["id"] and pair.get("key_name") == key["name"],
            "public key": key["public_key"] != "" and public_key == key["public_key"].split(),
            "private key file": not key["file_missing"],
            "tags": not _lacks_tags(pair, declared["tags"] | {"Name": key["name"]}),
        },
    )


def compare_host(found: Item, declared: Item, name: str) -> list[str]:
    """Compare one instance. Its type, image and disk layout are those of its launch."""
    index = name.rpartition("-")[2]
    instance = _only(_instances(found, index))
    if not instance:
        return [f"{name}: missing"]
    group, profile = _only(found.get("security_groups")), _only(found.get("instance_profiles"))
    options = instance.get("metadata_options") or {}
    return _differing(
        name,
        {
            "state": instance["state"]["name"] == "running",
            "VPC": instance.get("vpc_id") == declared["vpc_id"],
            "security groups": [entry["group_id"] for entry in instance.get("security_groups") or []]
            == [group.get("group_id")],
            "network interfaces": len(instance.get("network_interfaces") or []) == 1,
            "instance profile": (instance.get("iam_instance_profile") or {}).get("arn") == profile.get("arn", ""),
            "metadata options": METADATA_OPTIONS.items() <= options.items(),
            "termination protection": instance["attributes"]["disable_api_termination"]["value"]
            is declared["termination_protection"],
            "tags": not _lacks_tags(instance, declared["tags"] | {"Name": name, "digital_twin_index": index}),
        },
    )


def _instances(found: Item, index: str) -> list[Item]:
    """Return the instances of one number that are not shutting down."""
    return [
        item
        for item in found.get("instances") or []
        if item["tags"].get("digital_twin_index") == index and item["state"]["name"] != "shutting-down"
    ]


def compare_volumes(found: Item, declared: Item) -> list[str]:
    """Compare the root volumes of the hosts."""
    volumes = {item["id"]: item for item in found.get("root_volumes") or []}
    wanted = ("gp3", declared["volume"]["size"], declared["volume"]["iops"], declared["volume"]["throughput"])
    differing = []
    for identifier in declared["root_volumes"]:
        volume = volumes.get(identifier, {})
        has = tuple(volume.get(key) for key in ("type", "size", "iops", "throughput"))
        checks = {"performance": has == wanted, "tags": not _lacks_tags(volume, declared["tags"])}
        differing += _differing(identifier, checks)
    return differing


def compare_addresses(found: Item, declared: Item) -> list[str]:
    """Compare the Elastic IP addresses, and whether everything that was created is recorded."""
    known = {item["index"]: item for item in declared["addresses"]}
    tagged = {item["allocation_id"]: item for item in found.get("addresses") or []}
    differing = ["record: pending"] if declared["pending"] else []
    for name in declared["hosts"]:
        index = name.rpartition("-")[2]
        address, instance = known.get(index, {}), _only(_instances(found, index))
        if not address:
            differing.append(f"address of {name}: missing")
            continue
        holds = instance.get("public_ip_address") == address["public_ip"]
        differing += _differing(f"address of {name}", {"instance": holds})
    for address in known.values():
        item = tagged.get(address["allocation_id"], {})
        tags = declared["tags"] | {"Name": address["name"], "digital_twin_index": address["index"]}
        differing += _differing(f"address {address['public_ip']}", {"tags": not _lacks_tags(item, tags)})
    return differing
