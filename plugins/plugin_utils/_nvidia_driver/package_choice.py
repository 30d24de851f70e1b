# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the packages of an NVIDIA driver from a Debian or Ubuntu archive. Pure functions."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace

from .branches import PREFERRED_BRANCH, SUPPORTED_UNTIL
from .drivers import (
    WAYS,
    Choice,
    Driver,
    Module,
    Plan,
    Rejection,
    Request,
    World,
    complete,
    drivers,
    in_range,
    installed_flavour,
    installed_module,
    meets,
    numbers,
    real_packages,
    sources,
    user_land,
)
from .gpus import ChoiceError, branch_problem, modules_for
from .plans import described, plans, refused
from .simulation import Result

# A part of the URI of NVIDIA's own repository and of its mirrors.
NVIDIA_REPOSITORY = "/cuda/repos/"


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
