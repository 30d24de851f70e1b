# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read where the subnets of a lab are."""

from __future__ import annotations

from typing import Any

from .._aws.account import read_tags
from .._aws.errors import translated
from .request import Place
from .run import lab_tags


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
