# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gpu_tuning with simulated GPUs: its changes, its errors, and that a check writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu.apply import leave_out
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu.plan import RejectedStep, Step, TuningPlan

from tests.support.gpus import Host

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("gpu_tuning.yml").read_text("utf-8"))


def settings_of(result: dict[str, Any]) -> dict[int, dict[str, list[Any]]]:
    """Return the changes in a result, in the form of the table."""
    return {
        gpu["index"]: {name: [row["before"], row["after"]] for name, row in gpu["settings"].items()}
        for gpu in result["gpus"]
        if gpu["settings"]
    }


def diff_of(settings: dict[int, dict[str, list[Any]]]) -> dict[str, dict[str, Any]]:
    """Return the diff that belongs to changes in the form of the table."""
    return {
        side: {f"gpu{gpu}": {name: row[place] for name, row in rows.items()} for gpu, rows in settings.items()}
        for place, side in enumerate(("before", "after"))
    }


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_table(case: dict[str, Any], host: Host) -> None:
    host.set_up({**case, "faults": case.get("faults_before", [] if "before" in case else case.get("faults", []))})
    for earlier in case.get("before", []):
        host.run("gpu_tuning", earlier)
    if "before" in case:
        host.break_calls(case.get("faults", []))
    written = host.writes()
    request = host.fill(case["request"])

    checked = host.run("gpu_tuning", request, check=True)
    assert host.writes() == written, "a check must not write"

    result = host.run("gpu_tuning", request)
    setters = [line.split()[0] for line in host.writes()[len(written) :]]
    if "error" in case:
        assert result["failed"]
        assert case["error"] in result["msg"]
    else:
        settings = case.get("settings", {})
        assert settings_of(result) == settings
        assert result["changed"] == bool(settings)
        assert result["diff"] == diff_of(settings)
        assert [f"{row['gpu']} {row['setting']}" for row in result["skipped_settings"]] == case.get("skipped", [])
        assert result["reboot_required"] == case.get("reboot", False)
        for text in case.get("warnings", []):
            assert any(text in str(warning) for warning in result["warnings"])
        assert bool(result.get("warnings")) == bool(case.get("warnings"))
        if case.get("refused"):
            assert checked["changed"]
            checked = host.run("gpu_tuning", request, check=True)
            assert checked["changed"] == bool(case.get("again"))
            assert checked["skipped_settings"] == result["skipped_settings"]
            assert checked["warnings"] == result["warnings"]
        else:
            assert checked == result, "a check must say what then happens"
        again = host.run("gpu_tuning", request)
        assert settings_of(again) == case.get("again", {})
        assert [f"{row['gpu']} {row['setting']}" for row in again["skipped_settings"]] == case.get("skipped", [])
    if "log" in case:
        assert setters == case["log"]


def test_two_bad_options_are_both_reported(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    refused = host.run("gpu_tuning", {"power_limit": "full", "clocks": "fast"})
    assert len(refused["problems"]) == 2


def test_a_reboot_brings_ecc_and_forgets_the_rest(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    request = {"persistence_mode": True, "power_limit": 200, "ecc": False}
    assert host.run("gpu_tuning", request)["reboot_required"]
    host.reboot()
    again = host.run("gpu_tuning", request)
    assert not again["reboot_required"]
    assert settings_of(again) == {0: {"persistence_mode": [False, True], "power_limit_watts": [300.0, 200.0]}}
    assert host.run("gpu_info", {})["gpus"][0]["ecc_current"] is False


def test_a_gpu_that_keeps_another_value_has_changed() -> None:
    step = Step(0, "power_limit_watts", before=70.0, after=80.0)
    plans = {0: TuningPlan(steps=[step])}
    leave_out([{"index": 0, "name": "Laptop GPU"}], plans, [RejectedStep(step, "was set to 80 W", kept=75.0)])
    assert plans[0].steps == [Step(0, "power_limit_watts", before=70.0, after=75.0)]
    assert plans[0].skipped == {"power_limit": "was set to 80 W"}


def test_a_limit_that_was_refused_is_tried_again(host: Host) -> None:
    """A laptop may accept it with another power supply."""
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceSetPowerManagementLimit 999"]})
    request = {"persistence_mode": True, "power_limit": 200}
    assert host.run("gpu_tuning", request)["skipped_settings"]
    host.gpus.heal()
    assert settings_of(host.run("gpu_tuning", request)) == {0: {"power_limit_watts": [300.0, 200.0]}}
    assert not host.run("gpu_tuning", request, check=True)["skipped_settings"]


def test_rejections_are_deleted_with_the_driver_and_ignored_when_strict(host: Host) -> None:
    host.set_up({"gpus": ["A10G"], "faults": ["nvmlDeviceSetPowerManagementLimit 999"]})
    request = {"persistence_mode": True, "power_limit": 200}
    host.run("gpu_tuning", request)
    assert host.run("gpu_tuning", {**request, "strict": True}, check=True)["changed"]
    host.reload_driver()
    assert "power_limit_watts" in settings_of(host.run("gpu_tuning", request, check=True))[0]


@pytest.mark.parametrize("code", [3, 4, 16, 25, 999])
def test_a_reading_that_no_setting_needs_keeps_none_from_being_set(host: Host, code: int) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": [f"nvmlDeviceGetPowerUsage {code} @gpu=1"]})
    result = host.run("gpu_tuning", {"persistence_mode": True})
    assert settings_of(result) == {index: {"persistence_mode": [False, True]} for index in (0, 1)}
    told = f"(nvmlDeviceGetPowerUsage, NVML error {code})" in str(result.get("warnings"))
    assert told == (code not in {3, 13, 25, 26}), "what the GPU does not have is no failure"


@pytest.mark.parametrize("code", [9, 15])
def test_a_gpu_that_is_gone_is_refused(host: Host, code: int) -> None:
    host.set_up({"gpus": ["A10G", "T4"], "faults": [f"nvmlDeviceGetPowerUsage {code} @gpu=1"]})
    result = host.run("gpu_tuning", {"persistence_mode": True})
    assert result["msg"].startswith("gpus: GPU 1 does not answer: ")
    assert host.writes() == []


def test_a_setting_applies_to_other_processes(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"]})
    host.run("gpu_tuning", {"gpus": ["1"], "persistence_mode": True, "power_limit": 65})
    assert host.smi("--query-gpu=power.limit,persistence_mode") == ["300.00 W, Disabled", "65.00 W, Enabled"]
