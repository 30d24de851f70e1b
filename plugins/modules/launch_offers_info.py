#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that lists the offers that a launch would try."""

from __future__ import annotations

DOCUMENTATION = r"""
module: launch_offers_info
version_added: 1.0.0
short_description: List what a launch would try, in order and with prices
description:
  - Returns the offers that M(digital_twin.robotics_lab.instance_launch) would try with the same options, in its order,
    with what each costs.
  - Spot prices are those of this moment, and are read for spot only. Whether AWS has capacity is known only when it
    is tried.
  - If spot prices cannot be read, the module does not fail, and RV(notes) has the reason.
options:
  region:
    description:
      - The AWS region to use, such as V(us-east-1).
      - The E(AWS_REGION) or E(AWS_DEFAULT_REGION) environment variables may also be used.
    type: str
    aliases:
      - aws_region
  availability_zones:
    description: Zones to try before the others, in order.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
  - digital_twin.robotics_lab._instances.offers
  - digital_twin.robotics_lab._instances.prefix
notes:
  - Needs the permission C(ec2:DescribeSpotPriceHistory) for spot, and C(ec2:DescribeCapacityReservations) with
    O(capacity_reservations).
seealso:
  - module: digital_twin.robotics_lab.instance_launch
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get what would be tried
  digital_twin.robotics_lab.launch_offers_info:
    region: us-east-1
    market: auto
    instance_types:
      - {name: g6.xlarge, zones: [us-east-1a, us-east-1b], price_per_hour: 0.8048}
  register: offers

- name: Report the offers
  ansible.builtin.debug:
    msg: "{{ offers.table }}"
"""

RETURN = r"""
offers:
  description: The offers, in the order in which they are tried.
  returned: success
  type: list
  elements: dict
  contains:
    instance_type:
      description: The type.
      type: str
      sample: g6.xlarge
    availability_zone:
      description: The zone.
      type: str
      sample: us-east-1a
    market:
      description: The market.
      type: str
      sample: spot
    reservation:
      description: The capacity reservation or capacity block; empty for none.
      type: str
      sample: ""
    price_per_hour:
      description: Its price in US dollars; null where it is not known.
      type: float
      sample: 0.3214
table:
  description: The offers as lines of text, one for each market and type.
  returned: success
  type: list
  elements: str
  sample:
    - "market     instance type  zones, in the order in which they are tried"
    - "spot       g6.xlarge      us-east-1a $0.321, us-east-1b $0.402"
    - "on demand  g6.xlarge      us-east-1a $0.805, us-east-1b $0.805"
notes:
  description: What cannot be used, and what could not be read, one line each.
  returned: success
  type: list
  elements: str
  sample: ["cr-0123456789abcdef0: skipped, as it is expired with 0 free instances"]
"""

from typing import Any

from ansible.module_utils.basic import env_fallback
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.connection import client_of, region_of, run_module
from ..module_utils._aws.errors import DENIED, ReadError, describe_error
from ..module_utils._launch.offers import SPOT, list_offers
from ..module_utils._launch.prices import Price, describe_offers, price_offers, read_spot_prices
from ..module_utils._launch.reservations import ReservationError, read_reservations

SPEC: dict[str, dict[str, Any]] = {
    "region": {
        "type": "str",
        "aliases": ["aws_region"],
        "fallback": (env_fallback, ["AWS_REGION", "AWS_DEFAULT_REGION"]),
    },
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
    "market": {"type": "str", "choices": ["on_demand", "spot", "auto"], "default": "on_demand"},
    "capacity_reservations": {"type": "list", "elements": "str", "default": []},
    "variable_prefix": {"type": "str", "default": ""},
}


def list_priced(module: AnsibleAWSModule) -> dict[str, Any]:
    """Return the offers of a module's options in the form that the module documents.

    Raises:
        ReservationError: There is no such reservation.
        ReadError: AWS did not answer.
    """
    given, region = module.params, region_of(module)
    ec2 = client_of(module, "ec2", "ec2:DescribeSpotPriceHistory")
    reserved, notes = read_reservations(ec2, given["capacity_reservations"], region, given["variable_prefix"])
    types = [(item["name"], item["zones"]) for item in given["instance_types"]]
    offers = list_offers(types, given["market"], given["availability_zones"], reserved)
    spot: dict[tuple[str, str], float] = {}
    try:
        spot = read_spot_prices(ec2, [offer.instance_type for offer in offers if offer.market == SPOT], region)
    except ReadError as error:
        if error.kind != DENIED:
            raise
        notes.append(f"spot prices are not shown: {describe_error(error)}")
    on_demand = {
        item["name"]: Price(item["price_per_hour"], item["price_estimated"]) for item in given["instance_types"]
    }
    prices = price_offers(offers, on_demand, spot)
    return {
        "changed": False,
        "offers": [
            {
                "instance_type": offer.instance_type,
                "availability_zone": offer.zone,
                "market": offer.market,
                "reservation": offer.reservation,
                "price_per_hour": price.amount,
            }
            for offer, price in prices.items()
        ],
        "table": describe_offers(prices),
        "notes": notes,
    }


def main() -> None:
    """Return the offers."""
    run_module(AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True), list_priced, ReservationError)


if __name__ == "__main__":
    main()
