# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find URLs that are read over a network without encryption.

This is a private module of the collection: it may change in any release.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

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
