"""EC2's spot market, which moto lacks: requests with states, prices, interruption and relaunch.

Sources. Read on 2026-11-30: EC2 User Guide, "Get the status of a Spot Instance request" (states and codes), "Stop
interrupted Spot Instances", "Spot Instance requests" (cancel, stop, start, terminate) and "Service-linked role";
botocore 1.44.5, ec2 2016-11-15 (SpotMarketOptions, StateReason). Messages of AWS were read in public issues:
cloud-custodian 8003 (stop of a one-time request) and 2083 (attributes of a spot instance), harmony-ops 285 (behavior
of a one-time request). Inferred: the message about a change of type, and that a cancelled request cannot stop.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.exceptions import EC2ClientError, InvalidParameterCombination
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import StateReason
from moto.ec2.models.spot_requests import LaunchSpecification, SpotInstanceRequest
from moto.ec2.utils import random_spot_request_id
from moto.iam import models as iam_models

from sandbox.cloud import seed
from sandbox.cloud.faults import Call
from sandbox.errors import SandboxError

LOWEST_MAX_PRICE = 0.001
NOTICE_SECONDS = 120.0
REASONS = ("no-capacity", "price")
ROLE, ROLE_SERVICE = "AWSServiceRoleForEC2Spot", "spot.amazonaws.com"
# The price until one is set, in dollars for a vCPU and hour: of the order of a G instance's.
VCPU_PRICE = 0.10
STOPPED, RUNNING, PENDING = "stopped", "running", "pending"
ENDED = ("shutting-down", "terminated")
EVENTS = ("instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop")
# By the first letters of the type; the sandbox does not limit other families.
QUOTAS = {"g": "L-3819A6DF", "vt": "L-3819A6DF", "p": "L-7212CCBC"}
STANDARD, STANDARD_FAMILIES = "L-34B43A08", ("a", "c", "d", "h", "i", "m", "r", "t", "z")


def utcnow() -> datetime:
    """Return the time: hosts compare that of a notice with their own clock."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Return a time as the metadata service writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Options:
    """The spot options of a launch.

    :param kind: ``one-time`` or ``persistent``.
    :param behavior: ``terminate``, ``stop`` or ``hibernate``.
    :param max_price: in dollars an hour; None for the price on demand.
    """

    kind: str = "one-time"
    behavior: str = "terminate"
    max_price: float | None = None
    valid_until: datetime | None = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> Options:
        """Return the options of a RunInstances request.

        :param given: its ``SpotOptions``.
        :raises EC2ClientError: they do not fit together, or the price is too low for any instance.
        """
        kind = given.get("SpotInstanceType") or "one-time"
        behavior = given.get("InstanceInterruptionBehavior") or "terminate"
        persistent = kind == "persistent"
        if persistent == (behavior == "terminate"):
            raise InvalidParameterCombination(
                f"The request with type '{kind}' is not supported when instanceInterruptionBehavior is set to "
                f"'{behavior}'."
            )
        valid_until = given.get("ValidUntil")
        if valid_until and not persistent:
            raise InvalidParameterCombination("The parameter ValidUntil is supported only for persistent requests.")
        if isinstance(valid_until, str):
            valid_until = datetime.fromisoformat(valid_until.replace("Z", "+00:00"))
        if valid_until and valid_until.tzinfo is None:
            valid_until = valid_until.replace(tzinfo=UTC)
        text = given.get("MaxPrice")
        try:
            price = float(text) if text else None
        except ValueError:
            price = 0.0
        if price is not None and price <= LOWEST_MAX_PRICE:
            raise EC2ClientError(
                "InvalidParameterValue", f"Invalid value '{text}' for maxPrice. It must be more than 0.001."
            )
        return cls(kind, behavior, price, valid_until)


@dataclass
class Launch:
    """The arguments with which a request launches its instance again."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]


class Request(SpotInstanceRequest):
    """One spot instance request, made by RunInstances."""

    def __init__(self, backend: Any, options: Options, launch: Launch, tags: dict[str, str]) -> None:
        """Make an open request; ``fulfil`` gives it its instance."""
        # The base class launches an instance, without most of the options of RunInstances.
        self.ec2_backend = backend
        self.id = random_spot_request_id()
        self.options = options
        self.launch = launch
        self.type = options.kind
        self.price = f"{options.max_price:.6f}" if options.max_price else ""
        self.valid_from = None
        self.valid_until = options.valid_until
        self.launch_group = self.availability_zone_group = None
        self.instance_interruption_behaviour = options.behavior
        self.created = utcnow()
        self.instance: Any = None
        self.notice: dict[str, str] = {}
        self.set("open", "pending-evaluation")
        self.add_tags(tags)

    def set(self, state: str, code: str, message: str = "") -> None:
        """Change state and status."""
        self._state, self._status_code, self.status_message, self.updated = state, code, message, utcnow()

    @property
    def _stopping(self) -> bool:
        return self._status_code.startswith("instance-stopped") and self.instance.state == "stopping"

    @property
    def code(self) -> str:
        """The status code."""
        return "marked-for-stop" if self._stopping else self._status_code

    @property
    def status(self) -> dict[str, Any]:
        """The status as EC2 describes it."""
        return {"Code": self.code, "Message": self.status_message, "UpdateTime": self.updated}

    @property
    def create_time(self) -> Any:
        """When the request was made."""
        return self.created

    @property
    def instance_id(self) -> str:
        """The id of the last instance, empty before the first."""
        return str(self.instance.id) if self.instance else ""

    @property
    def launched_availability_zone(self) -> str:
        """The zone of the last instance."""
        return str(self.instance.availability_zone) if self.instance else ""

    @property
    def cancelled(self) -> bool:
        """Whether the request was cancelled or has expired."""
        return self._state == "cancelled"

    @property
    def interrupted(self) -> bool:
        """Whether EC2 has stopped the instance, and only EC2 can start it."""
        return self._status_code in ("instance-stopped-no-capacity", "instance-stopped-by-price")

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        """Return the value that a filter of DescribeSpotInstanceRequests compares."""
        known = {
            "instance-id": self.instance_id,
            "status-code": self.code,
            "type": self.type,
            "launched-availability-zone": self.launched_availability_zone,
            "launch.instance-type": self.instance.instance_type if self.instance else "",
            "launch.image-id": self.instance.image_id if self.instance else "",
        }
        return known[filter_name] if filter_name in known else super().get_filter_value(filter_name, method_name)


def state_of(request: Request) -> str:
    """Return the state; a request is disabled once its instance has stopped."""
    return "active" if request._stopping else request._state


def launch_specification_of(request: Request) -> LaunchSpecification:
    """Return what a request launches."""
    last = request.instance
    found = LaunchSpecification(
        None,
        None,
        last.image_id,
        last.key_name,
        last.instance_type,
        last.availability_zone,
        last.monitored,
        last.subnet_id,
    )
    found.groups = list(last.security_groups)
    return found


# moto has plain attributes of these names, which the class cannot declare as properties.
UNTYPED: Any = Request
UNTYPED.state = property(state_of)
UNTYPED.launch_specification = property(launch_specification_of)


def no_fault(call: Call, kinds: tuple[str, ...]) -> bool:
    """Replace the injector of a cloud without faults."""
    return False


def no_note(service: str, action: str, region: str, **more: Any) -> None:
    """Replace the journal of a cloud without one."""


@dataclass
class Market:
    """Prices, and what the market knows of the rest of the cloud.

    :param fails: whether a fault of some kinds hits a call that EC2 makes on its own behalf.
    :param note: writes such a call into the journal.
    """

    fails: Callable[[Call, tuple[str, ...]], bool] = no_fault
    note: Callable[..., None] = no_note
    prices: dict[tuple[str, str], list[tuple[datetime, float]]] = field(default_factory=dict)

    def set_price(self, kind: str, zone: str, price: float) -> None:
        """Change the price of a type from now on, in one zone or, with an empty name, in all."""
        if kind not in INSTANCE_TYPES:
            raise SandboxError(f"instance type: {kind!r} is not known to the sandbox. Use a type such as g5.xlarge.")
        if price <= 0:
            raise SandboxError(f"spot price: {price}. Allowed: more than 0")
        self.prices.setdefault((kind, zone), []).append((utcnow(), price))

    def history(self, kind: str, zone: str) -> list[tuple[datetime, float]]:
        """Return the changes of a price, newest first; the last is older than any request."""
        cores = INSTANCE_TYPES.get(kind, {}).get("VCpuInfo", {}).get("DefaultVCpus", 1)
        changes = [*self.prices.get((kind, zone), []), *self.prices.get((kind, ""), [])]
        beginning = utcnow() - timedelta(days=90)
        return [*sorted(changes, reverse=True), (beginning, round(cores * VCPU_PRICE, 4))]

    def price(self, kind: str, zone: str) -> float:
        """Return the present price."""
        return self.history(kind, zone)[0][1]

    def too_low(self, options: Options, kind: str, zone: str) -> str:
        """Return AWS's message about a maximum price below the present one, empty if it suffices."""
        if options.max_price is None or options.max_price >= self.price(kind, zone):
            return ""
        return (
            f"Your Spot request price of {options.max_price:g} is lower than the minimum required Spot request "
            f"fulfillment price of {self.price(kind, zone):.4f}."
        )


MARKET = Market()


def requests() -> Iterator[Request]:
    """Yield the requests of every region that was used."""
    for backend in list(ec2_backends[DEFAULT_ACCOUNT_ID].values()):
        yield from (row for row in list(backend.spot_instance_requests.values()) if isinstance(row, Request))


def request_of(instance: Any) -> Request | None:
    """Return the request of a spot instance; None for another."""
    return next((row for row in requests() if row.instance is instance), None)


def find(name: str) -> Request:
    """Return the request with an id, or that of the instance with it.

    :raises SandboxError: there is none.
    """
    for row in requests():
        if name in (row.id, row.instance_id):
            return row
    raise SandboxError(f"{name!r} is not a spot instance, or a spot instance request, of this sandbox.")


def quota_of(kind: str) -> str:
    """Return the code of the quota that counts the vCPUs of a type's spot instances, empty without one."""
    family = re.match("[a-z]*", kind)
    letters = family[0] if family else ""
    return QUOTAS.get(letters) or (STANDARD if letters in STANDARD_FAMILIES else "")


def cores(kind: str) -> int:
    """Return the number of vCPUs of a type."""
    return int(INSTANCE_TYPES.get(kind, {}).get("VCpuInfo", {}).get("DefaultVCpus", 1))


def check_quota(backend: Any, kind: str, count: int) -> None:
    """Check the quota of spot vCPUs, which is not that of instances on demand.

    :raises EC2ClientError: it would be exceeded.
    """
    code = quota_of(kind)
    running = [
        row.instance.instance_type
        for row in requests()
        if row.ec2_backend is backend and row.instance and row.instance.state in (PENDING, RUNNING)
    ]
    used = sum(cores(other) for other in running if quota_of(other) == code)
    if code and used + count * cores(kind) > seed.QUOTAS[code][2]:
        raise EC2ClientError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")


def ensure_role(region: str) -> None:
    """Create EC2's service-linked role on the first use of spot, with the rights of the caller.

    :raises EC2ClientError: the caller lacks the right; inject ``denied`` into iam's CreateServiceLinkedRole.
    """
    backend = iam_models.iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    if any(role.name == ROLE for role in backend.roles.values()):
        return
    if MARKET.fails(Call("iam", "CreateServiceLinkedRole"), ("denied",)):
        raise EC2ClientError(
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
        )
    backend.create_service_linked_role(ROLE_SERVICE, "Default EC2 Spot Service Linked Role", "")
    MARKET.note("iam", "CreateServiceLinkedRole", region, fault=None, by="ec2")


def adopt(request: Request, instance: Any) -> None:
    """Fulfil a request with an instance."""
    request.instance = instance
    request.notice = {}
    request.set("active", "fulfilled", "Your Spot request is fulfilled.")
    instance.lifecycle = "spot"
    instance.spot_instance_request_id = request.id


def obstacle(request: Request) -> tuple[str, str]:
    """Return the status code and message of what keeps EC2 from fulfilling a request, both empty without one."""
    kind, zone = request.instance.instance_type, request.instance.availability_zone
    if message := MARKET.too_low(request.options, kind, zone):
        return "price-too-low", message
    if MARKET.fails(Call("ec2", "RunInstances", zone, kind), ("capacity",)):
        return "capacity-not-available", "There is no Spot capacity available that matches your request."
    return "", ""


def evaluate() -> bool:
    """End expired requests, and launch the instances of open ones; return whether anything has changed."""
    changed = False
    for request in requests():
        if request.valid_until and request.valid_until <= utcnow() and not request.cancelled:
            cancel(request)
            changed = True
        if request._state == "open":
            changed |= launch_again(request)
    return changed


def launch_again(request: Request) -> bool:
    """Launch a new instance for an open request; return whether there was capacity."""
    code, message = obstacle(request)
    if code:
        request.set("open", code, message)
        return False
    options = copy.deepcopy(request.launch.options)
    try:
        reservation = request.ec2_backend.run_instances(*request.launch.arguments, **options)
    except ServiceException as error:
        request.set("failed", "bad-parameters", str(error))
        return False
    (instance,) = reservation.instances
    give_profile(request.ec2_backend, instance, options)
    adopt(request, instance)
    region = request.ec2_backend.region_name
    MARKET.note("ec2", "RunInstances", region, fault=None, by="spot", request=request.id, instance=instance.id)
    return True


def give_profile(backend: Any, instance: Any, options: dict[str, Any]) -> None:
    """Associate the instance profile of a launch, as the API's own handler does."""
    for name in ("iam_instance_profile_name", "iam_instance_profile_arn"):
        if options.get(name):
            backend.associate_iam_instance_profile(instance_id=instance.id, **{name: options[name]})


def cancel(request: Request) -> None:
    """Cancel a request: EC2 terminates its instance if that is stopped, and lets a running one run."""
    if request._state in ("closed", "cancelled", "failed"):
        return
    state = request.instance.state
    if request._state == "open":
        request.set("cancelled", "canceled-before-fulfillment")
    elif state in (STOPPED, "stopping"):
        request.set("cancelled", "instance-terminated-by-service")
        terminate(request.instance, "Server.SpotInstanceTermination")
    else:
        request.set("cancelled", "request-canceled-and-instance-running")
    request.notice = {}


def terminate(instance: Any, code: str) -> None:
    """Terminate an instance on EC2's own behalf."""
    instance.terminate()
    explain(instance, code, "Instance terminated by EC2 on behalf of the Spot request.")


def explain(instance: Any, code: str, why: str) -> None:
    """Set why EC2 itself has changed an instance's state."""
    instance._reason = ""
    instance.state_reason = StateReason(f"{code}: {why}", code)


def announce(name: str, reason: str, seconds: float) -> Request:
    """Send an interruption notice to an instance: in its metadata, and in the status of its request.

    :param seconds: until ``interrupt`` is called. EC2 hibernates without this delay.
    :raises SandboxError: the instance cannot be interrupted.
    """
    if reason not in REASONS:
        raise SandboxError(f"reason: {reason!r}. Allowed: {', '.join(REASONS)}")
    if seconds < 0:
        raise SandboxError(f"notice: {seconds:g} seconds. Allowed: 0 or more")
    request = find(name)
    if request.instance.state not in (RUNNING, PENDING):
        raise SandboxError(f"{request.instance_id} is {request.instance.state}. Only a running one is interrupted.")
    behavior = "terminate" if request.cancelled else request.options.behavior
    request.notice = {"action": behavior, "time": stamp(utcnow() + timedelta(seconds=seconds))}
    if request.cancelled:
        return request
    if behavior == "terminate":
        request.set("closed", f"instance-terminated-{suffix(reason)}")
    else:
        request.set("active", "marked-for-stop")
    return request


def suffix(reason: str) -> str:
    """Return the end of a status code for a reason."""
    return "by-price" if reason == "price" else reason


def interrupt(request: Request, reason: str, notice: dict[str, str]) -> bool:
    """Carry out what a notice announces; return whether the instance still ran under it."""
    instance = request.instance
    if request.notice is not notice or instance.state not in (RUNNING, PENDING):
        return False
    region = request.ec2_backend.region_name
    action, request.notice = request.notice["action"], {}
    if action == "terminate":
        terminate(instance, "Server.SpotInstanceTermination")
        call = "TerminateInstances"
    else:
        instance.stop()
        explain(
            instance, "Server.SpotInstanceShutdown", "The instance was stopped due to a Spot Instance interruption."
        )
        request.set("disabled", f"instance-stopped-{suffix(reason)}")
        call = "StopInstances"
    MARKET.note("ec2", call, region, fault=None, by="spot", request=request.id, instance=instance.id)
    return True


def fulfil(name: str) -> None:
    """Have EC2 start an interrupted instance, or launch that of an open request.

    :raises SandboxError: the request is neither, or there is no capacity or the price is too high.
    """
    request = find(name)
    if request._state != "open" and not (request.interrupted and request.instance.state == STOPPED):
        raise SandboxError(
            f"{request.id} is {request.state} ({request.code}) and its instance {request.instance.state}. "
            "EC2 fulfils only an open request, and one whose instance it has stopped itself."
        )
    _code, message = obstacle(request)
    if message:
        raise SandboxError(f"{request.id}: {message}")
    if request._state == "open":
        launch_again(request)
        return
    request.instance.start()
    adopt(request, request.instance)
    region = request.ec2_backend.region_name
    MARKET.note(
        "ec2", "StartInstances", region, fault=None, by="spot", request=request.id, instance=request.instance_id
    )


def check_alive(instance: Any, verb: str) -> None:
    """Check that an instance is not terminated, whose state moto would change again.

    :raises EC2ClientError: it is.
    """
    if instance.state in ENDED:
        raise EC2ClientError(
            "IncorrectInstanceState", f"This instance '{instance.id}' is not in a state from which it can be {verb}."
        )


def check_stop(instance: Any) -> None:
    """Check that a user may stop an instance.

    :raises EC2ClientError: it is terminated, or belongs to a one-time request.
    """
    check_alive(instance, "stopped")
    request = request_of(instance)
    if request and request.type == "one-time":
        raise EC2ClientError(
            "UnsupportedOperation",
            f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot Instance "
            "request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
        )


def check_start(instance: Any) -> None:
    """Check that a user may start an instance.

    :raises EC2ClientError: it is terminated, EC2 has stopped it, or its maximum price is too low.
    """
    check_alive(instance, "started")
    request = request_of(instance)
    if request is None or instance.state != STOPPED:
        return
    if request.interrupted:
        raise EC2ClientError(
            "IncorrectSpotRequestState", "Only Amazon EC2 can restart an interrupted stopped Spot Instance."
        )
    if message := MARKET.too_low(request.options, instance.instance_type, instance.availability_zone):
        raise EC2ClientError("SpotMaxPriceTooLow", message)


def stopped_by_user(instance: Any) -> None:
    """Follow a stop by a user."""
    request = request_of(instance)
    if request and not request.cancelled and request._state == "active":
        request.notice = {}
        request.set("disabled", "instance-stopped-by-user")
    elif request and request.cancelled:
        terminate(instance, "Server.SpotInstanceTermination")
        request.set("cancelled", "instance-terminated-by-service")


def terminated_by_user(instance: Any) -> None:
    """Follow a termination by a user: a persistent request that was not cancelled opens again."""
    request = request_of(instance)
    if request is None or request._status_code.startswith("instance-terminated"):
        return
    request.notice = {}
    if request.cancelled:
        request.set("cancelled", "instance-terminated-by-user")
    elif request.type == "persistent":
        request.set("open", "pending-evaluation", "Your Spot request has been submitted for review.")
    else:
        request.set("closed", "instance-terminated-by-user")


def report() -> list[dict[str, Any]]:
    """Return the requests, for the command line."""
    return [
        {
            "id": row.id,
            "state": row.state,
            "status": row.code,
            "type": row.type,
            "behavior": row.options.behavior,
            "instance": row.instance_id,
            "instance_state": row.instance.state,
            "notice": row.notice,
        }
        for row in requests()
    ]


def instance_of(name: str) -> Any:
    """Return an instance of any region.

    :raises SandboxError: there is none with this id.
    """
    for backend in list(ec2_backends[DEFAULT_ACCOUNT_ID].values()):
        if found := backend.get_instance_by_id(name):
            return found
    raise SandboxError(f"{name!r} is not an instance of this sandbox.")


def rebalance(name: str) -> None:
    """Recommend to an instance that its work is moved: EC2 expects to interrupt it."""
    find(name).instance.rebalance_notice = stamp(utcnow())


def maintain(name: str, code: str, seconds: float = 0.0) -> None:
    """Schedule an event for an instance: in its metadata, and in DescribeInstanceStatus.

    :param code: one of ``EVENTS``; empty cancels all events.
    :param seconds: from now until the event begins.
    :raises SandboxError: there is no such instance or event.
    """
    instance = instance_of(name)
    if not code:
        instance.scheduled_events, instance.events = [], []
        return
    if code not in EVENTS:
        raise SandboxError(f"event: {code!r}. Allowed: {', '.join(EVENTS)}")
    begin = utcnow() + timedelta(seconds=seconds)
    end = begin + timedelta(hours=1)
    number = f"instance-event-{secrets.token_hex(8)}0"
    text = "The instance is scheduled for maintenance."
    row = {"Code": code, "Description": text, "EventId": number, "State": "active"}
    times = {"NotBefore": event_time(begin), "NotAfter": event_time(end)}
    instance.scheduled_events = [*getattr(instance, "scheduled_events", []), {**row, **times}]
    shown = {"InstanceEventId": number, "Code": code, "Description": text, "NotBefore": begin, "NotAfter": end}
    instance.events = [*getattr(instance, "events", []), shown]


def event_time(moment: datetime) -> str:
    """Return a time as the metadata service writes that of an event, such as 21 Jan 2019 09:00:43 GMT."""
    return moment.strftime("%d %b %Y %H:%M:%S GMT")


def metadata(instance: Any) -> dict[str, Any]:
    """Return what the metadata service adds for an instance: life cycle, notices and events.

    Paths and payloads as in the EC2 User Guide, "Spot Instance interruption notices" and "View scheduled events", and
    in the README of aws-node-termination-handler (all read on 2026-11-30). A path without content is missing.
    """
    request = request_of(instance)
    events: dict[str, Any] = {
        "maintenance": {"history": "[]", "scheduled": json.dumps(getattr(instance, "scheduled_events", []))}
    }
    if moment := getattr(instance, "rebalance_notice", ""):
        events["recommendations"] = {"rebalance": json.dumps({"noticeTime": moment})}
    found: dict[str, Any] = {"events": events, "instance-life-cycle": "spot" if request else "on-demand"}
    if request and request.notice:
        found["spot"] = {"instance-action": json.dumps(request.notice)}
        if request.notice["action"] == "terminate":
            found["spot"]["termination-time"] = request.notice["time"]
    return found
