# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudWatch in the test process: moto behind the sandbox's proxy, on a loopback port, without hosts or containers."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import boto3
from botocore.config import Config
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from sandbox.cloud import alarms, metrics
from sandbox.cloud.callers import body_length
from sandbox.cloud.faults import Rule
from sandbox.cloud.process import serving_hosts
from sandbox.cloud.proxy import Hosts, Proxy
from sandbox.keys import Key, Keys
from sandbox.settings import REGION

CREDENTIALS = {"aws_access_key_id": "AKIATESTS", "aws_secret_access_key": "canary-aws-84d0"}


class Datum(NamedTuple):
    """One value as CloudWatch stores it; a value with a count of three is stored three times.

    Attributes:
        timestamp: in UTC, with the precision in the request.
        resolution: in seconds, 1 or 60.
        request: the number of the request in which it was sent.
    """

    namespace: str
    metric: str
    dimensions: dict[str, str]
    timestamp: datetime
    value: float
    unit: str | None
    resolution: int
    request: int


class OpenProxy(Proxy):
    """A proxy that accepts every key: keys are tested elsewhere."""

    def _admitted(self, environ: dict[str, Any]) -> bytes:
        body: bytes = environ["wsgi.input"].read(body_length(environ))
        return body


class CloudWatch:
    """A separate CloudWatch, empty at the start; one per process at a time, because moto's state is global.

    ``with CloudWatch() as server:`` serves until the block ends.
    """

    def __init__(self, region: str = REGION, hosts: Hosts | None = None) -> None:
        """Prepare the server without starting it.

        Args:
            region: the region of the clients and of ``datums``.
            hosts: is notified of changes to EC2.
        """
        alarms.install()
        metrics.install()
        self.region = region
        self._front = OpenProxy("test", DomainDispatcherApplication(create_backend_app), Keys(Key.new()), hosts)
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    def __enter__(self) -> Self:
        """Start without stored data."""
        cloudwatch_backends[DEFAULT_ACCOUNT_ID].reset()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.stop()

    @property
    def url(self) -> str:
        """The endpoint, which stays the same after ``stop`` and ``start``."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server on its previous port, unless it runs."""
        if self._server is None:
            self._server = make_server(
                "127.0.0.1", self._port, self._front, threaded=True, request_handler=MotoRequestHandler
            )
            self._port = self._server.server_port
            self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
            self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on; stored data is preserved."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join(timeout=10)
            self._server.server_close()
            self._server = None

    def is_idle(self) -> bool:
        """Return whether no connection is being served."""
        return not any("process_request_thread" in thread.name for thread in threading.enumerate())

    def for_hosts(self, path: Path, port: int) -> AbstractContextManager[None]:
        """Serve on a Unix socket as well, as the sandbox's cloud does for the endpoint of a VPC.

        Args:
            port: the hosts' port for it, at 127.0.0.1.
        """
        return serving_hosts(path, self._front, "127.0.0.1", port)

    def client(self, service: str = "cloudwatch", *, url: str = "", **settings: Any) -> Any:
        """Return a boto3 client that does not retry.

        Args:
            service: boto3's name of the service.
            url: an endpoint other than ``self.url``.
            settings: fields of its Config, such as ``read_timeout``, which override the defaults.
        """
        config = Config(**{"retries": {"total_max_attempts": 1}, "read_timeout": 5, "connect_timeout": 5, **settings})
        connect: Any = boto3.client
        return connect(service, endpoint_url=url or self.url, region_name=self.region, config=config, **CREDENTIALS)

    def fault(self, kind: str, **rule: Any) -> None:
        """Inject a fault into PutMetricData, or into the action that the rule names.

        Args:
            kind: one of ``sandbox.cloud.faults.KINDS``.
            rule: further fields of ``sandbox.cloud.faults.Rule``, such as ``count``, ``seconds`` or ``code``.
        """
        self._front.injector.add(Rule(kind, **{"service": "monitoring", "action": "PutMetricData", **rule}))

    def heal(self) -> None:
        """Remove all faults."""
        self._front.injector.clear()

    def calls(self, action: str = "PutMetricData") -> list[dict[str, Any]]:
        """Return the journal's entries of an action, oldest first: time, fault, bytes, datums and more."""
        return [call for call in self._front.calls() if call["action"] == action]

    def datums(self) -> list[Datum]:
        """Return all stored values, in the order of arrival; statistic sets are left out."""
        kept: list[Any] = cloudwatch_backends[DEFAULT_ACCOUNT_ID][self.region].metric_data
        return [
            Datum(
                namespace=stored.namespace,
                metric=stored.name,
                dimensions={dimension.name: dimension.value for dimension in stored.dimensions},
                timestamp=stored.timestamp.replace(tzinfo=UTC),
                value=stored.value,
                unit=stored.unit,
                resolution=stored.storage_resolution,
                request=stored.request,
            )
            for stored in kept
            # The request number is stored last, and other threads may read before that.
            if hasattr(stored, "value") and hasattr(stored, "request")
        ]
