# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter stack_secrets."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_secrets
short_description: Generate or keep the passwords of the stack
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns the secrets that services mount, as files for M(digital_twin.robotics_lab.file_set).
  - Generates each password that is neither given nor kept, so each use of the filter may return other passwords.
positional: mounted, kept
options:
  _input:
    description:
      - By name, each secret with C(owner), the uid that reads it, and one of the following.
      - C(content), its text.
      - C(given), a password; empty to keep or generate it.
      - C(acl), the text of a file of Redis users, in which C(SHA256_OF_) and capital letters stand for the hash of the
        password C(redis_<user>_password). A user without that password is left out.
    type: dict
    required: true
  mounted:
    description: The names of the secrets that services mount. The others are left out.
    type: list
    elements: str
    required: true
  kept:
    description: The passwords that the host has, by name. They are kept unless others are given.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write the secrets
  digital_twin.robotics_lab.file_set:
    path: /opt/robots/secrets
    files: "{{ declared | digital_twin.robotics_lab.stack_secrets(['token'], kept) }}"
  no_log: true
  diff: false
  vars:
    declared: {token: {given: "", owner: "10001"}}
"""

RETURN = r"""
_value:
  description: The name, content and owner of each file.
  type: list
  elements: dict
  sample: [{name: token, content: "...\n", owner: "10001"}]
"""

import re
import secrets
import string
from hashlib import sha256
from typing import Any

CHARACTERS = string.ascii_letters + string.digits
LENGTH = 48
HASH = re.compile("SHA256_OF_[A-Z]+")


def redis_users(text: str, passwords: dict[str, str]) -> str:
    """Return the users of Redis that have a password, with its hash."""
    lines = []
    for line in text.splitlines():
        password = passwords.get(f"redis_{line.split()[1]}_password") if line.startswith("user ") else ""
        if password:
            lines.append(HASH.sub(sha256(password.encode()).hexdigest(), line) + "\n")
    return "".join(lines)


def stack_secrets(
    declared: dict[str, dict[str, Any]], mounted: list[str], kept: dict[str, str] | None = None
) -> list[dict[str, str]]:
    """Return the files of the secrets that are mounted."""
    passwords: dict[str, str] = {}
    for name, secret in declared.items():
        if name in mounted and "given" in secret:
            generated = "".join(secrets.choice(CHARACTERS) for _character in range(LENGTH))
            # Digits without quotes are a number in YAML.
            passwords[name] = str(secret["given"] or (kept or {}).get(name) or generated)
    files = []
    for name, secret in declared.items():
        if name not in mounted:
            continue
        if name in passwords:
            content = passwords[name] + "\n"
        else:
            content = redis_users(secret["acl"], passwords) if "acl" in secret else secret["content"]
        files.append({"name": name, "content": content, "owner": secret["owner"]})
    return files


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"stack_secrets": stack_secrets}
