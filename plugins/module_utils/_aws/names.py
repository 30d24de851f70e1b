# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules for names of regions, namespaces of metrics, and dimensions with their values.

The patterns are for the whole of a text. The role gpu_metrics has the same ones in YAML; a unit test compares them.
"""

from __future__ import annotations

import re

# AWS decides whether such a region exists.
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]+")
# Names that begin with AWS/ are reserved.
NAMESPACE = re.compile(r"(?!:|AWS/)[A-Za-z0-9._/#:-]{1,255}")
# Printable ASCII, and not blanks alone.
DIMENSION_NAME = re.compile(r"(?!:)(?= *[!-~])[ -~]{1,255}")
DIMENSION_VALUE = re.compile(r"(?= *[!-~])[ -~]{1,1024}")

# Dimensions of every metric of a GPU, which users cannot redefine.
OWN_DIMENSIONS = ("InstanceId", "GpuIndex")
# CloudWatch allows 30.
MOST_DIMENSIONS = 30 - len(OWN_DIMENSIONS)

# Prefixes of regions that are not in the partition aws.
PARTITIONS = {
    "cn-": "aws-cn",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
}

REGIONS_ALLOWED = 'the name of one AWS region, such as "us-east-1"'
NAMESPACES_ALLOWED = "1 to 255 letters, digits and ._-/#:, not beginning with a colon or AWS/"
DIMENSIONS_ALLOWED = (
    "names of 1 to 255 and values of 1 to 1024 printable ASCII characters, not of blanks alone; "
    "no name begins with a colon"
)


def is_dimension(name: str, value: object) -> bool:
    """Return whether CloudWatch accepts a dimension."""
    return bool(DIMENSION_NAME.fullmatch(name) and DIMENSION_VALUE.fullmatch(str(value)))


def region_fault(region: str, zone_variable: str) -> tuple[str, str] | None:
    """Return the fault of a region's name and the remedy; nothing for a well-formed name.

    Args:
        region: The name as the user wrote it.
        zone_variable: The variable for an availability zone.
    """
    if REGION.fullmatch(region):
        return None
    if REGION.fullmatch(region[:-1]):
        return "is an availability zone", f'use "{region[:-1]}", and name the zone in {zone_variable} if it matters'
    return "does not look like a region", "correct the name"


def partition_of(region: str) -> str:
    """Return the partition that a region belongs to, as ARNs name it."""
    return next((partition for prefix, partition in PARTITIONS.items() if region.startswith(prefix)), "aws")
