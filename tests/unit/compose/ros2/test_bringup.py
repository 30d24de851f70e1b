# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When Nav2 is started again, and when the process is restarted."""

from __future__ import annotations

import pytest

from compose.ros2.bridge.bringup import Bringup, Step

# Each: seconds, and the answer; None without one.
CASES: dict[str, tuple[list[tuple[float, bool | None]], list[tuple[float, Step]]]] = {
    "active": ([(0, True), (100, True), (1000, True)], []),
    "inactive for less than a minute": ([(0, False), (59, False), (60, True), (119, False)], []),
    "inactive": ([(0, False), (60, False)], [(60, Step.START)]),
    "once a minute": ([(0, False), (60, False), (61, False), (119, False)], [(60, Step.START)]),
    "for the third time": (
        [(0, False), (60, False), (120, False), (179, False), (180, False)],
        [(60, Step.START), (120, Step.START), (180, Step.GIVE_UP)],
    ),
    "recovered": (
        [(0, False), (60, False), (61, True), (200, False), (260, False), (320, False)],
        [(60, Step.START), (260, Step.START), (320, Step.START)],
    ),
    "it is silent while it starts": (
        [(0, False), (60, False), (65, None), (300, False), (359, False)],
        [(60, Step.START)],
    ),
    "it is silent while it waits for the robot": ([(0, None), (86400, None), (86401, False)], []),
    "silence does not count as success": (
        [(0, False), (60, False), (65, None), (70, False), (130, False), (135, None), (140, False), (200, False)],
        [(60, Step.START), (130, Step.START), (200, Step.GIVE_UP)],
    ),
}


@pytest.mark.parametrize(("answers", "steps"), CASES.values(), ids=CASES)
def test_bringup(answers: list[tuple[float, bool | None]], steps: list[tuple[float, Step]]) -> None:
    bringup = Bringup()
    found = []
    for now, active in answers:
        if active is None:
            bringup.silent()
        elif (step := bringup.answered(now, active=active)) is not Step.WAIT:
            found.append((now, step))
    assert found == steps
