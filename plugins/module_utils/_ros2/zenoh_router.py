# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Zenoh router for hosts without one of ROS 2 or of Zenoh's own packages.

A separate program, with a configuration file as its only argument. It imports nothing of Ansible.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from typing import Any


def main() -> int:
    """Route until a signal arrives, and return the exit status."""
    zenoh: Any = importlib.import_module("zenoh")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        session = zenoh.open(zenoh.Config.from_file(sys.argv[1]))
    except zenoh.ZError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"routing as {session.zid()}\n")
    sys.stdout.flush()
    # Units that start after this one find it listening.
    if os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
            service_manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    session.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
