# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a driver is: its versions, its packages, its kernel module; and the request. Pure functions."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .branches import DEBIAN, DEBIAN_SOURCES, DEBIAN_TESLA, UBUNTU
from .gpus import AUTO, OPEN, PROPRIETARY

CAPABILITIES = ("compute", "utility", "graphics", "video")
# The library of NVML has the driver's version, and its name has the series.
NVML = re.compile(r"^libnvidia-(?:(tesla(?:-\d+)?)-)?ml1$|^libnvidia-compute-(\d+(?:-server)?)$")
# The beginning of the names of Debian's and Ubuntu's drivers for X.
X_DRIVER = "xserver-xorg-video-nvidia"
# The beginning of the names of the packages that show which kernel module is installed.
KIND = re.compile(r"linux-modules-nvidia-|nvidia-(headless-no-dkms|dkms|driver)-|nvidia-(.*-)?kernel-dkms$")
# How a kernel module can be had, in the order of preference, for messages.
WAYS = {
    "prebuilt": "the prebuilt module of the running kernel",
    "flavour": "the prebuilt module of the newest kernel of this flavour",
    "dkms": "a module built by DKMS",
}


@dataclass(frozen=True)
class Request:
    """The requested driver, and the host.

    Attributes:
        distribution: Debian or Ubuntu.
        branch: such as ``580``; empty for the installed one, else 580, else the archive's own, else its newest.
        version: such as ``580.173.02`` or a beginning of it, or a package's version; empty for the installed one, else
            the newest.
        flavour: ``server`` or ``desktop``; empty for the installed one, else server.
        module: ``auto``, ``proprietary`` or ``open``.
        capabilities: of CAPABILITIES; compute and utility are always part of it.
        minimum, below: versions between which the driver must lie; empty for no limit.
        minimum_for: what needs the minimum, for messages; empty if unknown.
        kernel: the running kernel's release, as ``uname -r`` prints it; empty to install no module.
        gpus: PCI device ids of the host's GPUs.
        replace: whether a driver of the distribution that the role did not install may be replaced.
    """

    distribution: str
    branch: str = ""
    version: str = ""
    flavour: str = ""
    module: str = AUTO
    capabilities: tuple[str, ...] = CAPABILITIES
    minimum: str = ""
    minimum_for: str = ""
    below: str = ""
    kernel: str = ""
    gpus: tuple[int, ...] = ()
    replace: bool = False


@dataclass(frozen=True)
class Driver:
    """One driver in one version.

    Attributes:
        series: the series in its packages' names: empty, ``tesla-535``, ``580`` or ``580-server``.
        package_version: such as ``580.173.02-0ubuntu0.24.04.1``.
    """

    series: str
    package_version: str

    @property
    def version(self) -> str:
        """The driver's own version, as nvidia-smi shows it."""
        return re.sub(r"^\d+:", "", self.package_version).split("-")[0].split("+")[0].split("~")[0]

    @property
    def branch(self) -> str:
        """Its first number."""
        return self.version.split(".")[0]

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"{self.branch} ({self.version})"


@dataclass(frozen=True)
class World:
    """What is available and installed.

    Attributes:
        offered: by package, its versions in the archive, the newest first.
        transitional: the transitional packages.
        installed: by package, its version.
        today: the date for checks of support.
    """

    offered: dict[str, list[str]]
    transitional: set[str]
    installed: dict[str, str]
    today: datetime.date


@dataclass(frozen=True)
class Module:
    """The kernel module.

    Attributes:
        source: of WAYS, or ``host`` where none is to be installed.
        kind: ``open`` or ``proprietary``.
        packages: the packages that contain it, each with its version; empty for the version that apt prefers.
    """

    source: str
    kind: str
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """A set of packages that may be installed.

    Attributes:
        packages: by name, each with its version; empty for the version that apt prefers.
    """

    driver: Driver
    module: Module
    packages: dict[str, str]


@dataclass(frozen=True)
class Rejection:
    """A way to have a driver that is not possible.

    Attributes:
        source: of WAYS, empty where it does not matter.
        version: of the driver.
        reason: in a sentence without the stop.
    """

    source: str
    version: str
    reason: str

    def __str__(self) -> str:
        """Return the way with the reason."""
        return f"{WAYS[self.source]} ({self.version}): {self.reason}" if self.source else self.reason


@dataclass(frozen=True)
class Choice:
    """What to install.

    Attributes:
        packages: by name, each with its version; empty where the version is not the driver's.
        sources: the source packages from which the driver's packages are built.
        satisfied: whether all of it is installed.
        notices: one-line notices for the user.
        rejected: the ways that were preferred and are not possible.
        sets: the input of the simulation; empty when apt need not be asked.
    """

    driver: Driver
    module: Module
    packages: dict[str, str]
    sources: list[str]
    satisfied: bool
    notices: list[str]
    rejected: list[Rejection] = field(default_factory=list)
    sets: list[str] = field(default_factory=list)


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def drivers(names: dict[str, list[str]], request: Request) -> Iterator[Driver]:
    """Yield the drivers that consist of some packages.

    Args:
        names: versions by package.
    """
    for name, versions in names.items():
        found = NVML.match(name)
        if not found:
            continue
        series = found[1] or found[2] or ""
        if request.distribution == "Ubuntu" and series.endswith("-server") != (request.flavour == "server"):
            continue
        for version in versions:
            yield Driver(series, version)


def table(driver: Driver, request: Request, kind: str) -> dict[str, list[str]]:
    """Return a driver's packages by their purpose."""
    rows = UBUNTU if request.distribution == "Ubuntu" else DEBIAN_TESLA if driver.series else DEBIAN
    ending = "-open" if kind == OPEN else ""
    return {
        purpose: [name.format(series=driver.series, open=ending) for name in names] for purpose, names in rows.items()
    }


def user_land(driver: Driver, request: Request, kind: str) -> list[str]:
    """Return the names of the packages that programs need."""
    rows = table(driver, request, kind)
    wanted = [*CAPABILITIES[:2], *[name for name in request.capabilities if name not in CAPABILITIES[:2]]]
    if request.flavour == "desktop":
        wanted.append("display")
        # Ubuntu's nvidia-driver contains what nvidia-headless-no-dkms does, and never installs that.
        rows = {**rows, "compute": []} if request.distribution == "Ubuntu" else rows
    return sorted({name for purpose in wanted for name in rows[purpose]})


def meets(driver: Driver, request: Request) -> bool:
    """Return whether a driver is a requested one."""
    if request.branch and driver.branch != request.branch:
        return False
    return any(
        re.match(rf"(\d+:)?{re.escape(request.version)}($|[^0-9])", version) is not None if request.version else True
        for version in (driver.version, driver.package_version)
    )


def in_range(driver: Driver, request: Request) -> bool:
    """Return whether a driver is between the limits."""
    own = numbers(driver.version)
    return not (
        (request.minimum and own < numbers(request.minimum)) or (request.below and own >= numbers(request.below))
    )


def installed_flavour(names: Iterable[str]) -> str:
    """Return the flavour of a driver by the names of its packages: desktop includes X."""
    return "desktop" if any(name.startswith(X_DRIVER) for name in names) else "server"


def installed_kind(present: list[Driver], installed: Iterable[str]) -> str:
    """Return the kind of the installed kernel module, empty for none."""
    kinds = [OPEN if re.search(r"-open(-|$)", name) else PROPRIETARY for name in installed if KIND.match(name)]
    return next(iter(sorted(kinds)), "") if present else ""


def complete(driver: Driver, request: Request, kind: str, installed: dict[str, str]) -> bool:
    """Return whether all requested parts of an installed driver are installed."""
    return bool(installed_module(driver, request, kind, installed)) and all(
        name in installed for name in user_land(driver, request, kind)
    )


def installed_module(driver: Driver, request: Request, kind: str, installed: dict[str, str]) -> str:
    """Return where the installed kernel module comes from, empty when none is installed."""
    if not request.kernel:
        return "host"
    if prebuilt_name(driver, kind, request.kernel) in installed:
        return "prebuilt"
    names = table(driver, request, kind)[kind]
    return "dkms" if names and all(name in installed for name in names) else ""


def prebuilt_name(driver: Driver, kind: str, kernel: str) -> str:
    """Return the name of Ubuntu's package with the module for a kernel, or for a flavour of kernels."""
    return f"linux-modules-nvidia-{driver.series}{'-open' if kind == OPEN else ''}-{kernel}"


def same_version(driver: Driver, versions: list[str]) -> str:
    """Return the first of a package's versions that belongs to a driver, empty for none."""
    return next((version for version in versions if Driver("", version).version == driver.version), "")


def sources(driver: Driver) -> list[str]:
    """Return the source packages of a driver."""
    return [f"nvidia-graphics-drivers-{driver.series}"] if driver.series else DEBIAN_SOURCES


def real_packages(world: World) -> dict[str, list[str]]:
    """Return what is offered without the transitional packages."""
    return {name: versions for name, versions in world.offered.items() if name not in world.transitional}
