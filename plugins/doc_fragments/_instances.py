# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that modules for the instances of a lab share."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that start, stop and resize (DOCUMENTATION), of modules with calls that are repeated (RETRY),
    of modules that list what to launch (OFFERS), and of modules whose messages name variables (PREFIX).
    """

    DOCUMENTATION = r"""
options:
  hosts:
    description: The hosts, each with its instance.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the host, for messages.
        type: str
        required: true
      instance_id:
        description: Its instance.
        type: str
        required: true
  cause:
    description: The cause of the change, for the tag C(digital_twin_last_action).
    type: str
    choices: [person, schedule, idle, lifetime, budget, spot, event]
    default: person
  wait_timeout:
    description: How long to wait for a state of an instance, in seconds.
    type: int
    default: 600
"""

    OFFERS = r"""
options:
  instance_types:
    description: The instance types to try, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the type.
        type: str
        required: true
      zones:
        description: The zones that offer it.
        type: list
        elements: str
        required: true
      gpus:
        description: The number of its GPUs, for the tag C(digital_twin_gpus) of an instance that is launched.
        type: int
        default: 1
      price_per_hour:
        description: What it costs on demand, in US dollars.
        type: float
      price_estimated:
        description: Whether that is the price of another region.
        type: bool
        default: false
  market:
    description:
      - V(spot) makes persistent requests whose instances stop when AWS interrupts them. The requests do not expire.
      - V(auto) tries spot first, then on demand.
    type: str
    choices: [on_demand, spot, auto]
    default: on_demand
  capacity_reservations:
    description:
      - Ids of capacity reservations and capacity blocks to use first, in order. They decide the type and the zone.
      - One without free capacity is skipped and reported.
    type: list
    elements: str
    default: []
"""

    PREFIX = r"""
options:
  variable_prefix:
    description: Prefix of the variables that messages name.
    type: str
    default: ''
"""

    RETRY = r"""
options:
  retry_timeout:
    description: How long to repeat a call that AWS throttles or fails to answer, in seconds.
    type: int
    default: 90
"""
