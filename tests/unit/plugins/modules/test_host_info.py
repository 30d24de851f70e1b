# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on this machine: its packages, users, files and programs."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils import _host
from ansible_collections.digital_twin.robotics_lab.plugins.modules import host_info

from sandbox.waiting import wait_until

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module, and return its result."""

    def run_module(**given: object) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit):
            host_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def test_packages_are_those_of_dpkg(run: Run) -> None:
    packages = run(packages=["dpkg", "libc6*", "no-such-package", "nothing-*"])["packages"]
    form = "--showformat=${Version} ${Architecture}"
    asked = subprocess.run(["dpkg-query", "--show", form, "dpkg"], capture_output=True, text=True, check=True)
    version, architecture = asked.stdout.split()
    assert packages["dpkg"] == {
        "version": version,
        "architecture": architecture,
        "status": "installed",
        "hold": False,
        "source": "dpkg",
        "maintainer": packages["dpkg"]["maintainer"],
    }
    assert "libc6" in packages
    assert not {"no-such-package", "nothing-*"} & packages.keys()


def test_files_are_described_and_patterns_expanded(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("one\n")
    file.chmod(0o640)
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "bytes.conf").write_bytes(b"\xff")
    (tmp_path / "link").symlink_to("a.conf")
    (tmp_path / "broken").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    read = [
        str(tmp_path / name)
        for name in ("a.conf", "link", "broken", "loop", "missing", "a.conf/below", "*.txt", "*.none")
    ]
    files = run(files=[*read, str(tmp_path)], content=[str(tmp_path / "*.conf")])["files"]
    found = {Path(path).name: value for path, value in files.items()}
    assert found["a.conf"] == {
        "exists": True,
        "link": "",
        "kind": "file",
        "mode": "0640",
        "uid": os.geteuid(),
        "gid": file.stat().st_gid,
        "size": 4,
        "modified": file.stat().st_mtime,
        "content": "one\n",
    }
    assert (found["link"]["link"], found["link"]["size"]) == ("a.conf", 4)
    assert found["broken"] == {"exists": False, "link": "gone"}
    assert found["loop"] == {"exists": False, "link": "loop"}
    assert found["missing"] == found["below"] == {"exists": False, "link": ""}
    assert "content" not in found["b.txt"]
    assert found["bytes.conf"]["content"] == "\ufffd"
    assert found[tmp_path.name]["kind"] == "directory"
    assert not any("none" in name for name in found)


def test_files_of_the_kernel_have_content(run: Run) -> None:
    path = "/proc/sys/kernel/ostype"
    assert run(content=[path])["files"][path]["content"] == "Linux\n"


def test_users_and_groups_that_exist(run: Run) -> None:
    me = pwd.getpwuid(os.geteuid())
    result = run(users=[me.pw_name, "no-such-user"], groups=["root", "no-such-group"])
    assert result["users"].keys() == {me.pw_name}
    user = result["users"][me.pw_name]
    assert (user["uid"], user["home"], user["shell"]) == (me.pw_uid, me.pw_dir, me.pw_shell)
    groups = subprocess.run(["id", "-nG", me.pw_name], capture_output=True, text=True, check=True).stdout.split()
    assert set(user["groups"]) == set(groups)
    assert result["groups"] == {"root": {"gid": 0, "local": True}}


def test_commands_have_their_output(run: Run) -> None:
    commands = {
        "words": {"argv": [sys.executable, "-c", "import sys; print(sys.stdin.read()); sys.exit(3)"], "stdin": "a\nb"},
        "locale": {"argv": ["sh", "-c", "echo $LC_ALL >&2"]},
        "missing": {"argv": ["no-such-program"]},
        "slow": {"argv": ["sleep", 600]},
    }
    done = run(commands=commands, timeout=1)["commands"]
    assert done["words"] == {"rc": 3, "stdout": "a\nb\n", "stdout_lines": ["a", "b"], "stderr": ""}
    assert done["locale"]["stderr"] == "C\n"
    assert done["missing"]["rc"] == 127
    assert "no-such-program" in done["missing"]["stderr"]
    assert (done["slow"]["rc"], done["slow"]["stderr"]) == (124, "no answer within 1 s")


def test_a_killed_command_takes_its_children_along(run: Run, tmp_path: Path) -> None:
    """One child is in the session of the command, and one has left it and keeps the pipes open."""
    script = "sleep 600 & echo $! > own; setsid sleep 600 & echo $! > left; wait"
    command = {"argv": ["sh", "-c", f"cd {tmp_path}; {script}"]}
    done = run(commands={"slow": command}, timeout=1)["commands"]["slow"]
    own, left = (int((tmp_path / name).read_text()) for name in ("own", "left"))
    os.kill(left, signal.SIGKILL)
    assert done["rc"] == 124
    # The kernel ends it when it is next scheduled, which may be after the signal has returned.
    wait_until(lambda: ended(own), what="the child to end", seconds=30)


def ended(process: int) -> bool:
    """Return whether a process has ended, also one whose parent has not read its exit status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"commands": {"a": "ls"}}, "commands has a, which must be a mapping with argv and optionally stdin."),
        ({"commands": {"a": {"argv": ["ls"], "shell": True}}}, "commands has a, which must be a mapping"),
        ({"commands": {"a": {"argv": "ls"}}}, "commands has a, whose argv must be a list of words."),
        ({"commands": {"a": {"argv": []}}}, "commands has a, whose argv must be a list of words."),
        ({"files": ["etc/passwd"]}, "etc/passwd is not an absolute path."),
    ],
)
def test_what_is_refused(run: Run, given: dict[str, Any], message: str) -> None:
    refused = run(**given)
    assert refused["failed"]
    assert message in refused["msg"]


SYSTEMCTL = """#!/bin/sh
# Answers as systemctl show does; the first answers of a unit are those of one that is being started.
echo turn >> "$TURNS"
state=active
[ "$(wc -l < "$TURNS")" -gt 2 ] || state=activating
printf 'LoadState=loaded\\nActiveState=%s\\nJob=\\n' "$state"
printf 'ExecStart={ path=/bin/a ; argv[]=a=b }\\n\\nLoadState=not-found\\n'
"""


@pytest.mark.parametrize("expected", [(30, "active", 3), (0, "activating", 1)])
def test_units_are_read_once_they_have_settled(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: tuple[int, str, int]
) -> None:
    settle, state, turns = expected
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    calls = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TURNS", str(calls))
    monkeypatch.setattr(_host, "SYSTEMD", tmp_path)
    monkeypatch.setattr(_host, "POLL_SECONDS", 0.01)
    units = run(units=["a.service", "b.service"], unit_properties=["ExecStart"], settle_timeout=settle)["units"]
    assert units["a.service"]["ActiveState"] == state
    assert units["a.service"]["ExecStart"] == "{ path=/bin/a ; argv[]=a=b }"
    assert units["b.service"] == {"LoadState": "not-found"}
    assert len(calls.read_text().splitlines()) == turns


def test_a_host_without_systemd_has_no_units(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host, "SYSTEMD", tmp_path / "missing")
    assert run(units=["a.service"])["units"] == {}
