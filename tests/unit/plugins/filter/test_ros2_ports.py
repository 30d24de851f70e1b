# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports of a ROS domain, as inventories and roles take them from the filter."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter import ros2_ports as plugin


def ports(domain: object, **options: object) -> dict[str, Any]:
    """Return the result of the filter."""
    found: dict[str, Any] = plugin.FilterModule().filters()["ros2_ports"](domain, **options)
    return found


@pytest.mark.parametrize(
    ("domain", "options", "first", "last"),
    [
        (0, {}, 7400, 7649),
        ("42", {}, 17900, 18149),
        (101, {}, 32650, 32899),
        (0, {"participants": 45}, 7400, 7499),
        (42, {"participants": "20"}, 17900, 17949),
        (101, {"participants": 54}, 32650, 32767),
    ],
)
def test_ports_of_a_domain(domain: object, options: dict[str, object], first: int, last: int) -> None:
    assert ports(domain, **options) == {
        "first": first,
        "last": last,
        "range": f"{first}-{last}",
        "discovery_server": 11811,
        "zenoh": 7447,
    }


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (102, {}, "102 is not a ROS domain. Allowed: 0 to 101."),
        (-1, {}, "-1 is not a ROS domain"),
        ("lab", {}, "'lab' is not a ROS domain"),
        (0, {"participants": 0}, "participants is 0. Allowed: 1 to 120."),
        (101, {"participants": 55}, "participants is 55. Allowed: 1 to 54."),
    ],
)
def test_invalid_input_is_refused(domain: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        ports(domain, **options)
