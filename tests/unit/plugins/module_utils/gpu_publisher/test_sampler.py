# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a sample holds, against simulated GPUs with and without what a real one may lack."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu.metrics import UNITS
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher import sampler
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.sampler import Sampler

from tests.support.gpus import Host


def sampled(host: Host, *between: Callable[[], Any], metrics: list[str] | None = None) -> list[dict[str, Any]]:
    """Return samples taken through one session, with something happening between each and the next."""

    def work() -> None:
        sampler = Sampler(metrics or list(UNITS))
        rows = [sampler.sample()]
        for action in between:
            action()
            rows.append(sampler.sample())
        sampler.close()
        sys.stdout.write(json.dumps([dataclasses.asdict(row) for row in rows]))

    return list(json.loads(host.in_child(work)))


def test_all_that_a_gpu_has_is_read(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    host.gpus.busy(
        0,
        utilization=42,
        memory_utilization=18,
        memory_used=6000 * 10**6,
        power=132_500,
        temperature=47,
        encoder=9,
        decoder=3,
        ecc_corrected=2,
        ecc_uncorrected=1,
        reasons=0x40,
    )
    (sample,) = sampled(host)
    reserved = 513 * 2**20 / 10**6
    assert sample["healthy"] is True
    assert sample["problems"] == []
    assert sample["gpus"]["0"] == {
        "GPUUtilization": 42,
        "GPUMemoryUtilization": 18,
        "GPUMemoryUsed": 6000,
        "GPUMemoryUsedPercent": pytest.approx(100 * (6000 + reserved) / (23028 * 2**20 / 10**6), abs=0.01),
        "GPUPowerDraw": 132.5,
        "GPUTemperature": 47,
        "GPUSMClock": 1710,
        "GPUThrottled": 1,
        "GPUEncoderUtilization": 9,
        "GPUDecoderUtilization": 3,
        "GPUECCErrorsCorrected": 2,
        "GPUECCErrorsUncorrected": 1,
        "GPURemappedRows": 0,
    }


def test_an_old_driver_counts_what_it_reserves_as_used(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceGetMemoryInfo_v2 13"]})
    host.gpus.busy(0, memory_used=6000 * 10**6)
    (sample,) = sampled(host, metrics=["GPUMemoryUsed"])
    assert sample["gpus"]["0"] == {"GPUMemoryUsed": pytest.approx(6000 + 513 * 2**20 / 10**6)}


def test_an_old_binding_does_likewise(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.set_up({"gpus": ["A10G"]})
    host.gpus.busy(0, memory_used=6000 * 10**6)
    pynvml = importlib.import_module("pynvml")
    newer = pynvml.nvmlDeviceGetMemoryInfo
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: newer(handle, None))
    (sample,) = sampled(host, metrics=["GPUMemoryUsed"])
    assert sample["gpus"]["0"] == {"GPUMemoryUsed": pytest.approx(6000 + 513 * 2**20 / 10**6)}


def test_only_what_is_wanted_is_read(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceGetTemperature 999"]})
    (sample,) = sampled(host, metrics=["GPUMemoryUsed", "Heartbeat"])
    assert sample["healthy"]
    assert sample["gpus"]["0"].keys() == {"GPUMemoryUsed"}


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ("ecc=unsupported", {"GPUECCErrorsCorrected", "GPUECCErrorsUncorrected"}),
        ("remapped_rows=unsupported", {"GPURemappedRows"}),
        (
            "utilization=unsupported samples=unsupported",
            {"GPUUtilization", "GPUMemoryUtilization", "GPUEncoderUtilization", "GPUDecoderUtilization"},
        ),
        ("power_management=unsupported energy=unsupported", {"GPUPowerDraw"}),
    ],
)
def test_what_a_gpu_lacks_is_left_out(host: Host, options: str, missing: set[str]) -> None:
    host.set_up({"gpus": [f"A10G {options}"]})
    first, second = sampled(host, lambda: None)
    for sample in (first, second):
        assert sample["healthy"]
        assert UNITS.keys() - sample["gpus"]["0"].keys() == missing | {"Heartbeat"}


def test_utilization_is_the_mean_of_the_driver_s_samples_since_the_last(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    host.gpus.busy(0, utilization=99, memory_utilization=98)
    host.gpus.samples(0, 1, [(1_000_000, 100)])
    host.gpus.samples(0, 2, [(1_000_000, 100)])

    def more() -> None:
        host.gpus.samples(0, 1, [(1_000_000, 100), (1_200_000, 10), (1_400_000, 25)])
        host.gpus.samples(0, 2, [(1_000_000, 100), (1_200_000, 3)])

    first, second, third = (row["gpus"]["0"] for row in sampled(host, more, lambda: None))
    # What the buffer held before the first sample is older than it.
    assert (first["GPUUtilization"], first["GPUMemoryUtilization"]) == (99, 98)
    assert (second["GPUUtilization"], second["GPUMemoryUtilization"]) == (17.5, 3)
    # With nothing new in it the latest rate counts.
    assert (third["GPUUtilization"], third["GPUMemoryUtilization"]) == (99, 98)


def test_power_is_the_mean_by_the_energy_counter(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    host.gpus.busy(0, power=250_000)

    def peak() -> None:
        time.sleep(0.5)
        host.gpus.fault("nvmlDeviceGetPowerUsage", 999)

    _first, second = sampled(host, peak)
    assert second["healthy"], "the latest value is not asked for"
    assert second["gpus"]["0"]["GPUPowerDraw"] == pytest.approx(250, rel=0.05)


def test_a_counter_that_restarts_is_not_power(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    host.gpus.busy(0, power=120_000, energy=10**12)
    _first, second = sampled(host, lambda: host.gpus.busy(0, power=120_000, energy=5))
    assert second["gpus"]["0"]["GPUPowerDraw"] == 120


def test_a_gpu_that_does_not_answer_leaves_the_others(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": ["nvmlDeviceGetMemoryInfo 15 @gpu=0"]})
    (sample,) = sampled(host)
    assert sample["healthy"] is False
    assert sample["gpus"].keys() == {"1"}
    (problem,) = sample["problems"]
    assert problem.startswith("GPU 0 does not answer: GPU is lost (nvmlDeviceGetMemoryInfo")


# What answers with an error, and which metrics are then missing.
FAILING = {
    "nvmlDeviceGetPowerUsage": {"GPUPowerDraw"},
    "nvmlDeviceGetTemperature": {"GPUTemperature"},
    "nvmlDeviceGetMemoryInfo": {"GPUMemoryUsed", "GPUMemoryUsedPercent"},
    "nvmlDeviceGetClockInfo": {"GPUSMClock"},
    "nvmlDeviceGetCurrentClocksEventReasons": {"GPUThrottled"},
    "nvmlDeviceGetUtilizationRates": {"GPUUtilization", "GPUMemoryUtilization"},
    "nvmlDeviceGetEncoderUtilization": {"GPUEncoderUtilization"},
    "nvmlDeviceGetDecoderUtilization": {"GPUDecoderUtilization"},
    "nvmlDeviceGetTotalEccErrors": {"GPUECCErrorsCorrected", "GPUECCErrorsUncorrected"},
    "nvmlDeviceGetRemappedRows": {"GPURemappedRows"},
    # There is another way to these two.
    "nvmlDeviceGetTotalEnergyConsumption": set(),
    "nvmlDeviceGetSamples": set(),
}


@pytest.mark.parametrize(("function", "missing"), FAILING.items(), ids=FAILING)
def test_a_reading_that_fails_is_missing_alone(host: Host, function: str, missing: set[str]) -> None:
    host.set_up({"gpus": ["A10G", "A10G"], "faults": [f"{function} 999 @gpu=1"]})
    # Nothing new enters the buffers between the two readings, so the second one needs the same functions as the first.
    for kind in (1, 2):
        host.gpus.samples(1, kind, [(1_000_000, 100)])
    for sample in sampled(host, lambda: None):
        # The energy counter alone answers the second time.
        failed = missing - ({"GPUPowerDraw"} if "GPUPowerDraw" in sample["gpus"]["1"] else set())
        assert sample["healthy"] is True
        assert sample["problems"] == []
        assert UNITS.keys() - sample["gpus"]["0"].keys() == {"Heartbeat"}
        assert UNITS.keys() - sample["gpus"]["1"].keys() == failed | {"Heartbeat"}
        assert sample["failed"].keys() == {f"GPU 1: {name}" for name in failed}
        assert all(text == f"Unknown Error ({function}, NVML error 999)" for text in sample["failed"].values())


@pytest.mark.parametrize("code", [2, 4, 5, 6, 7, 8, 10, 11, 14, 17, 19, 20, 21, 22, 23, 24, 27, 29, 998, 999])
def test_an_error_of_one_reading_is_reported(host: Host, code: int) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": [f"nvmlDeviceGetTemperature {code} @gpu=0"]})
    (sample,) = sampled(host, metrics=["GPUTemperature", "Heartbeat"])
    assert sample["healthy"] is True
    assert sample["gpus"] == {"0": {}, "1": {"GPUTemperature": 52}}
    assert sample["failed"]["GPU 0: GPUTemperature"].endswith(f"(nvmlDeviceGetTemperature, NVML error {code})")


@pytest.mark.parametrize("code", [1, 9, 12, 15, 18, 28])
def test_an_error_of_a_gpu_that_is_gone_is_not_that_of_a_reading(host: Host, code: int) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": [f"nvmlDeviceGetTemperature {code} @gpu=0"]})
    (sample,) = sampled(host)
    assert sample["healthy"] is False
    assert sample["gpus"].keys() == {"1"}
    assert sample["problems"][0].startswith("GPU 0 does not answer: ")


def test_a_gpu_that_has_to_be_reset_is_read_and_not_healthy(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": ["nvmlDeviceGetPowerUsage 16 @gpu=0"]})
    (sample,) = sampled(host)
    assert sample["healthy"] is False
    assert sample["gpus"]["0"]["GPUTemperature"] == 47
    assert sample["problems"] == [
        "GPU 0 has to be reset: GPU requires restart (nvmlDeviceGetPowerUsage, NVML error 16)"
    ]


def test_a_gpu_that_answers_nothing_does_not_answer(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": [f"{function} 999 @gpu=0" for function in FAILING]})
    (sample,) = sampled(host, metrics=["GPUTemperature"])
    assert sample["healthy"] is False
    assert sample["gpus"].keys() == {"1"}
    assert sample["problems"] == ["GPU 0 does not answer: Unknown Error (nvmlDeviceGetTemperature, NVML error 999)"]


def test_a_gpu_that_shares_the_host_s_memory_uses_no_megabytes(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceGetMemoryInfo 3"]})
    (sample,) = sampled(host)
    assert sample["healthy"] is True
    assert sample["failed"] == {}
    assert UNITS.keys() - sample["gpus"]["0"].keys() == {"GPUMemoryUsed", "GPUMemoryUsedPercent", "Heartbeat"}


def test_a_gpu_that_is_gone_after_another_session_is_missed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.set_up({"gpus": ["A10G", "T4"]})
    monkeypatch.setattr(sampler, "REOPEN_SECONDS", -1)

    def lose() -> None:
        host.gpus.plug("A10G")

    before, during, after = sampled(host, lose, lambda: None)
    assert before["healthy"] is True
    assert [row["healthy"] for row in (during, after)] == [False, False]
    assert after["gpus"].keys() == {"0"}


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ({"gpus": ["A10G"], "driver": "none"}, "NVML cannot be used: "),
        (
            {"gpus": ["A10G"], "faults": ["nvmlInit 18"]},
            "NVML cannot be used: RM has detected an NVML/RM version mismatch",
        ),
        ({"gpus": ["A10G"], "faults": ["nvmlDeviceGetCount 1"]}, "NVML cannot be used: Uninitialized"),
        ({"gpus": []}, "NVML works and finds no GPU"),
    ],
)
def test_a_host_without_gpus_has_a_heartbeat_of_zero(host: Host, case: dict[str, Any], problem: str) -> None:
    host.set_up(case)
    (sample,) = sampled(host)
    assert sample["gpus"] == {}
    assert sample["healthy"] is False
    assert sample["problems"][0].startswith(problem)
