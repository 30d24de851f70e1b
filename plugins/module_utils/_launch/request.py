# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments of EC2's calls that create an instance and its subnet."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .offers import BLOCK, SPOT, Offer


@dataclass(frozen=True)
class Machine:
    """What all hosts of a launch have in common.

    Attributes:
        vpc_id: Their VPC.
        image_id: Their image.
        root_device: The image's root device.
        key_name: Their key pair; empty for none.
        groups: Ids of their security groups.
        profile: Name of their instance profile; empty for none.
        volume: Size, IOPS and throughput of their root volumes.
        user_data: The text for their first boot; empty for none.
        monitoring: Whether EC2 writes metrics every minute.
        protection: Whether they are protected from termination. AWS allows it on demand only.
        max_price: The most for an hour of a spot instance, in US dollars; empty for the on-demand price.
        tagged: The kinds of resources that get the tags of a launch.
        more: Arguments of RunInstances that replace those of new hosts.
        origin: What distinguishes this launch from others of the same host, for its token; empty for a new host.
    """

    vpc_id: str
    image_id: str
    root_device: str
    key_name: str
    groups: list[str]
    profile: str
    volume: dict[str, int]
    user_data: str = ""
    monitoring: bool = False
    protection: bool = False
    max_price: str = ""
    tagged: tuple[str, ...] = ("instance", "volume")
    more: dict[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True)
class Place:
    """Where the subnets of a lab are.

    Attributes:
        subnets: The id of the lab's subnet, by zone.
        taken: The networks of all subnets of the VPC.
        network: The network of the VPC.
        first: The network of the lab's first subnet, which decides the size of the others.
        tables: Ids of the lab's route tables.
        routed: Ids of the subnets that have one of them.
    """

    subnets: dict[str, str]
    taken: list[str]
    network: str
    first: str
    tables: list[str] = field(default_factory=list)
    routed: list[str] = field(default_factory=list)


def token_of(subnet_id: str, host: str, offer: Offer, serial: int) -> str:
    """Return the token by which EC2 recognises a launch that it has carried out already.

    The same launch of an interrupted run has the same token, so it never makes a second machine. EC2 refuses a token
    with other arguments, even after a failed launch, so that each offer has its own. A subnet that was deleted after a
    failed launch has another id when it is created again.

    Args:
        subnet_id: The lab's subnet in the offer's zone.
        host: The host's name, with the image for a host that moves.
        offer: Where it is launched.
        serial: How many tokens belong to terminated instances or other arguments.
    """
    parts = (subnet_id, host, offer.instance_type, offer.zone, offer.market, offer.reservation, str(serial))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def arguments(machine: Machine, offer: Offer, subnet_id: str, tags: dict[str, str], token: str) -> dict[str, Any]:
    """Return the arguments of RunInstances for one host.

    Args:
        machine: What all hosts have in common.
        offer: Where it is launched.
        subnet_id: The subnet in the offer's zone.
        tags: The tags of the instance, its volume and its spot request.
        token: The launch's token.
    """
    kinds = [*machine.tagged, *(["spot-instances-request"] if offer.market == SPOT else [])]
    given: dict[str, Any] = {
        "ClientToken": token,
        "ImageId": machine.image_id,
        "InstanceType": offer.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": subnet_id,
        "SecurityGroupIds": machine.groups,
        "BlockDeviceMappings": [
            {
                "DeviceName": machine.root_device,
                "Ebs": {
                    "VolumeType": "gp3",
                    "VolumeSize": machine.volume["size"],
                    "Iops": machine.volume["iops"],
                    "Throughput": machine.volume["throughput"],
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        # One hop: blocks containers behind a bridge.
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "Monitoring": {"Enabled": machine.monitoring},
        "TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(tags)} for kind in kinds],
    }
    if machine.key_name:
        given["KeyName"] = machine.key_name
    if machine.profile:
        given["IamInstanceProfile"] = {"Name": machine.profile}
    if machine.user_data:
        given["UserData"] = machine.user_data
    if machine.protection and offer.market != SPOT:
        given["DisableApiTermination"] = True
    if offer.market == SPOT:
        # Only a persistent request lets its instance stop. Without ValidUntil it never ends by itself: at its end EC2
        # terminates a stopped instance.
        spot = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
        spot |= {"MaxPrice": machine.max_price} if machine.max_price else {}
        given["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
    if offer.market == BLOCK:
        given["InstanceMarketOptions"] = {"MarketType": BLOCK}
    if offer.reservation:
        given["CapacityReservationSpecification"] = {
            "CapacityReservationTarget": {"CapacityReservationId": offer.reservation}
        }
    return given | machine.more


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Return tags in the form of EC2."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def free_network(place: Place) -> str:
    """Return a network for another subnet, of the size of the first one; empty when the VPC has no room."""
    taken = [ipaddress.ip_network(network) for network in place.taken]
    first = ipaddress.ip_network(place.first)
    return next((str(network) for network in _candidates(place.network, first) if not _overlaps(network, taken)), "")


def _candidates(network: str, first: Any) -> Iterable[Any]:
    """Return the networks of a size in a network, one first."""
    yield first
    yield from ipaddress.ip_network(network).subnets(new_prefix=first.prefixlen)


def _overlaps(network: Any, taken: list[Any]) -> bool:
    """Return whether a network overlaps with one of some networks."""
    return any(network.overlaps(other) for other in taken)
