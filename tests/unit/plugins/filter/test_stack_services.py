# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What filter stack_services reads from a Compose file."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_services import stack_services

COMPOSE = """
services:
  redis: {user: "999:10003", secrets: [redis_acl]}
  robot: {user: "10002:10003", network_mode: host, profiles: [nav, full], secrets: [robot_password, redis_acl]}
  isaac_sim: {user: "1234:1234", network_mode: host, profiles: [full], volumes: ["cache:/cache", "./a:/a"], deploy: {}}
  nim:
    {user: "1000:10003", profiles: [full], volumes: ["models:/m", "cache:/c", "models:/n"], deploy: {}, secrets: [key]}
networks: {bus: {}, edge: {}}
volumes: {cache: {}, models: {}, redis: {}}
"""
# The profile, and what the filter returns for it.
CASES: dict[str, dict[str, Any]] = {
    "": {"wanted": ["redis"], "gpus": [], "secrets": ["redis_acl"], "uids": ["999"], "volumes": []},
    "nav": {"wanted": ["redis", "robot"], "secrets": ["redis_acl", "robot_password"], "uids": ["999", "10002"]},
    "full": {
        "wanted": ["redis", "robot", "isaac_sim", "nim"],
        "gpus": ["isaac_sim", "nim"],
        "uids": ["999", "10002", "1000"],
        "volumes": [
            {"name": "cache", "owner": "1234"},
            {"name": "cache", "owner": "1000"},
            {"name": "models", "owner": "1000"},
        ],
    },
    "other": {"wanted": ["redis"], "names": ["redis", "robot", "isaac_sim", "nim"], "gid": "10003"},
}


@pytest.mark.parametrize("profile", CASES)
def test_services_of_a_profile(profile: str) -> None:
    found = stack_services(COMPOSE, profile)
    assert {name: found[name] for name in CASES[profile]} == CASES[profile]
    # The same with each profile.
    assert (found["host_users"], found["networks"], found["gid"]) == (["10002", "1234"], ["bus", "edge"], "10003")


CAN_READ = (
    "User ann can read {} from the processes of {}, which have its uid {} and its group 10003. Remove the user from "
    "that group."
)
CAN_STOP = (
    "User ann can stop the processes of {1}, which have its uid {2}, and cannot read {0} from them, because it is not "
    "in the group 10003."
)


@pytest.mark.parametrize(
    ("user", "group", "conflict"),
    [
        ("ann:x:10002:10003::/:/bin/sh", [], CAN_READ.format("robot_password, redis_acl", "robot", 10002)),
        ("ann:x:1000:5::/:/bin/sh", ["g:x:10003:bob,ann"], CAN_READ.format("key", "nim", 1000)),
        ("ann:x:999:5::/:/bin/sh", ["g:x:10003:bob,anna"], CAN_STOP.format("redis_acl", "redis", 999)),
        ("ann:x:999:5::/:/bin/sh", [], CAN_STOP.format("redis_acl", "redis", 999)),
    ],
)
def test_users_with_the_uid_of_a_service(user: str, group: list[str], conflict: str) -> None:
    assert stack_services(COMPOSE, "full", [user], group)["conflicts"] == [conflict]
