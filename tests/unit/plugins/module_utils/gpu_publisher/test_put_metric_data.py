# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to CloudWatch from samples, and the meaning of each of its errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.put_metric_data import (
    MAX_DATUMS,
    CloudWatch,
    Datum,
    RefusedPutError,
    RetryablePutError,
    datums_of,
    is_acceptable,
)
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.sampler import Sample
from botocore.exceptions import NoCredentialsError

from tests.support import cloudwatch as local

DIMENSIONS = {"InstanceId": "i-1", "Lab": "north"}
NOW = 1_796_000_000 // 60 * 60


def sample(moment: float, **readings: float) -> Sample:
    """Return a healthy sample of one GPU."""
    return Sample(moment, True, {"0": readings})


def test_a_minute_s_samples_are_one_datum_that_keeps_every_value() -> None:
    samples = [sample(NOW + second, GPUTemperature=value) for second, value in ((1, 40), (6, 41), (11, 40), (59.9, 40))]
    heartbeat, temperature = sorted(datums_of(samples, ["GPUTemperature", "Heartbeat"], DIMENSIONS), key=str)[::-1]
    assert heartbeat.dimensions == (("InstanceId", "i-1"), ("Lab", "north"))
    assert temperature == Datum(
        "GPUTemperature", (("InstanceId", "i-1"), ("Lab", "north"), ("GpuIndex", "0")), NOW, 60, ((40, 3), (41, 1))
    )


def test_with_several_gpus_the_host_has_the_values_of_all() -> None:
    gpus = {"0": {"GPUUtilization": 3.0}, "1": {"GPUUtilization": 97.0}}
    wanted = ["GPUUtilization"]
    together = {
        datum.dimensions: datum.values for datum in datums_of([Sample(NOW, True, gpus)], wanted, {"InstanceId": "i"})
    }
    assert together[(("InstanceId", "i"),)] == ((3.0, 1), (97.0, 1))
    assert len(together) == 3
    # One that does not answer, or does not report how busy it is, might be busy.
    assert len(datums_of([Sample(NOW, False, gpus)], wanted, {"InstanceId": "i"})) == 2
    assert (
        len(datums_of([Sample(NOW, True, {**gpus, "2": {"GPUTemperature": 50.0}})], wanted, {"InstanceId": "i"})) == 2
    )


def test_minutes_and_seconds_are_kept_apart() -> None:
    samples = [sample(NOW + second, GPUTemperature=40) for second in (0.2, 0.7, 59.9, 60.0)]
    assert [datum.time for datum in datums_of(samples, ["GPUTemperature"], {})] == [NOW, NOW + 60]
    fine = datums_of(samples, ["GPUTemperature"], {}, high_resolution=True)
    assert [(datum.time, datum.resolution, datum.values) for datum in fine] == [
        (NOW, 1, ((40, 2),)),
        (NOW + 59, 1, ((40, 1),)),
        (NOW + 60, 1, ((40, 1),)),
    ]


def test_a_datum_has_no_more_values_than_cloudwatch_takes() -> None:
    samples = [sample(NOW, GPUTemperature=value) for value in range(400)]
    datums = datums_of(samples, ["GPUTemperature"], {})
    assert [len(datum.values) for datum in datums] == [150, 150, 100]


@pytest.mark.parametrize(
    ("offset", "acceptable"),
    [(0, True), (-13.9 * 86400, True), (-14.1 * 86400, False), (1.9 * 3600, True), (2.1 * 3600, False)],
)
def test_only_times_that_cloudwatch_takes_are_acceptable(offset: float, acceptable: bool) -> None:
    assert is_acceptable(Datum("Heartbeat", (), int(NOW + offset), 60, ((1, 1),)), NOW) is acceptable


@pytest.fixture
def server() -> Iterator[local.CloudWatch]:
    with local.CloudWatch() as running:
        yield running


def recent(count: int) -> list[Datum]:
    """Return so many datums of now."""
    moment = int(time.time())
    return [Datum("Heartbeat", (("InstanceId", str(number)),), moment, 60, ((1, 1),)) for number in range(count)]


def test_the_largest_request_is_taken(server: local.CloudWatch) -> None:
    CloudWatch("DigitalTwin", "here", server.client).put(recent(MAX_DATUMS))
    assert len(server.datums()) == MAX_DATUMS
    with pytest.raises(RefusedPutError):
        CloudWatch("DigitalTwin", "here", server.client).put(recent(MAX_DATUMS + 1))


@pytest.mark.parametrize(
    ("kind", "rule", "meaning"),
    [
        ("unavailable", {}, RetryablePutError),
        ("error", {}, RetryablePutError),
        ("throttling", {}, RetryablePutError),
        ("denied", {}, RetryablePutError),
        ("expired", {}, RetryablePutError),
        ("lost", {}, RetryablePutError),
        ("invalid", {}, RefusedPutError),
        ("invalid", {"code": "InvalidParameterCombination"}, RefusedPutError),
        ("invalid", {"code": "MissingParameter"}, RefusedPutError),
        ("invalid", {"code": "ValidationError"}, RefusedPutError),
        # These can be fixed meanwhile.
        ("invalid", {"code": "UnknownOperationException"}, RetryablePutError),
        ("invalid", {"code": "RequestTimeout"}, RetryablePutError),
    ],
)
def test_each_error_means_later_or_never(
    server: local.CloudWatch, kind: str, rule: dict[str, Any], meaning: type[Exception]
) -> None:
    server.fault(kind, **rule)
    with pytest.raises(meaning, match="cloudwatch:PutMetricData in "):
        CloudWatch("DigitalTwin", "here", server.client).put(recent(1))


class Stranger(BaseHTTPRequestHandler):
    """Answers as something between a host and AWS does, or would; ``status``, ``body`` and ``headers`` say how."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    extra: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:  # the name that http.server asks for
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        for name, value in {**self.extra, "Content-Length": str(len(self.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    """Serve its answers, and return its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 302, 400, 403, 404, 407, 413, 502])
@pytest.mark.parametrize(
    "body", [b"", b"<!DOCTYPE html>", b"<html>pas trouv\xe9</html>"], ids=["empty", "html", "latin"]
)
def test_what_a_proxy_answers_costs_no_sample(
    server: local.CloudWatch, stranger: str, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes
) -> None:
    monkeypatch.setattr(Stranger, "status", status)
    monkeypatch.setattr(Stranger, "body", body)
    monkeypatch.setattr(Stranger, "extra", {"Location": "http://portal.invalid/"} if status == 302 else {})
    with pytest.raises(RetryablePutError, match="cloudwatch:PutMetricData in here: "):
        CloudWatch("DigitalTwin", "here", lambda: server.client(url=stranger)).put(recent(1))


def test_a_request_that_aws_itself_calls_too_large_is_refused(
    server: local.CloudWatch, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stranger, "status", 413)
    monkeypatch.setattr(Stranger, "extra", {"x-amzn-RequestId": "1"})
    with pytest.raises(RefusedPutError, match="413"):
        CloudWatch("DigitalTwin", "here", lambda: server.client(url=stranger)).put(recent(1))


def test_expired_credentials_are_replaced_once_and_only_when_they_were_used_before(server: local.CloudWatch) -> None:
    made = []

    def connect() -> Any:
        made.append(server.client())
        return made[-1]

    cloudwatch = CloudWatch("DigitalTwin", "here", connect)
    cloudwatch.put(recent(1))
    server.fault("expired", count=1)
    cloudwatch.put(recent(1))
    assert len(made) == 2
    assert len(server.datums()) == 2
    server.fault("expired")
    with pytest.raises(RetryablePutError):
        cloudwatch.put(recent(1))
    assert len(server.calls()) == 5


def test_without_credentials_there_is_a_later(server: local.CloudWatch) -> None:
    def connect() -> Any:
        raise NoCredentialsError

    with pytest.raises(RetryablePutError, match="NoCredentialsError"):
        CloudWatch("DigitalTwin", "here", connect).put(recent(1))
