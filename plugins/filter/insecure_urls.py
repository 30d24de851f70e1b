# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter insecure_urls."""

from __future__ import annotations

DOCUMENTATION = r"""
name: insecure_urls
short_description: Find URLs that are read without encryption
version_added: 1.0.0
author: The digital_twin.robotics_lab maintainers (@digital-twin)
description:
  - Returns one line for each URL whose scheme is not encrypted, such as C(http), C(git) or C(ftp). A machine on the way
    to the server can read what is sent there, and replace what comes back.
  - A URL of the loopback interface is accepted, and so are C(file) and text that is not a URL, such as a path or a key.
options:
  _input:
    description: URLs, or lists of URLs, by the names of their variables.
    type: dict
    required: true
  allow:
    description: Name of the variable that allows such URLs.
    type: str
    required: true
  hosts:
    description: Host names that are reached over networks of the machine itself, such as a container's.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check that the repository is read over HTTPS
  ansible.builtin.assert:
    that: docker_allow_http or insecure | length == 0
    fail_msg: "{{ insecure | join('\n') }}"
  vars:
    insecure: >-
      {{ {'docker_repository_url': docker_repository_url}
         | digital_twin.robotics_lab.insecure_urls('docker_allow_http') }}
"""

RETURN = r"""
_value:
  description: What is wrong, one line for each.
  type: list
  elements: str
  sample:
    - >-
      docker_repository_url is at http://mirror.example.com, which is not encrypted. Use https://, or set
      docker_allow_http=true.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Any

# Schemes with encryption or without a network. All others are refused, since Git, apt and pip support many.
SAFE = frozenset(("https", "ssh", "git+ssh", "git+https", "wss", "omniverse", "file", "copy", "cdrom"))
URL = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)::?/")
# No login before the host and no special characters in it, as programs parse a login or a backslash differently.
HOST = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]*)?([/?#]|\s*$)")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is on the machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def insecure_place(url: str, hosts: Collection[str] = ()) -> str:
    """Return scheme and host of a URL that is not encrypted; empty for every other text.

    Args:
        url: The URL. A path, a key, or host:path of Git's SSH form is not a URL.
        hosts: Host names on networks of the machine itself.
    """
    found = URL.match(url)
    if not found or found[1].lower() in SAFE:
        return ""
    host = HOST.match(url)
    if host and (is_loopback(host[1]) or host[1] in hosts):
        return ""
    # The rest may hold a password.
    return f"{found[1]}://{host[1] + (host[2] or '') if host else '...'}"


def insecure_urls(values: dict[str, Any], allow: str, hosts: tuple[str, ...] = ()) -> list[str]:
    """Return what is wrong with URLs that are not encrypted."""
    found = []
    for name, value in values.items():
        for url in value if isinstance(value, list | tuple) else [value]:
            place = insecure_place(str(url or ""), hosts)
            if place:
                found.append(f"{name} is at {place}, which is not encrypted. Use https://, or set {allow}=true.")
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {"insecure_urls": insecure_urls}
