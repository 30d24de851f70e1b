# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How role digital_twin_stack clones the application, with real Git."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.ansible_programs import execute
from tests.support.project import FQCN


def git(folder: Path, *words: str) -> str:
    """Run Git in a folder, with a user name and an address."""
    user = ["-c", "user.name=lab", "-c", "user.email=lab@example.com"]
    done = subprocess.run(["git", "-C", str(folder), *user, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def clone(folder: Path, revision: str, **variables: object) -> tuple[int, str]:
    """Clone the application, and return the exit status and the output."""
    include = {"name": f"{FQCN}.digital_twin_stack", "tasks_from": "application"}
    values = {
        "ansible_python_interpreter": sys.executable,
        "digital_twin_stack_application": True,
        "digital_twin_stack_application_url": (folder / "origin").as_uri(),
        "digital_twin_stack_application_revision": revision,
        "digital_twin_stack_application_directory": str(folder / "clone"),
        "digital_twin_stack_directory": str(folder),
        **variables,
    }
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": values}
    (folder / "play.yml").write_text(json.dumps([{**play, "tasks": [{"ansible.builtin.include_role": include}]}]))
    done = execute(["ansible-playbook", "--inventory", "localhost,", str(folder / "play.yml")])
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_branch_that_is_named_like_the_commit_is_not_checked_out(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    git(tmp_path, "init", "--quiet", str(origin))
    (origin / "program").write_text("good")
    git(origin, "add", "program")
    git(origin, "commit", "--quiet", "--message=one")
    good = git(origin, "rev-parse", "HEAD")
    (origin / "program").write_text("evil")
    git(origin, "commit", "--quiet", "--all", "--message=two")
    for kind in ("heads", "tags"):
        git(origin, "update-ref", f"refs/{kind}/{good}", "HEAD")
        status, told = clone(tmp_path, good)
        assert status != 0
        assert "The repository has a branch or a tag of that name" in told
        assert not (tmp_path / "clone" / "program").exists()
        git(origin, "update-ref", "-d", f"refs/{kind}/{good}")
    status, told = clone(tmp_path, good)
    assert status == 0, told
    assert (tmp_path / "clone" / "program").read_text() == "good"
