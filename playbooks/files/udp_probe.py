# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe a UDP port of WebRTC as far as that is possible: answered, refused or silent.

A media port answers STUN (RFC 8489), but need not answer an unknown peer. A host that refuses sends an ICMP error; a
firewall that drops packets looks exactly like a port that does not answer.
"""

from __future__ import annotations

import os
import socket
import sys

# Method, length 0, magic cookie; a transaction id follows.
BINDING_REQUEST = b"\x00\x01\x00\x00\x21\x12\xa4\x42"
TRIES, SECONDS = 3, 1.0


def probe(host: str, port: int) -> str:
    """Return the result of a STUN request."""
    family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(SECONDS)
        # A connected socket gets ICMP errors.
        client.connect(address)
        for _try in range(TRIES):
            try:
                client.send(BINDING_REQUEST + os.urandom(12))
                if client.recv(2048):
                    return "answered"
            except TimeoutError:
                continue
            except OSError:
                return "refused"
    return "silent"


if __name__ == "__main__":
    print(probe(sys.argv[1], int(sys.argv[2])))
