# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The published metrics, and the messages when publishing fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cloudwatch import CloudWatch
from tests.support.gpus import Host


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudWatch]:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with CloudWatch() as running:
        yield running


def publish(host: Host, server: CloudWatch, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module against a host that has GPUs."""
    connection = {
        "endpoint_url": server.url,
        "region": "us-east-1",
        "access_key": "AKIATESTS",
        "secret_key": "canary-aws-c3e9",
        "instance_id": "workstation-7",
    }
    return host.run("gpu_metrics_publish", {**connection, **options}, check=check)


def test_it_publishes_what_it_returns(host: Host, server: CloudWatch) -> None:
    host.set_up({"gpus": ["A10G", "T4"]})
    result = publish(host, server, dimensions={"Room": 7})
    assert result["changed"] is True
    assert result["healthy"] is True
    assert len(server.calls()) == 1
    wanted = {(row["name"], str(sorted(row["dimensions"].items())), row["value"]) for row in result["metrics"]}
    got = {(datum.metric, str(sorted(datum.dimensions.items())), datum.value) for datum in server.datums()}
    assert got == wanted
    # Five of each GPU, the utilization of both once more for the host, and the heartbeat.
    assert len(got) == 5 * 2 + 2 + 1
    assert {datum.namespace for datum in server.datums()} == {"DigitalTwin"}
    assert all(datum.dimensions["Room"] == "7" for datum in server.datums())
    assert result["gpus"]["1"]["GPUTemperature"] == 52


def test_a_check_publishes_nothing(host: Host, server: CloudWatch) -> None:
    host.set_up({"gpus": ["A10G"]})
    result = publish(host, server, check=True, metrics=["GPUTemperature"])
    assert result["changed"] is False
    assert [row["value"] for row in result["metrics"]] == [47]
    assert server.calls() == []


def test_a_host_whose_driver_is_gone_publishes_that(host: Host, server: CloudWatch) -> None:
    host.set_up({"gpus": ["A10G"], "driver": "none"})
    result = publish(host, server, namespace="Lab/Workstations")
    assert result["healthy"] is False
    assert "Install the NVIDIA driver" in result["problems"][0]
    assert [(datum.namespace, datum.metric, datum.value) for datum in server.datums()] == [
        ("Lab/Workstations", "Heartbeat", 0.0)
    ]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ({"faults": ["nvmlInit 9"]}, "run `modprobe nvidia` or reboot"),
        ({"faults": ["nvmlInit 18"]}, "of another version is loaded. Reboot"),
        ({"faults": ["nvmlInit 999"]}, "see dmesg"),
        ({"faults": ["nvmlDeviceGetCount 999"]}, "nvmlDeviceGetCount, NVML error 999"),
    ],
)
def test_a_driver_that_does_not_work_is_published(
    host: Host, server: CloudWatch, case: dict[str, Any], text: str
) -> None:
    host.set_up({"gpus": ["A10G"], **case})
    result = publish(host, server)
    assert result["changed"] is True
    assert text in result["problems"][0]
    assert [(datum.metric, datum.value) for datum in server.datums()] == [("Heartbeat", 0.0)]


def test_without_the_driver_it_does_not_matter_that_the_binding_is_missing(
    host: Host, server: CloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    host.set_up({"gpus": ["A10G"], "driver": "none"})
    assert publish(host, server)["changed"] is True
    assert [(datum.metric, datum.value) for datum in server.datums()] == [("Heartbeat", 0.0)]


def test_a_reading_that_fails_is_missing_alone(host: Host, server: CloudWatch) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": ["nvmlDeviceGetPowerUsage 999 @gpu=1"]})
    result = publish(host, server)
    error = "Unknown Error (nvmlDeviceGetPowerUsage, NVML error 999)"
    assert result["healthy"] is True
    assert result["failed_readings"] == {"GPU 1: GPUPowerDraw": error}
    assert f"GPU 1: GPUPowerDraw cannot be read: {error}" in str(result["warnings"])
    got = [(datum.metric, datum.dimensions.get("GpuIndex"), datum.value) for datum in server.datums()]
    assert ("Heartbeat", None, 1.0) in got
    assert ("GPUTemperature", "1", 52.0) in got
    assert [index for name, index, _value in got if name == "GPUPowerDraw"] == ["0"]


@pytest.mark.parametrize("check", [False, True])
def test_without_the_binding_healthy_gpus_are_not_published_as_dead(
    host: Host, server: CloudWatch, monkeypatch: pytest.MonkeyPatch, *, check: bool
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    host.set_up({"gpus": ["A10G"]})
    result = publish(host, server, check=check)
    assert result["failed"] is True
    assert result["msg"].startswith(
        "The sample was not taken: NVML cannot be used: the Python package nvidia-ml-py is not installed for "
        f"{sys.executable}. Install it there, or "
    )
    assert server.calls() == []


@pytest.mark.parametrize("check", [False, True])
def test_gpus_that_this_user_may_not_open_are_not_published_as_dead(
    host: Host, server: CloudWatch, *, check: bool
) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlInit 4"]})
    result = publish(host, server, check=check)
    assert result["failed"] is True
    assert result["msg"].endswith("(NVML error 4): this user may not open /dev/nvidiactl. Use become")
    assert server.calls() == []


def test_a_rejected_request_is_reported(host: Host, server: CloudWatch) -> None:
    host.set_up({"gpus": ["A10G"]})
    server.fault("denied")
    result = publish(host, server)
    assert result["failed"] is True
    assert result["msg"].startswith("The sample was not published: cloudwatch:PutMetricData in us-east-1: AccessDenied")


def test_a_host_without_an_instance_id_is_refused(
    host: Host, server: CloudWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    host.set_up({"gpus": ["A10G"]})
    result = publish(host, server, instance_id="")
    assert result["failed"] is True
    assert result["msg"].startswith("instance_id: not set, and the metadata service at http://127.0.0.1:9 does not")
    assert server.calls() == []


def test_an_unknown_metric_is_refused(host: Host, server: CloudWatch) -> None:
    host.set_up({"gpus": ["A10G"]})
    result = publish(host, server, metrics=["Heartbeat", "GPUNoise"])
    assert result["failed"] is True
    assert result["msg"].startswith("metrics: GPUNoise is not a metric of a GPU. Allowed: GPUUtilization, ")
    assert server.calls() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"namespace": "AWS/EC2"},
            'namespace: "AWS/EC2" is not a namespace of metrics. Allowed: 1 to 255 letters, digits and ._-/#:, not',
        ),
        ({"namespace": "Büro"}, 'namespace: "Büro" is not a namespace of metrics. Allowed: '),
        (
            {"dimensions": {"InstanceId": "i-2"}},
            'dimensions: "InstanceId" is reserved for the module. Allowed: any name but ',
        ),
        ({"dimensions": {"GpuIndex": 1}}, 'dimensions: "GpuIndex" is reserved for the module. Allowed: any name but '),
        (
            {"dimensions": {"Raum": "Büro"}},
            'dimensions: {"Raum": "Büro"} is not a dimension. Allowed: names of 1 to 255 and',
        ),
        ({"dimensions": {"Room": ""}}, 'dimensions: {"Room": ""} is not a dimension. Allowed: names of 1 to 255 and'),
        (
            {"dimensions": {f"D{n}": n for n in range(29)}},
            "dimensions: 29 are too many. Allowed: 28. Leave some out",
        ),
    ],
)
def test_what_cloudwatch_does_not_take_is_refused_before_it_is_asked(
    host: Host, server: CloudWatch, options: dict[str, Any], said: str
) -> None:
    host.set_up({"gpus": ["A10G"]})
    result = publish(host, server, check=True, **options)
    assert result["failed"] is True
    assert result["msg"].startswith(said)
    assert server.calls() == []
