# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gpu_info with simulated GPUs: the readings, and why NVML cannot be used."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.modules import gpu_info

from tests.support.gpus import Host


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("T4", {"name": "Tesla T4", "architecture": "Turing", "compute_capability": "7.5", "memory_total_mib": 15360}),
        (
            "T4",
            {"power_min_watts": 60.0, "power_default_watts": 70.0, "power_max_watts": 70.0, "power_limit_watts": 70.0},
        ),
        ("A10G", {"name": "NVIDIA A10G", "architecture": "Ampere", "memory_total_mib": 23028, "error": None}),
        ("A10G", {"clocks_max": {"graphics_mhz": 1710, "memory_mhz": 6251}, "compute_mode": "default"}),
        ("A10G", {"ecc_current": True, "ecc_pending": True, "ecc_default": True, "persistence_mode": False}),
        ("V100", {"name": "Tesla V100-SXM2-16GB", "architecture": "Volta", "compute_capability": "7.0"}),
    ],
)
def test_what_a_gpu_is(host: Host, profile: str, expected: dict[str, Any]) -> None:
    host.set_up({"gpus": [profile]})
    told = host.run("gpu_info", {})
    assert told["available"]
    assert not told["changed"]
    assert told["driver_version"] == "550.163.01"
    assert {key: told["gpus"][0][key] for key in expected} == expected


def test_it_returns_what_it_documents(host: Host) -> None:
    documented = yaml.safe_load(gpu_info.RETURN)
    host.set_up({"gpus": ["A10G"]})
    told = host.run("gpu_info", {})
    assert set(told) - {"changed", "invocation"} == set(documented)
    assert set(told["gpus"][0]) == set(documented["gpus"]["contains"])


def test_clocks_ascend(host: Host) -> None:
    host.set_up({"gpus": ["T4"]})
    rows = host.run("gpu_info", {})["gpus"][0]["supported_clocks"]
    assert [row["memory_mhz"] for row in rows] == [405, 5001]
    assert rows[1]["graphics_mhz"][0] == 300
    assert rows[1]["graphics_mhz"][-1] == 1590


def test_load_is_reported(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    host.gpus.busy(0, temperature=71, power=243000)
    gpu = host.run("gpu_info", {})["gpus"][0]
    assert (gpu["temperature_celsius"], gpu["power_draw_watts"]) == (71, 243.0)


def test_a_missing_answer_is_null(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceGetEccMode 3", "nvmlDeviceGetPowerUsage 13"]})
    gpu = host.run("gpu_info", {})["gpus"][0]
    assert (gpu["ecc_current"], gpu["ecc_pending"], gpu["power_draw_watts"]) == (None, None, None)


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        ("nvmlDeviceGetPowerUsage", {"power_draw_watts"}),
        ("nvmlDeviceGetUUID", {"uuid"}),
        ("nvmlDeviceGetName", {"name"}),
        ("nvmlDeviceGetMemoryInfo", {"memory_total_mib", "memory_used_mib", "memory_free_mib"}),
        ("nvmlDeviceGetPowerManagementLimitConstraints", {"power_min_watts", "power_max_watts"}),
        ("nvmlDeviceGetClockInfo", {"clocks"}),
        ("nvmlDeviceGetSupportedGraphicsClocks", {"supported_clocks"}),
        ("nvmlDeviceGetCurrentClocksEventReasons", {"throttle_reasons"}),
        ("nvmlDeviceGetEccMode", {"ecc_current", "ecc_pending"}),
    ],
)
def test_a_reading_that_fails_is_missing_alone(host: Host, function: str, missing: set[str]) -> None:
    host.set_up({"gpus": ["A10G", "A10G"], "faults": [f"{function} 999 @gpu=1"]})
    whole, other = host.run("gpu_info", {})["gpus"]
    assert whole["failed_readings"] == {}
    assert other["error"] is None
    assert other["failed_readings"] == dict.fromkeys(missing, f"Unknown Error ({function}, NVML error 999)")
    # But for these it is what a GPU without any failure is; two GPUs differ in a few values.
    own = {"index", "uuid", "serial", "pci_bus_id", "minor_number", "failed_readings"}
    assert {name: other[name] for name in missing} == dict.fromkeys(missing)
    assert all(other[name] == whole[name] for name in whole.keys() - own - missing)


def test_a_version_that_cannot_be_read_hides_no_gpu(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlSystemGetDriverVersion 999"]})
    told = host.run("gpu_info", {})
    assert told["available"]
    assert told["driver_version"] is None
    assert told["failed_readings"] == {"driver_version": "Unknown Error (nvmlSystemGetDriverVersion, NVML error 999)"}
    assert told["gpus"][0]["name"] == "NVIDIA A10G"


@pytest.mark.parametrize("code", [12, 15])
def test_a_gpu_that_is_gone_has_no_readings(host: Host, code: int) -> None:
    host.set_up({"gpus": ["A10G"], "faults": [f"nvmlDeviceGetPowerUsage {code}"]})
    (gpu,) = host.run("gpu_info", {})["gpus"]
    assert gpu.keys() == {"index", "error"}
    assert gpu["error"].endswith(f"(nvmlDeviceGetPowerUsage, NVML error {code})")


def test_a_gpu_that_shares_the_host_s_memory_has_none_of_its_own(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceGetMemoryInfo 3"]})
    (gpu,) = host.run("gpu_info", {})["gpus"]
    assert [gpu[f"memory_{name}_mib"] for name in ("total", "used", "free")] == [None, None, None]
    assert gpu["failed_readings"] == {}


def test_a_structure_that_a_driver_does_not_know_is_not_a_failure(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceGetMemoryInfo_v2 25"]})
    (gpu,) = host.run("gpu_info", {})["gpus"]
    assert (gpu["memory_total_mib"], gpu["failed_readings"]) == (23028, {})


def test_one_lost_gpu_hides_no_other(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": ["nvmlDeviceGetHandleByIndex 15 @gpu=0"]})
    told = host.run("gpu_info", {})
    assert told["gpus"][0]["error"] == "GPU is lost (nvmlDeviceGetHandleByIndex, NVML error 15)"
    assert told["gpus"][1]["name"] == "Tesla T4"


@pytest.mark.parametrize(
    ("case", "code", "text"),
    [
        ({"driver": "none"}, "not_installed", "Install the NVIDIA driver"),
        ({"faults": ["nvmlInit 9"]}, "not_loaded", "run `modprobe nvidia` or reboot"),
        ({"faults": ["nvmlInit 18"]}, "version_mismatch", "of another version is loaded. Reboot"),
        ({"faults": ["nvmlInit 4"]}, "no_permission", "Use become"),
        ({"faults": ["nvmlInit 999"]}, "other", "see dmesg"),
        ({"faults": ["nvmlDeviceGetCount 999"]}, "other", "see dmesg"),
    ],
)
def test_why_nvml_cannot_be_used(host: Host, case: dict[str, Any], code: str, text: str) -> None:
    host.set_up({"gpus": ["A10G"], **case})
    told = host.run("gpu_info", {})
    assert not told["available"]
    assert told["reason_code"] == code
    assert text in told["reason"]
    assert told["gpus"] == []


@pytest.mark.parametrize(
    ("case", "code", "text"),
    [
        ({}, "binding_missing", "nvidia-ml-py is not installed for"),
        ({"driver": "none"}, "not_installed", "(NVML error 12): libnvidia-ml.so.1 is not on this host. Install"),
        ({"faults": ["nvmlInit 9"]}, "not_loaded", "Driver Not Loaded (NVML error 9): "),
    ],
)
def test_a_driver_that_does_not_work_comes_before_a_missing_binding(
    host: Host, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any], code: str, text: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    host.set_up({"gpus": ["A10G"], **case})
    told = host.run("gpu_info", {})
    assert told["reason_code"] == code
    assert text in told["reason"]


def test_without_library_and_binding_the_driver_is_reported(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert host.run("gpu_info", {})["reason_code"] == "not_installed"


def test_a_driver_replaced_while_its_module_is_loaded(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    assert host.run("gpu_info", {})["available"]
    host.gpus.install("580.95.05")
    assert host.run("gpu_info", {})["reason_code"] == "version_mismatch"
    host.reboot()
    assert host.run("gpu_info", {})["driver_version"] == "580.95.05"


def test_a_host_without_a_gpu(host: Host) -> None:
    host.set_up({"gpus": []})
    told = host.run("gpu_info", {})
    assert told["available"]
    assert told["gpus"] == []
