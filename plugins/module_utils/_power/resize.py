# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Change the instance type of a lab's hosts in place: stop, change, start. Disks and addresses stay."""

from __future__ import annotations

import re

from .._aws.errors import ReadError, translated
from .._lab.last_action import ERROR_TAG, RESIZE, TYPE_TAG
from .._launch.errors import Refusal
from .._launch.offers import SPOT
from .._launch.problem import Launch, describe_end
from .._launch.run import GPUS_TAG, StopError
from .calls import PENDING, RESIZE_TAG, RUNNING, STOPPED, STOPPING, Host, Power, Type
from .stop import stop_hosts

# What RESIZE_TAG holds.
UNFINISHED = re.compile(rf"([a-z0-9-]+\.[a-z0-9-]+) ({RUNNING}|{STOPPED})")


def to_change(hosts: list[Host], wanted: str) -> list[Host]:
    """Return the hosts that do not have a type, have it for want of their own only, or whose resize has not ended."""
    return [
        host
        for host in hosts
        if host.type != wanted or host.tags.get(TYPE_TAG, wanted) != wanted or RESIZE_TAG in host.tags
    ]


def check(power: Power, hosts: list[Host], wanted: str) -> tuple[list[str], Type | None]:
    """Return why hosts cannot have a type, one line each, and the type. Changes nothing.

    Raises:
        ReadError: AWS did not answer.
    """
    option = f"{power.prefix}instance_type"
    kind = power.types([wanted]).get(wanted)
    if kind is None:
        return [f"{option}: EC2 does not know {wanted} in {power.region}. Use a type of this region."], None
    with translated("ec2:DescribeInstanceTypeOfferings", power.region):
        filters = [{"Name": "instance-type", "Values": [wanted]}]
        given = {"LocationType": "availability-zone", "Filters": filters}
        offers = power.ec2.describe_instance_type_offerings(**given)["InstanceTypeOfferings"]
    zones = sorted(str(offer["Location"]) for offer in offers)
    problems = []
    for host in hosts:
        architecture = host.instance.get("Architecture", "")
        if host.market == SPOT:
            problems.append(
                f"{option}: {host.name} is a spot instance, whose type AWS does not change. Set it to {host.type}, or "
                "destroy the lab and create it again."
            )
        elif host.zone not in zones:
            problems.append(
                f"{option}: {host.zone}, where the disk of {host.name} is, does not offer {wanted}, but "
                f"{', '.join(zones) or 'no zone'} does. Use a type that {host.zone} offers."
            )
        elif architecture and architecture not in kind.architectures:
            problems.append(
                f"{option}: {wanted} is of the architecture {', '.join(kind.architectures)}, and the disk of "
                f"{host.name} is for {architecture}. Use a type of that architecture."
            )
    return problems, kind


def resize(power: Power, host: Host, kind: Type) -> str:
    """Give a host a type and return to the state in which it was; return the line about it.

    Raises:
        StopError: That failed. The host has the type that it had before, and runs if it did, as far as AWS allows.
        ReadError: AWS did not answer. The next call goes on.
    """
    power.settle([host])
    unfinished = UNFINISHED.fullmatch(host.tags.get(RESIZE_TAG, ""))
    own = host.type
    # A host that has the type already got it from a run that was killed. Otherwise what it is now is its type before.
    before = unfinished[1] if unfinished and own == kind.name else own
    state = unfinished[2] if unfinished else (STOPPED if host.state in (STOPPED, STOPPING) else RUNNING)
    power.tag(host, {RESIZE_TAG: f"{before} {state}"})
    if own != kind.name:
        stop_hosts(power, [host], verb=RESIZE)
        refusal = power.set_type(host, kind)
        if refusal:
            _return(power, host, own, state, f"{kind.name}: {refusal.code}: {refusal.text}")
    power.tag(host, {GPUS_TAG: str(kind.gpus)})
    if state == RUNNING:
        problem = _start(power, host)
        if problem and own == kind.name:
            _stay(power, host, before, problem)
        if problem:
            _return(power, host, own, state, problem)
        power.note(host, RESIZE, (RESIZE_TAG, TYPE_TAG))
    else:
        # What stopped it before stays recorded.
        power.tag(host, {}, (RESIZE_TAG, TYPE_TAG, ERROR_TAG))
    return f"{host.name}: {before} is now {kind.name}, {host.state}"


def _start(power: Power, host: Host) -> str:
    """Start a host and wait until it runs; return why it does not."""
    if host.state not in (RUNNING, PENDING):
        signature = host.signature
        refusal = power.start(host)
        if refusal:
            return _line(host, refusal)
        if power.await_running([host], {host.id: signature}):
            about = Launch(host.name, host.type, host.zone, exists=True, prefix=power.prefix)
            return describe_end(host.reason["code"], host.reason["text"], about)
        return ""
    power.await_running([host], {host.id: host.signature})
    return ""


def _line(host: Host, refusal: Refusal) -> str:
    """Return a refusal of a start in one line."""
    return f"{host.type} in {host.zone}: {refusal.code}: {refusal.text}"


def _return(power: Power, host: Host, before: str, state: str, problem: str) -> None:
    """Give a host the type and the state that it had.

    Raises:
        StopError: Always, with what failed and how the host is now.
    """
    now_is = ""
    try:
        kind = power.types([before]).get(before)
        refusal = power.set_type(host, kind) if kind and host.type != before else None
        if refusal or kind is None:
            now_is = f"It is stopped, and not yet {before} again. Run this again with {before}."
        else:
            again = _start(power, host) if state == RUNNING else ""
            now_is = (
                f"It is {before} again, but stopped, as it does not start either ({again}). Run playbooks/start.yml."
                if again
                else f"It is {before} again, and {host.state}. Try later, or use another type."
            )
            power.tag(host, {}, [RESIZE_TAG])
    except (ReadError, StopError) as error:
        now_is = f"It could not be made {before} again ({error}). Run this again with {before}."
    _fail(power, host, problem, now_is)


def _stay(power: Power, host: Host, before: str, problem: str) -> None:
    """Leave a host as it is. Only a tag names its type before, and a caller that may only tag must not choose the type.

    Raises:
        StopError: Always, with what failed and what to do.
    """
    now_is = f"It is {host.type} already, and {host.state}."
    now_is += (
        " Try later, or use another type."
        if before == host.type
        else f" The tag {RESIZE_TAG} names {before} as its earlier type, but another caller may have written it. Try "
        f"later, or check that type and run this again with {before}."
    )
    _fail(power, host, problem, now_is)


def _fail(power: Power, host: Host, problem: str, now_is: str) -> None:
    """Record what failed and how the host is now, and fail with it.

    Raises:
        StopError: Always.
    """
    failed = f"{host.name} did not become {power.prefix}instance_type ({problem})."
    line = power.note_error(host, RESIZE, f"{failed} {now_is}")
    raise StopError(" ".join(filter(None, [failed, now_is, line])))
