"""The WSGI application in front of moto: access control, journal, faults, control interface, and host changes."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import re
import socket
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qs

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from werkzeug.exceptions import NotFound

from sandbox.cloud import (
    alarms,
    budgets,
    cbor,
    market,
    metrics,
    pricing,
    requests,
    runs,
    schedules,
    seed,
    tokens,
    volumes,
)
from sandbox.cloud.callers import RefusedError, Signature, body_length, check_address
from sandbox.cloud.clock import moment_of, span_of
from sandbox.cloud.faults import CLOSING, KINDS, Call, Injector, Refusal, Rule, refusal, response
from sandbox.cloud.runner import Failure, Runner
from sandbox.errors import SandboxError
from sandbox.keys import Keys
from sandbox.settings import AWS_HOST, PUBLIC_ADDRESS

LOG = logging.getLogger(__name__)
CONTROL = "/_sandbox/"
MOTO_CONTROL = "/moto-api"
# Returns the address of a caller, as a public page on the internet does.
CHECK_ADDRESS = f"{CONTROL}checkip"
FROM_HOST = "sandbox.from_host"  # set in the environment of a request from a VPC
BY = "sandbox.by"  # what the journal adds for a call that AWS itself makes
JOURNAL_LENGTH = 20000
READS = ("Describe", "Get", "List", "Head", "Lookup", "Simulate", "Batch", "GET ", "HEAD ")
# Hosts send these calls every minute. They change no resource, so "this run changed nothing" remains provable.
TELEMETRY = ("PutMetricData",)
LARGEST_TELEMETRY = 1048576  # bytes of a PutMetricData request as it is sent
# Services whose requests name their operation by method and path only.
REST_JSON = ("scheduler",)
# The calls that need capacity, and the faults that hit the others.
PLACED = ("RunInstances", "StartInstances", "CreateFleet")
ENOUGH = tuple(kind for kind in KINDS if kind != "capacity")
JSON_HEADERS = [("Content-Type", "application/x-amz-json-1.1")]
TOO_LARGE = Refusal(
    413,
    "RequestEntityTooLarge",
    f"The request is larger than {LARGEST_TELEMETRY} bytes.",
    "RequestEntityTooLargeException",
)

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Hosts(Protocol):
    """Follows the calls that change EC2: ``sandbox.cloud.reconciler.Reconciler``."""

    def follow(self) -> None:
        """Change the hosts to the state of their instances."""

    def reboot(self, ids: Iterable[str]) -> None:
        """Reboot the hosts of these instances."""


class NoHosts:
    """Replaces the hosts in a cloud without them."""

    def follow(self) -> None:
        """Do nothing."""

    def reboot(self, ids: Iterable[str]) -> None:
        """Do nothing."""


def unpack(environ: Environ, body: bytes) -> bytes:
    """Decompress a request; return the body and change the headers.

    :raises OSError, EOFError, zlib.error: the body is not compressed as declared in its header.
    """
    if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
        del environ["HTTP_CONTENT_ENCODING"]
        return gzip.decompress(body)
    return body


def count_datums(call: Call, body: bytes) -> int:
    """Return the number of datums in a PutMetricData request; its body in JSON or in the query protocol."""
    if call.protocol == "query":
        return len(set(re.findall(rb"MetricData\.member\.(\d+)\.MetricName=", body)))
    return len(json.loads(body or b"{}").get("MetricData", []))


def identify(environ: Environ, body: bytes) -> tuple[Call, str, dict[str, list[str]]]:
    """Return the call, its region and its form fields, from the request's signature, target and body."""
    region, service = scope_of(environ)
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return Call(service, target.rpartition(".")[2], protocol=protocol_of(environ)), region, {}
    if service in REST_JSON:
        return Call(service, operation(service, environ), protocol="rest-json"), region, {}
    fields = parse_qs(body.decode("utf-8", "replace")) if b"Action=" in body else parse_qs(environ["QUERY_STRING"])
    action = fields.get("Action", [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"])[0]
    zone = fields.get("Placement.AvailabilityZone", [""])[0]
    subnet_id = next((values[0] for key, values in fields.items() if key.endswith("SubnetId")), "")
    if action == "RunInstances" and subnet_id:
        zone = zone_of(region, subnet_id)
    kind = fields.get("InstanceType", [""])[0]
    return Call(service, action, zone, kind), region, fields


def operation(service: str, environ: Environ) -> str:
    """Return the operation of a REST request, such as CreateSchedule; its method and path where none matches."""
    try:
        return str(get_service_router(service).match(Request(dict(environ)))[0].name)
    except NotFound:
        return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"


def scope_of(environ: Environ) -> tuple[str, str]:
    """Return the region and the service that a request's signature names."""
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return (scope[1], scope[2]) if scope else ("us-east-1", "unknown")


def protocol_of(environ: Environ) -> str:
    """Return the protocol of a request, as ``Call`` names it."""
    if environ.get("HTTP_SMITHY_PROTOCOL") == "rpc-v2-cbor":
        return "cbor"
    return "json" if environ.get("HTTP_X_AMZ_TARGET") else "query"


def starts(call: Call, region: str, fields: dict[str, list[str]]) -> list[tuple[Call, tuple[str, ...]]]:
    """Return the parts of a call that faults can hit, each with the kinds of fault that apply to it.

    Capacity is needed by the calls that put an instance onto a machine, not by a dry run of them. Each instance of a
    StartInstances has its own zone and type, and needs capacity only if its user has stopped it.
    """
    if call.action not in PLACED or fields.get("DryRun", [""])[0].lower() == "true":
        return [(call, ENOUGH)]
    if call.action != "StartInstances":
        return [(call, KINDS)]
    ids = {values[0] for name, values in fields.items() if name.startswith("InstanceId")}
    found = []
    for reservation in ec2_backends[DEFAULT_ACCOUNT_ID][region].reservations.values():
        for instance in reservation.instances:
            if instance.id in ids:
                request = market.request_of(instance)
                needs = instance.state == "stopped" and not (request and request.interrupted)
                place = {"zone": str(instance.availability_zone), "instance_type": str(instance.instance_type)}
                found.append((replace(call, **place), KINDS if needs else ENOUGH))
    return found or [(call, ENOUGH)]


def offering(region: str, kind: str) -> list[str]:
    """Return the zones of a region that offer an instance type."""
    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return sorted(offer["Location"] for offer in offers if offer["InstanceType"] == kind)


def zone_of(region: str, subnet_id: str) -> str:
    """Return the availability zone of a subnet, empty when there is no such subnet."""
    for zone, subnets in ec2_backends[DEFAULT_ACCOUNT_ID][region].subnets.items():
        if subnet_id in subnets:
            return str(zone)
    return ""


def for_hosts(application: Application, name: str = AWS_HOST, port: int = 80) -> Application:
    """Return the proxy for hosts: it answers AWS's calls, but not those that control the sandbox.

    :param name: the hosts' name for it, with the port.
    """

    def inside(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # A Unix socket has neither, and WSGI requires both.
        served = {"SERVER_NAME": name, "SERVER_PORT": str(port), FROM_HOST: True}
        return application({**environ, **served}, start_response)

    return inside


def hang_up(environ: Environ, why: str) -> NoReturn:
    """Close the caller's connection without an answer.

    :raises ConnectionAbortedError: always; the server treats it as a closed connection.
    """
    with contextlib.suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError(f"closed on purpose, {why}")


def check_ip(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the caller's address on the simulated internet; ?from=203.0.113.7 sets another address."""
    asked = parse_qs(environ.get("QUERY_STRING", "")).get("from", [PUBLIC_ADDRESS])
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Content-Type-Options", "nosniff")])
    return [f"{asked[0]}\n".encode()]


def refuse(error: RefusedError, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request that is not admitted, in the form that AWS's clients expect where the error has a code."""
    if error.code and not environ["PATH_INFO"].startswith(CONTROL):
        call = Call(scope_of(environ)[1], "", protocol=protocol_of(environ))
        status, headers, answer = response(Refusal(error.status, error.code, str(error)), call, str(uuid.uuid4()))
    else:
        status, headers = error.status, [("Content-Type", "application/json")]
        answer = json.dumps({"error": str(error)}).encode()
    start_response(f"{status} Refused", headers)
    return [answer]


class Proxy:
    """The application on the sandbox's endpoint."""

    def __init__(self, sandbox_id: str, moto: Application, keys: Keys, hosts: Hosts | None = None) -> None:
        """Put journal, faults and hosts in front of moto's application; without hosts, calls only change moto.

        :param keys: the keys for signing calls; IAM's policies are not evaluated.
        """
        self._id = sandbox_id
        self._moto = moto
        self._keys = keys
        self._hosts = hosts or NoHosts()
        self.injector = Injector()
        self._journal: deque[dict[str, Any]] = deque(maxlen=JOURNAL_LENGTH)
        # moto's backends of these services are not thread-safe.
        self._writing = {"ec2": threading.RLock(), "monitoring": threading.RLock()}
        self._writing["iam"] = self._writing["ec2"]
        self._writing["scheduler"] = threading.RLock()  # held while EC2's is taken, never the other way round
        schedules.install()
        budgets.install()
        self._runner = Runner(self._invoke, self._count)
        self._seeded: set[str] = set()
        self.join_market()

    def join_market(self) -> None:
        """Serve the spot market with this proxy's faults and journal. Like moto's state, it is one per process."""
        market.MARKET.fails = lambda call, kinds: self.injector.decide(call, kinds) is not None
        market.MARKET.note = self._note

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            check_address(environ)
            if FROM_HOST in environ and environ["PATH_INFO"].startswith((CONTROL, MOTO_CONTROL)):
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"not for hosts\n"]
            if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("GET", CHECK_ADDRESS):
                return check_ip(environ, start_response)
            body = self._admitted(environ)
        except RefusedError as error:
            return refuse(error, environ, start_response)
        if environ["PATH_INFO"].startswith(CONTROL):
            return self._control(environ, body, start_response)
        return self._call(environ, body, start_response)

    def _admitted(self, environ: Environ) -> bytes:
        """Return the body of a request that one of the cloud's keys has signed.

        An instance's key is valid for AWS's calls only.

        :raises RefusedError: the request is not admitted; its body is read only with a known key.
        """
        signature = self.signature(environ)
        length = body_length(environ)
        body: bytes = environ["wsgi.input"].read(length) if length else b""
        signature.check(environ, body)
        if environ["PATH_INFO"].startswith((CONTROL, MOTO_CONTROL)) and signature.key != self._keys.own:
            raise RefusedError(403, "Instances do not control the sandbox.")
        return body

    def signature(self, environ: Environ) -> Signature:
        """Return the signature of a request.

        :raises RefusedError: it has none, or it is not by one of the cloud's keys.
        """
        return Signature(environ, self._keys)

    def _call(self, environ: Environ, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one of AWS's own calls."""
        length = len(body)
        try:
            body = unpack(environ, body)
            if environ.get("HTTP_SMITHY_PROTOCOL") == "rpc-v2-cbor":
                body = cbor.request_as_json(environ, body)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [f"The body cannot be read: {error}\n".encode()]
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        call, region, fields = identify(environ, body)
        call, rule, refused = self._decide(call, region, fields)
        entry = {"fault": rule.kind if rule else None, "bytes": length, "host": FROM_HOST in environ}
        entry |= environ.get(BY, {})
        if call.action == "PutMetricData":
            entry["datums"] = count_datums(call, body)
        self._note(call.service, call.action, region, **entry)
        if rule and rule.kind == "timeout":
            time.sleep(rule.seconds)
            hang_up(environ, "the call was not carried out")
        if call.action in TELEMETRY and length > LARGEST_TELEMETRY:
            refused = TOO_LARGE
        if refused:
            status, headers, answer = response(refused, call, str(uuid.uuid4()))
            start_response(f"{status} {refused.code}", headers)
            return [answer]
        if rule is None and call.service == "pricing":
            status, found = pricing.answer(call.action, body)
            start_response(f"{status} OK" if status == 200 else f"{status} Error", JSON_HEADERS)
            return [json.dumps(found).encode()]
        if rule is None:
            return self._answer(call, region, fields, environ, start_response)
        list(self._answer(call, region, fields, environ, lambda *_: None))
        if rule.kind == "stalled":
            self.injector.stall(rule)
        hang_up(environ, "the call was carried out")

    def _decide(
        self, call: Call, region: str, fields: dict[str, list[str]]
    ) -> tuple[Call, Rule | None, Refusal | None]:
        """Return the call, the rule that hits it, and the error with which it is refused."""
        for part, kinds in starts(call, region, fields):
            rule = self.injector.decide(part, kinds)
            if rule is None:
                continue
            if rule.kind == "capacity" and part.action == "RunInstances":
                try:
                    use = tokens.bind(DEFAULT_ACCOUNT_ID, region, part.zone, fields)
                except EC2ClientError as error:
                    self.injector.spare(rule, part)
                    return part, None, Refusal(400, error.code, error.message)
                if use and use.reservation:
                    self.injector.spare(rule, part)
                    continue
            if rule.kind in CLOSING:
                return part, rule, None
            return part, rule, refusal(rule, part, self.injector.free(part, offering(region, part.instance_type)))
        return call, None, None

    def _note(self, service: str, action: str, region: str, **more: Any) -> None:
        """Write one entry of the journal."""
        mutating = not action.startswith((*READS, *TELEMETRY))
        entry = {"time": time.time(), "service": service, "action": action, "region": region, "mutating": mutating}
        self._journal.append({**entry, **more})

    def calls(self) -> list[dict[str, Any]]:
        """Return the journal: one entry per request, in order."""
        return list(self._journal)

    def _answer(
        self,
        call: Call,
        region: str,
        fields: dict[str, list[str]],
        environ: Environ,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        """Execute a call, and let the hosts follow."""
        if call.service == "ssm" and region not in self._seeded:
            seed.seed_parameters(region)
            self._seeded.add(region)
        if call.service not in self._writing:
            return self._moto(environ, start_response)
        with self._writing[call.service]:
            if call.service == "ec2":
                volumes.settle()
            raised = alarms.raised(region) if call.action == "SetAlarmState" else set()
            if call.protocol == "cbor":
                answer = self._answer_cbor(call, environ, start_response)
            else:
                answer = list(self._moto(environ, start_response))
            # The hosts must follow before the answer is sent.
            if call.action == "SetAlarmState":
                self._act(region, alarms.raised(region) - raised)
            elif call.service in ("ec2", "iam") and not call.action.startswith(READS):
                market.evaluate()
                self._hosts.follow()
                if call.action == "RebootInstances":
                    self._hosts.reboot(value[0] for key, value in fields.items() if key.startswith("InstanceId"))
        return answer

    def _act(self, region: str, names: set[str]) -> None:
        """Perform the actions of new alarms."""
        with self._writing["ec2"]:
            deeds = alarms.act(region, names)
            for deed in deeds:
                more = {"alarm": deed.alarm, "instance": deed.instance_id, "refused": deed.refused}
                self._note("ec2", deed.call, region, fault=None, **more)
            if deeds:
                market.evaluate()
                self._hosts.follow()
                rebooted = [deed.instance_id for deed in deeds if deed.call == "RebootInstances" and not deed.refused]
                self._hosts.reboot(rebooted)

    def _answer_cbor(self, call: Call, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Execute a call and answer in CBOR."""
        started: list[Any] = []
        body = b"".join(self._moto(environ, lambda *arguments: started.extend(arguments)))
        status, headers = started[:2]
        kept = [(name, value) for name, value in headers if name.lower().startswith("x-amzn-")]
        start_response(status, [*kept, *cbor.HEADERS])
        return [cbor.answer_as_cbor(call.service, call.action, int(status.split()[0]), body)]

    def _control(self, environ: Environ, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request to the sandbox itself; an error is a 400 with one sentence."""
        command = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(CONTROL)
        if body and environ.get("CONTENT_TYPE") != "application/json":
            return refuse(RefusedError(415, "The Content-Type must be application/json."), environ, start_response)
        try:
            status, answer = "200 OK", self._perform(command, json.loads(body or b"null"))
        except (SandboxError, KeyError, TypeError, ValueError) as error:
            status, answer = "400 Bad Request", {"error": str(error)}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def _perform(self, command: tuple[str, str], data: Any) -> Any:
        """Execute one control request."""
        match command:
            case ("GET", "health"):
                return {"sandbox": self._id}
            case ("GET", "calls"):
                return self.calls()
            case ("DELETE", "calls"):
                self._journal.clear()
            case ("GET", "faults"):
                return self.injector.rules()
            case ("POST", "faults"):
                self.injector.add(Rule(**data))
            case ("DELETE", "faults"):
                self.injector.clear()
                self._change(market.evaluate)
            case ("POST", "quotas"):
                for code, value in data.items():
                    seed.set_quota(code, float(value))
            case _:
                return self._perform_for_aws(command, data)
        return {}

    def _perform_for_aws(self, command: tuple[str, str], data: Any) -> Any:
        """Execute a control request that does what AWS does of its own accord."""
        match command:
            case ("GET", "spot"):
                return market.report()
            case ("POST", "spot/interrupt"):
                self._change(lambda: self._interrupt(**data))
            case ("POST", "spot/fulfil"):
                self._change(lambda: market.fulfil(data["name"]))
            case ("POST", "spot/price"):
                market.MARKET.set_price(data["type"], data.get("zone", ""), float(data["price"]))
                self._change(market.evaluate)
            case ("POST", "spot/rebalance"):
                self._change(lambda: market.rebalance(data["name"]))
            case ("POST", "maintenance"):
                self._change(lambda: market.maintain(**data))
            case ("GET", "schedules"):
                with self._writing["scheduler"]:
                    return self._runner.report()
            case ("POST", "clock/set"):
                return self.set_clock(moment_of(data["time"]))
            case ("POST", "clock/advance"):
                return self.set_clock(schedules.CLOCK.now() + span_of(data["by"]))
            case ("POST", "clock/reset"):
                with self._writing["scheduler"]:
                    self._runner.jump(None)
            case _:
                return self._perform_for_bills(command, data)
        return {}

    def _perform_for_bills(self, command: tuple[str, str], data: Any) -> Any:
        """Execute a control request about what AWS charges for."""
        match command:
            case ("POST", "budgets/spend"):
                return {"states": budgets.spend(data["name"], float(data["amount"]), self._stop_for)}
            case ("POST", "prices"):
                pricing.PRICES.set(**data)
            case ("DELETE", "prices"):
                pricing.PRICES = pricing.PriceList()
            case ("POST", "runs"):
                runs.add(**data)
            case ("DELETE", "runs"):
                runs.RUNS.clear()
            case ("POST", "runs/forget"):
                self._change(runs.forget)
            case ("POST", "volumes/pace"):
                volumes.set_pace(**data)
            case _:
                raise SandboxError(f"no such request: {command[0]} {CONTROL}{command[1]}")
        return {}

    def tick(self) -> None:
        """Fire the schedules that are due on a running clock, and detach volumes after they were unmounted."""
        with self._writing["ec2"]:
            volumes.settle()
        with self._writing["scheduler"]:
            if not schedules.CLOCK.stands:
                self._runner.advance(schedules.CLOCK.now())

    def set_clock(self, moment: datetime) -> dict[str, Any]:
        """Stop the scheduler's clock at a moment; everything that is due until then is fired, in order."""
        with self._writing["scheduler"]:
            now, fired = schedules.CLOCK.now(), 0
            if moment < now:
                self._runner.jump(moment)
            else:
                schedules.CLOCK.set(now)
                fired = self._runner.advance(moment)
            return {"time": schedules.CLOCK.now().isoformat(), "calls": fired}

    def _invoke(
        self, region: str, service: str, action: str, parameters: dict[str, Any], schedule: str
    ) -> Failure | None:
        """Make a schedule's call like one of a user: with faults, and in the journal."""
        if service != "ec2":
            return Failure("Unsupported", f"The sandbox carries out calls of ec2, not of {service}.", again=False)
        try:
            body = requests.ec2_body(action, parameters)
        except requests.ParameterError as error:
            return Failure("ValidationException", str(error), again=False)
        return self._carry_out(region, body, {"by": "scheduler", "schedule": schedule})

    def _stop_for(self, region: str, ids: list[str], name: str) -> str:
        """Stop instances for a budget; return why not, empty if they were stopped."""
        body = requests.ec2_body("StopInstances", {"InstanceIds": ids})
        failure = self._carry_out(region, body, {"by": "budgets", "budget": name})
        return failure.code if failure else ""

    def _carry_out(self, region: str, body: bytes, by: dict[str, str]) -> Failure | None:
        """Make a call of EC2 that AWS makes for a user: with faults, and in the journal."""
        environ = requests.environ_of(region, "ec2", body)
        environ[BY] = by
        started: list[Any] = []
        try:
            answer = b"".join(self._call(environ, body, lambda *arguments: started.extend(arguments)))
        except ConnectionAbortedError as error:
            return Failure("ConnectionClosed", str(error), again=True)
        return requests.failure_of(int(str(started[0]).split()[0]), answer)

    def _count(self, region: str, metric: str, group: str) -> None:
        """Add one to a metric of AWS/Scheduler."""
        with self._writing["monitoring"]:
            metrics.count(region, "AWS/Scheduler", metric, {"ScheduleGroup": group})

    def _change(self, deed: Callable[[], Any]) -> None:
        """Change EC2 on AWS's own behalf, and let the hosts follow."""
        with self._writing["ec2"]:
            deed()
            self._hosts.follow()

    def _interrupt(self, name: str, reason: str = market.REASONS[0], notice: float = market.NOTICE_SECONDS) -> None:
        """Send an interruption notice, and carry it out when its time has come."""
        request = market.announce(name, reason, notice)
        if notice == 0 or request.options.behavior == "hibernate":
            market.interrupt(request, reason, request.notice)
            return
        sent = request.notice
        timer = threading.Timer(notice, lambda: self._change(lambda: market.interrupt(request, reason, sent)))
        timer.daemon = True
        timer.start()
