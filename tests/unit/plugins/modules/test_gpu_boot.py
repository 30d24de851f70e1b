# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit at boot, and after the driver was reloaded, with simulated GPUs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.gpus import Host

NOTHING: dict[str, Any] = {
    "gpus": ["all"],
    "strict": False,
    "state": "present",
    "persistence_mode": None,
    "power_limit": None,
    "clocks": None,
    "ecc": None,
    "compute_mode": None,
}
PERSISTENT = {**NOTHING, "persistence_mode": True}
LOCKING = ["nvmlDeviceSetApplicationsClocks 26"]
CLOCKS = {"memory": 6251, "graphics": 1500}


def tune(host: Host, settings: dict[str, Any]) -> dict[str, Any]:
    """Run the module with the same settings, and return its result."""
    return host.run("gpu_tuning", {name: value for name, value in settings.items() if value is not None})


def boot(host: Host, settings: dict[str, Any]) -> list[str]:
    """Run the unit's program on these settings."""
    return host.boot(json.dumps(settings))


def clock_setters(host: Host) -> list[str]:
    """Return the calls that set clocks, since the host booted."""
    return [line.split()[0] for line in host.writes() if "Clocks" in line]


def test_a_reboot_gets_the_settings_back(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"]})
    wanted = {**PERSISTENT, "power_limit": "90%", "compute_mode": "exclusive_process"}
    tune(host, wanted)
    host.reboot()
    assert boot(host, wanted) == [
        "GPU 0 (NVIDIA A10G): persistence_mode set to on, was off",
        "GPU 0 (NVIDIA A10G): compute_mode set to exclusive_process, was default",
        "GPU 0 (NVIDIA A10G): power_limit_watts set to 270 W, was 300 W",
        "GPU 1 (Tesla T4): persistence_mode set to on, was off",
        "GPU 1 (Tesla T4): compute_mode set to exclusive_process, was default",
        "GPU 1 (Tesla T4): power_limit_watts set to 63 W, was 70 W",
        "0",
    ]
    assert not tune(host, wanted)["changed"]


def test_gpus_that_are_as_declared_are_left_alone(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    boot(host, PERSISTENT)
    written = host.writes()
    assert boot(host, PERSISTENT) == ["GPU 0 (NVIDIA A10G): as declared", "0"]
    assert host.writes() == written


def test_only_the_named_gpus_are_set(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"]})
    assert boot(host, {**PERSISTENT, "gpus": ["1"]}) == ["GPU 1 (Tesla T4): persistence_mode set to on, was off", "0"]


def test_settings_that_a_gpu_does_not_support_are_reported(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceGetEccMode 3"]})
    assert boot(host, {**NOTHING, "ecc": True}) == [
        "GPU 0 (NVIDIA A10G): ecc left out: this GPU has no ECC that can be switched",
        "GPU 0 (NVIDIA A10G): as declared",
        "0",
    ]


def test_a_rejected_setting_does_not_fail_the_boot(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceSetPowerManagementLimit 4", "nvmlDeviceGetPowerUsage 999"]})
    refused = "could not be set to 200 W: Insufficient Permissions (nvmlDeviceSetPowerManagementLimit, NVML error 4)"
    unread = "Unknown Error (nvmlDeviceGetPowerUsage, NVML error 999)"
    assert boot(host, {**PERSISTENT, "power_limit": "200"}) == [
        "GPU 0 (NVIDIA A10G): persistence_mode set to on, was off",
        f"GPU 0 (NVIDIA A10G): power_limit left out: {refused}",
        f"GPU 0 (NVIDIA A10G): power_draw_watts cannot be read: {unread}",
        "0",
    ]


def test_a_reboot_that_ecc_needs_is_reported(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    assert boot(host, {**NOTHING, "ecc": False}) == [
        "GPU 0 (NVIDIA A10G): ecc set to off, was on",
        "ECC changes with the next reboot",
        "0",
    ]


def test_a_warning_is_reported(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    (warning,) = (line for line in boot(host, {**PERSISTENT, "clocks": {"memory": 6250}}) if "6250" in line)
    assert warning == "GPU 0 (NVIDIA A10G): clocks: memory 6250 MHz is not supported; used: 6251 MHz, the nearest"


def test_clocks_are_locked_again_whatever_is_saved(host: Host) -> None:
    """The GPU may have lost them when its last process ended, while the driver stayed loaded."""
    host.set_up({"gpus": ["A10G"], "faults": LOCKING})
    wanted = {**PERSISTENT, "clocks": CLOCKS}
    tune(host, wanted)
    assert not tune(host, wanted)["changed"]
    before = clock_setters(host)
    assert boot(host, wanted)[-1] == "0"
    assert clock_setters(host)[len(before) :].count("nvmlDeviceSetGpuLockedClocks") == 1
    assert not tune(host, wanted)["changed"]


def test_locked_clocks_are_given_up_where_the_defaults_are_declared(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": LOCKING})
    tune(host, {**PERSISTENT, "clocks": CLOCKS})
    assert boot(host, {**PERSISTENT, "clocks": "default"})[-1] == "0"
    assert "nvmlDeviceResetGpuLockedClocks" in clock_setters(host)


def test_locked_clocks_are_deleted_when_the_driver_is_loaded_again(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": LOCKING})
    wanted = {**PERSISTENT, "clocks": CLOCKS}
    tune(host, wanted)
    host.reload_driver()
    assert "clocks" in tune(host, wanted)["gpus"][0]["settings"]
    assert not tune(host, wanted)["changed"]


@pytest.mark.parametrize(
    ("case", "settings", "reason"),
    [
        ({"driver": "none"}, {}, "NVML cannot be used: .* Install the NVIDIA driver"),
        ({"faults": ["nvmlInit 18"]}, {}, "NVML cannot be used: .* Reboot"),
        ({"gpus": []}, {}, "gpus: NVML works on this host and finds no GPU"),
        ({}, {"gpus": ["7"]}, "gpus: 7 is not a GPU of this host"),
        ({}, {"power_limit": "400"}, "power_limit 400 W is outside its range. Allowed: 100 to 300 W"),
        ({}, {"power_limit": "full"}, "power_limit: 'full' is not a valid limit"),
        ({"faults": ["nvmlDeviceGetEccMode 3"]}, {"ecc": True, "strict": True}, "ecc: this GPU has no ECC"),
        ({"faults": ["nvmlDeviceSetPersistenceMode 15"]}, {"persistence_mode": True}, "persistence_mode could not be"),
        ({"faults": ["nvmlDeviceGetCount 999"]}, {}, "See dmesg, and check whether `nvidia-smi -q` answers"),
        ({"faults": ["nvmlDeviceGetHandleByIndex 15"]}, {}, "GPU 0 does not answer: GPU is lost"),
    ],
)
def test_a_failure_is_one_line(host: Host, case: dict[str, Any], settings: dict[str, Any], reason: str) -> None:
    host.set_up({"gpus": ["A10G"], **case})
    line, status = boot(host, {**NOTHING, **settings})
    assert status == "1"
    assert re.search(reason, line)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "settings.json cannot be read: "),
        ("[]", "settings.json lacks clocks, compute_mode, "),
        ('{"gpus": ["all"]}', "settings.json lacks clocks, compute_mode, ecc, persistence_mode, power_limit, state"),
    ],
)
def test_invalid_settings_are_refused(host: Host, text: str, reason: str) -> None:
    host.set_up({"gpus": ["A10G"]})
    line, status = host.boot(text)
    assert status == "1"
    assert reason in line
    assert line.endswith("Apply the role gpu_tuning again.")
    assert host.writes() == []
