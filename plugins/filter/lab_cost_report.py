# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_cost_report."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_cost_report
short_description: Report what a lab cost this month, and what spot instances or a reservation would save
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns hours and cost of the month so far, by kind, as P(digital_twin.robotics_lab.lab_month_cost#filter) does.
  - Compares its hours on demand with the spot price now, and with a reservation, which is paid for every hour of the
    month in which the lab existed, used or not.
  - Contacts nothing, changes nothing.
options:
  _input:
    description: The result of M(digital_twin.robotics_lab.lab_usage).
    type: dict
    required: true
  summary:
    description: The fact C(aws_infrastructure_summary).
    type: dict
    required: true
  lab:
    description:
      - C(region), the user's C(prices) and C(instance_catalogue), C(metrics) that each host publishes, and the
        C(discount) of a reservation where its price is not known.
    type: dict
    required: true
  market:
    description: The result of M(digital_twin.robotics_lab.lab_prices_info). Empty without any.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report the cost
  ansible.builtin.debug:
    msg: "{{ (usage | digital_twin.robotics_lab.lab_cost_report(aws_infrastructure_summary, lab, prices)).lines }}"
  vars:
    usage:
      month: 2026-11
      now: "2026-11-30T12:00:00+00:00"
      record: ["1 2026-11\ni i-0123456789abcdef0 g5.xlarge/on-demand\n+2gw0~uk0e Client.UserInitiatedShutdown"]
    lab: {region: us-east-1, prices: {}, instance_catalogue: [], metrics: 0, discount: 0.35}
    prices: {}
"""

RETURN = r"""
_value:
  description: The report, in US dollars.
  type: dict
  contains:
    per_hour:
      description: What the lab costs an hour while it runs.
      type: float
    per_month:
      description: The same for a month in which it always runs.
      type: float
    per_month_stopped:
      description: The same while it is stopped.
      type: float
    month:
      description: Hours and cost of the month so far, as of the filter lab_month_cost.
      type: dict
    spot:
      description: By instance type the spot C(price), the C(hours), and what was C(saved), in C(percent) as well.
      type: dict
    reservation:
      description:
        - By instance type the C(hours) of use, the C(hours_paid), the C(use_percent), the C(discount_percent), whether
          it is C(known), what would have been C(saved), and the C(break_even_percent).
      type: dict
    lines:
      description: The same as sentences.
      type: list
      elements: str
  sample: {per_hour: 1.03, per_month: 754.03, per_month_stopped: 19.65, month: {}, spot: {}, reservation: {}, lines: []}
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils._usage.record import RecordError, read_month
from ..plugin_utils._cost.month import Month
from ..plugin_utils._cost.prices import own_types, prices_of
from ..plugin_utils._cost.report import Market, report
from .lab_month_cost import histories_of, seconds_of


def lab_cost_report(
    usage: Mapping[str, Any],
    summary: Mapping[str, Any],
    lab: Mapping[str, Any],
    market: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the report."""
    market = market or {}
    listed = market.get("listed") or {}
    prices = prices_of(lab["region"], lab["prices"], own_types(lab["instance_catalogue"]), listed)
    histories = histories_of(market.get("spot") or {})
    now = seconds_of(usage["now"])
    try:
        entries = [entry for text in usage["record"] for entry in read_month(text)]
        found = report(
            entries,
            [host["instance_type"] for host in summary["hosts"]],
            prices,
            Month(usage["month"], now, int(lab["metrics"]), histories),
            Market(
                {name: history.at(now) for name, history in histories.items()},
                {name: float(price) for name, price in (listed.get("reserved") or {}).items()},
                float(lab["discount"]),
            ),
        )
    except (RecordError, ValueError) as error:
        raise AnsibleFilterError(f"lab_cost_report: {error}") from error
    return {**{name: summary["cost"][name] for name in ("per_hour", "per_month", "per_month_stopped")}, **found}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_cost_report": lab_cost_report}
