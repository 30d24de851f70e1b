# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab's description: as the user wrote it, and as typed values after its validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._problem import Problem, shown
from .._values import whole_number

INSTANCE_COUNTS = (1, 32)


@dataclass(frozen=True)
class Described:
    """What a lab's descriptions have in common: messages with the names of the user's variables.

    Attributes:
        prefix: Prefix of the user's variables.
    """

    prefix: str

    def variable(self, option: str) -> str:
        """Return the name of the user's variable behind an option."""
        return f"{self.prefix}{option}"

    def problem(self, option: str, reason: str, allowed: str, remedy: str) -> Problem:
        """Return a problem with an option's whole value."""
        return self.problem_with(option, getattr(self, option), reason, allowed, remedy)

    def problem_with(self, option: str, value: object, reason: str, allowed: str, remedy: str) -> Problem:
        """Return a problem with a part of an option's value."""
        return Problem(self.variable(option), shown(value), reason, allowed, remedy)


@dataclass(frozen=True)
class Inputs(Described):
    """A lab's description exactly as the user wrote it; any value may have any type.

    Attributes:
        instance_catalogue: Known instance types, of the form that the module documents.
        images: Known images by name, of the form that the module documents.
        driver_minimum: The oldest driver that what the hosts run requires.
        driver_module: The kernel module that the driver's installation chooses.
        open_module: Whether the open module runs the GPU of the instance type.
        market: Where instances are bought.
    """

    name: object
    region: object
    vpc_cidr: object
    subnet_cidr: object
    availability_zone: object
    instance_type: object
    instance_count: object
    market: str
    volume_size: object
    volume_iops: object
    volume_throughput: object
    data_volume_size: object
    data_volume_iops: object
    data_volume_throughput: object
    key_name: object
    public_key_file: object
    private_key_file: object
    admin_cidrs: object
    viewer_cidrs: object
    caller_audiences: object
    remove_sources: object
    ports: object
    internal_ports: object
    image: object
    image_id: object
    driver_minimum: object
    driver_module: object
    open_module: object
    ros_domain_id: object
    permissions_boundary: object
    tags: object
    remove_excess: object
    adopt: object
    instance_catalogue: list[dict[str, Any]]
    images: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Port:
    """A range of ports that is open to an audience."""

    audience: str
    protocol: str
    from_port: int
    to_port: int


@dataclass(frozen=True)
class LabDescription(Described):
    """A lab's description after validation.

    Attributes:
        availability_zone: Empty for any zone.
        market: Where instances are bought: on_demand, spot or auto.
        volume_size: Size of the root volume in GiB.
        data_volume_size: Size of each host's data volume in GiB; 0 for none.
        key_name: Name of an existing key pair; empty when the lab has a key pair of its own.
        private_key_missing: Whether the role creates the lab's key and `private_key_file` does not exist.
        caller_audiences: The audiences whose only source is the address of the caller; those of earlier callers stay.
        remove_sources: Addresses of earlier callers to remove.
        ports: The ports to open to each audience.
        ingress_rules: Number of rules of its security group for ports and sources.
        image_id: Empty when `image` names the image.
        adopt: Ids of resources that belong to the lab although they are not in its record.
        permissions_boundary: Name or ARN of a managed policy; empty for none.
    """

    name: str
    region: str
    vpc_cidr: str
    subnet_cidr: str
    availability_zone: str
    instance_type: str
    instance_count: int
    market: str
    volume_size: int
    data_volume_size: int
    key_name: str
    private_key_file: str
    private_key_missing: bool
    admin_cidrs: list[str]
    viewer_cidrs: list[str]
    caller_audiences: list[str]
    remove_sources: list[str]
    ports: list[Port]
    ingress_rules: int
    image: str
    image_id: str
    permissions_boundary: str
    remove_excess: bool
    adopt: list[str]
    instance_catalogue: list[dict[str, Any]]
    images: dict[str, dict[str, Any]]


def check_number(inputs: Inputs, option: str, limits: tuple[int, int], unit: str, remedy: str) -> list[Problem]:
    """Check that an option is a whole number within its limits.

    Args:
        inputs: The lab's description.
        option: Which of its options.
        limits: Smallest and largest value that is accepted.
        unit: What is counted, for the message.
        remedy: What to do when the value is not accepted.
    """
    smallest, largest = limits
    allowed = f"{smallest} to {largest} {unit}"
    number = whole_number(getattr(inputs, option))
    if number is None:
        return [inputs.problem(option, "is not a whole number", allowed, remedy)]
    if number < smallest:
        return [inputs.problem(option, "is too small", allowed, remedy)]
    if number > largest:
        return [inputs.problem(option, "is too large", allowed, remedy)]
    return []
