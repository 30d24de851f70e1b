"""The WSGI application in front of moto: journal, fault injector, control interface, and the hosts' cue to follow."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from sandbox.cloud import seed
from sandbox.cloud.faults import Call, Injector, Rule, response
from sandbox.cloud.reconciler import Reconciler
from sandbox.errors import SandboxError

LOG = logging.getLogger(__name__)
CONTROL = "/_sandbox/"
JOURNAL_LENGTH = 20000
READS = ("Describe", "Get", "List", "Head", "Lookup", "Simulate", "Batch")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


def identify(environ: Environ, body: bytes) -> tuple[Call, str, dict[str, list[str]]]:
    """Return the call, its region and its form fields, from the request's signature, target and body."""
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    region, service = (scope[1], scope[2]) if scope else ("us-east-1", "unknown")
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return Call(service, target.rpartition(".")[2], protocol="json"), region, {}
    fields = parse_qs(body.decode("utf-8", "replace")) if b"Action=" in body else parse_qs(environ["QUERY_STRING"])
    action = fields.get("Action", [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"])[0]
    zone = fields.get("Placement.AvailabilityZone", [""])[0]
    subnet_id = next((values[0] for key, values in fields.items() if key.endswith("SubnetId")), "")
    if action == "RunInstances" and subnet_id:
        zone = zone_of(region, subnet_id)
    return Call(service, action, zone, fields.get("InstanceType", [""])[0]), region, fields


def zone_of(region: str, subnet_id: str) -> str:
    """Return the availability zone of a subnet, empty when there is no such subnet."""
    for zone, subnets in ec2_backends[DEFAULT_ACCOUNT_ID][region].subnets.items():
        if subnet_id in subnets:
            return str(zone)
    return ""


class Front:
    """What answers on the sandbox's endpoint."""

    def __init__(self, sandbox_id: str, moto: Application, reconciler: Reconciler) -> None:
        """Put journal, faults and hosts in front of moto's application."""
        self._id = sandbox_id
        self._moto = moto
        self._reconciler = reconciler
        self._injector = Injector()
        self._journal: deque[dict[str, Any]] = deque(maxlen=JOURNAL_LENGTH)
        self._ec2 = threading.RLock()
        self._seeded: set[str] = set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"].startswith(CONTROL):
            return self._control(environ, body, start_response)
        call, region, fields = identify(environ, body)
        rule = self._injector.decide(call)
        self._journal.append(
            {
                "time": time.time(),
                "service": call.service,
                "action": call.action,
                "region": region,
                "mutating": not call.action.startswith(READS),
                "fault": rule.kind if rule else None,
            }
        )
        if rule:
            return self._fail(rule, call, environ, start_response)
        if call.service == "ssm" and region not in self._seeded:
            seed.seed_parameters(region)
            self._seeded.add(region)
        if call.service not in ("ec2", "iam"):
            return self._moto(environ, start_response)
        # moto's EC2 is not made for several writers, and the hosts are to follow before anyone looks.
        with self._ec2:
            answer = list(self._moto(environ, start_response))
            if not call.action.startswith(READS):
                self._reconciler.follow()
                if call.action == "RebootInstances":
                    self._reconciler.reboot(value[0] for key, value in fields.items() if key.startswith("InstanceId"))
        return answer

    def _fail(self, rule: Rule, call: Call, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer as AWS does on a bad day."""
        if rule.kind == "timeout":
            time.sleep(rule.seconds)
            if connection := environ.get("werkzeug.socket"):
                connection.close()
            return []
        status, content_type, text = response(rule, call, str(uuid.uuid4()))
        start_response(f"{status} Injected", [("Content-Type", content_type)])
        return [text.encode()]

    def _control(self, environ: Environ, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request to the sandbox itself; a refusal is a 400 with one sentence."""
        command = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(CONTROL)
        if command == ("GET", "checkip"):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{environ['REMOTE_ADDR']}\n".encode()]
        try:
            status, answer = "200 OK", self._perform(command, json.loads(body or b"null"))
        except (SandboxError, KeyError, TypeError, ValueError) as error:
            status, answer = "400 Bad Request", {"error": str(error)}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def _perform(self, command: tuple[str, str], data: Any) -> Any:
        """Carry out one control request."""
        match command:
            case ("GET", "health"):
                return {"sandbox": self._id}
            case ("GET", "calls"):
                return list(self._journal)
            case ("DELETE", "calls"):
                self._journal.clear()
            case ("GET", "faults"):
                return self._injector.rules()
            case ("POST", "faults"):
                self._injector.add(Rule(**data))
            case ("DELETE", "faults"):
                self._injector.clear()
            case ("POST", "quotas"):
                for code, value in data.items():
                    seed.set_quota(code, float(value))
            case _:
                raise SandboxError(f"no such request: {command[0]} {CONTROL}{command[1]}")
        return {}
