# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Describe a lab in AWS: its hosts, how to reach them, which networks may, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ...module_utils._guard.decide import LONGEST_AWAKE
from ...module_utils._lab.data_volume import device_of, is_created_empty
from ...module_utils._lab.last_action import (
    ACTION_TAG,
    ALARM,
    AWAKE_TAG,
    START,
    STOP,
    State,
    explain_stop,
    read_time,
    write_time,
)
from ...module_utils._lab.last_action import describe_host as describe_history
from ...module_utils._lab.ownership import INDEX_TAG
from ...module_utils._preflight.snapshot import CALLER_MARK
from ...module_utils._values import whole_number
from .._cost.prices import Prices, named, own_types, price_problems, prices_of
from .._cost.rates import Size, provisioned_disks, rates
from .data_volumes import month_price

Item = Mapping[str, Any]

USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def describe_lab(instances: Sequence[Item], groups: Sequence[Item], lab: Item, now: datetime) -> dict[str, Any]:
    """Return the description of a lab.

    Args:
        instances: The instances of the lab.
        groups: The security groups that carry the lab's tags.
        lab: The lab, as the filter lab_summary documents it.
        now: The time in UTC, without a time zone.

    Raises:
        ValueError: The user's prices are wrong.
    """
    if problems := price_problems("aws_infrastructure_prices", lab["prices"]):
        raise ValueError("\n".join(map(str, problems)))
    prices = prices_of(lab["region"], lab["prices"], own_types(lab["instance_catalogue"]), lab.get("listed"))
    hosts = [describe_host(instance, lab, prices, now) for instance in sorted(instances, key=index_of)]
    volumes = lab.get("data_volumes") or ()
    used = {host["data_volume"]["volume_id"] for host in hosts if host["data_volume"]}
    return {
        "name": lab["name"],
        "region": lab["region"],
        "inventory_group": f"lab_{re.sub('[^A-Za-z0-9_]', '_', lab['name'])}",
        "hosts": hosts,
        "admitted": list_admitted(instances, groups, lab["name"]),
        "other_data_volumes": [describe_data_volume(item, {}, prices) for item in volumes if item["id"] not in used],
        "cost": describe_cost(hosts, lab["volume"], prices, volumes),
    }


def index_of(instance: Item) -> str:
    """Return the number of an instance's host. Other callers may write this tag."""
    return str(instance["tags"].get(INDEX_TAG, ""))


def describe_host(instance: Item, lab: Item, prices: Prices, now: datetime) -> dict[str, Any]:
    """Return the description of one host."""
    identifier, tags = instance["instance_id"], instance["tags"]
    name = f"{lab['name']}-{index_of(instance)}"
    address = instance.get("public_ip_address") or ""
    # Other callers may write this tag, and a user could be an option of ssh.
    user = tags.get("digital_twin_ssh_user", "")
    user = user if USER.fullmatch(user) else "USER"
    known: Item = next((entry for entry in lab["instance_catalogue"] if entry["type"] == instance["instance_type"]), {})
    price, _estimated = prices.instance(instance["instance_type"])
    hours = (now - launched_at(instance)).total_seconds() / 3600 if instance["state"]["name"] == "running" else 0.0
    key, saved = lab["private_key_file"], lab["known_hosts_file"]
    ssh = ["ssh", key and f"-i {key}", f"-o HostKeyAlias={identifier}", saved and f"-o UserKnownHostsFile={saved}"]
    command = " ".join(filter(None, [*ssh, f"{user}@{address}"]))
    config = [f"Host {name}", f"  HostName {address}", f"  User {user}", key and f"  IdentityFile {key}"]
    config += [f"  HostKeyAlias {identifier}", saved and f"  UserKnownHostsFile {saved}"]
    data = next((item for item in lab.get("data_volumes") or () if str(item["index"]) == index_of(instance)), None)
    urls, forwarded = list_urls(address if name not in lab["hosts_without_urls"] else "", lab)
    return {
        "name": name,
        "instance_id": identifier,
        "instance_type": instance["instance_type"],
        "gpus": whole_number(tags.get("digital_twin_gpus", 1)) or 0,
        "recover": boolean(known.get("auto_recovery", False), strict=False),
        "state": instance["state"]["name"],
        "days_stopped": count_days_stopped(instance, now),
        "awake_until": read_awake(tags, now),
        "data_volume": describe_data_volume(data, instance, prices) if data else None,
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
        "history": list_history(name, instance, lab, now),
    }


def launched_at(instance: Item) -> datetime:
    """Return when an instance was started last, in UTC, without a time zone."""
    return datetime.strptime(instance["launch_time"], "%Y-%m-%dT%H:%M:%S+00:00")


def read_awake(tags: Mapping[str, str], now: datetime) -> str:
    """Return until when a host is kept awake, by its tag; empty for a value that `awake` does not write."""
    until = read_time(tags.get(AWAKE_TAG, ""))
    return write_time(until) if until and until - now.replace(tzinfo=UTC) <= LONGEST_AWAKE else ""


def describe_data_volume(volume: Item, instance: Item, prices: Prices) -> dict[str, Any]:
    """Return the description of a data volume, for an instance that may have it."""
    holders = [item for item in volume.get("attachment_set") or () if item.get("instance_id")]
    here: Item = next((item for item in holders if item["instance_id"] == instance.get("instance_id")), {})
    return {
        "volume_id": volume["id"],
        "index": str(volume["index"]),
        "size": volume["size"],
        "availability_zone": volume["zone"],
        "attached": bool(here),
        "device": device_of(instance.get("instance_type", ""), volume["id"], here.get("device") or ""),
        "created_empty": is_created_empty(
            volume.get("snapshot_id") or volume.get("source_volume_id"), volume.get("tags") or {}
        ),
        "price_per_month": month_price(volume, prices),
    }


def state_of(instance: Item) -> State:
    """Return the state of an instance, and how it came to be in it."""
    return State(
        instance["state"]["name"],
        (instance.get("state_reason") or {}).get("code") or "",
        instance.get("state_transition_reason") or "",
        launched_at(instance).replace(tzinfo=UTC),
    )


def count_days_stopped(instance: Item, now: datetime) -> int | None:
    """Return for how many days an instance has been stopped; None while it runs, or if that is not known."""
    state = state_of(instance)
    stopped = explain_stop(state, instance["tags"].get(ACTION_TAG, "")).time if state.name == "stopped" else None
    return max((now.replace(tzinfo=UTC) - stopped).days, 0) if stopped else None


def list_history(name: str, instance: Item, lab: Item, now: datetime) -> list[str]:
    """Return sentences about the last start or stop of a host, its last error, and until when it is awake."""
    state = state_of(instance)
    verb = STOP if state.name in ("stopping", "stopped") else START
    known = [
        (f"{ALARM} {event.get('alarm') or ''}" if event["cause"] == ALARM else str(event["cause"]), when)
        for event in lab.get("events") or ()
        if event.get("instance_id", instance["instance_id"]) == instance["instance_id"]
        and event.get("verb", verb) == verb
        and (when := read_time(str(event["time"])))
    ]
    return describe_history(name, state, instance["tags"], now.replace(tzinfo=UTC), known)


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


def describe_cost(
    hosts: list[dict[str, Any]], volume: Item, prices: Prices, data_volumes: Sequence[Item] = ()
) -> dict[str, Any]:
    """Return what a lab costs, and whose prices these are."""
    sizes = [Size(host["instance_type"], volume["size"], volume["iops"], volume["throughput"]) for host in hosts]
    disks, _after = provisioned_disks(data_volumes, {"hosts": [], "size": 0, "iops": 0, "throughput": 0})
    return {**rates(sizes, prices, disks), "prices": named(prices)}
