# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role gpu_metrics finds changed on a host: as declared, and after one change each."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.drift import FOLDER, START, UNIT, Item, changed, file, true_names


def test_gpu_metrics(tmp_path: Path) -> None:
    unit, settings = "/etc/systemd/system/gpu-metrics.service", "/opt/digital-twin/gpu-metrics/settings.json"
    folder, secret = "/etc/gpu-metrics", "/etc/gpu-metrics/credentials"
    key = "KEY\n"
    credentials = {**FOLDER, "kind": "file", "mode": "0600"}
    as_declared: Item = {
        "units": {"gpu-metrics.service": UNIT},
        "files": {
            unit: file("[Unit]\n"),
            settings: file("{}\n"),
            folder: {**FOLDER, "mode": "0700"},
            secret: credentials,
        },
        "commands": {"credentials": {"stdout": f"{hashlib.sha256(key.encode()).hexdigest()}  {secret}\n"}},
    }
    states = {"as declared": as_declared}
    for path in (unit, settings, secret, folder):
        states[f"link {path}"] = changed(as_declared, "files", path, link="elsewhere")
        states[f"group of {path}"] = changed(as_declared, "files", path, gid=100)
        states[f"kind of {path}"] = changed(as_declared, "files", path, kind="other")
        states[f"mode of {path}"] = changed(as_declared, "files", path, mode="0666")
    states["reload"] = changed(as_declared, "units", "gpu-metrics.service", NeedDaemonReload="yes")
    states["runtime"] = changed(as_declared, "units", "gpu-metrics.service", UnitFileState="enabled-runtime")
    states["another key"] = {**as_declared, "commands": {"credentials": {"stdout": "0  -"}}}
    states["nothing"] = {"units": {}, "files": {path: {"exists": False, "link": ""} for path in as_declared["files"]}}
    states["nothing"]["commands"] = {"credentials": {"stdout": ""}}
    interrupted = {path: changed(as_declared, "files", path, modified=START + 2.5) for path in (unit, settings, secret)}
    variables: Item = {
        "gpu_metrics_access_key_id": "AK",
        "gpu_metrics_secret_access_key": "canary-sk",
        "__gpu_metrics_unit_text": "[Unit]\n",
        "__gpu_metrics_settings_text": "{}\n",
        "__gpu_metrics_credentials_text": key,
        "python_environment_modified": START - 60,
    }
    expressions = {"differs": "__gpu_metrics_differs", "outdated": "__gpu_metrics_outdated"}
    found = true_names(tmp_path, "gpu_metrics", expressions, variables, states | interrupted)
    assert found == {
        **{state: ["differs"] for state in states},
        **{state: ["outdated"] for state in interrupted},
        "as declared": [],
    }
    # Packages or copied files of an interrupted run.
    variables["python_environment_modified"] = START + 2
    assert true_names(tmp_path, "gpu_metrics", expressions, variables, {"": as_declared}) == {"": ["outdated"]}
