# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start the stopped hosts of a lab in place: as the same type, else as further types that the zone has."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .._aws.errors import ReadError
from .._lab.last_action import START, TYPE_TAG
from .._launch.errors import ZONE_CODES, Refusal
from .._launch.offers import SPOT, Offer
from .._launch.problem import Launch, describe_end, describe_failures
from .._launch.run import GPUS_TAG, LOOK, StopError
from .calls import PENDING, RESIZE_TAG, RUNNING, STOPPED, Host, Power, Type, clear_tags, is_final

# The status of a spot request whose instance a user has stopped. EC2 has stopped those with another one.
STOPPED_BY_USER = "instance-stopped-by-user"
STOPPED_BY_AWS = "instance-stopped-"


@dataclass
class Starter:
    """Starts hosts.

    Attributes:
        power: The calls.
        types: The types to try after a host's own, in order, each with its name and its zones.
        failed: The reason of each offer that failed, which is not tried for the next host.
        lines: What was tried, one line each.
        problems: Why a host does not run, by its name.
        empty: The names of hosts for which AWS has no capacity at the moment.
    """

    power: Power
    types: list[dict[str, Any]]
    failed: dict[Offer, Refusal] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    known: dict[str, Type] = field(default_factory=dict)

    def start(self, hosts: list[Host]) -> None:
        """Start hosts, and wait until they run.

        Raises:
            StopError: A failure that no other host is spared.
            ReadError: AWS did not answer.
        """
        self.power.settle(hosts)
        stopped = [host for host in hosts if host.state == STOPPED]
        self._refuse_interrupted(stopped)
        before = {host.id: host.signature for host in stopped}
        waiting = [host for host in stopped if host.name not in self.problems]
        while waiting:
            begun = [host for host in waiting if self._begin(host)]
            before |= {host.id: host.signature for host in begun}
            waiting = self.power.await_running(begun, before)
            self.power.settle(waiting)
            for host in waiting:
                self._record_end(host)
            waiting = [host for host in waiting if host.name not in self.problems]
        # Another program has started these.
        for host in self.power.await_running([host for host in hosts if host.state == PENDING], before):
            about = Launch(host.name, host.type, host.zone, exists=True, prefix=self.power.prefix)
            self.problems[host.name] = describe_end(host.reason["code"], host.reason["text"], about)
        for host in hosts:
            if host.name in self.problems:
                line = self.power.note_error(host, START, self.problems[host.name])
                self.lines += [line] if line else []
            elif host in stopped:
                self.lines += self.power.note(host, START, clear_tags(host))
            elif host.state == RUNNING:
                self.lines += self.power.record(host, {}, clear_tags(host))

    def _refuse_interrupted(self, hosts: list[Host]) -> None:
        """Record the spot hosts that only AWS starts, or that have lost their request."""
        requests = self.power.requests(hosts)
        for host in hosts:
            code = interruption(requests.get(host.request_id, {}))
            if code:
                self.problems[host.name] = describe_interrupted(host, code)

    def _begin(self, host: Host) -> bool:
        """Start a host as the first type that AWS has; record the problem when there is none."""
        own = self._own(host)
        refused: dict[Offer, Refusal] = {}
        try:
            for name in self._candidates(host, own):
                offer = Offer(name, host.zone, host.market)
                refusal = self.failed.get(offer) or self._try(host, offer, own)
                if refusal is None:
                    return True
                refused[offer] = self.failed[offer] = refusal
            self.problems[host.name] = self._describe(host, refused)
            self.empty.append(host.name)
        except StopError as error:
            self.problems[host.name] = str(error)
        self._restore(host, own)
        return False

    def _own(self, host: Host) -> str:
        """Return a host's own type. The tag counts for a type that may be tried only: any caller may be able to tag."""
        tagged = host.tags.get(TYPE_TAG, "")
        known = [item["name"] for item in self.types if host.zone in item["zones"]]
        return tagged if tagged in known else host.type

    def _candidates(self, host: Host, own: str) -> list[str]:
        """Return the types to try for a host, its own first. A stopped spot instance keeps its type."""
        if host.market == SPOT:
            return [host.type]
        further = [item["name"] for item in self.types if host.zone in item["zones"]]
        return list(dict.fromkeys([own, *further]))

    def _try(self, host: Host, offer: Offer, own: str) -> Refusal | None:
        """Start a host as a type, and return why AWS refuses to.

        Raises:
            StopError: Another type cannot help.
        """
        refusal, operation = None, "ModifyInstanceAttribute"
        if offer.instance_type != host.type:
            refusal = self._retype(host, offer.instance_type, own)
        elif {TYPE_TAG, RESIZE_TAG} & host.tags.keys() and (kind := self._type(host.type)):
            # A run that was killed has changed the type, and perhaps not this tag.
            self.power.tag(host, {GPUS_TAG: str(kind.gpus)})
        if refusal is None:
            refusal, operation = self._start(host), "StartInstances"
        if refusal is None:
            self.lines.append(f"{host.name}: {offer}: started")
            return None
        self.lines.append(f"{host.name}: {offer}: {refusal.code}: {refusal.text}")
        modified = operation == "ModifyInstanceAttribute" and not is_final(refusal)
        if refusal.meaning in ("zone", "kind") or modified:
            return refusal
        raise StopError(self.power.explain(host, refusal, operation, offer.instance_type))

    def _start(self, host: Host) -> Refusal | None:
        """Start a host, and return why AWS refuses to.

        Raises:
            StopError: AWS has interrupted it.
        """
        end = time.monotonic() + self.power.patience
        while True:
            refusal = self.power.start(host)
            if refusal is None or refusal.code != "IncorrectSpotRequestState":
                return refusal
            code = interruption(self.power.requests([host]).get(host.request_id, {}))
            # The request of an instance that a user has stopped follows it some seconds later.
            if code or time.monotonic() + LOOK > end:
                raise StopError(describe_interrupted(host, code or refusal.code))
            time.sleep(LOOK)

    def _retype(self, host: Host, name: str, own: str) -> Refusal | None:
        """Change the type of a stopped host, and return why that is not possible."""
        kind, before = self._type(name), self._type(host.type)
        if kind is None:
            return Refusal("InvalidInstanceType", f"EC2 does not describe {name} in {self.power.region}.", 400)
        if before and not set(kind.architectures) & set(before.architectures):
            return Refusal("Unsupported", f"{name} is not of the architecture {', '.join(before.architectures)}.", 400)
        # First, so that a later run knows the host's own type whatever happens to this one.
        self.power.tag(host, {TYPE_TAG: own})
        return self.power.set_type(host, kind)

    def _type(self, name: str) -> Type | None:
        """Return a type. All are read at once, and only when they are needed."""
        if not self.known:
            self.known = self.power.types([item["name"] for item in self.types])
        if name not in self.known:
            self.known |= self.power.types([name])
        return self.known.get(name)

    def _restore(self, host: Host, own: str) -> None:
        """Give a stopped host its own type again. If that fails, the next start does it, by the tag."""
        try:
            refusal = None if host.type == own else self._retype(host, own, own)
            if refusal is None:
                self.power.tag(host, {}, [TYPE_TAG])
                return
            code = refusal.code
        except ReadError as error:
            code = error.code
        self.lines.append(f"{host.name}: is not yet {own} again ({code}). The next start changes it back.")

    def _record_end(self, host: Host) -> None:
        """Record why a host has stopped again right after its start, which another type may cure."""
        code, text = host.reason["code"], host.reason["text"]
        rest = code.partition(".")[2]
        if rest in ZONE_CODES:
            refusal = Refusal(rest, " ".join(text.removeprefix(f"{code}:").split()), 500)
            offer = Offer(host.type, host.zone, host.market)
            self.failed[offer] = refusal
            self.lines.append(f"{host.name}: {offer}: {refusal.code}: {refusal.text}")
            return
        about = Launch(host.name, host.type, host.zone, exists=True, prefix=self.power.prefix)
        self.problems[host.name] = describe_end(code, text, about)
        if host.state == STOPPED:
            self._restore(host, self._own(host))

    def _describe(self, host: Host, refused: dict[Offer, Refusal]) -> str:
        """Return the line about a host for which AWS has no machine."""
        return describe_failures(host.name, refused, self.power.prefix, stays=host.zone)


def interruption(request: dict[str, Any]) -> str:
    """Return the status code of a spot request whose instance AWS has stopped, or nothing."""
    code = str((request.get("Status") or {}).get("Code", ""))
    return code if code.startswith(STOPPED_BY_AWS) and code != STOPPED_BY_USER else ""


def describe_interrupted(host: Host, code: str) -> str:
    """Return the line about a spot host that only AWS starts again."""
    return (
        f"{host.name}: AWS has stopped this spot instance to use its capacity ({code}), and only AWS starts it again, "
        f"by itself, when there is capacity in {host.zone}. Its disk stays. Wait, or destroy the lab and create it "
        "with another market."
    )
