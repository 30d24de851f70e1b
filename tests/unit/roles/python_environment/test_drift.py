# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role python_environment finds changed on a host: as declared, and after one change each."""

from __future__ import annotations

from pathlib import Path

from tests.support.drift import FOLDER, START, Item, changed, file, true_names


def test_python_environment(tmp_path: Path) -> None:
    copies = "/opt/tool/collection/ansible_collections/digital_twin/robotics_lab/plugins/module_utils"
    code, packages = f"{copies}/_gpu/nvml.py", "/opt/tool/lib/python3.11/site-packages"
    as_declared: Item = {"files": {code: file("x = 1\n"), packages: FOLDER, "/opt/tool/bin": FOLDER}}
    states = {
        "as declared": as_declared,
        "link": changed(as_declared, "files", code, link="elsewhere"),
        "content": changed(as_declared, "files", code, content="x = 2\n"),
        "writable": changed(as_declared, "files", code, mode="0666"),
        "missing": {"files": {packages: FOLDER}},
        "stale": {"files": {**as_declared["files"], f"{copies}/_old.py": file("")}},
    }
    upgraded = {path: changed(as_declared, "files", path, modified=START + 1.5) for path in (packages, code)}
    upgraded["neither"] = changed(as_declared, "files", "/opt/tool/bin", modified=START + 1.5)
    variables = {
        "python_environment_path": "/opt/tool",
        "python_environment_collection_folders": ["_gpu"],
        "__python_environment_files": {"_gpu/nvml.py": "x = 1\n"},
    }
    expressions = {
        "differ": "__python_environment_files_differ",
        "newer": f"__python_environment_modified | int > {START}",
    }
    found = true_names(tmp_path, "python_environment", expressions, variables, states | upgraded)
    assert found == {
        **{state: ["differ"] for state in states},
        **{state: ["newer"] for state in upgraded},
        "as declared": [],
        "neither": [],
    }
