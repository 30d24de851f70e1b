# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of the fault injector, and boto3's understanding of its answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from werkzeug.serving import make_server

from sandbox.cloud.faults import KINDS, Call, Injector, Rule, refusal, response
from sandbox.cloud.process import control
from sandbox.cloud.proxy import Proxy
from sandbox.errors import SandboxError
from sandbox.keys import Key, Keys
from sandbox.settings import PUBLIC_ADDRESS

KEY = Key.new()


@pytest.fixture
def proxy() -> Iterator[str]:
    """Serve the proxy with an application behind it that answers every call with an empty EC2 list."""

    def behind(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/xml")])
        return [b"<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>"]

    server = make_server("127.0.0.1", 0, Proxy("test", behind, Keys(KEY)), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(timeout=10)
    server.server_close()


def client(service: str, url: str) -> Any:
    """Return a client that does not retry, so that each call is one request."""
    connect: Any = boto3.client
    config = Config(retries={"total_max_attempts": 1}, read_timeout=1)
    return connect(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY.id,
        aws_secret_access_key=KEY.secret,
        config=config,
    )


def inject(url: str, **rule: Any) -> None:
    control(url, KEY, "POST", "faults", rule)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("throttling", "RequestLimitExceeded"), ("error", "InternalError"), ("denied", "UnauthorizedOperation")],
)
def test_clients_understand_ec2_errors(proxy: str, kind: str, code: str) -> None:
    inject(proxy, kind=kind, service="ec2", action="DescribeVpcs", count=1)
    with pytest.raises(ClientError) as caught:
        client("ec2", proxy).describe_vpcs()
    assert caught.value.response["Error"]["Code"] == code
    assert client("ec2", proxy).describe_vpcs()["Vpcs"] == [], "a spent rule must let the next call through"


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "code"),
    [
        ("ssm", "get_parameter", {"Name": "x"}, "AccessDenied"),
        ("iam", "list_roles", {}, "AccessDenied"),
    ],
)
def test_clients_understand_other_protocols(
    proxy: str, service: str, operation: str, arguments: dict[str, str], code: str
) -> None:
    inject(proxy, kind="denied", service=service)
    with pytest.raises(ClientError) as caught:
        getattr(client(service, proxy), operation)(**arguments)
    assert caught.value.response["Error"]["Code"] == code


def test_capacity_names_the_type(proxy: str) -> None:
    inject(proxy, kind="capacity", service="ec2", action="RunInstances", types=["g5.xlarge"])
    with pytest.raises(ClientError, match=r"g5\.xlarge capacity") as caught:
        client("ec2", proxy).run_instances(ImageId="ami-1", InstanceType="g5.xlarge", MinCount=1, MaxCount=1)
    assert caught.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    # Another type passes, and the application returns an empty list.
    client("ec2", proxy).run_instances(ImageId="ami-1", InstanceType="g4dn.xlarge", MinCount=1, MaxCount=1)


def test_no_capacity_in_one_zone_names_the_others() -> None:
    call = Call("ec2", "RunInstances", zone="us-east-1a", instance_type="g5.xlarge")
    free = ["us-east-1b", "us-east-1c"]
    _status, _headers, body = response(refusal(Rule("capacity", zones=["us-east-1a"]), call, free), call, "id")
    assert b"You can currently get g5.xlarge capacity by not specifying an Availability Zone" in body
    assert b"or choosing us-east-1b, us-east-1c." in body
    _status, _headers, body = response(refusal(Rule("capacity"), call), call, "id")
    assert b"choosing" not in body


def test_a_caller_can_set_another_address(proxy: str) -> None:
    def told(query: str) -> str:
        return requests.get(f"{proxy}/_sandbox/checkip{query}", timeout=5).text

    assert told("") == f"{PUBLIC_ADDRESS}\n"
    assert told("?from=203.0.113.9") == "203.0.113.9\n"


def test_timeout_keeps_the_caller_waiting(proxy: str) -> None:
    inject(proxy, kind="timeout", service="ec2", seconds=3)
    with pytest.raises(ReadTimeoutError):
        client("ec2", proxy).describe_vpcs()


def test_the_journal_distinguishes_reads_from_writes(proxy: str) -> None:
    client("ec2", proxy).describe_vpcs()
    client("ec2", proxy).create_vpc(CidrBlock="10.0.0.0/16")
    calls = control(proxy, KEY, "GET", "calls")
    assert [(call["action"], call["mutating"]) for call in calls] == [("DescribeVpcs", False), ("CreateVpc", True)]


def test_probability_repeats_from_run_to_run() -> None:
    def hits() -> list[bool]:
        injector = Injector()
        injector.add(Rule("error", probability=0.5))
        calls = [Call("ec2", "DescribeVpcs")] * 200
        return [injector.decide(call) is not None for call in calls]

    assert hits() == hits()
    assert 60 < sum(hits()) < 140


def test_zones_limit_a_rule() -> None:
    injector = Injector()
    injector.add(Rule("capacity", zones=["us-east-1a"]))
    assert injector.decide(Call("ec2", "RunInstances", zone="us-east-1b")) is None
    assert injector.decide(Call("ec2", "RunInstances", zone="us-east-1a")) is not None


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "fire"}, f"fault kind: 'fire'. Allowed: {', '.join(KINDS)}"),
        ({"kind": "error", "probability": 2.0}, "fault probability: 2.0. Allowed: more than 0, at most 1"),
        ({"kind": "error", "count": -1}, "fault count: -1. Allowed: 0 (no limit) or more"),
    ],
)
def test_bad_rules_are_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(SandboxError) as caught:
        Rule(**rule)
    assert str(caught.value) == message


def test_each_action_is_hit_on_its_own() -> None:
    injector = Injector()
    injector.add(Rule("throttling", count=1, each=True))
    calls = [Call("ec2", "RunInstances"), Call("ec2", "CreateVpc"), Call("iam", "CreateRole")]
    assert [injector.decide(call) is not None for call in [*calls, *calls]] == [True] * 3 + [False] * 3
    assert injector.rules()[0]["hits"] == 3
