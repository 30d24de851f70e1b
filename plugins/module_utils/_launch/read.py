# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read what a launch needs to know: the image, the network of the lab, and the GPUs of instance types."""

from __future__ import annotations

from typing import Any

from .._aws.errors import translated
from .._aws.resources import read_tags
from .prices import Price
from .request import Place
from .run import StopError, lab_tags


def read_root_device(ec2: Any, image_id: str, region: str) -> str:
    """Return the root device of an image.

    Raises:
        StopError: There is no such image.
        ReadError: AWS did not answer.
    """
    with translated("ec2:DescribeImages", region):
        # By a filter, as an unknown id in ImageIds is an error.
        images = ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image_id]}])["Images"]
    if not images:
        raise StopError(f"image_id: {image_id} does not exist in {region}. Use an image of this region.")
    return str(images[0].get("RootDeviceName") or "/dev/sda1")


def read_place(ec2: Any, region: str, *, name: str, vpc_id: str, network: str, first: str) -> Place:
    """Return the subnets and route tables of a lab's VPC.

    Args:
        ec2: A client of EC2.
        region: Its region.
        name: The lab's name.
        vpc_id: Its VPC.
        network: The network of the VPC.
        first: The network of the lab's first subnet.

    Raises:
        ReadError: AWS did not answer.
    """
    inside = [{"Name": "vpc-id", "Values": [vpc_id]}]
    own = lab_tags(name)
    with translated("ec2:DescribeSubnets", region):
        pages = ec2.get_paginator("describe_subnets").paginate(Filters=inside)
        subnets = [subnet for page in pages for subnet in page["Subnets"]]
    with translated("ec2:DescribeRouteTables", region):
        by_tag = [{"Name": f"tag:{key}", "Values": [value]} for key, value in own.items()]
        tables = ec2.describe_route_tables(Filters=[*inside, *by_tag])["RouteTables"]
    return Place(
        subnets={
            subnet["AvailabilityZone"]: subnet["SubnetId"]
            for subnet in subnets
            if own.items() <= read_tags(subnet.get("Tags")).items()
        },
        taken=[subnet["CidrBlock"] for subnet in subnets],
        network=network,
        first=first,
        tables=[table["RouteTableId"] for table in tables],
        routed=[entry["SubnetId"] for table in tables for entry in table["Associations"] if "SubnetId" in entry],
    )


def read_prices(types: list[dict[str, Any]]) -> dict[str, Price]:
    """Return the given prices of instance types on demand."""
    return {item["name"]: Price(item["price_per_hour"], item["price_estimated"]) for item in types}


def read_gpus(ec2: Any, names: list[str], types: list[dict[str, Any]], region: str) -> dict[str, int]:
    """Return the number of GPUs of some types: as given, else as EC2 describes them.

    Raises:
        ReadError: AWS did not answer.
    """
    gpus = {item["name"]: int(item["gpus"]) for item in types}
    unknown = sorted(set(names) - gpus.keys())
    if unknown:
        with translated("ec2:DescribeInstanceTypes", region):
            found = ec2.describe_instance_types(InstanceTypes=unknown)["InstanceTypes"]
        for item in found:
            gpus[item["InstanceType"]] = sum(gpu["Count"] for gpu in item.get("GpuInfo", {}).get("Gpus", []))
    return gpus
