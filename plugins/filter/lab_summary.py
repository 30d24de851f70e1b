# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_summary."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_summary
short_description: Describe the hosts of a lab, how to reach them and what they cost
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the fact C(aws_infrastructure_summary) of the role P(digital_twin.robotics_lab.aws_infrastructure#role).
  - Contacts nothing, changes nothing.
options:
  _input:
    description: The instances of the lab, as M(digital_twin.robotics_lab.lab_resources_info) returns them.
    type: list
    elements: dict
    required: true
  groups:
    description: The security groups that carry the lab's tags, in the same form.
    type: list
    elements: dict
    required: true
  lab:
    description:
      - The lab. C(name), C(region), C(instance_catalogue), C(ports), C(hosts_without_urls), C(private_key_file) and
        C(known_hosts_file) are those of the role.
      - C(tunnel) is whether viewers connect through ssh.
      - C(volume) has C(size), C(iops) and C(throughput) of each root volume.
      - C(prices) has the user's own prices in US dollars, by the names of C(aws_infrastructure_prices). List prices of
        the region are known for the others.
      - C(data_volumes), if there are any, are the data volumes of the lab, as
        P(digital_twin.robotics_lab.lab_ownership#filter) returns them.
      - C(events), if given, has starts and stops that left no tag, such as those of an alarm or a schedule. Each has
        C(cause), and C(time) such as C(2026-11-30T19:30:00Z), and may have C(instance_id) and C(verb), V(start) or
        V(stop). Without them it applies to all hosts, and to both. With C(cause=alarm), C(alarm) is the alarm's name.
      - C(listed), if there is one, has current list prices, as M(digital_twin.robotics_lab.lab_prices_info) returns
        them.
    type: dict
    required: true
  now:
    description: The time in UTC.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Report the hosts of a lab
  ansible.builtin.debug:
    msg: "{{ (lab.resources.instances | digital_twin.robotics_lab.lab_summary([], settings, now(utc=true))).hosts }}"
"""

RETURN = r"""
_value:
  description:
    - C(hosts) has the instances with their addresses, ssh commands and URLs. The C(history) of each says what started
      or stopped it last, what failed, and until when it is kept awake. C(days_stopped) is for how many days it has been
      stopped, if that is known.
    - The C(data_volume) of a host is null, or has C(volume_id), C(size) in GiB, C(availability_zone), C(attached),
      C(price_per_month), C(device), its path on the host, and C(created_empty), whether it was created without a
      snapshot and never formatted. On instance types of Xen (p2, p3, g2, g3) the device has no serial number.
    - C(other_data_volumes) are those that have no instance, in the same form.
    - C(admitted) has the ports that each network may reach.
    - C(cost) has the prices C(per_hour), C(per_month) and C(per_month_stopped), and the types C(without_price).
      C(prices) names the list prices with their dates, C(estimated) is whether some are those of us-east-1.
  type: dict
  sample: {name: warehouse, region: eu-central-1, inventory_group: lab_warehouse, hosts: [], admitted: {}, cost: {}}
"""

from datetime import datetime
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils._lab.summary import describe_lab


def lab_summary(
    instances: list[dict[str, Any]], groups: list[dict[str, Any]], lab: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """Return the description of a lab."""
    try:
        return describe_lab(instances, groups, lab, now)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_summary": lab_summary}
