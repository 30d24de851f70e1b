"""What one process at a time may do on this machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sandbox.waiting import wait_until


@contextmanager
def alone(name: str, *, what: str, seconds: float) -> Iterator[None]:
    """Do something that neither another thread nor another process of this user does meanwhile.

    The kernel lets go of the lock when its holder ends, however that happens.

    :param name: of the lock.
    :param what: what the others do, as it completes the sentence "Waited 30 s for ...".
    :param seconds: how long to wait for them.
    :raises SandboxError: the bound was reached.
    """
    path = Path(tempfile.gettempdir()) / f"digital-twin-{os.geteuid()}-{name}.lock"
    with path.open("w") as stream:
        wait_until(lambda: _taken(stream), what=what, seconds=seconds)
        yield


def _taken(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
