# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verification fails for a root file system that is smaller than its disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support.ansible_programs import execute
from tests.support.project import FQCN, clean_environment, load_yaml

GIB = 1024**3
# In place of the real one, which needs a disk.
MODULE = """
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"path": {"type": "path"}}, supports_check_mode=True)
module.exit_json(**RESULT)
"""


@pytest.mark.parametrize("size", [200, 100])
def test_a_root_file_system_that_is_smaller_than_its_disk(tmp_path: Path, size: int) -> None:
    tasks: list[dict[str, Any]] = load_yaml(PurePosixPath("playbooks/tasks/root_disk_fits.yml"))
    # Runs in one process share the modules that they have packed.
    name = f"grow_filesystem_{size}"
    tasks[0][name] = tasks[0].pop(f"{FQCN}.grow_filesystem")
    result = {"changed": size < 200, "size_bytes": size * GIB, "disk_bytes": 200 * GIB}
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / f"{name}.py").write_text(f"RESULT = {result}\n{MODULE}", "utf-8")
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.json").write_text(json.dumps([play]), "utf-8")
    python = f"ansible_python_interpreter={sys.executable}"
    words = ["ansible-playbook", "--inventory=localhost,", "--connection=local", "--extra-vars", python]
    done = execute([*words, str(tmp_path / "play.json")], clean_environment())
    assert (done.returncode == 0) is (size == 200), done.stdout
    message = f"The root file system of localhost has {size} GiB of the 200 GiB of its disk."
    assert (message in done.stdout) is (size < 200)
