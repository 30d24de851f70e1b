# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the packages of an NVIDIA driver from a Debian or Ubuntu archive. Pure functions."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from .branches import (
    DEBIAN,
    DEBIAN_SOURCES,
    DEBIAN_TESLA,
    FIRST_BLACKWELL,
    FIRST_TURING,
    PREFERRED_BRANCH,
    SUPPORTED_UNTIL,
    UBUNTU,
)

CAPABILITIES = ("compute", "utility", "graphics", "video")
# The library of NVML has the driver's version, and its name has the series.
NVML = re.compile(r"^libnvidia-(?:(tesla(?:-\d+)?)-)?ml1$|^libnvidia-compute-(\d+(?:-server)?)$")
# The beginning of the names of Debian's and Ubuntu's drivers for X.
X_DRIVER = "xserver-xorg-video-nvidia"
# A part of the URI of NVIDIA's own repository and of its mirrors.
NVIDIA_REPOSITORY = "/cuda/repos/"


class ChoiceError(Exception):
    """The archive does not offer the requested driver; the message lists what it offers or what to change."""


@dataclass(frozen=True)
class Request:
    """The requested driver, and the host.

    Attributes:
        distribution: Debian or Ubuntu.
        branch: such as ``580``; empty for the installed one, else 580, else the archive's own, else its newest.
        version: such as ``580.173.02`` or a beginning of it, or a package's version; empty for the installed one, else
            the newest.
        flavour: ``server`` or ``desktop``; empty for the installed one, else server.
        module: ``proprietary`` or ``open``.
        capabilities: of CAPABILITIES; compute and utility are always part of it.
        minimum, below: versions between which the driver must lie; empty for no limit.
        kernel: the running kernel's release, as ``uname -r`` prints it; empty to install no module.
        gpus: PCI device ids of the host's GPUs.
        replace: whether a driver of the distribution that the role did not install may be replaced.
    """

    distribution: str
    branch: str = ""
    version: str = ""
    flavour: str = ""
    module: str = "proprietary"
    capabilities: tuple[str, ...] = CAPABILITIES
    minimum: str = ""
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
        source: ``prebuilt``, ``dkms`` or ``host``.
        packages: the packages that contain it.
    """

    source: str
    packages: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """What to install.

    Attributes:
        packages: by name, each with its version; empty where the version is not the driver's.
        sources: the source packages from which the driver's packages are built.
        satisfied: whether all of it is installed.
        notices: one-line notices for the user.
    """

    driver: Driver
    module: Module
    packages: dict[str, str]
    sources: list[str]
    satisfied: bool
    notices: list[str]


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


def table(driver: Driver, request: Request) -> dict[str, list[str]]:
    """Return a driver's packages by their purpose."""
    rows = UBUNTU if request.distribution == "Ubuntu" else DEBIAN_TESLA if driver.series else DEBIAN
    ending = "-open" if request.module == "open" else ""
    return {
        purpose: [name.format(series=driver.series, open=ending) for name in names] for purpose, names in rows.items()
    }


def user_land(driver: Driver, request: Request) -> list[str]:
    """Return the names of the packages that programs need."""
    rows = table(driver, request)
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


def preference(driver: Driver, present: list[Driver]) -> tuple[bool, bool, bool, bool, tuple[int, ...]]:
    """Return the key to choose a driver: the installed one, else 580, else the archive's own, else the newest."""
    return (
        driver in present,
        driver.branch in {other.branch for other in present},
        driver.branch == str(PREFERRED_BRANCH),
        driver.series == "",
        numbers(driver.version),
    )


def installed_flavour(names: Iterable[str]) -> str:
    """Return the flavour of a driver by the names of its packages: desktop includes X."""
    return "desktop" if any(name.startswith(X_DRIVER) for name in names) else "server"


def check_gpus(request: Request) -> None:
    """Check that the kernel module supports every GPU.

    Raises:
        ChoiceError: a GPU is not supported.
    """
    for device in request.gpus:
        if request.module == "open" and device < FIRST_TURING:
            raise ChoiceError(
                f"GPU 10de:{device:04x} is older than Turing (a V100 is), and NVIDIA's open module does not support "
                "it: set nvidia_driver_module=proprietary."
            )
        if request.module == "proprietary" and device >= FIRST_BLACKWELL:
            raise ChoiceError(f"GPU 10de:{device:04x} has only NVIDIA's open module: set nvidia_driver_module=open.")


def choose(request: Request, world: World) -> Choice:
    """Return what to install.

    Raises:
        ChoiceError: no driver matches.
    """
    request = replace(request, flavour=request.flavour or installed_flavour(world.installed))
    check_gpus(request)
    present = list(drivers({name: [version] for name, version in world.installed.items()}, request))
    for driver in present:
        if meets(driver, request) and in_range(driver, request) and complete(driver, request, world.installed):
            versions = {name: world.installed[name] for name in user_land(driver, request)}
            return conclude(
                driver, request, world, Module(installed_module(driver, request, world.installed)), versions
            )
    candidates = list(drivers(real_packages(world), request))
    fitting = [driver for driver in candidates if meets(driver, request)]
    if not fitting:
        raise ChoiceError(no_match(request, candidates, world))
    usable = [driver for driver in fitting if in_range(driver, request)]
    if not usable:
        raise ChoiceError(out_of_range(request, fitting))
    problems: list[str] = []
    for driver in sorted(usable, key=lambda driver: preference(driver, present), reverse=True):
        try:
            return offer(driver, request, world)
        except ChoiceError as error:
            problems.append(str(error))
    raise ChoiceError(problems[0])


def real_packages(world: World) -> dict[str, list[str]]:
    """Return what is offered without the transitional packages."""
    return {name: versions for name, versions in world.offered.items() if name not in world.transitional}


def complete(driver: Driver, request: Request, installed: dict[str, str]) -> bool:
    """Return whether all requested parts of an installed driver are installed."""
    return bool(installed_module(driver, request, installed)) and all(
        name in installed for name in user_land(driver, request)
    )


def installed_module(driver: Driver, request: Request, installed: dict[str, str]) -> str:
    """Return where the installed kernel module comes from, empty when none is installed."""
    if not request.kernel:
        return "host"
    if prebuilt_name(driver, request, request.kernel) in installed:
        return "prebuilt"
    names = table(driver, request)[request.module]
    return "dkms" if names and all(name in installed for name in names) else ""


def prebuilt_name(driver: Driver, request: Request, kernel: str) -> str:
    """Return the name of Ubuntu's package with the module for a kernel, or for a flavour of kernels."""
    return f"linux-modules-nvidia-{driver.series}{'-open' if request.module == 'open' else ''}-{kernel}"


def offer(driver: Driver, request: Request, world: World) -> Choice:
    """Return a driver with all its packages.

    Raises:
        ChoiceError: the archive lacks some of its packages.
    """
    offered = real_packages(world)
    names = user_land(driver, request)
    missing = [name for name in names if name not in offered]
    if missing:
        raise ChoiceError(f"The archive offers driver {driver.title}, but not its {', '.join(missing)}.")
    module = find_module(driver, request, offered)
    versions = {name: same_version(driver, offered[name]) for name in [*names, *module.packages]}
    return conclude(driver, request, world, module, versions)


def find_module(driver: Driver, request: Request, offered: dict[str, list[str]]) -> Module:
    """Return the kernel module of a driver.

    Raises:
        ChoiceError: the archive does not have this module.
    """
    if not request.kernel:
        return Module("host")
    # 6.12.117+deb13-cloud-amd64 is a cloud-amd64, 6.8.0-1021-aws an aws.
    flavour = "-".join(part for part in request.kernel.split("-") if not part[0].isdigit())
    if request.distribution == "Ubuntu":
        for kernel in (request.kernel, flavour):
            if prebuilt_name(driver, request, kernel) in offered:
                return Module("prebuilt", [prebuilt_name(driver, request, kernel)])
    names = table(driver, request)[request.module]
    if not names or not all(same_version(driver, offered.get(name, [])) for name in names):
        other = "proprietary" if request.module == "open" else "open"
        raise ChoiceError(
            f"Driver {driver.title} has no {request.module} kernel module in this archive: set "
            f"nvidia_driver_module={other}, or another nvidia_driver_version."
        )
    if f"linux-headers-{request.kernel}" in offered:
        return Module("dkms", [*names, f"linux-headers-{request.kernel}"])
    newest = [f"linux-headers-{flavour}", f"linux-image-{flavour}"]
    if not all(name in offered for name in newest):
        raise ChoiceError(
            f"The archive has no headers for the running kernel {request.kernel}, so no module can be built for it: "
            "boot a kernel of the archive."
        )
    return Module("dkms", [*names, *newest])


def same_version(driver: Driver, versions: list[str]) -> str:
    """Return the first of a package's versions that belongs to a driver, empty for none."""
    return next((version for version in versions if Driver("", version).version == driver.version), "")


def conclude(driver: Driver, request: Request, world: World, module: Module, packages: dict[str, str]) -> Choice:
    """Return the choice with its notices."""
    return Choice(
        driver,
        module,
        packages,
        sources=[f"nvidia-graphics-drivers-{driver.series}"] if driver.series else DEBIAN_SOURCES,
        satisfied=all(
            name in world.installed and version in ("", world.installed[name]) for name, version in packages.items()
        ),
        notices=notices(driver, request, module, world.today),
    )


def notices(driver: Driver, request: Request, module: Module, today: datetime.date) -> list[str]:
    """Return the notices for a choice."""
    lines = []
    branch = int(driver.branch)
    until = SUPPORTED_UNTIL.get(branch)
    if until is not None and (today.year, today.month) > until:
        lines.append(f"NVIDIA has not supported driver branch {branch} since {until[0]}-{until[1]:02d}.")
    elif until is None and branch < PREFERRED_BRANCH:
        lines.append(f"Driver branch {branch} is no longer supported by NVIDIA.")
    newer = [name for name in module.packages if name.startswith("linux-") and request.kernel not in name]
    if newer:
        lines.append(f"{', '.join(newer)} may bring another kernel than {request.kernel}, which a reboot starts.")
    return lines


def no_match(request: Request, candidates: list[Driver], world: World) -> str:
    """Return the message with the requested and the available drivers."""
    asked = {"branch": request.branch, "version": request.version}
    wanted = " and ".join(f"nvidia_driver_{name}={value}" for name, value in asked.items() if value)
    available = listed(candidates)
    stand_ins = drivers({name: world.offered.get(name, []) for name in world.transitional}, request)
    if request.branch in {driver.branch for driver in stand_ins}:
        return (
            f"Branch {request.branch} is no longer a driver in this archive, only a transitional package for a "
            f"newer one: set nvidia_driver_branch to one of {available}."
        )
    if not wanted:
        return (
            f"The archive offers no NVIDIA driver of flavour {request.flavour}: Debian has them in contrib and "
            "non-free, Ubuntu in restricted."
        )
    return f"{wanted}: the archive does not offer it. Available are {available}."


def listed(found: list[Driver]) -> str:
    """Return a list of drivers for messages, the newest first."""
    return ", ".join(sorted({driver.title for driver in found}, key=numbers, reverse=True)) or "none"


def out_of_range(request: Request, fitting: list[Driver]) -> str:
    """Return the message with the limits that are exceeded."""
    limits = [
        f"at least nvidia_driver_minimum={request.minimum}" if request.minimum else "",
        f"below nvidia_driver_below={request.below}" if request.below else "",
    ]
    return (
        f"Drivers {listed(fitting)} are outside what Isaac Sim runs with: {' and '.join(filter(None, limits))}. "
        "Choose another branch, or lift the limit where Isaac Sim is not used."
    )


def transitional_packages(text: str) -> set[str]:
    """Return the names in the output of ``apt-cache search`` of the transitional packages."""
    rows = (line.split(" - ", 1) for line in text.splitlines() if " - " in line)
    return {name for name, summary in rows if "transitional" in summary}


def parse_madison(text: str) -> dict[str, list[str]]:
    """Return the versions by package in the output of ``apt-cache madison``, each once, in its order.

    Those of NVIDIA's own repository are left out: its drivers have the distribution's names and other packages.
    """
    offered: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 3 or not cells[2].endswith("Packages") or NVIDIA_REPOSITORY in cells[2]:
            continue
        if cells[1] not in offered.setdefault(cells[0], []):
            offered[cells[0]].append(cells[1])
    return offered
