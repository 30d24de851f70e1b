# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs on the host, each within a limit of time: systemctl, wall and the user's hook."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence

# After SIGTERM a program may clean up for so long; then it is killed.
GRACE_SECONDS = 2.0
POLL_SECONDS = 0.05
LONGEST_OUTPUT = 2000


class ProgramError(Exception):
    """A program failed, took too long, or could not be started."""


def run(command: Sequence[str], seconds: float, end: threading.Event, text: str = "") -> None:
    """Run a program, and kill it and what it has started when its time is over.

    Args:
        command: its words.
        seconds: its limit, with the time to clean up.
        end: ends it early.
        text: its input.

    Raises:
        ProgramError: it failed, or was killed. The message ends with its last output.
    """
    name = command[0]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as given:
        given.write(text.encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=given, stdout=output, stderr=subprocess.STDOUT, cwd="/", start_new_session=True
            )
        except OSError as error:
            raise ProgramError(f"{name} cannot be started: {error.strerror}") from None
        deadline = time.monotonic() + seconds - GRACE_SECONDS
        while process.poll() is None and time.monotonic() < deadline and not end.is_set():
            time.sleep(POLL_SECONDS)
        expired = process.poll() is None
        kill_group(process)
        output.seek(0)
        told = " ".join(output.read(LONGEST_OUTPUT).decode("utf-8", "replace").split())
    ending = f": {told}" if told else ""
    if expired:
        reason = "was ended, as the guard ends" if end.is_set() else f"was killed after its limit of {seconds:g} s"
        raise ProgramError(f"{name} {reason}{ending}")
    if process.returncode:
        raise ProgramError(f"{name} failed with status {process.returncode}{ending}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it has started and left in its group: by SIGTERM, and by SIGKILL if that does not help."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        # The group may be gone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
