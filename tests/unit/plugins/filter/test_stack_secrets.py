# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which secrets filter stack_secrets returns, and what is in them."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_secrets import stack_secrets

USERS = """# Users.
user health on #SHA256_OF_HEALTH -@all +ping
user robot on #SHA256_OF_ROBOT -@all
user other on #SHA256_OF_OTHER -@all
"""
DECLARED: dict[str, dict[str, Any]] = {
    "redis_health_password": {"given": "", "owner": "999"},
    "redis_robot_password": {"given": "canary-given", "owner": "10002"},
    "redis_acl": {"acl": USERS, "owner": "999"},
    "nim_api_key": {"content": "canary-key\n", "owner": "10001"},
}
HEALTH, ROBOT = (sha256(text).hexdigest() for text in (b"canary-kept", b"canary-given"))
# The mounted secrets, the passwords of the host, and the files: name, content and owner.
CASES: dict[str, tuple[list[str], dict[str, str], list[tuple[str, str, str]]]] = {
    "none": ([], {"redis_health_password": "canary-kept"}, []),
    "a key": (["nim_api_key"], {}, [("nim_api_key", "canary-key\n", "10001")]),
    "a kept password": (
        ["redis_health_password"],
        {"redis_health_password": "canary-kept"},
        [("redis_health_password", "canary-kept\n", "999")],
    ),
    "a given password replaces a kept one": (
        ["redis_robot_password"],
        {"redis_robot_password": "canary-kept"},
        [("redis_robot_password", "canary-given\n", "10002")],
    ),
    "users without a password are left out": (
        ["redis_acl", "redis_health_password"],
        {"redis_health_password": "canary-kept"},
        [
            ("redis_health_password", "canary-kept\n", "999"),
            ("redis_acl", f"user health on #{HEALTH} -@all +ping\n", "999"),
        ],
    ),
    "the order is that of the declaration": (
        ["nim_api_key", "redis_acl", "redis_robot_password", "redis_health_password"],
        {"redis_health_password": "canary-kept"},
        [
            ("redis_health_password", "canary-kept\n", "999"),
            ("redis_robot_password", "canary-given\n", "10002"),
            ("redis_acl", f"user health on #{HEALTH} -@all +ping\nuser robot on #{ROBOT} -@all\n", "999"),
            ("nim_api_key", "canary-key\n", "10001"),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mounted_secrets_are_returned(case: str) -> None:
    mounted, kept, files = CASES[case]
    found = stack_secrets(DECLARED, mounted, kept)
    assert [(file["name"], file["content"], file["owner"]) for file in found] == files


def test_a_password_that_is_neither_given_nor_kept_is_generated() -> None:
    found = [stack_secrets(DECLARED, ["redis_health_password", "redis_acl"]) for _time in range(2)]
    for password, users in found:
        assert re.fullmatch(r"[A-Za-z0-9]{48}\n", password["content"])
        assert sha256(password["content"].strip().encode()).hexdigest() in users["content"]
    assert found[0] != found[1]


def test_a_password_of_digits_is_text() -> None:
    """YAML and JSON make a number of it."""
    declared = {"redis_robot_password": {"given": 1234567890123456, "owner": "10002"}}
    (found,) = stack_secrets(declared, ["redis_robot_password"])
    assert found["content"] == "1234567890123456\n"
