# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declared files and folders, compared with real ones as host_info reads them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.files_differ import files_differ
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._host import read_files

MINE = {"uid": os.geteuid(), "gid": os.getegid()}
CHANGES = {
    "nothing": "true",
    "content": "echo more >> robot.conf",
    "mode": "chmod 0640 robot.conf",
    "no file": "rm robot.conf",
    "a folder of that name": "rm robot.conf; mkdir robot.conf",
    "a link to the same content": "mv robot.conf other; ln -s other robot.conf",
    "mode of the folder": "chmod 0777 .",
}


def differing(folder: Path, **declared: Any) -> list[str]:
    file = folder / "robot.conf"
    items: list[dict[str, Any]] = [{"path": str(folder), **MINE}, {"path": str(file), "content": "on\n", **MINE}]
    items = [{**item, **declared} for item in items]
    return [Path(path).name for path in files_differ(items, read_files([str(folder)], [str(file)]))]


@pytest.mark.parametrize("change", CHANGES)
def test_each_drift_is_found(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir(0o755)
    folder.chmod(0o755)
    file = folder / "robot.conf"
    file.write_text("on\n")
    file.chmod(0o644)
    subprocess.run(["sh", "-c", CHANGES[change]], cwd=folder, check=True)
    expected = {"nothing": [], "mode of the folder": ["conf.d"]}.get(change, ["robot.conf"])
    assert differing(folder) == expected


def test_owner_and_group_are_compared_unless_left_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "robot.conf"
    file.write_text("on\n")
    file.chmod(0o644)
    assert differing(tmp_path) == []
    for key in ("uid", "gid"):
        assert differing(tmp_path, **{key: 64007}) == [tmp_path.name, "robot.conf"]
        assert differing(tmp_path, **{key: None}) == []
    tmp_path.chmod(0o700)
    assert differing(tmp_path) == [tmp_path.name]
    assert files_differ([{"path": str(tmp_path), "mode": None, **MINE}], read_files([str(tmp_path)], [])) == []


def test_the_content_of_a_secret_is_left_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "robot.conf"
    file.write_text("secret\n")
    file.chmod(0o644)
    assert differing(tmp_path) == ["robot.conf"]
    assert differing(tmp_path, content=None) == [tmp_path.name]


def test_a_path_that_was_not_read_differs() -> None:
    assert files_differ([{"path": "/etc/robot"}], {}) == ["/etc/robot"]


@pytest.mark.parametrize(
    ("found", "differs"), [({}, False), ({"exists": False, "link": "gone"}, True), ({"exists": True, "link": ""}, True)]
)
def test_an_absent_file_must_not_be_there(found: dict[str, Any], differs: bool) -> None:
    declared = [{"name": "old.conf", "state": "absent"}]
    assert files_differ(declared, {"/etc/robot/old.conf": found}, "/etc/robot") == ["/etc/robot/old.conf"] * differs
