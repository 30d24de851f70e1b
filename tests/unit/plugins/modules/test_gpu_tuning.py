# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gpu_tuning against simulated GPUs: what it changes, what it refuses, and that a check writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_apply import TuningError, verify
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_request import PowerLimit, Wanted
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._nvml import nvml_session

from tests.support.gpus import Host

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("gpu_tuning.yml").read_text("utf-8"))


def settings_of(result: dict[str, Any]) -> dict[int, dict[str, list[Any]]]:
    """Return what a result says was changed, in the form of the table."""
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
    host.set_up(case)
    for earlier in case.get("before", []):
        host.run("gpu_tuning", earlier)
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
        assert checked == result, "a check must say what then happens"
        again = host.run("gpu_tuning", request)
        assert settings_of(again) == case.get("again", {})
    if "log" in case:
        assert setters == case["log"]


def test_two_bad_options_are_both_told(host: Host) -> None:
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


def test_what_does_not_stay_is_said(host: Host) -> None:
    host.set_up({"gpus": ["A10G"]})
    with (
        nvml_session() as session,
        pytest.raises(TuningError, match="power_limit_watts was set to 200 W and reads back 300 W"),
    ):
        verify(session, ["all"], Wanted(power_limit=PowerLimit("watts", 200.0)))


def test_a_setting_is_in_force_for_other_processes(host: Host) -> None:
    host.set_up({"gpus": ["A10G", "T4"]})
    host.run("gpu_tuning", {"gpus": ["1"], "persistence_mode": True, "power_limit": 65})
    assert host.smi("--query-gpu=power.limit,persistence_mode") == ["300.00 W, Disabled", "65.00 W, Enabled"]
