# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs on the host, each within a limit of time: systemctl, wall and the user's hook."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import IO

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
            status, expired = asyncio.run(execute(command, seconds, end, (given, output)))
        except OSError as error:
            raise ProgramError(f"{name} cannot be started: {error.strerror}") from None
        output.seek(0)
        told = " ".join(output.read(LONGEST_OUTPUT).decode("utf-8", "replace").split())
    ending = f": {told}" if told else ""
    if expired:
        reason = "was ended, as the guard ends" if end.is_set() else f"was killed after its limit of {seconds:g} s"
        raise ProgramError(f"{name} {reason}{ending}")
    if status:
        raise ProgramError(f"{name} failed with status {status}{ending}")


async def execute(
    command: Sequence[str], seconds: float, end: threading.Event, files: tuple[IO[bytes], IO[bytes]]
) -> tuple[int | None, bool]:
    """Run a program as `run` does, and return its exit status and whether it was killed.

    Raises:
        OSError: it cannot be started.
    """
    given, output = files
    process = await asyncio.create_subprocess_exec(
        *command, stdin=given, stdout=output, stderr=asyncio.subprocess.STDOUT, cwd="/", start_new_session=True
    )
    deadline = time.monotonic() + seconds - GRACE_SECONDS
    while process.returncode is None and time.monotonic() < deadline and not end.is_set():
        await asyncio.sleep(POLL_SECONDS)
    expired = process.returncode is None
    await kill_group(process)
    return process.returncode, expired


async def kill_group(process: asyncio.subprocess.Process) -> None:
    """End a program and what it has started and left in its group: by SIGTERM, and by SIGKILL if that does not help."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        # The group may be gone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=patience)
