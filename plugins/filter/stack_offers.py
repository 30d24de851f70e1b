# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter stack_offers."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_offers
short_description: Choose the cheapest instance type on which a profile of the stack runs
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Chooses the cheapest EC2 instance type that is offered, within the quotas, and on which a profile runs well. Only
    where there is none, the cheapest on which it is tight. Contacts nothing, changes nothing.
  - Every other type comes with the reasons why it is not chosen.
  - Prices are those of C(plugins/plugin_utils/_stack/machines.yml), on demand, for Linux, with their dates. A type
    without a known price is never chosen. Where the price in the region is not known, that in us-east-1 is an estimate.
positional: region, offered
options:
  _input:
    description: The profile - V(sim), V(nav), V(voice) or V(full).
    type: str
    required: true
  region:
    description:
      - The region. Its prices decide the order if those of all offered types are known, otherwise those of us-east-1,
        as prices of two regions cannot be compared.
    type: str
    required: true
  offered:
    description: Names of the instance types that the region, or the zone of the lab, offers.
    type: list
    elements: str
    required: true
  described:
    description:
      - Instance types as EC2's DescribeInstanceTypes returns them. They are added to the known types, and override
        everything but their prices.
      - A type of O(offered) that is not among them is not chosen. When empty, the known types are used.
    type: list
    elements: dict
    default: []
  quotas:
    description:
      - The vCPUs that are left in the quotas of the region, by the family of an instance type, such as V(g).
      - A family that is missing, or null, is not checked.
    type: dict
    default: {}
  count:
    description: Number of instances.
    type: int
    default: 1
  disk_gib:
    description: Size of their root volumes, in GiB. Not checked when it is null.
    type: int
  model:
    description: The language model, as in P(digital_twin.robotics_lab.stack_fit#filter).
    type: str
    default: ''
  driver_module:
    description:
      - The kernel module of NVIDIA's driver that the instances will get. With V(open) or V(proprietary), types whose
        GPU does not run it are not chosen.
    type: str
    default: auto
"""

EXAMPLES = r"""
- name: Report the offers of a region
  ansible.builtin.debug:
    msg: "{{ offers.table }}"
  vars:
    offers: "{{ 'full' | digital_twin.robotics_lab.stack_offers('eu-central-1', ['g5.xlarge', 'g6.2xlarge']) }}"
"""

RETURN = r"""
_value:
  description: The offers.
  type: dict
  contains:
    instance_type:
      description: The chosen type; empty where there is none.
      type: str
      sample: g6.2xlarge
    problem:
      description: Why there is none, in one line; empty where there is one.
      type: str
      sample: ""
    price_per_hour:
      description: Its price in US dollars in RV(_value.price_region); null where there is no type.
      type: float
      sample: 0.9776
    price_region:
      description:
        - The region of that price - O(region), or V(us-east-1) where the price is an estimate. Where there is no type,
          the region whose prices decide the order.
      type: str
      sample: us-east-1
    open_module:
      description: Whether the driver's open kernel module runs its GPU - V(needed), V(possible) or V(none).
      type: str
      sample: possible
    arithmetic:
      description: How the memory of its GPU and its own is divided, one line for each.
      type: list
      elements: str
      sample: []
    table:
      description:
        - The offers as lines of text - all that are cheaper, two that cost more, and the recommendation of the AWS
          deployment guide.
      type: list
      elements: str
      sample:
        - "   instance type  GPU   GPU GiB  GiB  vCPUs  $/hour"
        - "*  g6.2xlarge     L4    22.4     32   8      ~0.978  chosen; llama-3.1-8b-instruct-awq, context 2048"
        - "~ an estimate: the price in us-east-1, as that in eu-central-1 is not known here"
    offers:
      description: All types, the cheapest first.
      type: list
      elements: dict
      contains:
        type:
          description: The instance type.
          type: str
          sample: g5.xlarge
        price_per_hour:
          description: Its price; null where it is not known.
          type: float
          sample: 1.006
        estimated:
          description: Whether that is the price of another region.
          type: bool
          sample: true
        chosen:
          description: Whether it is the chosen one.
          type: bool
          sample: false
        reasons:
          description: Why it cannot be chosen; empty for the chosen one, and for those that only cost more.
          type: list
          elements: str
          sample: [not offered in eu-central-1]
        open_module:
          description: Whether the driver's open kernel module runs its GPU, as above.
          type: str
          sample: possible
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils._stack.machines import merge
from ..plugin_utils._stack.needs import CapacityError
from ..plugin_utils._stack.offers import choose, open_module


def stack_offers(
    profile: str,
    region: str,
    offered: list[str],
    *,
    described: list[dict[str, Any]] | None = None,
    quotas: dict[str, int | None] | None = None,
    count: int = 1,
    disk_gib: int | None = None,
    model: str = "",
    driver_module: str = "auto",
) -> dict[str, Any]:
    """Return the offers of a region for a profile."""
    disk = None if disk_gib is None else int(disk_gib)
    try:
        types = merge(list(described or []), offered)
        choice = choose(
            types,
            set(offered),
            quotas or {},
            profile,
            region,
            count=int(count),
            disk=disk,
            model=model,
            driver_module=driver_module,
        )
    except CapacityError as error:
        raise AnsibleFilterError(f"stack_offers: {error}") from None
    chosen = choice.chosen
    return {
        "instance_type": chosen.kind.name if chosen else "",
        "problem": choice.problem,
        "price_per_hour": chosen.cost if chosen else None,
        "price_region": region if chosen and chosen.own_price is not None else choice.price_region,
        "open_module": open_module(chosen.kind) if chosen else "possible",
        "arithmetic": chosen.fit.arithmetic if chosen and chosen.fit else [],
        "table": choice.lines(),
        "offers": [
            {
                "type": offer.kind.name,
                "price_per_hour": offer.cost,
                "estimated": offer.cost is not None and offer.own_price is None,
                "chosen": offer.chosen,
                "reasons": list(offer.reasons),
                "open_module": open_module(offer.kind),
            }
            for offer in choice.offers
        ],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"stack_offers": stack_offers}
