# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Earlier spot requests of a host that has no instance: each could launch one at any time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .._aws.errors import translated

STATES = ("open", "active", "disabled")


def settle(ec2: Any, region: str, tags: dict[str, str], subnets: Collection[str]) -> list[str]:
    """Cancel a host's open requests, and return the ids of the instances that its requests have launched.

    A persistent request opens again when its instance is terminated without it, and then launches another one, which
    need not have the tags of the first.

    Args:
        ec2: A client of EC2.
        region: Its region.
        tags: The tags of the host's requests.
        subnets: The lab's subnets. Requests in others only carry the tags, and are left alone.

    Raises:
        ReadError: AWS refused or did not answer.
    """
    found = tagged(ec2, region, tags, subnets)
    left = [request["SpotInstanceRequestId"] for request in found if request["State"] == "open"]
    if left:
        cancel(ec2, region, left)
        # One of them can have launched an instance in between.
        found = [request for request in found if request["State"] != "open"]
        found += _read(ec2, region, SpotInstanceRequestIds=left)
    return [request["InstanceId"] for request in found if request.get("InstanceId")]


def tagged(ec2: Any, region: str, tags: dict[str, str], subnets: Collection[str]) -> list[dict[str, Any]]:
    """Return the requests with some tags that could launch an instance in some subnets now or later.

    Raises:
        ReadError: AWS refused or did not answer.
    """
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    found = _read(ec2, region, Filters=[*filters, {"Name": "state", "Values": list(STATES)}])
    return [request for request in found if _subnet(request) in ("", *subnets)]


def launched(ec2: Any, region: str, requests: list[str]) -> list[str]:
    """Return the instances that some requests have launched last.

    Raises:
        ReadError: AWS refused or did not answer.
    """
    filters = [{"Name": "spot-instance-request-id", "Values": requests}]
    found = _read(ec2, region, Filters=filters) if requests else []
    return [request["InstanceId"] for request in found if request.get("InstanceId")]


def find_live(ec2: Any, region: str, requests: list[str]) -> list[str]:
    """Return those of some requests that could launch an instance now or later.

    Raises:
        ReadError: AWS refused or did not answer.
    """
    # By a filter, as EC2 forgets ended requests, and an unknown id is an error.
    filters = [
        {"Name": "spot-instance-request-id", "Values": requests},
        {"Name": "state", "Values": list(STATES)},
    ]
    return [row["SpotInstanceRequestId"] for row in (_read(ec2, region, Filters=filters) if requests else [])]


def cancel(ec2: Any, region: str, requests: list[str]) -> None:
    """Cancel spot requests.

    Raises:
        ReadError: AWS refused or did not answer.
    """
    if requests:
        with translated("ec2:CancelSpotInstanceRequests", region):
            ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=requests)


def _subnet(request: dict[str, Any]) -> str:
    """Return the subnet in which a request launches instances; empty when it is not known."""
    launch = request.get("LaunchSpecification", {})
    places = [launch, *launch.get("NetworkInterfaces", [])]
    return next((str(place["SubnetId"]) for place in places if place.get("SubnetId")), "")


def _read(ec2: Any, region: str, **given: Any) -> list[dict[str, Any]]:
    """Return spot requests."""
    with translated("ec2:DescribeSpotInstanceRequests", region):
        pages = ec2.get_paginator("describe_spot_instance_requests").paginate(**given)
        return [request for page in pages for request in page["SpotInstanceRequests"]]
