# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter lab_move_report."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lab_move_report
short_description: Describe what the move of hosts to another zone changes and costs
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Contacts nothing, changes nothing.
options:
  _input:
    description: The moves, as RV(digital_twin.robotics_lab.instance_move#module:moves).
    type: list
    elements: dict
    required: true
  region:
    description: The region.
    type: str
    required: true
  prices:
    description: The user's own prices, by the names of C(aws_infrastructure_prices).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report what the move changes
  ansible.builtin.debug:
    msg: "{{ plan.moves | digital_twin.robotics_lab.lab_move_report('us-east-1') }}"
"""

RETURN = r"""
_value:
  description: The report, a line each.
  type: list
  elements: str
  sample:
    - warehouse-1 moves from us-east-1a to the first of us-east-1b, us-east-1c that has a machine for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..plugin_utils._cost.prices import prices_of

CHANGES = (
    "What changes: the instance id and the private address, and the first read of each block of the disks is slow. "
    "What stays: the disks with all data, the Elastic IP, the SSH host keys, name and tags. With several hosts, run "
    "playbooks/configure.yml afterwards, as they know each other by their private addresses."
)


def _describe_begin(move: Mapping[str, Any], price: float, estimated: bool) -> list[str]:
    """Return the lines about a host that is to move."""
    name, size = move["name"], int(move["gib"])
    if not move["zones"]:
        return [f"{name} cannot leave {move['zone']}: no other zone offers a type for it."]
    about = "about " if estimated else ""
    lines = [
        f"{name} moves from {move['zone']} to the first of {', '.join(move['zones'])} that has a machine for it.",
        f"Meanwhile it is stopped. Snapshots of {size} GiB cost {about}${size * price:.2f} a month at most, until the "
        f"move ends. {move['instance_id']} is terminated once its successor runs and has its address.",
    ]
    if move["protected"]:
        lines.append(f"The termination protection of {move['instance_id']} is removed then. Its successor has it.")
    return lines


def _describe_end(move: Mapping[str, Any]) -> str:
    """Return the line about a host whose move an earlier run has begun."""
    return (
        f"The move of {move['name']} to {', '.join(move['zones'])} is ended: {move['instance_id']} is terminated if it "
        "still exists, and the image of the move is deleted."
    )


def lab_move_report(
    moves: Sequence[Mapping[str, Any]], region: str, prices: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the report."""
    known = prices_of(region, prices)
    price, estimated = known.values["snapshot_gib_month"], "snapshot_gib_month" in known.estimated
    lines = []
    for move in moves:
        if move["step"] == "begin":
            lines += _describe_begin(move, price, estimated)
        elif move["step"] == "end":
            lines.append(_describe_end(move))
        else:
            lines.append(f"{move['name']} runs in {move['zone']} again. The image of its move is deleted.")
        lines += [
            f"{volume} of {move['instance_id']} stays and costs money, as AWS does not delete it with the instance."
            for volume in move["staying"]
        ]
    return [*lines, CHANGES] if any(move["step"] == "begin" and move["zones"] for move in moves) else lines


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Return it by name."""
        return {"lab_move_report": lab_move_report}
