# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls to EC2 that start, stop and change instances that exist, and waits for their states.

Sources, read on 2026-11-30: EC2 user guide, "Change the instance type" and "Get the status of a Spot Instance request";
EC2 API reference, StartInstances, StopInstances, ModifyInstanceAttribute and StateReason. Inferred: a start that EC2
accepts and cannot carry out has another StateReason, StateTransitionReason or LaunchTime than the stop before it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .._aws.errors import ReadError, translated
from .._aws.resources import read_tags
from .._lab.last_action import (
    ACTION_TAG,
    ERROR_TAG,
    MOVE,
    MOVE_TAG,
    RESIZE,
    START,
    TYPE_TAG,
    Action,
    Error,
    State,
    describe_host,
)
from .._launch.calls import call_patiently, explain
from .._launch.errors import STOP, Refusal
from .._launch.offers import ON_DEMAND
from .._launch.problem import Launch
from .._launch.request import tag_list
from .._launch.run import GPUS_TAG, LOOK, StopError, read_instances

# A resize that has not ended: "g5.xlarge running", the type before and the state to return to.
RESIZE_TAG = "digital_twin_resize"
PENDING, RUNNING, STOPPING, STOPPED = "pending", "running", "stopping", "stopped"
# Codes of a denied call, after which no other type is tried.
DENIED_CODES = {"AuthFailure", "UnauthorizedOperation"}


@dataclass(frozen=True)
class Type:
    """An instance type as EC2 describes it."""

    name: str
    architectures: tuple[str, ...]
    gpus: int


@dataclass
class Host:
    """A host and its instance.

    Attributes:
        name: Its name.
        instance: Its instance as EC2 describes it.
    """

    name: str
    instance: dict[str, Any]

    @property
    def id(self) -> str:
        """The id of its instance."""
        return str(self.instance["InstanceId"])

    @property
    def state(self) -> str:
        """The state of its instance."""
        return str(self.instance["State"]["Name"])

    @property
    def type(self) -> str:
        """The type of its instance."""
        return str(self.instance["InstanceType"])

    @property
    def zone(self) -> str:
        """Its zone."""
        return str(self.instance["Placement"]["AvailabilityZone"])

    @property
    def market(self) -> str:
        """How it is bought."""
        return str(self.instance.get("InstanceLifecycle") or ON_DEMAND)

    @property
    def request_id(self) -> str:
        """Its spot request, or nothing."""
        return str(self.instance.get("SpotInstanceRequestId") or "")

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return read_tags(self.instance.get("Tags"))

    @property
    def reason(self) -> dict[str, str]:
        """EC2's code and text for its state."""
        found = self.instance.get("StateReason") or {}
        return {"code": str(found.get("Code", "")), "text": str(found.get("Message", ""))}

    @property
    def signature(self) -> tuple[str, str, str]:
        """What differs between two stops of the same instance."""
        reason, launched = self.reason, self.instance.get("LaunchTime")
        return f"{reason['code']} {reason['text']}", str(self.instance.get("StateTransitionReason", "")), str(launched)

    def describe(self) -> list[str]:
        """Return sentences about its last start or stop, and its last error."""
        state = State(
            self.state,
            self.reason["code"],
            str(self.instance.get("StateTransitionReason", "")),
            self.instance.get("LaunchTime"),
        )
        return describe_host(self.name, state, self.tags, now())


@dataclass
class Power:
    """Calls to EC2 for instances that exist.

    Attributes:
        ec2: A client of EC2.
        once: A client of EC2 that does not repeat a call.
        region: Their region.
        prefix: How the user's variables begin.
        patience: Seconds for which a call is repeated while AWS throttles or does not answer.
        timeout: Seconds for an instance to reach a state.
        cause: What makes the change, for the tag of the last action.
        changes: How many calls have changed something.
    """

    ec2: Any
    once: Any
    region: str
    prefix: str
    patience: float
    timeout: float
    cause: str
    changes: int = 0

    def hosts(self, wanted: Iterable[dict[str, Any]]) -> list[Host]:
        """Return hosts as EC2 describes them, in the given order.

        Args:
            wanted: The name and the instance id of each.

        Raises:
            StopError: One does not exist.
            ReadError: AWS did not answer.
        """
        names = {str(item["instance_id"]): str(item["name"]) for item in wanted}
        found = self.instances(names)
        for identifier, name in names.items():
            if identifier not in found or found[identifier]["State"]["Name"] in ("terminated", "shutting-down"):
                raise StopError(f"{name}: {identifier} does not exist in {self.region}. Run site.yml to replace it.")
        return [Host(name, found[identifier]) for identifier, name in names.items()]

    def single_hosts(self, wanted: Iterable[dict[str, Any]]) -> list[Host]:
        """Return hosts as `hosts` does, if each is one instance.

        Raises:
            StopError: One does not exist, or has several instances.
            ReadError: AWS did not answer.
        """
        hosts = self.hosts(wanted)
        for host in hosts:
            ids = [other.id for other in hosts if other.name == host.name]
            if len(ids) > 1 and any(MOVE_TAG in other.tags for other in hosts if other.name == host.name):
                raise StopError(
                    f"{host.name}: its move to another zone has not ended ({', '.join(ids)}). Terminate neither. Run "
                    f"playbooks/start.yml with {self.prefix}move_zone_confirm set to the lab's name, which ends it."
                )
            if len(ids) > 1:
                raise StopError(
                    f"{host.name}: has several instances ({', '.join(ids)}). Terminate all but one of them."
                )
        return hosts

    def instances(self, identifiers: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return instances by id."""
        if not identifiers:
            return {}
        # By a filter, as an unknown id is an error otherwise.
        found = read_instances(self.ec2, self.region, [{"Name": "instance-id", "Values": list(identifiers)}])
        return {instance["InstanceId"]: instance for instance in found}

    def refresh(self, hosts: Iterable[Host]) -> None:
        """Get the instances of hosts again."""
        asked = list(hosts)
        found = self.instances([host.id for host in asked])
        for host in asked:
            host.instance = found.get(host.id, host.instance)

    def requests(self, hosts: Iterable[Host]) -> dict[str, dict[str, Any]]:
        """Return the spot requests of hosts by id."""
        wanted = [host.request_id for host in hosts if host.request_id]
        if not wanted:
            return {}
        filters = [{"Name": "spot-instance-request-id", "Values": wanted}]
        with translated("ec2:DescribeSpotInstanceRequests", self.region):
            found = self.ec2.describe_spot_instance_requests(Filters=filters)["SpotInstanceRequests"]
        return {request["SpotInstanceRequestId"]: request for request in found}

    def types(self, names: Collection[str]) -> dict[str, Type]:
        """Return instance types by name, without those that EC2 does not describe."""
        if not names:
            return {}
        filters = [{"Name": "instance-type", "Values": sorted(set(names))}]
        with translated("ec2:DescribeInstanceTypes", self.region):
            found = self.ec2.describe_instance_types(Filters=filters)["InstanceTypes"]
        return {
            item["InstanceType"]: Type(
                item["InstanceType"],
                tuple(item.get("ProcessorInfo", {}).get("SupportedArchitectures", [])),
                sum(int(gpu["Count"]) for gpu in item.get("GpuInfo", {}).get("Gpus", [])),
            )
            for item in found
        }

    def start(self, host: Host) -> Refusal | None:
        """Start a host, and return why AWS refuses to."""
        return self.change("start_instances", "ec2:StartInstances", InstanceIds=[host.id])

    def stop(self, host: Host) -> Refusal | None:
        """Stop a host, and return why AWS refuses to."""
        return self.change("stop_instances", "ec2:StopInstances", InstanceIds=[host.id])

    def set_type(self, host: Host, kind: Type) -> Refusal | None:
        """Change the type of a stopped host, with the tag by which its GPUs are counted; return why AWS refuses to."""
        given = {"InstanceId": host.id, "InstanceType": {"Value": kind.name}}
        refusal = self.change("modify_instance_attribute", "ec2:ModifyInstanceAttribute", **given)
        if refusal is None:
            host.instance["InstanceType"] = kind.name
            self.tag(host, {GPUS_TAG: str(kind.gpus)})
        return refusal

    def tag(self, host: Host, tags: dict[str, str], removed: Collection[str] = ()) -> None:
        """Set and remove tags of a host's instance, as far as they differ.

        Raises:
            ReadError: AWS did not answer, or refused.
        """
        own = host.tags
        new = {key: value for key, value in tags.items() if own.get(key) != value}
        old = [key for key in removed if key in own]
        if new:
            with translated("ec2:CreateTags", self.region):
                self.ec2.create_tags(Resources=[host.id], Tags=tag_list(new))
            self.changes += 1
        if old:
            with translated("ec2:DeleteTags", self.region):
                self.ec2.delete_tags(Resources=[host.id], Tags=[{"Key": key} for key in old])
            self.changes += 1
        host.instance["Tags"] = tag_list({key: value for key, value in {**own, **new}.items() if key not in old})

    def record(self, host: Host, tags: dict[str, str], removed: Collection[str] = ()) -> list[str]:
        """Set and remove tags that only explain something; return a line if that is not possible."""
        try:
            self.tag(host, tags, removed)
        except ReadError as error:
            named = ", ".join([*tags, *removed])
            return [f"{host.name}: {named}: the tags were not written ({error.code})"]
        return []

    def note(self, host: Host, verb: str, removed: Collection[str] = ()) -> list[str]:
        """Record what was done to a host, which has succeeded; return a line if that is not possible."""
        return self.record(host, {ACTION_TAG: str(Action(verb, self.cause, now()))}, (*removed, ERROR_TAG))

    def note_error(self, host: Host, verb: str, sentence: str) -> str:
        """Record what failed; return why that is not possible, or nothing."""
        try:
            self.tag(host, {ERROR_TAG: str(Error(verb, now(), sentence))})
        except ReadError as error:
            return f"{host.name}: the error was not recorded in the tag {ERROR_TAG} ({error.code})"
        return ""

    def settle(self, hosts: Iterable[Host]) -> None:
        """Wait until no host is about to stop.

        Raises:
            StopError: One does not within the time.
        """
        self._await([host for host in hosts if host.state == STOPPING], {STOPPED})

    def await_running(self, hosts: Iterable[Host], before: dict[str, tuple[str, str, str]]) -> list[Host]:
        """Wait until hosts run, and return those that have stopped instead.

        Args:
            hosts: The hosts, which were started.
            before: Their signatures before the start, by id. EC2 may describe them as stopped for a moment.

        Raises:
            StopError: One does neither within the time.
        """
        waiting = [host for host in hosts if host.state != RUNNING]
        ended, end = [], time.monotonic() + self.timeout
        while waiting:
            self.refresh(waiting)
            ended += [host for host in waiting if _has_ended(host, before)]
            waiting = [host for host in waiting if host.state != RUNNING and host not in ended]
            if waiting and time.monotonic() + LOOK > end:
                raise StopError(self._late(waiting, RUNNING))
            if waiting:
                time.sleep(LOOK)
        return ended

    def await_stopped(self, hosts: Iterable[Host]) -> None:
        """Wait until hosts are stopped.

        Raises:
            StopError: One is not within the time.
        """
        self._await([host for host in hosts if host.state != STOPPED], {STOPPED})

    def explain(self, host: Host, refusal: Refusal, operation: str, kind: str = "") -> str:
        """Return the line for a refusal that nothing else can cure."""
        about = Launch(host.name, kind or host.type, host.zone, exists=True, prefix=self.prefix)
        return explain(refusal, about, operation, self.region)

    def _await(self, waiting: list[Host], states: Collection[str]) -> None:
        """Wait until hosts are in one of some states."""
        end = time.monotonic() + self.timeout
        while waiting:
            self.refresh(waiting)
            waiting = [host for host in waiting if host.state not in states]
            gone = [host.name for host in waiting if host.state in ("terminated", "shutting-down")]
            if gone:
                raise StopError(f"{', '.join(gone)}: was terminated while it stopped. Run site.yml to replace it.")
            if waiting and time.monotonic() + LOOK > end:
                raise StopError(self._late(waiting, STOPPED))
            if waiting:
                time.sleep(LOOK)

    def _late(self, hosts: list[Host], wanted: str) -> str:
        """Return the line about hosts that do not reach a state in time."""
        named = ", ".join(f"{host.name} ({host.id}) is still {host.state}" for host in hosts)
        force = (
            f" If it never stops, run `aws ec2 stop-instances --force --instance-ids {hosts[0].id}`, which may lose "
            "what the host has not written yet."
            if wanted == STOPPED
            else ""
        )
        return (
            f"{named} after {self.timeout:.0f} s instead of {wanted}, and may cost money. Run this again, or raise "
            f"{self.prefix}wait_timeout.{force}"
        )

    def change(self, method: str, action: str, **given: Any) -> Refusal | None:
        """Make a call that changes an instance, and return why AWS refuses it."""
        answer = call_patiently(getattr(self.once, method), action, self.region, self.patience, **given)
        if isinstance(answer, Refusal):
            return answer
        self.changes += 1
        return None


def now() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)


def is_final(refusal: Refusal) -> bool:
    """Return whether another type cannot help either: the caller may not make the call, or AWS does not answer."""
    return refusal.code in DENIED_CODES or refusal.meaning not in (STOP, "zone", "kind")


def clear_tags(host: Host) -> list[str]:
    """Return the obsolete tags of a running host."""
    what = host.tags.get(ERROR_TAG, "").split(" ")[0]
    found = [ERROR_TAG, RESIZE_TAG] if what in (START, RESIZE, MOVE) else [RESIZE_TAG]
    return [*found, TYPE_TAG] if host.tags.get(TYPE_TAG) == host.type else found


def _has_ended(host: Host, before: dict[str, tuple[str, str, str]]) -> bool:
    """Return whether a started host has stopped."""
    if host.state == STOPPED:
        return host.signature != before.get(host.id)
    return host.state not in (PENDING, RUNNING)
