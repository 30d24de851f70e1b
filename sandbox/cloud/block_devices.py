"""Disks as files: sparse files in the sandbox's state, and loop devices over them.

The kernel and the program ``losetup`` do the work. A loop device belongs to a sandbox if its file is in the sandbox's
state directory. Nothing else about it is recorded, so that a crashed sandbox's devices are found as well.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError

GIB = 1024**3
SECONDS = 120  # for one program; a copy of a full volume takes the longest
DELETED = " (deleted)"  # what the kernel appends to the path of a file without a name


class NoLoopDeviceError(SandboxError):
    """The machine has no loop device for the sandbox."""


@dataclass(frozen=True)
class Loop:
    """A loop device.

    :param file: its file, which may have been deleted.
    """

    device: Path
    file: Path

    @property
    def number(self) -> tuple[int, int]:
        """Its major and minor number."""
        device = self.device.stat().st_rdev
        return os.major(device), os.minor(device)


def program(*command: str) -> str:
    """Run a program and return its output.

    :raises OSError: it does not exist, it failed, in which case the message is its own, or it took too long.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{' '.join(command)} did not end within {SECONDS} s") from error
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.strip()


def create(file: Path, size: int) -> None:
    """Create a sparse file of a size in bytes."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("xb") as stream:
        file.chmod(0o600)
        stream.truncate(size)


def grow(file: Path, size: int) -> None:
    """Enlarge a file to a size in bytes; a larger file stays."""
    if file.stat().st_size < size:
        os.truncate(file, size)


def copy(source: Path, target: Path) -> None:
    """Copy a file with its holes, and without using space where the file system can share blocks."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    program("cp", "--reflink=auto", "--sparse=auto", "--no-target-directory", str(source), str(target))


def used(file: Path) -> int:
    """Return how many bytes of a file are in use."""
    return file.stat().st_blocks * 512


def loops(folder: Path) -> Iterator[Loop]:
    """Yield the loop devices whose files are, or were, below a folder."""
    for state in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        try:
            file = Path(state.read_text(encoding="utf-8").rstrip("\n").removesuffix(DELETED))
        except OSError:  # it was released meanwhile
            continue
        if file.is_relative_to(folder):
            yield Loop(Path("/dev") / state.parent.parent.name, file)


def attach(file: Path) -> Loop:
    """Set up a loop device over a file.

    :raises NoLoopDeviceError: the machine or the user's permissions do not allow it.
    """
    try:
        return Loop(Path(program("losetup", "--find", "--show", str(file))), file)
    except OSError as error:
        raise NoLoopDeviceError(
            f"A volume in the sandbox needs a loop device, and this machine gave none: {error}. "
            "Run the sandbox as root, on a machine or in a container that has /dev/loop-control."
        ) from error


def busy(device: Path) -> bool:
    """Return whether a file system on a device is mounted, in any host, or the kernel uses it otherwise."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def refresh(device: Path) -> None:
    """Make the kernel read the new size of a device's file, also while it is in use."""
    program("losetup", "--set-capacity", str(device))


def release(device: Path) -> None:
    """Release a device; the kernel does so after its last use."""
    program("losetup", "--detach", str(device))


def release_all(folder: Path) -> None:
    """Release all devices over files below a folder.

    :raises SandboxError: one was not released.
    """
    for loop in loops(folder):
        try:
            release(loop.device)
        except OSError as error:
            raise SandboxError(
                f"{loop.device} is a disk of this sandbox and was not released: {error}. "
                f"Run `losetup --detach {loop.device}` as root."
            ) from error
