# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_cost_change."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_cost_change
short_description: Calculate what a change of a lab costs a month
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Compares two sets of hosts at the list prices of a region. Contacts nothing, changes nothing.
options:
  _input:
    description:
      - The hosts as they are, each with C(instance_type) and C(volume_size) in GiB, and optionally C(volume_iops),
        C(volume_throughput) in MiB/s and the number of its public C(addresses).
      - Or the instance types alone, where nothing else changes.
    type: list
    elements: raw
    required: true
  after:
    description: The hosts as they will be, in the same form.
    type: list
    elements: raw
    required: true
  region:
    description: The region.
    type: str
    required: true
  prices:
    description: The user's own prices, by the names of C(aws_infrastructure_prices).
    type: dict
    default: {}
  catalogue:
    description: Instance types with the user's own C(price_per_hour), as C(aws_infrastructure_instance_catalogue).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Report what a larger instance type costs
  ansible.builtin.debug:
    msg: "{{ (before | digital_twin.robotics_lab.lab_cost_change(after, 'us-east-1')).line }}"
  vars:
    before: [{instance_type: g5.xlarge, volume_size: 200}]
    after: [{instance_type: g5.2xlarge, volume_size: 200}]
"""

RETURN = r"""
_value:
  description: The difference in US dollars; more when positive.
  type: dict
  contains:
    per_month:
      description: The difference a month if the hosts always run; null if the price of a type is not known.
      type: float
    per_month_stopped:
      description: The difference a month while they are stopped.
      type: float
    without_price:
      description: Instance types without a known price.
      type: list
    estimated:
      description: Whether some prices are those of us-east-1.
      type: bool
    line:
      description: The same as a sentence.
      type: str
  sample:
    per_month: 150.38
    per_month_stopped: 0.0
    without_price: []
    estimated: false
    line: This change costs +$150.38 a month if always on, +$0.00 stopped.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..plugin_utils._cost.prices import FREE_IOPS, FREE_THROUGHPUT, own_types, prices_of
from ..plugin_utils._cost.rates import Size, difference, difference_line


def _size(host: Mapping[str, Any] | str) -> Size:
    """Return a host's size."""
    if isinstance(host, str):
        return Size(host, 0, addresses=0)
    return Size(
        str(host["instance_type"]),
        int(host["volume_size"]),
        int(host.get("volume_iops") or FREE_IOPS),
        int(host.get("volume_throughput") or FREE_THROUGHPUT),
        int(host.get("addresses", 1)),
    )


def lab_cost_change(
    before: Iterable[Mapping[str, Any] | str],
    after: Iterable[Mapping[str, Any] | str],
    region: str,
    prices: Mapping[str, Any] | None = None,
    catalogue: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the difference."""
    known = prices_of(region, prices, own_types(catalogue))
    found = difference([_size(host) for host in before], [_size(host) for host in after], known)
    return {**found, "line": difference_line(found)}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_cost_change": lab_cost_change}
