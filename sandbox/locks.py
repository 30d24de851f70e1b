"""Locks between the processes of a user on this machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sandbox.errors import SandboxError
from sandbox.waiting import wait_until


@contextmanager
def alone(name: str, *, what: str, seconds: float) -> Iterator[None]:
    """Hold a lock that excludes other threads and other processes of this user.

    The kernel releases the lock when its holder ends, however that happens.

    :param name: of the lock.
    :param what: the purpose of the lock, as it completes the sentence "Waited 30 s for ...".
    :param seconds: how long to wait.
    :raises SandboxError: the time limit was reached.
    """
    path = Path(tempfile.gettempdir()) / f"digital-twin-{os.geteuid()}-{name}.lock"
    with private(path) as stream:
        wait_until(lambda: _taken(stream), what=what, seconds=seconds)
        yield


def private(path: Path) -> IO[str]:
    """Open this user's lock file: in a folder to which all users write, another user may have created it.

    :raises SandboxError: another user's file, or a link, is in its place.
    """
    try:
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+", encoding="ascii")
    except OSError as error:
        raise SandboxError(f"{path} cannot be opened ({error.strerror}). Remove it.") from error
    owner = os.fstat(stream.fileno()).st_uid
    if owner != os.geteuid():
        stream.close()
        raise SandboxError(f"{path} belongs to the user with id {owner}. Remove it.")
    return stream


def _taken(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
