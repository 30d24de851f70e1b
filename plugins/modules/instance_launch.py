#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that launches the hosts of a lab where AWS has capacity."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_launch
version_added: 1.0.0
short_description: Launch the hosts of a lab where AWS has capacity
description:
  - Launches those hosts of a lab that do not exist, and waits until they run.
  - Tries one offer after the other, an offer being an instance type in a zone and a market, with one call each. What
    fails for one host is not tried for the next.
  - The order is O(capacity_reservations), then all zones, then the next of O(instance_types), then on demand after
    spot. Zones that AWS names in its refusal come first among those of the same type.
  - A zone without a subnet of the lab gets one when it is tried, in the lab's route table. It is deleted again when no
    host is launched there.
  - Hosts that exist are never changed, started or replaced. A launch that an interrupted run has begun is found again
    by its token, so that no second instance is made.
  - An open spot request of a missing host is cancelled first, as it could launch a second instance. An instance that
    such a request has launched becomes the host.
  - M(amazon.aws.ec2_instance) repeats a call for about two minutes where a zone has no capacity, and knows neither spot
    nor reservations.
options:
  name:
    description: The name of the lab.
    type: str
    required: true
  hosts:
    description:
      - The numbers of the hosts. Host 1 of the lab V(warehouse) is named V(warehouse-1).
      - Those that exist are returned as they are.
    type: list
    elements: str
    required: true
  vpc_id:
    description: The VPC of the lab.
    type: str
    required: true
  vpc_cidr:
    description: The network of the VPC, in which further subnets are created.
    type: str
    required: true
  subnet_cidr:
    description: The network of the first subnet. Further ones have the same size.
    type: str
    required: true
  availability_zones:
    description: Zones to try before the others, in order. Those of existing hosts come first.
    type: list
    elements: str
    default: []
  host_zones:
    description: The only zone of a host, such as that of its data volume, by the numbers of O(hosts).
    type: dict
    default: {}
  max_price:
    description: The most to pay for an hour of a spot instance, in US dollars. Empty for the on-demand price.
    type: str
    default: ''
  image_id:
    description: The image.
    type: str
    required: true
  key_name:
    description: The key pair.
    type: str
    default: ''
  security_groups:
    description: Ids of the security groups.
    type: list
    elements: str
    required: true
  instance_profile:
    description: The name of the instance profile.
    type: str
    default: ''
  volume_size:
    description: The size of the root volume, in GiB. It is encrypted and of type gp3.
    type: int
    required: true
  volume_iops:
    description: Its operations per second.
    type: int
    default: 3000
  volume_throughput:
    description: Its throughput, in MiB/s.
    type: int
    default: 125
  user_data:
    description: The user data for the first boot.
    type: str
    default: ''
  detailed_monitoring:
    description: Whether EC2 writes its metrics every minute.
    type: bool
    default: false
  termination_protection:
    description: Whether the instances are protected from termination. AWS does not protect spot instances.
    type: bool
    default: false
  tags:
    description: Tags of instances, volumes, spot requests and subnets, in addition to those by which the lab is found.
    type: dict
    default: {}
  host_tags:
    description: Tags of instances, volumes and spot requests only.
    type: dict
    default: {}
  wait_timeout:
    description: How long to wait for an instance to run, in seconds.
    type: int
    default: 600
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes
  - digital_twin.robotics_lab._instances.offers
  - digital_twin.robotics_lab._instances.prefix
  - digital_twin.robotics_lab._instances.retry
notes:
  - Needs the permissions C(ec2:RunInstances), C(ec2:CreateTags), C(ec2:CreateSubnet), C(ec2:DeleteSubnet),
    C(ec2:AssociateRouteTable), C(ec2:DescribeInstances), C(ec2:DescribeImages), C(ec2:DescribeSubnets) and
    C(ec2:DescribeRouteTables), and C(iam:PassRole) with O(instance_profile).
  - Needs C(ec2:DescribeSpotInstanceRequests) as well, and for spot C(ec2:CancelSpotInstanceRequests),
    C(ec2:TerminateInstances) for an instance that AWS interrupts while it is launched, and
    C(iam:CreateServiceLinkedRole) for the first spot instance of an account.
  - With O(capacity_reservations) also C(ec2:DescribeCapacityReservations).
seealso:
  - module: amazon.aws.ec2_instance
  - module: digital_twin.robotics_lab.instance_offers_info
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Launch the hosts, in spot if there is any
  digital_twin.robotics_lab.instance_launch:
    name: warehouse
    hosts: [1, 2]
    vpc_id: vpc-0123456789abcdef0
    vpc_cidr: 10.0.0.0/16
    subnet_cidr: 10.0.1.0/24
    instance_types:
      - {name: g6.xlarge, zones: [us-east-1a, us-east-1b]}
      - {name: g5.xlarge, zones: [us-east-1a, us-east-1b, us-east-1c]}
    market: auto
    image_id: ami-0123456789abcdef0
    security_groups: [sg-0123456789abcdef0]
    volume_size: 200
"""

RETURN = r"""
instances:
  description:
    - The hosts that exist now, those that existed before first. In check mode without those that would be launched.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The host's name.
      type: str
      sample: warehouse-1
    instance_id:
      description: The instance.
      type: str
      sample: i-0123456789abcdef0
    instance_type:
      description: Its type.
      type: str
      sample: g5.xlarge
    availability_zone:
      description: Its zone.
      type: str
      sample: us-east-1b
    subnet_id:
      description: Its subnet.
      type: str
      sample: subnet-0123456789abcdef0
    market:
      description: V(on-demand), V(spot) or V(capacity-block).
      type: str
      sample: on-demand
    spot_request_id:
      description: Its spot request; empty when it has none.
      type: str
      sample: ""
    created:
      description: Whether this call has launched it.
      type: bool
      sample: true
tries:
  description: What was tried, in order.
  returned: always
  type: list
  elements: dict
  contains:
    host:
      description: The host's name.
      type: str
      sample: warehouse-1
    instance_type:
      description: The type.
      type: str
      sample: g5.xlarge
    availability_zone:
      description: The zone.
      type: str
      sample: us-east-1a
    market:
      description: The market.
      type: str
      sample: on-demand
    reservation:
      description: The capacity reservation or capacity block; empty for none.
      type: str
      sample: ""
    code:
      description: The error code of AWS; empty when the host runs.
      type: str
      sample: InsufficientInstanceCapacity
    seconds:
      description: How long it took, in seconds.
      type: float
      sample: 0.4
lines:
  description: The tries, skipped reservations and recovered instances, one line each.
  returned: always
  type: list
  elements: str
  sample: ["warehouse-1: g5.xlarge in us-east-1b, on demand: i-0123456789abcdef0 runs"]
no_capacity:
  description: Whether this failed only because AWS has no capacity at the moment, so that a later call can succeed.
  returned: always
  type: bool
  sample: false
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.connection import client_of, connector, region_of
from ..module_utils._aws.errors import ReadError, describe_error
from ..module_utils._aws.resources import read_tags
from ..module_utils._lab.last_action import MOVE_TAG
from ..module_utils._lab.ownership import INDEX_TAG
from ..module_utils._launch.offers import ON_DEMAND, Search, list_offers
from ..module_utils._launch.problem import describe_failures
from ..module_utils._launch.read import read_gpus, read_place, read_prices, read_root_device
from ..module_utils._launch.request import Machine
from ..module_utils._launch.reservations import ReservationError, read_reservations
from ..module_utils._launch.run import Launcher, StopError, lab_tags, read_hosts

SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "hosts": {"type": "list", "elements": "str", "required": True},
    "vpc_id": {"type": "str", "required": True},
    "vpc_cidr": {"type": "str", "required": True},
    "subnet_cidr": {"type": "str", "required": True},
    "instance_types": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "zones": {"type": "list", "elements": "str", "required": True},
            "gpus": {"type": "int", "default": 1},
            "price_per_hour": {"type": "float"},
            "price_estimated": {"type": "bool", "default": False},
        },
    },
    "availability_zones": {"type": "list", "elements": "str", "default": []},
    "host_zones": {"type": "dict", "default": {}},
    "market": {"type": "str", "choices": ["on_demand", "spot", "auto"], "default": "on_demand"},
    "max_price": {"type": "str", "default": ""},
    "capacity_reservations": {"type": "list", "elements": "str", "default": []},
    "image_id": {"type": "str", "required": True},
    "key_name": {"type": "str", "default": "", "no_log": False},
    "security_groups": {"type": "list", "elements": "str", "required": True},
    "instance_profile": {"type": "str", "default": ""},
    "volume_size": {"type": "int", "required": True},
    "volume_iops": {"type": "int", "default": 3000},
    "volume_throughput": {"type": "int", "default": 125},
    "user_data": {"type": "str", "default": ""},
    "detailed_monitoring": {"type": "bool", "default": False},
    "termination_protection": {"type": "bool", "default": False},
    "tags": {"type": "dict", "default": {}},
    "host_tags": {"type": "dict", "default": {}},
    "wait_timeout": {"type": "int", "default": 600},
    "retry_timeout": {"type": "int", "default": 90},
    "variable_prefix": {"type": "str", "default": ""},
}


def build_launcher(module: AnsibleAWSModule, ec2: Any, region: str) -> tuple[Launcher, list[str]]:
    """Return the launcher that a module's options describe, and a line for each reservation that cannot be used.

    Raises:
        StopError: There is no such image.
        ReservationError: There is no such reservation.
        ReadError: AWS did not answer.
    """
    given = module.params
    tags = {str(key): str(value) for key, value in given["tags"].items()}
    reserved, lines = read_reservations(ec2, given["capacity_reservations"], region, given["variable_prefix"])
    launcher = Launcher(
        ec2=ec2,
        once=connector(module, attempts=1)("ec2", region),
        region=region,
        machine=Machine(
            vpc_id=given["vpc_id"],
            image_id=given["image_id"],
            root_device=read_root_device(ec2, given["image_id"], region),
            key_name=given["key_name"],
            groups=given["security_groups"],
            profile=given["instance_profile"],
            volume={
                "size": given["volume_size"],
                "iops": given["volume_iops"],
                "throughput": given["volume_throughput"],
            },
            user_data=given["user_data"],
            monitoring=given["detailed_monitoring"],
            protection=given["termination_protection"],
            max_price=given["max_price"],
        ),
        place=read_place(
            ec2,
            region,
            name=given["name"],
            vpc_id=given["vpc_id"],
            network=given["vpc_cidr"],
            first=given["subnet_cidr"],
        ),
        search=Search(reserved),
        tags=tags | lab_tags(given["name"]),
        name=given["name"],
        prefix=given["variable_prefix"],
        patience=given["retry_timeout"],
        timeout=given["wait_timeout"],
        prices=read_prices(given["instance_types"]),
    )
    return launcher, lines


def describe_instance(name: str, instance: dict[str, Any], created: bool) -> dict[str, Any]:
    """Return an instance in the form that the module documents."""
    return {
        "name": name,
        "instance_id": instance["InstanceId"],
        "instance_type": instance["InstanceType"],
        "availability_zone": instance["Placement"]["AvailabilityZone"],
        "subnet_id": instance.get("SubnetId", ""),
        "market": instance.get("InstanceLifecycle") or ON_DEMAND,
        "spot_request_id": instance.get("SpotInstanceRequestId", ""),
        "created": created,
    }


def launch_hosts(module: AnsibleAWSModule, result: dict[str, Any]) -> str:
    """Launch what is missing, add to the result, and return why a host is missing; empty when all exist.

    Raises:
        StopError: A failure that no other offer can cure.
        ReservationError: There is no such reservation.
        ReadError: AWS did not answer, or refused.
    """
    given, region = module.params, region_of(module)
    ec2 = client_of(module, "ec2", "ec2:RunInstances")
    existing = read_hosts(ec2, region, given["name"], given["vpc_id"])
    names = {number: f"{given['name']}-{number}" for number in given["hosts"]}
    for number, name in names.items():
        found = existing.get(number, [])
        if len(found) > 1:
            ids = ", ".join(instance["InstanceId"] for instance in found)
            if any(MOVE_TAG in read_tags(instance.get("Tags")) for instance in found):
                raise StopError(
                    f"{name}: its move to another zone has not ended ({ids}). Terminate neither. Run "
                    f"playbooks/start.yml with {given['variable_prefix']}move_zone_confirm={given['name']} to end it."
                )
            raise StopError(f"{name}: has several instances ({ids}). Terminate all but one of them.")
        result["instances"] += [describe_instance(name, instance, created=False) for instance in found]
    missing = {number: name for number, name in names.items() if number not in existing}
    if not missing or module.check_mode:
        result["changed"] = bool(missing)
        return ""
    launcher, skipped = build_launcher(module, ec2, region)
    result["lines"] += skipped
    zones = [instance["Placement"]["AvailabilityZone"] for hosts in existing.values() for instance in hosts]
    types = [(item["name"], item["zones"]) for item in given["instance_types"]]
    launcher.search.offers += list_offers(types, given["market"], [*zones, *given["availability_zones"]])
    gpus = read_gpus(ec2, [offer.instance_type for offer in launcher.search.offers], given["instance_types"], region)
    own = {str(key): str(value) for key, value in given["host_tags"].items()}
    try:
        for number, name in missing.items():
            tags = {**own, **launcher.tags, "Name": name, INDEX_TAG: number}
            zone = str(given["host_zones"].get(number, ""))
            instance = launcher.launch(name, tags, gpus, zone)
            if instance is None:
                result["no_capacity"] = True
                failed = {offer: why for offer, why in launcher.search.failed.items() if zone in ("", offer.zone)}
                bound = f" Its data volume is in {zone}, so that it is launched only there." if zone else ""
                return describe_failures(name, failed, given["variable_prefix"]) + bound
            result["changed"] = True
            result["instances"].append(describe_instance(name, instance, created=True))
    finally:
        result["tries"] += [
            {
                "host": attempt.host,
                "instance_type": attempt.offer.instance_type,
                "availability_zone": attempt.offer.zone,
                "market": attempt.offer.market,
                "reservation": attempt.offer.reservation,
                "code": attempt.refusal.code if attempt.refusal else "",
                "seconds": attempt.seconds,
            }
            for attempt in launcher.tries
        ]
        result["lines"] += launcher.lines
        try:
            launcher.clean()
        except ReadError as error:
            result["lines"].append(f"an unused subnet of the lab stays until it is destroyed: {describe_error(error)}")
    return ""


def main() -> None:
    """Launch the hosts, or fail with one line for each offer and the remedy."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    result: dict[str, Any] = {"changed": False, "instances": [], "tries": [], "lines": [], "no_capacity": False}
    try:
        problem = launch_hosts(module, result)
    except (StopError, ReservationError) as error:
        problem = str(error)
    except ReadError as error:
        problem = str(describe_error(error))
    if problem:
        names = ", ".join(item["name"] for item in result["instances"])
        if names:
            problem += f" {names} exists and costs money while it runs: run this again, or playbooks/stop.yml."
        module.fail_json(msg=problem, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
