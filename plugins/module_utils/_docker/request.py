# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images to pull, and the limits, checked without reading the host."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._problem import Problem, shown
from .credentials import DOCKER_HUB

COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"(?P<repository>(?:(?P<host>(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:)|\[[0-9a-fA-F:]+\])"
    rf"(?::\d+)?)/)?{COMPONENT}(?:/{COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
SMALLEST = {"parallel": 1, "retries": 0, "timeout": 1, "stall_timeout": 1}


@dataclass(frozen=True)
class Reference:
    """An image's full name.

    Attributes:
        name: as the user wrote it.
        registry: its host and port.
        repository: the name without tag and digest.
        version: the digest, or the tag where there is none.
    """

    name: str
    registry: str
    repository: str
    version: str

    @property
    def exact(self) -> str:
        """The name by which the engine knows the image: with the digest only, where there is one."""
        return f"{self.repository}{'@' if ':' in self.version else ':'}{self.version}"


@dataclass(frozen=True)
class PullLimits:
    """Limits of time and attempts; times in seconds.

    Attributes:
        parallel: how many images are pulled at a time.
        retries: how often a failed pull is retried.
        timeout: for all images together.
        stall_timeout: how long a pull may be without progress.
    """

    parallel: int
    retries: int
    timeout: int
    stall_timeout: int


def parse_reference(name: str) -> Reference | None:
    """Return the parts of a full image name; None when it is not valid, or has neither tag nor digest."""
    match = REFERENCE.fullmatch(name)
    version = match and (match["digest"] or match["tag"])
    if not match or not version:
        return None
    return Reference(name, match["host"] or DOCKER_HUB, match["repository"], version)


def read_images(names: Sequence[str]) -> list[Reference]:
    """Return the images to pull, each once.

    Raises:
        ValueError: a name is not valid.
    """
    images = {}
    for name in names:
        image = parse_reference(name)
        if image is None:
            allowed = "a name with tag or digest, such as nvcr.io/nvidia/isaac-sim:6.2.0"
            raise ValueError(str(Problem("images", shown(name), "is not a full image name", allowed, "add the tag")))
        images[name] = image
    return list(images.values())


def read_limits(params: Mapping[str, Any]) -> PullLimits:
    """Return the limits.

    Raises:
        ValueError: a number is too small.
    """
    for name, smallest in SMALLEST.items():
        if params[name] < smallest:
            allowed = f"{smallest} or more"
            raise ValueError(str(Problem(name, shown(params[name]), "is too small", allowed, "increase it")))
    return PullLimits(**{name: params[name] for name in SMALLEST})


def check_progress_file(path: str) -> None:
    """Check that the file can be written.

    Raises:
        ValueError: its folder is missing, or it is a folder itself.
    """
    if path and (Path(path).is_dir() or not Path(path).parent.is_dir()):
        allowed = "a file in an existing folder"
        raise ValueError(str(Problem("progress_file", path, "cannot be written", allowed, "create the folder first")))
