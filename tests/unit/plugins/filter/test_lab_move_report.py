# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of what the move of hosts changes and costs."""

from __future__ import annotations

from typing import Any

from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_move_report import CHANGES, lab_move_report


def move(step: str = "begin", **more: Any) -> dict[str, Any]:
    common = {"name": "lab-1", "step": step, "instance_id": "i-1", "zone": "us-east-1a", "gib": 250}
    return {**common, "zones": ["us-east-1b", "us-east-1c"], "staying": [], "protected": False, **more}


def test_a_move_with_all_that_it_changes() -> None:
    moves = [move(staying=["vol-2"], protected=True)]
    assert lab_move_report(moves, "us-east-1", {"snapshot_gib_month": 0.04}) == [
        "lab-1 moves from us-east-1a to the first of us-east-1b, us-east-1c that has a machine for it.",
        "Meanwhile it is stopped. Snapshots of 250 GiB cost $10.00 a month at most, until the move ends. i-1 is "
        "terminated once its successor runs and has its address.",
        "The termination protection of i-1 is removed then. Its successor has it.",
        "vol-2 of i-1 stays and costs money, as AWS does not delete it with the instance.",
        CHANGES,
    ]


def test_the_price_of_an_unknown_region_is_an_estimate() -> None:
    (_where, cost, _changes) = lab_move_report([move()], "xx-nowhere-1")
    assert "Snapshots of 250 GiB cost about $12.50 a month at most" in cost


def test_no_other_zone() -> None:
    assert lab_move_report([move(zones=[])], "us-east-1") == [
        "lab-1 cannot leave us-east-1a: no other zone offers a type for it."
    ]


def test_moves_that_were_begun() -> None:
    moves = [move("end", zones=["us-east-1b"]), move("clean", name="lab-2", zones=[])]
    assert lab_move_report(moves, "us-east-1") == [
        "The move of lab-1 to us-east-1b is ended: i-1 is terminated if it still exists, and the image of the move is "
        "deleted.",
        "lab-2 runs in us-east-1a again. The image of its move is deleted.",
    ]
    assert lab_move_report([], "us-east-1") == []
