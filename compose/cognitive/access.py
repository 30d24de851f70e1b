# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Access control: the requested host, the origin of web pages, and the token."""

from __future__ import annotations

import hashlib
import hmac
import re

from multidict import CIMultiDictProxy

# The service's names on its own machine and for the other services.
OWN_HOSTS = ("localhost", "127.0.0.1", "[::1]", "cognitive")
# A name, an IPv4 address, or an IPv6 address in brackets.
HOST = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]"
_AUTHORITY = re.compile(rf"({HOST})(?::[0-9]{{1,5}})?")
# These methods change nothing and return no command.
OPEN_METHODS = ("GET", "HEAD")

Headers = CIMultiDictProxy[str]


class DeniedError(Exception):
    """The request is denied.

    :ivar status: HTTP status.
    :ivar code: one word for programs.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        """Store the parts of the answer."""
        super().__init__(message)
        self.status = status
        self.code = code


def check_source(target: str, headers: Headers, allowed: tuple[str, ...]) -> None:
    """Check the requested host and the origin.

    A page that uses DNS rebinding sends its own name as the host. Other headers are ignored, as is a host in the
    request's target.

    :param target: the target in the request line.
    :param allowed: hosts in addition to :data:`OWN_HOSTS`.
    :raises DeniedError: the host is not allowed, or the page belongs to another site.
    """
    if not target.startswith("/"):
        raise DeniedError(403, "foreign_host", "The request's target must be a path, such as /command.")
    hosts = [host.lower() for host in headers.getall("Host", [])]
    known = [*OWN_HOSTS, *allowed]
    match = _AUTHORITY.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if match is None or match[1] not in known:
        message = f"The header Host must name this service once; allowed, with any port: {', '.join(known)}."
        raise DeniedError(403, "foreign_host", message)
    for origin in headers.getall("Origin", []):
        if origin.lower() not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
            message = "The header Origin names another site; web pages of other sites cannot use this service."
            raise DeniedError(403, "foreign_origin", message)


def check_token(headers: Headers, token: str, problem: str) -> None:
    """Check that a request carries the token.

    :param token: empty when the service has none.
    :param problem: why it has none.
    :raises DeniedError: the request has no token or a wrong one, or the service has no token.
    """
    if not token:
        raise DeniedError(503, "no_token", f"Commands are not accepted: {problem}.")
    given = headers.getall("Authorization", [])
    scheme, _blank, value = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    # Digests, because comparing texts of different lengths would reveal the length.
    if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(value.strip(" ")), _digest(token)):
        message = (
            "Send the header Authorization: Bearer TOKEN; on the host, `sudo digital-twin token` prints the token."
        )
        raise DeniedError(401, "unauthorized", message)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
