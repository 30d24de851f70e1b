# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Describe a lab in AWS: its hosts, how to reach them, which networks may, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ...module_utils._lab.ownership import INDEX_TAG
from ...module_utils._preflight.snapshot import CALLER_MARK
from ...module_utils._values import whole_number
from .._stack.data import machines
from .._stack.machines import known_kinds

Item = Mapping[str, Any]

USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# Every gp3 volume has these at no extra price.
FREE_IOPS, FREE_THROUGHPUT = 3000, 125


def describe_lab(instances: Sequence[Item], groups: Sequence[Item], lab: Item, now: datetime) -> dict[str, Any]:
    """Return the description of a lab.

    Args:
        instances: The instances of the lab.
        groups: The security groups that carry the lab's tags.
        lab: The lab, as the filter lab_summary documents it.
        now: The time in UTC, without a time zone.
    """
    hosts = [describe_host(instance, lab, now) for instance in sorted(instances, key=index_of)]
    return {
        "name": lab["name"],
        "region": lab["region"],
        "inventory_group": f"lab_{re.sub('[^A-Za-z0-9_]', '_', lab['name'])}",
        "hosts": hosts,
        "admitted": list_admitted(instances, groups, lab["name"]),
        "cost": describe_cost(hosts, lab["volume"], lab["prices"]),
    }


def index_of(instance: Item) -> str:
    """Return the number of an instance's host. Other callers may write this tag."""
    return str(instance["tags"].get(INDEX_TAG, ""))


def describe_host(instance: Item, lab: Item, now: datetime) -> dict[str, Any]:
    """Return the description of one host."""
    identifier, tags = instance["instance_id"], instance["tags"]
    name = f"{lab['name']}-{index_of(instance)}"
    address = instance.get("public_ip_address") or ""
    # Other callers may write this tag, and a user could be an option of ssh.
    user = tags.get("digital_twin_ssh_user", "")
    user = user if USER.fullmatch(user) else "USER"
    known: Item = next((entry for entry in lab["instance_catalogue"] if entry["type"] == instance["instance_type"]), {})
    price = price_of(instance["instance_type"], known)
    hours = 0.0
    if instance["state"]["name"] == "running":
        started = datetime.strptime(instance["launch_time"], "%Y-%m-%dT%H:%M:%S+00:00")
        hours = (now - started).total_seconds() / 3600
    key, saved = lab["private_key_file"], lab["known_hosts_file"]
    ssh = ["ssh", key and f"-i {key}", f"-o HostKeyAlias={identifier}", saved and f"-o UserKnownHostsFile={saved}"]
    command = " ".join(filter(None, [*ssh, f"{user}@{address}"]))
    config = [f"Host {name}", f"  HostName {address}", f"  User {user}", key and f"  IdentityFile {key}"]
    config += [f"  HostKeyAlias {identifier}", saved and f"  UserKnownHostsFile {saved}"]
    urls, forwarded = list_urls(address if name not in lab["hosts_without_urls"] else "", lab)
    return {
        "name": name,
        "instance_id": identifier,
        "instance_type": instance["instance_type"],
        "gpus": whole_number(tags.get("digital_twin_gpus", 1)) or 0,
        "recover": boolean(known.get("auto_recovery", False), strict=False),
        "state": instance["state"]["name"],
        "availability_zone": instance["placement"]["availability_zone"],
        "image_id": instance["image_id"],
        "private_address": instance.get("private_ip_address") or "",
        "public_address": address,
        "public_dns": instance.get("public_dns_name") or "",
        "hours_since_start": round(hours, 2),
        "price_per_hour": price,
        "cost_since_start": None if price is None else round(hours * price, 2),
        "ssh_command": command,
        "tunnel_command": f"{command} -N {' '.join(forwarded)}" if forwarded else "",
        "ssh_config": "\n".join(filter(None, config)),
        "urls": urls,
    }


def price_of(instance_type: str, known: Item) -> float | None:
    """Return the price of an instance type in an hour, by its entry in the catalogue, or else by machines.yml."""
    price = known.get("price_per_hour")
    if isinstance(price, (int, float)):
        return price
    kind = known_kinds().get(instance_type)
    return kind.prices.get(machines()["base_region"]) if kind else None


def list_urls(address: str, lab: Item) -> tuple[dict[str, str], list[str]]:
    """Return the URLs of a host by their titles, and the options with which ssh forwards those behind a tunnel."""
    urls, forwarded = {}, []
    for port in lab["ports"] if address else ():
        if not port.get("scheme"):
            continue
        tunnel = lab["tunnel"] and port["audience"] == "viewer"
        reached = "localhost" if tunnel else address
        path = (port.get("path") or "").replace("{address}", reached)
        urls[port["description"]] = f"{port['scheme']}://{reached}:{port['from_port']}{path}"
        if tunnel:
            forwarded.append(f"-L {port['from_port']}:127.0.0.1:{port['from_port']}")
    return urls, forwarded


def list_admitted(instances: Sequence[Item], groups: Sequence[Item], lab: str) -> dict[str, list[str]]:
    """Return the ports that each network may reach, according to the rules in AWS."""
    places = {instance["vpc_id"] for instance in instances} or {group.get("vpc_id") for group in groups}
    admitted: dict[str, list[str]] = {}
    for group in groups:
        if group["group_name"] != f"{lab}-sg" or group.get("vpc_id") not in places:
            continue
        for permission in group["ip_permissions"]:
            ports = dict.fromkeys(str(permission.get(key, "all")) for key in ("from_port", "to_port"))
            for source in permission["ip_ranges"]:
                title = (source.get("description") or "").removesuffix(CALLER_MARK)
                what = f"{title} {'-'.join(ports)}/{permission['ip_protocol']}".lstrip()
                admitted.setdefault(source["cidr_ip"], []).append(what)
    return admitted


def describe_cost(hosts: list[dict[str, Any]], volume: Item, prices: Item) -> dict[str, Any]:
    """Return what a lab costs. Disks and addresses are paid for whether their instances run or not."""
    disk = (
        volume["size"] * prices["gib_month"]
        + max(volume["iops"] - FREE_IOPS, 0) * prices["iops_month"]
        + max(volume["throughput"] - FREE_THROUGHPUT, 0) * prices["throughput_month"]
    )
    stopped = len(hosts) * (disk + prices["address_hour"] * prices["hours_per_month"])
    hourly = sum(host["price_per_hour"] or 0 for host in hosts) + stopped / prices["hours_per_month"]
    return {
        "per_hour": round(hourly, 2),
        "per_month": round(hourly * prices["hours_per_month"], 2),
        "per_month_stopped": round(stopped, 2),
        "without_price": list(dict.fromkeys(h["instance_type"] for h in hosts if h["price_per_hour"] is None)),
    }
