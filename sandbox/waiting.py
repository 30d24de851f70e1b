"""Bounded waits that report what they waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sandbox.errors import SandboxError


def wait_until(
    ready: Callable[[], bool], *, what: str, seconds: float, log: Path | None = None, pause: float = 0.1
) -> None:
    """Return as soon as ``ready()`` is true.

    :param what: the goal, as it completes the sentence "Waited 30 s for ...".
    :param seconds: the bound, in seconds.
    :param log: the file to read when the bound is reached.
    :param pause: seconds between two checks.
    :raises SandboxError: the bound was reached.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            hint = f"; its log is {log}" if log else ""
            raise SandboxError(f"Waited {seconds:.0f} s for {what}, without success{hint}.")
        time.sleep(pause)
