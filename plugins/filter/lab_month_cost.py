# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_month_cost."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_month_cost
short_description: Calculate what a lab's usage cost in a month
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Calculates the hours and the cost of a month, or of the part of it that is over, from the record of a lab's usage.
  - Contacts nothing, changes nothing.
options:
  _input:
    description: The parts of the record, as texts, also of earlier months.
    type: list
    elements: str
    required: true
  month:
    description: The month, such as C(2026-11).
    type: str
    required: true
  region:
    description: The region of the lab.
    type: str
    required: true
  now:
    description: The time in UTC until which the month is charged.
    type: raw
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
  listed:
    description: Current list prices, as M(digital_twin.robotics_lab.lab_prices_info) returns them.
    type: dict
    default: {}
  metrics:
    description: How many metrics each instance publishes while it runs.
    type: int
    default: 0
  spot:
    description:
      - The spot prices by instance type, each as a list of C(time) in UTC and C(price). Without any the cost of spot
        instances is not known.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report the hours of November
  ansible.builtin.debug:
    msg: "{{ (record | digital_twin.robotics_lab.lab_month_cost('2026-11', 'us-east-1', now(utc=true))).hours }}"
  vars:
    record:
      - |-
        1 2026-11
        i i-0123456789abcdef0 g5.xlarge/on-demand
        +2gw0~uk0e Client.UserInitiatedShutdown
"""

RETURN = r"""
_value:
  description: The hours and the cost in US dollars.
  type: dict
  contains:
    month:
      description: The month.
      type: str
    hours:
      description: The hours of all instances by market, C(on-demand) and C(spot).
      type: dict
    hours_possible:
      description: How many hours more instances may have run whose end is not known.
      type: float
    cost:
      description:
        - The cost of C(instances), C(volumes), C(snapshots), C(addresses), C(metrics) and C(alarms). That of snapshots
          is an upper limit, as AWS charges only for what differs from earlier ones.
      type: dict
    total:
      description: Their sum.
      type: float
    without_price:
      description: Instance types without a known price.
      type: list
    estimated:
      description: Whether some prices are those of us-east-1.
      type: bool
  sample:
    month: 2026-11
    hours: {on-demand: 11.0, spot: 0.0}
    hours_possible: 0.0
    cost: {instances: 11.07, volumes: 0.0, snapshots: 0.0, addresses: 0.0, metrics: 0.0, alarms: 0.0}
    total: 11.07
    without_price: []
    estimated: false
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils._usage.record import RecordError, read_month
from ..plugin_utils._cost.month import Month, SpotHistory, cost_of_month
from ..plugin_utils._cost.prices import own_types, prices_of


def seconds_of(moment: datetime | str) -> int:
    """Return a time in UTC in seconds since 1970."""
    moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def histories_of(spot: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, SpotHistory]:
    """Return the histories of spot prices, without those of types that have none."""
    found = {
        instance_type: SpotHistory([(seconds_of(change["time"]), float(change["price"])) for change in changes])
        for instance_type, changes in spot.items()
    }
    return {name: history for name, history in found.items() if history.changes}


def lab_month_cost(
    record: Iterable[str],
    month: str,
    region: str,
    now: datetime,
    *,
    prices: Mapping[str, Any] | None = None,
    catalogue: Iterable[Mapping[str, Any]] = (),
    listed: Mapping[str, Any] | None = None,
    metrics: int = 0,
    spot: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> dict[str, Any]:
    """Return the hours and the cost of a month."""
    try:
        entries = [entry for text in record for entry in read_month(text)]
        asked = Month(month, seconds_of(now), int(metrics), histories_of(spot or {}))
        return cost_of_month(entries, prices_of(region, prices, own_types(catalogue), listed), asked)
    except RecordError as error:
        raise AnsibleFilterError(f"lab_month_cost: {error}") from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_month_cost": lab_month_cost}
