# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and stops the AWS emulator of a scenario, and makes its calls fail.

`cloud.py start <directory> <address> <port>`, `cloud.py stop <directory>`, `cloud.py deny <url> <service> <action>`,
`cloud.py heal <url>`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from sandbox.cloud.machine_images import machine_image_rows
from sandbox.cloud.process import control
from sandbox.errors import SandboxError
from sandbox.keys import Key
from sandbox.waiting import wait_until

SECONDS = 60


def answers(address: str, port: int) -> bool:
    """Return whether a process listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def running(directory: Path) -> int:
    """Return the process id of the emulator that was started in a directory, or 0 when it does not run."""
    try:
        process_id = int((directory / "pid").read_text("ascii"))
        words = Path(f"/proc/{process_id}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return process_id if str(directory).encode() in words else 0


def start(directory: Path, address: str, port: int) -> None:
    """Start an empty emulator; first stop one that an aborted run has left.

    Args:
        directory: For its log and its process id.
        address: To listen on, 127.0.0.1 or this machine's on a bridge.
        port: To listen on.

    Raises:
        SystemExit: The port is taken, or the server ended.
        SandboxError: It does not answer in time.
    """
    stop(directory)
    if answers(address, port):
        raise SystemExit(f"Port {port} is taken: set DIGITAL_TWIN_MOLECULE_PORT to a free one.")
    directory.mkdir(parents=True, exist_ok=True)
    log_file = directory / "log"
    images = directory / "images.json"
    images.write_text(json.dumps(machine_image_rows()), "utf-8")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), str(directory), address, str(port)],
            env={**os.environ, "MOTO_AMIS_PATH": str(images), "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (directory / "pid").write_text(str(process.pid), "ascii")

    def ready() -> bool:
        if process.poll() is not None:
            raise SystemExit(f"The server ended with status {process.returncode}: see {log_file}")
        return answers(address, port)

    wait_until(ready, what=f"a server on {address}:{port}", seconds=SECONDS, log=log_file)


def stop(directory: Path) -> None:
    """Stop the emulator of a directory, if it runs.

    Raises:
        SandboxError: It does not end in time.
    """
    if process_id := running(directory):
        os.kill(process_id, signal.SIGTERM)
        wait_until(lambda: not running(directory), what=f"process {process_id} to end", seconds=SECONDS)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "start":
            start(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        elif sys.argv[1] == "deny":
            rule = {"kind": "denied", "service": sys.argv[3], "action": sys.argv[4]}
            control(sys.argv[2], Key.of(os.environ), "POST", "faults", rule)
        elif sys.argv[1] == "heal":
            control(sys.argv[2], Key.of(os.environ), "DELETE", "faults")
        else:
            stop(Path(sys.argv[2]))
    except SandboxError as error:
        sys.exit(str(error))
