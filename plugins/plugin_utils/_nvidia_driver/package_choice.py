# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the packages of an NVIDIA driver from a Debian or Ubuntu archive. Pure functions."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

from .branches import DEBIAN, DEBIAN_SOURCES, DEBIAN_TESLA, PREFERRED_BRANCH, SUPPORTED_UNTIL, UBUNTU
from .gpus import AUTO, OPEN, PROPRIETARY, ChoiceError, branch_problem, modules_for, preferred
from .simulation import Result, set_line

CAPABILITIES = ("compute", "utility", "graphics", "video")
# The library of NVML has the driver's version, and its name has the series.
NVML = re.compile(r"^libnvidia-(?:(tesla(?:-\d+)?)-)?ml1$|^libnvidia-compute-(\d+(?:-server)?)$")
# The beginning of the names of Debian's and Ubuntu's drivers for X.
X_DRIVER = "xserver-xorg-video-nvidia"
# The beginning of the names of the packages that show which kernel module is installed.
KIND = re.compile(r"linux-modules-nvidia-|nvidia-(headless-no-dkms|dkms|driver)-|nvidia-(.*-)?kernel-dkms$")
# A part of the URI of NVIDIA's own repository and of its mirrors.
NVIDIA_REPOSITORY = "/cuda/repos/"
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


def installed_kind(present: list[Driver], installed: Iterable[str]) -> str:
    """Return the kind of the installed kernel module, empty for none."""
    kinds = [OPEN if re.search(r"-open(-|$)", name) else PROPRIETARY for name in installed if KIND.match(name)]
    return next(iter(sorted(kinds)), "") if present else ""


def choose(request: Request, world: World, results: list[Result] | None = None) -> Choice:
    """Return what to install.

    Args:
        request: the requested driver, and the host.
        world: what is available and installed.
        results: what apt answered about the sets of the choice that was made without them.

    Raises:
        ChoiceError: no driver matches, or apt can install none that does.
    """
    request = replace(request, flavour=request.flavour or installed_flavour(world.installed))
    kinds = modules_for(request.gpus, request.module)
    present = list(drivers({name: [version] for name, version in world.installed.items()}, request))
    for driver in present:
        for kind in kinds:
            fits = meets(driver, request) and in_range(driver, request)
            if fits and complete(driver, request, kind, world.installed):
                versions = {name: world.installed[name] for name in user_land(driver, request, kind)}
                module = Module(installed_module(driver, request, kind, world.installed), kind)
                return conclude(Plan(driver, module, versions), request, world)
    candidates = list(drivers(real_packages(world), request))
    fitting = [driver for driver in candidates if meets(driver, request)]
    if not fitting:
        raise ChoiceError(no_match(request, candidates, world))
    usable = [driver for driver in fitting if in_range(driver, request)]
    if not usable:
        raise ChoiceError(out_of_range(request, fitting))
    supported = [driver for driver in usable if not branch_problem(request.gpus, driver.branch)]
    if not supported:
        raise ChoiceError(branch_problem(request.gpus, usable[0].branch) + f" The archive has {listed(candidates)}.")
    return select(list(plans(supported, present, request, kinds, world)), request, world, results)


def real_packages(world: World) -> dict[str, list[str]]:
    """Return what is offered without the transitional packages."""
    return {name: versions for name, versions in world.offered.items() if name not in world.transitional}


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


def plans(
    usable: list[Driver], present: list[Driver], request: Request, kinds: tuple[str, ...], world: World
) -> Iterator[Plan | Rejection]:
    """Yield the sets of packages that may be installed, the preferred one first, and what is not offered.

    Only the drivers of one branch, the preferred one of those that the archive has completely.
    """
    offered = real_packages(world)
    branch = ""

    def series(driver: Driver) -> tuple[object, ...]:
        return (*preference(driver, present)[:-1], driver.branch, driver.series)

    ranked = sorted(usable, key=lambda driver: preference(driver, present), reverse=True)
    installed = installed_kind(present, world.installed)
    for _series, group in groupby(ranked, key=series):
        versions = list(group)
        if branch and versions[0].branch != branch:
            break
        for kind in sorted(preferred(kinds, versions[0].branch), key=lambda kind: kind != installed):
            for step in ways(versions, request, kind, offered):
                branch = step.driver.branch if isinstance(step, Plan) else branch
                yield step


def ways(
    versions: list[Driver], request: Request, kind: str, offered: dict[str, list[str]]
) -> Iterator[Plan | Rejection]:
    """Yield the ways to have one of some versions of a driver with a kernel module, the preferred one first.

    Args:
        versions: of one series, the newest first.
        request: the requested driver, and the host.
        kind: of the module.
        offered: versions by package.
    """
    whole = []
    for driver in versions:
        missing = [name for name in user_land(driver, request, kind) if name not in offered]
        if missing:
            reason = f"driver {driver.title}: the archive has no {', '.join(missing)}"
            yield Rejection("", driver.version, reason)
        else:
            whole.append(driver)
    if not whole:
        return
    if not request.kernel:
        found: Iterable[tuple[Driver, Module] | Rejection] = [(driver, Module("host", kind)) for driver in whole]
    else:
        found = modules(whole, request, kind, offered)
    for step in found:
        if isinstance(step, Rejection):
            yield step
        else:
            driver, module = step
            names = user_land(driver, request, kind)
            yield Plan(driver, module, {name: same_version(driver, offered[name]) for name in names} | module.packages)


def modules(
    versions: list[Driver], request: Request, kind: str, offered: dict[str, list[str]]
) -> Iterator[tuple[Driver, Module] | Rejection]:
    """Yield the kernel modules of some versions of a driver, the preferred one first."""
    newest = versions[0]
    # 6.12.117+deb13-cloud-amd64 is a cloud-amd64, 6.8.0-1021-aws an aws.
    flavour = "-".join(part for part in request.kernel.split("-") if not part[0].isdigit())
    if request.distribution == "Ubuntu":
        exact, of_flavour = prebuilt_name(newest, kind, request.kernel), prebuilt_name(newest, kind, flavour)
        # A long-term release has its flavour with a newer kernel as well: generic-hwe-24.04.
        newer = re.compile(rf"{re.escape(of_flavour)}-hwe-[0-9.]+")
        names_by_source = {"prebuilt": [exact], "flavour": [of_flavour, *sorted(filter(newer.fullmatch, offered))]}
        for source, candidates in names_by_source.items():
            there = [name for name in candidates if name in offered]
            if not there:
                yield Rejection(source, newest.version, f"the archive has no {candidates[0]}")
            # A module is rebuilt for newer drivers, and its name does not show for which.
            for driver in versions:
                for name in there:
                    for version in offered[name]:
                        yield driver, Module(source, kind, {name: version})
    headers = [f"linux-headers-{request.kernel}"]
    if headers[0] not in offered:
        headers = [f"linux-headers-{flavour}", f"linux-image-{flavour}"]
        if not all(name in offered for name in headers):
            reason = f"the archive has no headers for the running kernel {request.kernel}. Boot a kernel of the archive"
            yield Rejection("dkms", newest.version, reason)
            return
    for driver in versions:
        names = table(driver, request, kind)[kind]
        if not names or not all(same_version(driver, offered.get(name, [])) for name in names):
            other = PROPRIETARY if kind == OPEN else OPEN
            reason = f"driver {driver.title} has no {kind} kernel module in this archive"
            if request.module == kind:
                reason += f". Set nvidia_driver_module to auto or {other}, or change nvidia_driver_version"
            yield Rejection("dkms", driver.version, reason)
        else:
            own = {name: same_version(driver, offered[name]) for name in names}
            yield driver, Module("dkms", kind, own | dict.fromkeys(headers, ""))


def select(steps: list[Plan | Rejection], request: Request, world: World, results: list[Result] | None) -> Choice:
    """Return the first set that apt can install; before apt was asked, the first one.

    Raises:
        ChoiceError: there is none.
    """
    possible = [step for step in steps if isinstance(step, Plan)]
    rejected: list[Rejection] = []
    answers = iter(results or [])
    for step in steps:
        if isinstance(step, Rejection):
            rejected.append(step)
        elif results is None:
            return replace(
                conclude(step, request, world), rejected=rejected, sets=[described(plan) for plan in possible]
            )
        else:
            reason = refused(step, request, next(answers, None))
            if not reason:
                return replace(conclude(step, request, world, rejected), rejected=rejected)
            rejected.append(Rejection(step.module.source, step.driver.version, reason))
    reasons = "; ".join(dict.fromkeys(map(str, rejected)))
    if not possible:
        raise ChoiceError(f"The archive has no driver with all its parts. Not possible: {reasons.rstrip('.')}.")
    raise ChoiceError(
        f"apt can install no NVIDIA driver of branch {possible[0].driver.branch}. Not possible: {reasons}. Remove what "
        "conflicts, or set another nvidia_driver_version or nvidia_driver_branch."
    )


def described(plan: Plan) -> str:
    """Return the line of the simulation for a set. The kernel that a flavour brings is judged afterwards."""
    final = plan.module.source != "flavour"
    return set_line(sources(plan.driver), plan.driver.version, plan.packages, final=final)


def refused(plan: Plan, request: Request, result: Result | None) -> str:
    """Return why a set is not installed; empty when it can be."""
    if result is None:
        return "apt did not answer"
    if not result.resolves:
        return f"apt reports: {result.sentence}"
    if plan.module.source == "flavour":
        kernel = result.installs(prebuilt_name(plan.driver, plan.module.kind, ""))
        if kernel[:1].isdigit() and numbers(kernel) < numbers(request.kernel):
            return f"its kernel {kernel} is older than the running {request.kernel}, which the next boot starts again"
    return ""


def same_version(driver: Driver, versions: list[str]) -> str:
    """Return the first of a package's versions that belongs to a driver, empty for none."""
    return next((version for version in versions if Driver("", version).version == driver.version), "")


def sources(driver: Driver) -> list[str]:
    """Return the source packages of a driver."""
    return [f"nvidia-graphics-drivers-{driver.series}"] if driver.series else DEBIAN_SOURCES


def conclude(plan: Plan, request: Request, world: World, rejected: Iterable[Rejection] = ()) -> Choice:
    """Return the choice of a plan with its notices."""
    return Choice(
        plan.driver,
        plan.module,
        plan.packages,
        sources=sources(plan.driver),
        satisfied=all(
            name in world.installed and version in ("", world.installed[name])
            for name, version in plan.packages.items()
        ),
        notices=notices(plan, request, world.today, list(rejected)),
    )


def notices(plan: Plan, request: Request, today: datetime.date, rejected: list[Rejection]) -> list[str]:
    """Return the notices for a choice."""
    lines = []
    branch = int(plan.driver.branch)
    until = SUPPORTED_UNTIL.get(branch)
    if until is not None and (today.year, today.month) > until:
        lines.append(f"NVIDIA has not supported driver branch {branch} since {until[0]}-{until[1]:02d}.")
    elif until is None and branch < PREFERRED_BRANCH:
        lines.append(f"Driver branch {branch} is no longer supported by NVIDIA.")
    if rejected:
        reasons = "; ".join(dict.fromkeys(map(str, rejected))).rstrip(".")
        chosen = WAYS.get(plan.module.source, "no kernel module")
        lines.append(f"Chosen: {chosen} ({plan.module.kind}, {plan.driver.version}). Not possible: {reasons}.")
    newer = [name for name in plan.module.packages if name.startswith("linux-") and request.kernel not in name]
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
    """Return the message with the limits that are exceeded, and what to do."""
    needed = f" ({request.minimum_for} needs it)" if request.minimum_for else ""
    limits = [
        f"at least nvidia_driver_minimum={request.minimum}{needed}" if request.minimum else "",
        f"below nvidia_driver_below={request.below}" if request.below else "",
    ]
    message = f"The archive has driver {listed(fitting)}, and it must be {' and '.join(filter(None, limits))}."
    if request.branch or request.version:
        return f"{message} Change nvidia_driver_branch or nvidia_driver_version, or empty the limit."
    too_old = request.minimum and all(numbers(driver.version) < numbers(request.minimum) for driver in fitting)
    if too_old and request.distribution == "Debian":
        return (
            f"{message} Use Ubuntu 24.04 or 22.04, whose archive has driver {PREFERRED_BRANCH}, or install a newer "
            "driver yourself, which this role then leaves unchanged. Without "
            f"{request.minimum_for or 'a need for it'}, lower nvidia_driver_minimum."
        )
    return f"{message} Enable the updates of the archive, or change the limit."


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
