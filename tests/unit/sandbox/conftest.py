# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2, IAM and EventBridge Scheduler behind the sandbox's proxy, in the test process and without hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.scheduler.models import scheduler_backends
from werkzeug.serving import make_server

from sandbox.cloud import market, market_api, metrics, seed, tokens
from sandbox.cloud.process import control
from sandbox.cloud.proxy import Proxy
from sandbox.keys import Key, Keys
from sandbox.settings import REGION

IMAGE = "ami-12c6146b"
KEY = Key.new()


class AWS:
    """A cloud without hosts."""

    def __init__(self, url: str, proxy: Proxy) -> None:
        self.url = url
        self.proxy = proxy
        self.ec2 = self.client("ec2")

    def client(self, service: str, **settings: Any) -> Any:
        """Return a client that does not retry."""
        connect: Any = boto3.client
        return connect(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=KEY.id,
            aws_secret_access_key=KEY.secret,
            config=Config(**{"retries": {"total_max_attempts": 1}, "read_timeout": 10, **settings}),
        )

    def control(self, method: str, path: str, data: Any = None) -> Any:
        """Control the sandbox, as its command line does."""
        return control(self.url, KEY, method, path, data)

    def fault(self, kind: str, **rule: Any) -> None:
        """Inject a fault."""
        self.control("POST", "faults", {"kind": kind, **rule})

    def heal(self) -> None:
        """Remove all faults."""
        self.control("DELETE", "faults")

    def calls(self, action: str) -> list[dict[str, Any]]:
        """Return the journal's entries of an action."""
        return [call for call in self.control("GET", "calls") if call["action"] == action]

    def run(self, **changes: Any) -> str:
        """Launch one instance and return its id."""
        wanted = {"ImageId": IMAGE, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1, **changes}
        return str(self.ec2.run_instances(**wanted)["Instances"][0]["InstanceId"])

    def spot(self, kind: str = "persistent", *, price: str = "", **changes: Any) -> str:
        """Launch a spot instance and return its id."""
        options = {"SpotInstanceType": kind}
        if kind == "persistent":
            options["InstanceInterruptionBehavior"] = "stop"
        if price:
            options["MaxPrice"] = price
        return self.run(InstanceMarketOptions={"MarketType": "spot", "SpotOptions": options}, **changes)

    def instance(self, instance_id: str) -> dict[str, Any]:
        """Return an instance's description."""
        (found,) = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return dict(found["Instances"][0])

    def state(self, instance_id: str) -> str:
        """Return an instance's state."""
        return str(self.instance(instance_id)["State"]["Name"])

    def instances(self) -> list[str]:
        """Return the ids of all instances that are not terminated."""
        rows = [row for found in self.ec2.describe_instances()["Reservations"] for row in found["Instances"]]
        return [row["InstanceId"] for row in rows if row["State"]["Name"] != "terminated"]

    def request(self, request_id: str = "") -> dict[str, Any]:
        """Return the description of a spot request, of the only one by default."""
        asked = {"SpotInstanceRequestIds": [request_id]} if request_id else {}
        (found,) = self.ec2.describe_spot_instance_requests(**asked)["SpotInstanceRequests"]
        return dict(found)

    def status(self) -> tuple[str, str]:
        """Return state and status code of the only request."""
        found = self.request()
        return str(found["State"]), str(found["Status"]["Code"])


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    """Return the code of the error with which a call must fail."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture(scope="session")
def served() -> Iterator[AWS]:
    market_api.install()
    tokens.install()
    metrics.install()
    seed.install_quotas()
    proxy = Proxy("test", DomainDispatcherApplication(create_backend_app), Keys(KEY))
    server = make_server("127.0.0.1", 0, proxy, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield AWS(f"http://127.0.0.1:{server.server_port}", proxy)
    server.shutdown()
    thread.join(timeout=10)
    server.server_close()


@pytest.fixture
def aws(served: AWS, monkeypatch: pytest.MonkeyPatch) -> Iterator[AWS]:
    """Return the cloud without the resources, faults and prices of other tests."""
    ec2_backends[DEFAULT_ACCOUNT_ID].reset()
    iam_backends[DEFAULT_ACCOUNT_ID].reset()
    scheduler_backends[DEFAULT_ACCOUNT_ID].reset()
    served.control("POST", "clock/reset")
    # Other tests start proxies of their own, and the newest serves the market.
    monkeypatch.setattr(market, "MARKET", market.Market())
    served.proxy.join_market()
    monkeypatch.setattr(seed, "QUOTAS", dict(seed.QUOTAS))
    served.heal()
    served.control("DELETE", "calls")
    yield served
    served.heal()
