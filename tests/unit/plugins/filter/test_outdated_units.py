# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units that started before their files were written."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.outdated_units import outdated_units

# 2026-11-30 05:03:55 UTC
START = 1796015035
ACTIVE = {"ActiveState": "active", "ExecMainStartTimestamp": "Mon 2026-11-30 05:03:55 UTC"}


@pytest.mark.parametrize(
    ("unit", "times", "outdated"),
    [
        pytest.param(ACTIVE, START - 1, False, id="written before"),
        pytest.param(ACTIVE, START + 0.9, False, id="within the second"),
        pytest.param(ACTIVE, START + 1.1, True, id="written after"),
        pytest.param(ACTIVE, [0, START + 5, 7], True, id="one of several"),
        pytest.param(ACTIVE, [], False, id="no files"),
        pytest.param({**ACTIVE, "ActiveState": "failed"}, START + 5, False, id="not active"),
        pytest.param({**ACTIVE, "ExecMainStartTimestamp": ""}, START, True, id="no process"),
        pytest.param({}, START, False, id="missing"),
    ],
)
def test_times_are_compared(*, unit: dict[str, str], times: Any, outdated: bool) -> None:
    assert outdated_units({"robot.service": unit}, {"robot.service": times}) == (["robot.service"] if outdated else [])
    assert outdated_units({}, {"robot.service": times}) == []


def test_another_time_zone_is_refused() -> None:
    unit = {**ACTIVE, "ExecMainStartTimestamp": "Mon 2026-11-30 06:03:55 CET"}
    with pytest.raises(AnsibleFilterError, match=r"is Mon 2026-11-30 06:03:55 CET, which is not in UTC"):
        outdated_units({"robot.service": unit}, {"robot.service": START})
