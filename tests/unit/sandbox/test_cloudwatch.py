# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's CloudWatch, through boto3 in each protocol of CloudWatch's clients."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from tests.support.cloudwatch import CloudWatch

PROTOCOLS = {"json": "json", "query": "query", "cbor": "smithy-rpc-v2-cbor"}


@pytest.fixture
def server() -> Iterator[CloudWatch]:
    with CloudWatch() as cloudwatch:
        yield cloudwatch


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make botocore use one protocol."""
    chosen = PROTOCOLS[request.param]
    monkeypatch.setattr("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", [chosen])
    return chosen


def connect(server: CloudWatch, protocol: str, **settings: Any) -> Any:
    client = server.client(**settings)
    assert client.meta.service_model.resolved_protocol == protocol
    return client


def moment(**ahead: float) -> datetime:
    """Return the present second with an offset, at the time of the call: a test may run long after the import."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**ahead)


def datum(**fields: Any) -> dict[str, Any]:
    return {
        "MetricName": "GPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}, {"Name": "GpuIndex", "Value": "0"}],
        "Timestamp": moment(),
        "Unit": "Percent",
        "Value": 1.0,
        **fields,
    }


def put(client: Any, *data: dict[str, Any]) -> None:
    client.put_metric_data(Namespace="DigitalTwin", MetricData=list(data))


@pytest.mark.parametrize("compressed", [True, False])
def test_values_are_stored_with_their_counts_and_time(server: CloudWatch, protocol: str, compressed: bool) -> None:
    client = connect(server, protocol, request_min_compression_size_bytes=1 if compressed else 1048576)
    now, earlier = moment(), moment(days=-13)
    values = datum(Values=[12.5, 99.0], Counts=[3.0, 1.0], StorageResolution=1, Timestamp=earlier)
    del values["Value"]
    put(client, values, datum(MetricName="Heartbeat", Unit="None", Timestamp=now))
    stored = server.datums()
    assert Counter((kept.metric, kept.value) for kept in stored) == {
        ("GPUUtilization", 12.5): 3,
        ("GPUUtilization", 99.0): 1,
        ("Heartbeat", 1.0): 1,
    }
    assert stored[0].dimensions == {"InstanceId": "i-1", "GpuIndex": "0"}
    assert (stored[0].timestamp, stored[0].unit, stored[0].resolution) == (earlier, "Percent", 1)
    assert stored[-1].timestamp == now
    (call,) = server.calls()
    assert (call["datums"], call["mutating"], call["fault"]) == (2, False, None)
    assert call["bytes"] > 50


def test_the_metrics_can_be_read(server: CloudWatch, protocol: str) -> None:
    client = connect(server, protocol)
    put(client, datum(Value=40.0), datum(Value=60.0))
    (metric,) = client.list_metrics(Namespace="DigitalTwin")["Metrics"]
    assert metric["MetricName"] == "GPUUtilization"
    query = {
        "Id": "m1",
        "MetricStat": {
            "Metric": {key: metric[key] for key in ("Namespace", "MetricName", "Dimensions")},
            "Period": 60,
            "Stat": "Average",
        },
    }
    (result,) = client.get_metric_data(
        MetricDataQueries=[query], StartTime=moment(minutes=-5), EndTime=moment(minutes=5)
    )["MetricDataResults"]
    assert result["Values"] == [50.0]
    assert all(isinstance(moment, datetime) for moment in result["Timestamps"])


METRIC = {"Namespace": "DigitalTwin", "MetricName": "GPUUtilization", "Dimensions": datum()["Dimensions"]}


def read(client: Any, stat: str, **metric: Any) -> dict[datetime, float]:
    """Return the result of GetMetricData by minute."""
    query = {"Id": "m1", "MetricStat": {"Metric": {**METRIC, **metric}, "Period": 60, "Stat": stat}}
    (result,) = client.get_metric_data(
        MetricDataQueries=[query], StartTime=moment(minutes=-5), EndTime=moment(minutes=1)
    )["MetricDataResults"]
    return dict(zip(result["Timestamps"], result["Values"], strict=True))


def test_percentiles_are_those_of_the_values(server: CloudWatch, protocol: str) -> None:
    client = connect(server, protocol)
    minute = moment().replace(second=0)
    values = datum(Values=[float(number) for number in range(1, 101)], Timestamp=minute)
    del values["Value"]
    put(client, values)
    assert read(client, "p50") == {minute: 50.0}
    assert read(client, "p99") == {minute: 99.0}
    assert read(client, "p100") == {minute: 100.0}
    assert read(client, "SampleCount") == {minute: 100.0}
    (point,) = client.get_metric_statistics(
        **METRIC,
        Period=60,
        StartTime=moment(minutes=-5),
        EndTime=moment(minutes=1),
        ExtendedStatistics=["p90"],
        Statistics=["Maximum"],
    )["Datapoints"]
    assert (point["Timestamp"], point["Maximum"], point["ExtendedStatistics"]) == (minute, 100.0, {"p90": 90.0})


def test_a_metric_is_identified_by_namespace_name_and_all_dimensions(server: CloudWatch) -> None:
    client = server.client()
    put(client, datum(Value=1.0))
    put(client, datum(Value=2.0, Dimensions=[{"Name": "InstanceId", "Value": "i-1"}]))
    client.put_metric_data(Namespace="Other", MetricData=[datum(Value=3.0)])
    assert list(read(client, "Sum").values()) == [1.0]
    assert list(read(client, "Sum", Dimensions=[{"Name": "InstanceId", "Value": "i-1"}]).values()) == [2.0]
    assert list(read(client, "Sum", Namespace="Other").values()) == [3.0]
    assert read(client, "Sum", Dimensions=[]) == {}
    assert read(client, "Sum", Dimensions=METRIC["Dimensions"][::-1]) == read(client, "Sum")
    assert len(client.list_metrics(Namespace="DigitalTwin")["Metrics"]) == 2


def test_a_statistic_that_is_unknown_is_refused(server: CloudWatch) -> None:
    put(server.client(), datum())
    with pytest.raises(ClientError, match="The statistic tm90 is not supported by the sandbox"):
        read(server.client(), "tm90")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"Value": float("nan")}, "Value is invalid"),
        ({"Value": float("inf")}, "Value is invalid"),
        ({"Value": 2.0**361}, "Value is invalid"),
        ({"StorageResolution": 5}, "StorageResolution must be 1 or 60"),
        ({"Unit": "Watts"}, "Watts for parameter MetricData.member.2.Unit"),
        ({"Dimensions": [{"Name": "Room", "Value": "Küche"}]}, "member.1.Value is invalid"),
        ({"Dimensions": [{"Name": "Room", "Value": " "}]}, "member.1.Value is invalid"),
        ({"Dimensions": [{"Name": "Room", "Value": "1"}] * 2}, "must not hold a name twice"),
        ({"Dimensions": [{"Name": f"N{n}", "Value": "1"} for n in range(31)]}, "size greater than 30"),
    ],
)
def test_one_invalid_datum_fails_the_whole_request(server: CloudWatch, fields: dict[str, Any], named: str) -> None:
    is_refused(server, fields, named)


@pytest.mark.parametrize(
    ("ahead", "named"),
    [
        ({"days": -14, "minutes": -5}, "no more than two weeks in the past"),
        ({"hours": 2, "minutes": 5}, "no more than two hours in the future"),
    ],
)
def test_a_datum_outside_the_time_range_fails_the_request(
    server: CloudWatch, ahead: dict[str, float], named: str
) -> None:
    is_refused(server, {"Timestamp": moment(**ahead)}, named)


def is_refused(server: CloudWatch, fields: dict[str, Any], named: str) -> None:
    """Check that a request with a datum of these fields is refused, and that its valid datum is not stored."""
    with pytest.raises(ClientError, match=named) as caught:
        put(server.client(parameter_validation=False), datum(), datum(**fields))
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert server.datums() == []


def test_clients_understand_validation_errors(server: CloudWatch, protocol: str) -> None:
    values = datum(Values=[float(number) for number in range(151)])
    del values["Value"]
    with pytest.raises(ClientError, match="size greater than 150") as caught:
        put(connect(server, protocol), values)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_requests_have_size_limits(server: CloudWatch) -> None:
    client = server.client()
    put(client, *[datum()] * 1000)
    assert len(server.datums()) == 1000
    with pytest.raises(ClientError, match="size greater than 1000"):
        put(client, *[datum()] * 1001)
    large = [datum(Dimensions=[{"Name": "Room", "Value": "x" * 1024}])] * 1000
    with pytest.raises(ClientError, match="1048576") as caught:
        put(server.client(disable_request_compression=True), *large)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert len(server.datums()) == 1000
    assert [call.get("datums") for call in server.calls()] == [1000, 1001, 1000]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("throttling", 400, "Throttling"),
        ("error", 500, "InternalServiceError"),
        ("unavailable", 503, "ServiceUnavailable"),
        ("expired", 403, "ExpiredToken"),
        ("invalid", 400, "InvalidParameterValue"),
        ("denied", 403, "AccessDenied"),
    ],
)
def test_clients_understand_faults(server: CloudWatch, protocol: str, kind: str, status: int, code: str) -> None:
    server.fault(kind, count=1)
    client = connect(server, protocol)
    with pytest.raises(ClientError) as caught:
        put(client, datum())
    answer = caught.value.response
    assert answer["Error"]["Code"] == code
    assert answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    assert server.datums() == []
    put(client, datum())
    assert len(server.datums()) == 1
    assert [call["fault"] for call in server.calls()] == [kind, None]


def test_a_fault_can_have_another_code(server: CloudWatch, protocol: str) -> None:
    server.fault("expired", code="ExpiredTokenException")
    with pytest.raises(ClientError) as caught:
        put(connect(server, protocol), datum())
    assert caught.value.response["Error"]["Code"] == "ExpiredTokenException"


def test_a_lost_call_is_executed_and_not_answered(server: CloudWatch, protocol: str) -> None:
    server.fault("lost", count=1)
    with pytest.raises(ConnectionClosedError):
        put(connect(server, protocol), datum())
    assert [kept.value for kept in server.datums()] == [1.0]


def test_a_stalled_call_is_executed_and_not_answered_yet(server: CloudWatch, protocol: str) -> None:
    server.fault("stalled", count=1)
    impatient = connect(server, protocol, read_timeout=1)
    with pytest.raises(ReadTimeoutError):
        put(impatient, datum())
    assert [kept.value for kept in server.datums()] == [1.0]


def test_a_timed_out_call_is_neither_executed_nor_answered(server: CloudWatch, protocol: str) -> None:
    server.fault("timeout", seconds=0)
    with pytest.raises(ConnectionClosedError):
        put(connect(server, protocol), datum())
    assert server.datums() == []


def test_faults_can_be_removed(server: CloudWatch) -> None:
    server.fault("unavailable")
    server.heal()
    put(server.client(), datum())
    assert len(server.datums()) == 1


def test_stop_refuses_connections_and_start_uses_the_same_port(server: CloudWatch) -> None:
    url, client = server.url, server.client()
    put(client, datum())
    server.stop()
    with pytest.raises(EndpointConnectionError):
        put(client, datum())
    server.start()
    put(client, datum())
    assert server.url == url
    assert len(server.datums()) == 2


def test_each_server_starts_empty() -> None:
    with CloudWatch() as server:
        put(server.client(), datum())
    with CloudWatch() as server:
        assert not server.datums()
        assert not server.calls()


def test_a_body_that_is_not_gzip_is_refused(server: CloudWatch) -> None:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"POST / HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n".encode())
        connection.sendall(b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.0 400") or answer.startswith(b"HTTP/1.1 400")
    assert b"The body cannot be read" in answer
