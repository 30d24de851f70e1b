# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_result."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_result
short_description: Describe what a playbook did, for a file that programs read
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the content of the file that C(lab_result_file) names.
  - It has no keys, passwords or tokens, as only the values below are taken from a lab's description.
  - Contacts nothing, changes nothing.
options:
  _input:
    description:
      - What the playbook reports, C(verb), and optionally C(changed), C(failed) (the names of hosts that failed),
        C(hosts) (names), C(details) (a mapping), and C(finished), false in the file that is written at the beginning.
    type: dict
    required: true
  context:
    description:
      - C(lab), C(region), and C(check) for check mode. Optionally C(summary), the fact C(aws_infrastructure_summary),
        and C(cost), the fact C(aws_infrastructure_cost).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Report the result
  ansible.builtin.debug:
    msg: "{{ {'verb': 'stop', 'changed': true} | digital_twin.robotics_lab.lab_result(context) }}"
  vars:
    context: {lab: warehouse, region: eu-central-1, check: false}
"""

RETURN = r"""
_value:
  description: The result.
  type: dict
  contains:
    verb:
      description: The name of the playbook.
      type: str
    ok:
      description: Whether it finished, and succeeded on all hosts.
      type: bool
    check:
      description: Whether it ran in check mode.
      type: bool
    lab:
      description: The name of the lab.
      type: str
    region:
      description: The region of the lab.
      type: str
    changed:
      description: Whether something was changed, or would be; null where the playbook does not know.
      type: bool
    failed:
      description: The names of hosts that failed.
      type: list
    hosts:
      description: The hosts, each with its C(name), and where it is known C(instance_id), C(instance_type), C(state),
        C(availability_zone), C(public_address), C(last_action) and C(last_error).
      type: list
    cost:
      description:
        - What the lab costs C(per_hour), C(per_month) and C(per_month_stopped), and for C(month) what
          P(digital_twin.robotics_lab.lab_month_cost#filter) returns; C(spot) and C(reservation) as of
          P(digital_twin.robotics_lab.lab_cost_report#filter). Null where the playbook does not know.
      type: dict
    details:
      description: More values of this playbook.
      type: dict
  sample:
    verb: stop
    ok: true
    check: false
    lab: warehouse
    region: eu-central-1
    changed: true
    failed: []
    hosts: []
    cost: null
    details: {}
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

KNOWN = {"verb", "changed", "failed", "finished", "hosts", "details"}
HOST = (
    "name",
    "instance_id",
    "instance_type",
    "state",
    "availability_zone",
    "public_address",
    "last_action",
    "last_error",
)
COST = ("per_hour", "per_month", "per_month_stopped", "month", "spot", "reservation")


def lab_result(given: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result."""
    if unknown := sorted(given.keys() - KNOWN):
        raise AnsibleFilterError(f"lab_result: {unknown[0]} is not known. Allowed: {', '.join(sorted(KNOWN))}.")
    summary = context.get("summary") or {}
    cost = context.get("cost") or summary.get("cost")
    hosts = [{"name": name} for name in given.get("hosts") or []] or summary.get("hosts") or []
    changed = given.get("changed")
    failed = list(given.get("failed") or [])
    return {
        "verb": str(given["verb"]),
        "ok": bool(given.get("finished", True)) and not failed,
        "check": bool(context["check"]),
        "lab": str(context["lab"]),
        "region": str(context["region"]),
        "changed": None if changed is None else bool(changed),
        "failed": failed,
        "hosts": [{key: host[key] for key in HOST if key in host} for host in hosts],
        "cost": {key: cost[key] for key in COST if key in cost} if cost else None,
        "details": dict(given.get("details") or {}),
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_result": lab_result}
