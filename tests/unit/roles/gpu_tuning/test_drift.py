# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role gpu_tuning finds changed on a host: as declared, and after one change each."""

from __future__ import annotations

from pathlib import Path

from tests.support.drift import FOLDER, UNIT, Item, changed, file, true_names


def test_gpu_tuning(tmp_path: Path) -> None:
    unit, settings = "/etc/systemd/system/gpu-tuning.service", "/opt/digital-twin/gpu-tuning/settings.json"
    folder = "/etc/systemd/system/nvidia-persistenced.service.d"
    drop_in = f"{folder}/zz-gpu-tuning.conf"
    daemon = "nvidia-persistenced.service"
    as_declared: Item = {
        "units": {"gpu-tuning.service": UNIT, daemon: UNIT},
        "files": {unit: file("[Unit]\n"), settings: file("{}\n"), folder: FOLDER, drop_in: file("[Service]\n")},
        "commands": {
            "daemon_files": {"stdout": "[Service]\nExecStart=/usr/bin/nvidia-persistenced\n"},
            "daemon_arguments": {"stdout_lines": ["nvidia-persistenced", "--persistence-mode"]},
        },
    }
    boots = {state: changed(as_declared, "units", daemon, UnitFileState=state) for state in ("static", "indirect")}
    never = {
        state: changed(as_declared, "units", daemon, UnitFileState=state)
        for state in ("disabled", "enabled-runtime", "masked", "linked")
    }
    drifts: dict[str, Item] = {"link": {"link": "elsewhere"}, "owner": {"uid": 1000}, "writable": {"mode": "0777"}}
    own: dict[str, Item] = {}
    of_daemon: dict[str, Item] = {}
    for name, values in drifts.items():
        own |= {f"{name} {path}": changed(as_declared, "files", path, **values) for path in (unit, settings)}
        of_daemon |= {f"{name} {path}": changed(as_declared, "files", path, **values) for path in (folder, drop_in)}
    variables = {
        "__gpu_tuning_settings_text": "{}\n",
        "__gpu_tuning_drop_in_text": "[Service]\n",
        "__gpu_tuning_files": {settings: "{}\n", unit: "[Unit]\n"},
        "python_environment_files_changed": False,
    }
    expressions = {"unit": "__gpu_tuning_unit_differs", "daemon": "__gpu_tuning_daemon_differs"}
    states = {"as declared": as_declared, **boots, **never, **own, **of_daemon}
    assert true_names(tmp_path, "gpu_tuning", expressions, variables, states) == {
        **{state: [] for state in ["as declared", *boots]},
        **{state: ["unit"] for state in own},
        **{state: ["daemon"] for state in [*never, *of_daemon]},
    }
