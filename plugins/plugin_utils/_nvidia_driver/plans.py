# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sets of packages with which a driver may be had, the preferred one first. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from .branches import PREFERRED_BRANCH
from .drivers import (
    Driver,
    Module,
    Plan,
    Rejection,
    Request,
    World,
    installed_kind,
    numbers,
    prebuilt_name,
    real_packages,
    same_version,
    sources,
    table,
    user_land,
)
from .gpus import OPEN, PROPRIETARY, preferred
from .simulation import Result, set_line


def preference(driver: Driver, present: list[Driver]) -> tuple[bool, bool, bool, bool, tuple[int, ...]]:
    """Return the key to choose a driver: the installed one, else 580, else the archive's own, else the newest."""
    return (
        driver in present,
        driver.branch in {other.branch for other in present},
        driver.branch == str(PREFERRED_BRANCH),
        driver.series == "",
        numbers(driver.version),
    )


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
        ordered = sorted(preferred(kinds, versions[0].branch), key=lambda kind: kind != installed)
        steps = [step for kind in ordered for step in ways(versions, request, kind, offered)]
        if not installed:
            # A signed module of the other kind is better than one that DKMS builds, which Secure Boot refuses.
            steps.sort(key=lambda step: (step.module.source if isinstance(step, Plan) else step.source) == "dkms")
        for step in steps:
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
