# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of each host in CloudWatch, and the privileges of the service."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

UNIT = "gpu-metrics.service"
KEY = "canary-only-for-these-hosts"


@pytest.fixture(scope="module")
def cloudwatch() -> Any:
    address = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "aws_address").read_text(encoding="utf-8")
    connect: Any = boto3.client
    return connect("cloudwatch", endpoint_url=f"http://{address}")


def newest(cloudwatch: Any, namespace: str, metric: str, dimensions: dict[str, str]) -> dict[str, Any]:
    """Return the newest minute of a metric."""
    now = time.time()
    points = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - 1800,
        EndTime=now + 60,
        Period=60,
        Statistics=["Minimum", "Maximum", "SampleCount"],
    )["Datapoints"]
    assert points, f"no datapoints of {metric} with {dimensions} in {namespace}"
    return dict(max(points, key=lambda point: point["Timestamp"]))


def release(host: Any) -> str:
    return f"debian{host.system_info.release.split('.')[0]}"


def test_cloudwatch_has_the_values_of_nvidia_smi(host: Any, cloudwatch: Any) -> None:
    rows = host.check_output("nvidia-smi --query-gpu=index,temperature.gpu --format=csv,noheader").splitlines()
    name = release(host)
    extra = {"Room": "1.07", "Rack": "3"} if name == "debian13" else {}
    namespace = "Lab/Workstations" if name == "debian13" else "DigitalTwin"
    assert len(rows) == (2 if name == "debian13" else 1)
    for row in rows:
        index, temperature = row.split(", ")
        point = newest(cloudwatch, namespace, "GPUTemperature", {"InstanceId": name, **extra, "GpuIndex": index})
        assert point["Minimum"] == point["Maximum"] == float(temperature)
        # The first request of a minute may contain only a part of it.
        assert point["SampleCount"] >= 1
    assert newest(cloudwatch, namespace, "Heartbeat", {"InstanceId": name, **extra})["Maximum"] == 1


def test_only_what_is_declared_is_published(host: Any, cloudwatch: Any) -> None:
    listed = cloudwatch.list_metrics(Namespace="Lab/Workstations")["Metrics"]
    assert {metric["MetricName"] for metric in listed} == {
        "GPUUtilization",
        "GPUTemperature",
        "GPUSMClock",
        "GPUThrottled",
        "GPUECCErrorsCorrected",
        "GPURemappedRows",
        "Heartbeat",
    }
    rows = [metric for metric in listed if metric["MetricName"] == "GPURemappedRows"]
    assert [part["Value"] for row in rows for part in row["Dimensions"] if part["Name"] == "GpuIndex"] == ["0"], (
        "T4 has none"
    )


def test_it_has_no_privileges(host: Any) -> None:
    process = host.process.get(comm="python")
    status = host.file(f"/proc/{process.pid}/status").content_string
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["Uid"].split()[0]) >= 61184, "a user that only exists while it runs"
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    # The exposure of the service, from 0 to 100; the README documents 15.
    grade = host.run(f"systemd-analyze security --no-pager --threshold=16 {UNIT}")
    assert grade.rc == 0, grade.stdout[-400:]


def test_it_is_one_small_process(host: Any) -> None:
    processes = host.check_output(f"systemd-cgls --no-pager --full --unit {UNIT}").splitlines()[1:]
    assert len(processes) == 1, processes
    process = host.process.get(comm="python")
    status = host.file(f"/proc/{process.pid}/status").content_string
    (resident,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    assert int(resident) < 50 * 1024, "KiB"


def test_only_the_service_can_read_the_key(host: Any) -> None:
    process = host.process.get(comm="python")
    file = host.file("/etc/gpu-metrics/credentials")
    assert (file.user, file.mode) == ("root", 0o600)
    assert host.file("/etc/gpu-metrics").mode == 0o700
    assert KEY in file.content_string
    assert host.run(f"su -s /bin/sh nobody -c 'cat /proc/{process.pid}/environ'").rc != 0
    assert KEY not in host.check_output(f"tr '\\0' ' ' < /proc/{process.pid}/cmdline")
    assert KEY not in host.check_output(f"systemctl show {UNIT}")
    assert KEY not in host.check_output("journalctl --no-pager --output=cat")
    assert host.run(f"grep -rsl {KEY} /etc /opt /var/lib /tmp").stdout.split() == [file.path]


def test_waiting_samples_are_private(host: Any) -> None:
    assert host.file("/var/lib/private/gpu-metrics").mode == 0o700
    assert host.run("su -s /bin/sh nobody -c 'ls /var/lib/gpu-metrics/'").rc != 0


def test_the_journal_reports_what_it_does(host: Any) -> None:
    journal = host.check_output("journalctl --boot --no-pager --output=cat --identifier=gpu-metrics")
    assert "sampling every 1 s, sending every 10 s: GPUUtilization, " in journal
    assert "GPUs, publishing; requests=" in host.check_output(f"systemctl show --property=StatusText {UNIT}")
