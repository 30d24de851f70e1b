# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report the state of a service to systemd, and its messages to the journal."""

from __future__ import annotations

import logging
import os
import socket
import sys

# systemd's own, as in journald's sd-daemon(3)
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class Notifier:
    """Send the state of the service to systemd; do nothing when systemd did not start it."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def notify(self, *lines: str) -> None:
        """Send assignments of sd_notify(3)."""
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.connect(self._address)
                channel.sendall("\n".join(lines).encode())


class JournalFormatter(logging.Formatter):
    """Put the priority of systemd before each line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line for the journal."""
        text = super().format(record).replace("\n", " ")
        return f"<{PRIORITIES.get(record.levelno, 6)}>{text}"


def log_to_journal(log: logging.Logger) -> None:
    """Print the messages of a log to the standard output, which systemd sends to the journal."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JournalFormatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
