# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check everything about a lab's description that does not require AWS.

Each `check_...` function takes the description as it was given and returns all the problems it finds. `read_lab`
turns a description without problems into typed values.
"""

from __future__ import annotations

import math
import re

from .._aws.names import REGIONS_ALLOWED, partition_of, region_fault
from .._lab.names import NAME_FORM, NAME_LENGTHS, is_lab_name
from .._problem import Problem, listed
from .._ros2 import ports as dds
from .._values import driver_order, truth
from .description import INSTANCE_COUNTS, Inputs, LabDescription, check_number
from .network import (
    as_network,
    check_callers,
    check_internal_ports,
    check_network,
    check_ports,
    check_sources,
    count_rules,
    entries,
    read_ports,
)
from .ssh_key import check_key, private_key_is_missing
from .tags import check_tags

ZONE_SUFFIX_FORM = re.compile(r"(?:-[a-z]+-[0-9]+)?[a-z]")
INSTANCE_TYPE_FORM = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
IMAGE_ID_FORM = re.compile(r"ami-(?:[0-9a-f]{17}|[0-9a-f]{8})")
# The name of a managed policy with its path, as at the end of an ARN.
POLICY_NAME = r"(?:[!-.0-~]+/)*[A-Za-z0-9_+=,.@-]{1,128}"
POLICY_NAME_FORM = re.compile(rf"(?!arn:){POLICY_NAME}")
POLICY_ARN_FORM = re.compile(rf"arn:(?P<partition>[a-z-]+):iam::(?:[0-9]{{12}}|aws):policy/{POLICY_NAME}")

# The numbers in an entry of the catalogue that the checks use, and their minimums other than 0.
CATALOGUE_NUMBERS = {"gpu_count", "gpu_memory_gib", "vcpus", "memory_gib", "network_gbps", "price_per_hour"}
CATALOGUE_LEAST = {"gpu_count": 1, "gpu_memory_gib": 1, "vcpus": 1, "memory_gib": 1}

# How the kernel module of NVIDIA's driver is chosen; none: the hosts get their driver otherwise.
DRIVER_MODULES = ("auto", "open", "proprietary", "none")

VOLUME_SIZES_GIB = (100, 65536)
DATA_VOLUME_SIZES_GIB = (0, 65536)
VOLUME_IOPS = (3000, 80000)
VOLUME_THROUGHPUTS_MIB_S = (125, 2000)
IOPS_PER_GIB = 500
IOPS_PER_MIB_S = 4


def check_name(inputs: Inputs) -> list[Problem]:
    """Check the lab's name, which becomes part of IAM role, tag, host and group names."""
    shortest, longest = NAME_LENGTHS
    allowed = (
        f"{shortest} to {longest} lowercase letters, digits and dashes, "
        "beginning with a letter and ending with a letter or digit"
    )
    remedy = 'choose a name such as "digital-twin"'
    if not isinstance(inputs.name, str):
        return [inputs.problem("name", "is not text", allowed, remedy)]
    better = re.sub(r"[^a-z0-9]+", "-", inputs.name.lower()).strip("-")
    if is_lab_name(better) and better != inputs.name:
        remedy = f'use "{better}"'
    if not inputs.name:
        return [inputs.problem("name", "is empty", allowed, remedy)]
    if len(inputs.name) < shortest:
        return [inputs.problem("name", "is too short", allowed, remedy)]
    if len(inputs.name) > longest:
        return [inputs.problem("name", f"is too long ({len(inputs.name)} characters)", allowed, remedy)]
    if not NAME_FORM.fullmatch(inputs.name):
        return [inputs.problem("name", "is not a name that AWS, DNS and Ansible all accept", allowed, remedy)]
    return []


def check_region(inputs: Inputs) -> list[Problem]:
    """Check the form of the region's name; AWS decides whether the region exists."""
    region = inputs.region
    if region is None or region == "":
        remedy = f"set {inputs.variable('region')}, or AWS_REGION, or the region of the AWS profile"
        return [inputs.problem("region", "names no region", REGIONS_ALLOWED, remedy)]
    if not isinstance(region, str):
        return [inputs.problem("region", "is not text", REGIONS_ALLOWED, "name one region")]
    fault = region_fault(region, inputs.variable("availability_zone"))
    return [inputs.problem("region", fault[0], REGIONS_ALLOWED, fault[1])] if fault else []


def check_zone(inputs: Inputs) -> list[Problem]:
    """Check the form of the availability zone's name and that it is in the region."""
    allowed = 'empty for any zone that offers the instances, or the name of a zone of the region, such as "us-east-1a"'
    zone, region = inputs.availability_zone, inputs.region
    if zone is None or zone == "":
        return []
    if not isinstance(zone, str):
        return [inputs.problem("availability_zone", "is not text", allowed, "name one zone or leave it empty")]
    if re.fullmatch(r"[a-z0-9]+-az[0-9]+", zone):
        remedy = "use the name of that zone in your account"
        return [inputs.problem("availability_zone", "is the id of a zone, not its name", allowed, remedy)]
    if check_region(inputs):
        return []
    if not (zone.startswith(str(region)) and ZONE_SUFFIX_FORM.fullmatch(zone[len(str(region)) :])):
        remedy = f"correct it, or empty it, or correct {inputs.variable('region')}"
        return [inputs.problem("availability_zone", f"is not a zone of {region}", allowed, remedy)]
    return []


def check_instance_type(inputs: Inputs) -> list[Problem]:
    """Check the form of the instance type's name; AWS decides whether it exists and has a GPU."""
    known = listed([str(entry.get("type")) for entry in inputs.instance_catalogue])
    allowed = (
        f"{known}, or another x86_64 type with an NVIDIA GPU"
        if inputs.instance_catalogue
        else "the name of an EC2 type"
    )
    value = inputs.instance_type
    remedy = 'name one type, such as "g5.xlarge"'
    if not isinstance(value, str):
        return [inputs.problem("instance_type", "is not text", allowed, remedy)]
    if not value:
        return [inputs.problem("instance_type", "is empty", allowed, remedy)]
    if not INSTANCE_TYPE_FORM.fullmatch(value):
        if INSTANCE_TYPE_FORM.fullmatch(value.strip().lower()):
            remedy = f'write "{value.strip().lower()}"'
        return [inputs.problem("instance_type", "does not look like an instance type", allowed, remedy)]
    return []


def check_catalogue(inputs: Inputs) -> list[Problem]:
    """Check that every entry of the catalogue and of the images has the required keys."""
    problems = []
    for entry in inputs.instance_catalogue:
        if not isinstance(entry.get("type"), str):
            allowed = "entries with at least type, the name of an EC2 instance type"
            problem = inputs.problem_with("instance_catalogue", entry, "names no type", allowed, "add its type")
            problems.append(problem)
            continue
        for name in sorted(CATALOGUE_NUMBERS & entry.keys()):
            value, least = entry[name], CATALOGUE_LEAST.get(name, 0)
            if value is not None and not _is_number(value, least):
                reason = f"(the {name} of {entry['type']}) is not a number of {least} or more"
                allowed = f"a number of {least} or more, or no {name} at all"
                remedy = "Correct the number."
                problems.append(inputs.problem_with("instance_catalogue", value, reason, allowed, remedy))
    for name, image in inputs.images.items():
        if not isinstance(image, dict) or not isinstance(image.get("parameter"), str):
            allowed = "images with at least parameter, the SSM parameter that holds the image's id"
            problem = inputs.problem_with("images", {name: image}, "has no parameter", allowed, "add its parameter")
            problems.append(problem)
        # No user logs in on images that are not used.
        if name == inputs.image and isinstance(image, dict) and not _is_filled(image.get("user")):
            allowed = "for the image that is used also user, the login user that the image is built with"
            problem = inputs.problem_with("images", {name: image}, "has no user", allowed, "add its user")
            problems.append(problem)
    return problems


def _is_number(value: object, least: float) -> bool:
    """Return whether a value is a finite number that is not too small. Text, such as "24", is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return least <= value < math.inf


def _is_filled(value: object) -> bool:
    """Return whether a value is text and not empty."""
    return isinstance(value, str) and bool(value.strip())


def check_instance_count(inputs: Inputs) -> list[Problem]:
    """Check the number of instances."""
    remedy = "set the number of GPU hosts"
    return check_number(inputs, "instance_count", INSTANCE_COUNTS, "instances", remedy)


def check_volume(inputs: Inputs) -> list[Problem]:
    """Check size, IOPS and throughput of the gp3 root volume."""
    remedy = "200 leaves room for models, logs and scenes"
    sizes = check_number(inputs, "volume_size", VOLUME_SIZES_GIB, "GiB", remedy)
    return _check_performance(inputs, "volume", sizes)


def check_data_volume(inputs: Inputs) -> list[Problem]:
    """Check the same of the gp3 data volumes. Their size is 0 where hosts have none."""
    remedy = "set it to 0 for no data volume"
    sizes = check_number(inputs, "data_volume_size", DATA_VOLUME_SIZES_GIB, "GiB", remedy)
    return _check_performance(inputs, "data_volume", sizes)


def _check_performance(inputs: Inputs, volume: str, sizes: list[Problem]) -> list[Problem]:
    """Check IOPS and throughput of a volume, one by one and the ratios that AWS requires.

    Args:
        inputs: The lab's description.
        volume: How the options of the volume begin.
        sizes: The problems with its size.
    """
    problems = [
        *sizes,
        *check_number(inputs, f"{volume}_iops", VOLUME_IOPS, "IOPS", "3000 come with every gp3 volume"),
        *check_number(
            inputs, f"{volume}_throughput", VOLUME_THROUGHPUTS_MIB_S, "MiB/s", "125 come with every gp3 volume"
        ),
    ]
    if problems:
        return problems
    size, iops, throughput = (
        int(str(getattr(inputs, f"{volume}_{option}"))) for option in ("size", "iops", "throughput")
    )
    if not size:
        return []
    if iops > size * IOPS_PER_GIB:
        reason = f"is more than a volume of {size} GiB can have"
        allowed = f"at most {IOPS_PER_GIB} IOPS per GiB, here {size * IOPS_PER_GIB}"
        remedy = f"lower it, or set {inputs.variable(f'{volume}_size')} to {-(-iops // IOPS_PER_GIB)}"
        problems.append(inputs.problem(f"{volume}_iops", reason, allowed, remedy))
    if throughput * IOPS_PER_MIB_S > iops:
        reason = f"is more than a volume with {iops} IOPS can have"
        allowed = f"at most 1 MiB/s per {IOPS_PER_MIB_S} IOPS, here {iops // IOPS_PER_MIB_S}"
        remedy = f"lower it, or set {inputs.variable('volume_iops')} to {throughput * IOPS_PER_MIB_S}"
        problems.append(inputs.problem(f"{volume}_throughput", reason, allowed, remedy))
    return problems


def check_image(inputs: Inputs) -> list[Problem]:
    """Check the image's name and id. The id, if set, wins."""
    problems = []
    names = sorted(inputs.images)
    if not isinstance(inputs.image, str) or inputs.image not in names:
        remedy = f"choose one of these; to use another image of the same kind, set {inputs.variable('image_id')}"
        problems.append(inputs.problem("image", "is not an image known here", listed(names), remedy))
    image_id = inputs.image_id
    if image_id is None or image_id == "":
        return problems
    if not isinstance(image_id, str) or not IMAGE_ID_FORM.fullmatch(image_id):
        allowed = '"ami-" and 17 (in old accounts 8) hexadecimal digits, or empty'
        remedy = f"correct it, or empty it to use {inputs.variable('image')}"
        problems.append(inputs.problem("image_id", "is not the id of an image", allowed, remedy))
    return problems


def check_image_driver(inputs: Inputs) -> list[Problem]:
    """Check that the image's own packages have a driver that is new enough. An image by its id is of the same kind."""
    minimum = str(inputs.driver_minimum or "")
    newest = _newest_driver(inputs, str(inputs.image))
    if not minimum or not newest or inputs.driver_module == "none" or driver_order(newest) >= driver_order(minimum):
        return []
    drivers = {name: _newest_driver(inputs, name) for name in inputs.images}
    suffice = [name for name, driver in drivers.items() if not driver or driver_order(driver) >= driver_order(minimum)]
    reason = f"has NVIDIA's driver {newest} at most, and the profile needs {minimum} or newer"
    remedy = (
        "Choose one of these, or a profile that needs no GPU. If the hosts get their driver otherwise, set "
        f"{inputs.variable('driver_module')} to none."
    )
    return [inputs.problem("image", reason, listed(sorted(suffice)) or "an image with a newer driver", remedy)]


def _newest_driver(inputs: Inputs, name: str) -> str:
    """Return the newest driver in an image's own packages; empty if it is not known to be old."""
    image = inputs.images.get(name)
    return str(image.get("driver") or "") if isinstance(image, dict) else ""


def check_driver_module(inputs: Inputs) -> list[Problem]:
    """Check that the kernel module that will be installed runs the GPU of the instance type."""
    value = inputs.driver_module
    if value not in DRIVER_MODULES:
        remedy = "With auto, the GPU decides."
        return [inputs.problem("driver_module", "is not a kernel module", listed(list(DRIVER_MODULES)), remedy)]
    wrong = {("proprietary", "needed"): "open", ("open", "none"): "proprietary"}
    only = wrong.get((str(value), str(inputs.open_module)))
    if not only:
        return []
    reason = f"does not run the GPU of {inputs.instance_type}, which has the {only} kernel module only"
    remedy = "Set nvidia_driver_module to one of these, or choose another instance type."
    return [inputs.problem("driver_module", reason, f"auto or {only}", remedy)]


def check_ros_domain_id(inputs: Inputs) -> list[Problem]:
    """Check the ROS domain, whose DDS ports must stay below the ephemeral ports of Linux."""
    remedy = "0 is the ROS 2 default"
    return check_number(inputs, "ros_domain_id", dds.DOMAINS, "as the ROS domain id", remedy)


def check_permissions_boundary(inputs: Inputs) -> list[Problem]:
    """Check the form of the permissions boundary; AWS decides whether the policy exists."""
    value = inputs.permissions_boundary
    if value is None or value == "":
        return []
    allowed = (
        'the name or ARN of a managed policy, such as "hosts" or "arn:aws:iam::123456789012:policy/hosts", or empty'
    )
    if not isinstance(value, str):
        return [inputs.problem("permissions_boundary", "is not text", allowed, "Name one policy, or leave it empty.")]
    arn = POLICY_ARN_FORM.fullmatch(value)
    if not arn and not POLICY_NAME_FORM.fullmatch(value):
        reason = "is neither the name nor the ARN of a managed policy"
        return [inputs.problem("permissions_boundary", reason, allowed, "Correct it, or leave it empty.")]
    if arn and not check_region(inputs) and arn["partition"] != partition_of(str(inputs.region)):
        partition = partition_of(str(inputs.region))
        reason = f"is in the partition {arn['partition']}, and {inputs.region} is in {partition}"
        return [inputs.problem("permissions_boundary", reason, allowed, f'Begin it with "arn:{partition}:iam::".')]
    return []


def check_remove_excess(inputs: Inputs) -> list[Problem]:
    """Check that remove_excess is a boolean."""
    if truth(inputs.remove_excess) is not None:
        return []
    return [inputs.problem("remove_excess", "is neither true nor false", "true or false", "write one of the two")]


def check_adopt(inputs: Inputs) -> list[Problem]:
    """Check that adopt is a list of ids."""
    if isinstance(inputs.adopt, list) and all(isinstance(value, str) and value for value in inputs.adopt):
        return []
    return [
        inputs.problem("adopt", "is not a list of ids", 'a list such as ["vpc-0123456789abcdef0"]', "Write a list.")
    ]


CHECKS = (
    check_name,
    check_region,
    check_zone,
    check_network,
    check_instance_type,
    check_catalogue,
    check_instance_count,
    check_volume,
    check_data_volume,
    check_key,
    check_sources,
    check_callers,
    check_ports,
    check_internal_ports,
    check_image,
    check_image_driver,
    check_driver_module,
    check_ros_domain_id,
    check_permissions_boundary,
    check_tags,
    check_remove_excess,
    check_adopt,
)


def check_inputs(inputs: Inputs) -> list[Problem]:
    """Return all problems of a lab's description that can be found without AWS."""
    return [problem for check in CHECKS for problem in check(inputs)]


def read_lab(inputs: Inputs) -> LabDescription:
    """Turn a description without problems into typed values.

    Raises:
        ValueError: The description has problems.
    """
    problems = check_inputs(inputs)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    return LabDescription(
        prefix=inputs.prefix,
        name=str(inputs.name),
        region=str(inputs.region),
        vpc_cidr=str(inputs.vpc_cidr),
        subnet_cidr=str(inputs.subnet_cidr),
        availability_zone=str(inputs.availability_zone or ""),
        instance_type=str(inputs.instance_type),
        instance_count=int(str(inputs.instance_count)),
        market=inputs.market,
        volume_size=int(str(inputs.volume_size)),
        data_volume_size=int(str(inputs.data_volume_size)),
        key_name=str(inputs.key_name or ""),
        private_key_file=str(inputs.private_key_file or ""),
        private_key_missing=private_key_is_missing(inputs),
        admin_cidrs=[str(value) for value in entries(inputs.admin_cidrs)],
        viewer_cidrs=[str(value) for value in entries(inputs.viewer_cidrs)],
        caller_audiences=[str(value) for value in entries(inputs.caller_audiences)],
        remove_sources=[str(as_network(value)) for value in entries(inputs.remove_sources)],
        ports=read_ports(inputs),
        ingress_rules=count_rules(inputs),
        image=str(inputs.image),
        image_id=str(inputs.image_id or ""),
        permissions_boundary=str(inputs.permissions_boundary or ""),
        remove_excess=bool(truth(inputs.remove_excess)),
        adopt=[str(value) for value in entries(inputs.adopt)],
        instance_catalogue=inputs.instance_catalogue,
        images=inputs.images,
    )
