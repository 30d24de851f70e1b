# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stop the hosts of a lab. Their disks and addresses stay."""

from __future__ import annotations

import time
from typing import Any

from .._lab.last_action import ACTION_TAG, STOP, Action
from .._launch.errors import Refusal
from .._launch.run import LOOK, StopError
from .calls import RUNNING, STOPPED, STOPPING, Host, Power, now
from .start import interruption

# Spot requests that have ended.
ENDED = ("cancelled", "closed", "failed")


def spot_obstacle(host: Host, request: dict[str, Any]) -> str:
    """Return why a spot host cannot be stopped without the loss of its disk, or nothing.

    Args:
        host: The host.
        request: Its spot request; empty when AWS does not describe it.
    """
    if request.get("Type") == "one-time":
        return (
            f"{host.name}: AWS does not stop the instances of one-time spot requests ({host.request_id}). Destroy it, "
            "or create the lab again with this collection, whose requests are persistent."
        )
    if host.request_id and request.get("State", "cancelled") in ENDED:
        return (
            f"{host.name}: its spot request {host.request_id} is {request.get('State', 'gone')}, so that AWS "
            "terminates the instance with its disk when it is stopped. Save what is on the disk, then destroy the lab."
        )
    return ""


def stop_hosts(power: Power, hosts: list[Host], *, verb: str = STOP) -> list[str]:
    """Stop hosts, wait until they are stopped, and return a line for each that may start again by itself.

    Args:
        power: The calls.
        hosts: The hosts.
        verb: What to record as the last action.

    Raises:
        StopError: AWS refuses one, or one does not stop within the time. The others are stopped, but none if a spot
            host would lose its disk.
        ReadError: AWS did not answer.
    """
    requests = power.requests(hosts)
    running = [host for host in hosts if host.state not in (STOPPED, STOPPING)]
    problems = [spot_obstacle(host, requests.get(host.request_id, {})) for host in running]
    if any(problems):
        raise StopError("\n".join(filter(None, problems)))
    lines, refused = [], {}
    for host in running:
        # First, so that the reason is known even if this run is killed. A running host shows no stop.
        lines += power.record(host, {ACTION_TAG: str(Action(verb, power.cause, now()))})
        refusal = _stop(power, host)
        if refusal:
            refused[host.id] = power.explain(host, refusal, "StopInstances")
    power.await_stopped([host for host in hosts if host.id not in refused])
    if refused:
        raise StopError("\n".join(refused.values()))
    return lines + [
        f"{host.name}: AWS has stopped this spot instance ({code}), and starts it again, by itself, when it has "
        "capacity. It then costs money. To prevent that, destroy the lab."
        for host in hosts
        if (code := interruption(requests.get(host.request_id, {})))
    ]


def _stop(power: Power, host: Host) -> Refusal | None:
    """Stop a host, and return why AWS refuses to."""
    end = time.monotonic() + power.timeout
    while True:
        refusal = power.stop(host)
        # EC2 does not stop an instance that is about to start.
        if refusal is None or refusal.code != "IncorrectInstanceState" or time.monotonic() + LOOK > end:
            return refusal
        power.refresh([host])
        if host.state == RUNNING:
            return power.stop(host)
        time.sleep(LOOK)
