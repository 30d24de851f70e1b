#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that gets current prices of what a lab has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_prices_info
version_added: 1.0.0
short_description: Get current prices of instance types, volumes and snapshots, and of the spot market
description:
  - Gets list prices from the Price List API of AWS, and spot prices from EC2.
  - The API may be missing, slow or denied. Then the module does not fail. It returns what it could get, and why it is
    not all.
options:
  instance_types:
    description: The instance types.
    type: list
    elements: str
    default: []
  zones:
    description: The zone of each instance type whose spot price is returned. Spot prices differ between zones.
    type: dict
    default: {}
  price_list:
    description: Whether to ask the Price List API.
    type: bool
    default: true
  timeout:
    description: How long to wait for the Price List API, in seconds.
    type: int
    default: 5
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - digital_twin.robotics_lab._attributes.info
notes:
  - Needs the permissions C(pricing:GetProducts) and C(ec2:DescribeSpotPriceHistory).
  - The API has endpoints in us-east-1, eu-central-1 and ap-south-1 only. The nearest is used.
seealso:
  - plugin: digital_twin.robotics_lab.lab_month_cost
    plugin_type: filter
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the prices of the lab's hosts
  digital_twin.robotics_lab.lab_prices_info:
    region: eu-central-1
    instance_types: [g6e.xlarge]
    zones: {g6e.xlarge: eu-central-1a}
  register: prices
"""

RETURN = r"""
listed:
  description: Prices of the Price List API in US dollars. Empty without an answer.
  returned: success
  type: dict
  contains:
    published:
      description: When AWS published them.
      type: str
    others:
      description: By the names of C(aws_infrastructure_prices), those of gp3 volumes and snapshots.
      type: dict
    types:
      description: By instance type, an hour on demand.
      type: dict
    reserved:
      description: The same for a standard reservation of one year without payment in advance.
      type: dict
  sample: {published: "2026-11-27", others: {gib_month: 0.0952}, types: {g6e.xlarge: 2.327}, reserved: {}}
spot:
  description: By instance type, when its spot price changed in this month (C(time), UTC), and to what (C(price)).
  returned: success
  type: dict
  sample: {g6e.xlarge: [{time: "2026-11-30T08:00:00+00:00", price: 0.93}]}
unread:
  description: One line for each of the two that did not answer.
  returned: success
  type: list
  elements: str
  sample: []
"""

import contextlib
import time
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

# AnsibleAWSModule reports a missing botocore before anything here is called.
with contextlib.suppress(ImportError):
    from botocore.config import Config

from ansible_collections.amazon.aws.plugins.module_utils.botocore import boto3_inventory_conn, get_aws_connection_info
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws.connection import client_of, region_of
from ..module_utils._aws.errors import ReadError, describe_error, translated
from ..module_utils._usage import price_list

SPEC: dict[str, dict[str, Any]] = {
    "instance_types": {"type": "list", "elements": "str", "default": []},
    "zones": {"type": "dict", "default": {}},
    "price_list": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 5},
}
PRICING = "pricing:GetProducts"
SPOT = "ec2:DescribeSpotPriceHistory"


def read_listed(module: AnsibleAWSModule, region: str) -> price_list.Listed:
    """Return list prices.

    Raises:
        ReadError: The API did not answer.
        TooSlowError: It took too long.
    """
    home, seconds = price_list.endpoint_region(region), module.params["timeout"]
    if not home:
        return price_list.Listed()
    _region, endpoint, settings = get_aws_connection_info(module)
    config = Config(connect_timeout=min(seconds, 2), read_timeout=seconds, retries={"total_max_attempts": 1})
    with translated(PRICING, home):
        client = boto3_inventory_conn("client", "pricing", home, endpoint, config=config, **settings)
        return price_list.read(client, region, module.params["instance_types"], seconds, time.monotonic)


def main() -> None:
    """Return the prices."""
    module = AnsibleAWSModule(argument_spec=SPEC, supports_check_mode=True)
    region, unread = region_of(module), []
    listed, spot = price_list.Listed(), {}
    if module.params["price_list"]:
        try:
            listed = read_listed(module, region)
        except ReadError as error:
            unread.append(str(describe_error(error)))
        except price_list.TooSlowError as error:
            unread.append(f"{error}.")
    now = datetime.now(timezone.utc)
    try:
        client = client_of(module, "ec2", SPOT)
        with translated(SPOT, region):
            since = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            spot = price_list.spot_history(client, module.params["zones"], since)
    except ReadError as error:
        unread.append(str(describe_error(error)))
    module.exit_json(changed=False, listed=asdict(listed) if listed.published else {}, spot=spot, unread=unread)


if __name__ == "__main__":
    main()
