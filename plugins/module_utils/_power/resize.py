# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Change the instance type of a lab's hosts in place: stop, change, start. Disks and addresses stay."""

from __future__ import annotations

from .._aws.errors import ReadError, translated
from .._lab.last_action import ERROR_TAG, RESIZE, TYPE_TAG
from .._launch.errors import Refusal
from .._launch.offers import SPOT
from .._launch.problem import Launch, describe_end
from .._launch.run import GPUS_TAG, StopError
from .calls import PENDING, RESIZE_TAG, RUNNING, STOPPED, STOPPING, Host, Power, Type
from .stop import stop_hosts


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
    before, state = (*host.tags.get(RESIZE_TAG, "").split(" "), "", "")[:2]
    before, state = before or host.type, state or (STOPPED if host.state in (STOPPED, STOPPING) else RUNNING)
    power.tag(host, {RESIZE_TAG: f"{before} {state}"})
    if host.type != kind.name:
        stop_hosts(power, [host], verb=RESIZE)
        refusal = power.set_type(host, kind)
        if refusal:
            _return(power, host, before, state, f"{kind.name}: {refusal.code}: {refusal.text}")
    power.tag(host, {GPUS_TAG: str(kind.gpus)})
    if state == RUNNING:
        problem = _start(power, host)
        if problem:
            _return(power, host, before, state, problem)
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
    failed, now_is = f"{host.name} did not become {power.prefix}instance_type ({problem}).", ""
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
    line = power.note_error(host, RESIZE, f"{failed} {now_is}")
    raise StopError(" ".join(filter(None, [failed, now_is, line])))
