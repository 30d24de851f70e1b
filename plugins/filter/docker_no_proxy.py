# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter docker_no_proxy."""

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_no_proxy
short_description: Get the names that Docker's containers reach without a proxy
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns C(noProxy) of C(proxies) in Docker's C(config.json), as the Docker client passes it to the containers of
    the local daemon. C(unix:///var/run/docker.sock) comes before C(default). Entries of other daemons do not count.
  - Returns nothing when the text is not a JSON object or has no such value. The Docker client passes no proxies then.
options:
  _input:
    description: The text of C(config.json).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Report what containers reach without a proxy
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', '/root/.docker/config.json') | digital_twin.robotics_lab.docker_no_proxy }}"
"""

RETURN = r"""
_value:
  description: Host names, domains, addresses and networks, in the order of the file.
  type: list
  elements: str
  sample: [registry.lab.internal, 10.0.0.0/8]
"""

import json
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

LOCAL_DAEMON = "unix:///var/run/docker.sock"


def field(value: Any, name: str) -> Any:
    """Return a field of an object. The Docker client ignores the case of its own field names."""
    if not isinstance(value, dict):
        return None
    return value.get(name, {key.lower(): found for key, found in value.items()}.get(name.lower()))


def docker_no_proxy(text: str) -> list[str]:
    """Return what containers reach without a proxy, by the text of Docker's config.json."""
    if not isinstance(text, str):
        # The value may hold credentials, so the message does not show it.
        raise AnsibleFilterError(
            f"docker_no_proxy: the input is of type {type(text).__name__}. Pass the text of Docker's config.json."
        )
    try:
        proxies = field(json.loads(text), "proxies")
    except ValueError:
        return []
    if not isinstance(proxies, dict):
        return []
    listed = field(proxies.get(LOCAL_DAEMON, proxies.get("default")), "noProxy")
    return [part.strip() for part in listed.split(",") if part.strip()] if isinstance(listed, str) else []


class FilterModule:
    """Get what Docker's containers reach without a proxy."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"docker_no_proxy": docker_no_proxy}
