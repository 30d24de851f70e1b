# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inbound rules of a lab's security group."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.lab_security_group_rules import (
    lab_security_group_rules,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._preflight.snapshot import CALLER_MARK

SSH = {"protocol": "tcp", "from_port": 22, "to_port": "22", "description": "SSH", "audience": "admin", "name": "ssh"}
VIEWER = {"protocol": "udp", "from_port": 1, "to_port": 9, "description": "d" * 255, "audience": "viewer"}
DDS = {"protocol": "udp", "from_port": "7400", "to_port": 7649, "description": "ROS 2 DDS"}
SOURCES = {"admin": ["203.0.113.7/32", "198.51.100.4/32"], "viewer": ["203.0.113.7/32"]}
SSH_RULE = {"proto": "tcp", "from_port": 22, "to_port": 22, "cidr_ip": SOURCES["admin"], "rule_desc": "SSH"}
VIEWER_RULE = {"proto": "udp", "from_port": 1, "to_port": 9, "cidr_ip": SOURCES["viewer"], "rule_desc": "d" * 255}
DDS_RULE = {
    "proto": "udp",
    "from_port": 7400,
    "to_port": 7649,
    "group_name": "lab-sg",
    "rule_desc": "ROS 2 DDS between the hosts of the lab",
}


@pytest.mark.parametrize(
    ("ports", "internal", "callers", "rules"),
    [
        ([], [], [], []),
        ([], [DDS], ["admin"], [DDS_RULE]),
        ([SSH, VIEWER], [DDS], [], [DDS_RULE, SSH_RULE, VIEWER_RULE]),
        ([SSH], [], ["viewer"], [SSH_RULE]),
        ([SSH], [], ["admin"], [{**SSH_RULE, "rule_desc": "SSH" + CALLER_MARK}]),
        ([VIEWER], [], ["viewer"], [{**VIEWER_RULE, "rule_desc": "d" * 200 + CALLER_MARK}]),
    ],
)
def test_rules(
    ports: list[dict[str, Any]], internal: list[dict[str, Any]], callers: list[str], rules: list[dict[str, Any]]
) -> None:
    assert lab_security_group_rules(ports, internal, "lab-sg", SOURCES, callers) == rules
