# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on real folders: the result, and that a check changes nothing."""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.modules import file_set

Run = Callable[..., dict[str, Any]]
MINE = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}
# Only root may give a file to another user; this one has no account on any host.
STRANGER = "64007" if os.geteuid() == 0 else str(os.geteuid())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the module on one folder and return its result, which must hold no warning."""

    def run_module(*files: dict[str, Any], check: bool = False, diff: bool = False, **given: object) -> dict[str, Any]:
        words = {"path": str(tmp_path / "set"), "files": list(files), **MINE, **given}
        capsys.readouterr()
        control = {"_ansible_check_mode": check, "_ansible_diff": diff}
        with patch_module_args({**words, **control}), pytest.raises(SystemExit):
            file_set.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert "warnings" not in result
        return result

    return run_module


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_written_once(run: Run, tmp_path: Path) -> None:
    files = [
        {"name": "a", "content": "one\n"},
        {"name": "secret", "content": "two", "owner": STRANGER, "mode": "0400"},
        {"name": "deep/er/c", "content": '{"three": "\u00fc"}'},
    ]
    first = run(*files, directory_mode="0750")
    assert (first["changed"], first["changed_files"]) == (True, ["a", "secret", "deep/er/c"])
    folder = tmp_path / "set"
    assert [(folder / file["name"]).read_text("utf-8") for file in files] == [file["content"] for file in files]
    assert [mode(folder / file["name"]) for file in files] == [0o644, 0o400, 0o644]
    assert [mode(path) for path in (folder, folder / "deep", folder / "deep/er")] == [0o750] * 3
    assert (folder / "secret").stat().st_uid == int(STRANGER)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "deep", "secret"], "no temporary file stays"

    again = run(*files, directory_mode="0750")
    assert (again["changed"], again["changed_files"], again["diff"]) == (False, [], [])
    assert first["diff"] == [], "the task shows no diff"
    assert again["modified"] == first["modified"]
    assert float(again["modified"]["a"]) == pytest.approx((folder / "a").stat().st_mtime)
    assert run(*files, directory_mode="0750", check=True)["changed"] is False


def test_a_check_writes_nothing_and_reports_all(run: Run, tmp_path: Path) -> None:
    told = run({"name": "deep/a", "content": "new", "owner": STRANGER}, check=True, diff=True)
    assert told["changed_files"] == ["deep/a"]
    assert (told["diff"][0]["before"], told["diff"][0]["after"]) == ("", "new")
    assert told["modified"] == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", [True, False])
def test_each_difference_is_a_change(run: Run, tmp_path: Path, check: bool) -> None:
    run(*({"name": name, "content": name} for name in ("content", "mode", "gone", "same")))
    folder = tmp_path / "set"
    (folder / "content").write_text("edited")
    (folder / "mode").chmod(0o666)
    (folder / "foreign").write_text("stays")
    before = {path.name: (path.read_text(), mode(path)) for path in folder.iterdir()}
    told = run(
        {"name": "content", "content": "content"},
        {"name": "mode", "content": "mode"},
        {"name": "gone", "state": "absent"},
        {"name": "never", "state": "absent"},
        {"name": "same", "content": "same"},
        check=check,
        diff=True,
    )
    assert told["changed_files"] == ["content", "mode", "gone"]
    assert [(row["before"], row["after"]) for row in told["diff"]] == [("edited", "content"), ("gone", "")]
    after = {path.name: (path.read_text(), mode(path)) for path in folder.iterdir()}
    wanted = {"content": ("content", 0o644), "mode": ("mode", 0o644), "same": ("same", 0o644)}
    assert after == (before if check else {**wanted, "foreign": before["foreign"]})


def test_a_folder_of_others_keeps_its_mode_unless_one_is_given(run: Run, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir(mode=0o700)
    run({"name": "new/a", "content": ""})
    assert [mode(tmp_path / name) for name in ("set", "set/new")] == [0o700, 0o755]
    assert run({"name": "new/a", "content": ""}, directory_mode="0750")["changed"] is True
    assert [mode(tmp_path / name) for name in ("set", "set/new")] == [0o750, 0o750]


def test_missing_parents_are_open_whatever_the_umask(run: Run, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run({"name": "b/c/d", "content": ""}, path=str(tmp_path / "parent/set"))
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("parent", "parent/set", "parent/set/b", "parent/set/b/c")] == [0o755] * 4


@pytest.mark.parametrize("check", [True, False])
def test_a_link_to_the_folder_is_followed(run: Run, tmp_path: Path, check: bool) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "set").symlink_to("real")
    assert run({"name": "a", "content": ""}, directory_mode="0750", check=check)["changed"] is True
    assert (mode(tmp_path / "real"), (tmp_path / "real/a").exists()) == ((0o700, False) if check else (0o750, True))
    assert run({"name": "a", "content": ""}, directory_mode="0750")["changed"] is check
    assert (tmp_path / "set").is_symlink()


@pytest.mark.parametrize("check", [True, False])
def test_a_folder_without_files_gets_its_owner(run: Run, tmp_path: Path, check: bool) -> None:
    (tmp_path / "set").mkdir(mode=0o500)
    assert run(owner=STRANGER, directory_mode="u+rwx", check=check)["changed"] is True
    owner = (tmp_path / "set").stat().st_uid
    assert (owner, mode(tmp_path / "set")) == ((os.geteuid(), 0o500) if check else (int(STRANGER), 0o700))


def test_a_file_that_is_only_wanted_once_keeps_its_content(run: Run, tmp_path: Path) -> None:
    run({"name": "password", "content": "first", "force": False})
    kept = run({"name": "password", "content": "second", "force": False})
    assert kept["changed"] is False
    assert (tmp_path / "set/password").read_text() == "first"
    assert run({"name": "password", "content": "second", "force": False, "mode": "0600"})["changed"] is True
    assert (tmp_path / "set/password").read_text() == "first"
    (tmp_path / "set/password").rename(tmp_path / "vault")
    (tmp_path / "set/password").symlink_to(tmp_path / "vault")
    assert run({"name": "password", "content": "second", "force": False, "mode": "0400"})["changed"] is True
    assert ((tmp_path / "vault").read_text(), mode(tmp_path / "vault")) == ("first", 0o400)
    assert run({"name": "password", "content": "second", "force": False, "mode": "0400"})["changed"] is False


def test_variables_of_the_shell_in_a_name_are_text(run: Run, tmp_path: Path) -> None:
    assert run({"name": "$HOME", "content": "a"})["changed_files"] == ["$HOME"]
    assert run({"name": "$HOME", "content": "a"})["changed"] is False
    assert (tmp_path / "set/$HOME").read_text() == "a"


def test_a_link_is_replaced_and_its_target_stays(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "of others"
    target.write_text("content")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a").symlink_to(target)
    told = run({"name": "a", "content": "content"}, diff=True)
    assert (told["changed"], told["diff"][0]["before"]) == (True, "")
    assert not (tmp_path / "set/a").is_symlink()
    run({"name": "a", "content": "changed"})
    assert target.read_text() == "content"


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../b", "", ".", "a//b", "./a", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    told = run({"name": "first", "content": ""}, {"name": name, "content": "text"})
    assert told["failed"]
    assert f"the name {name!r}" in told["msg"]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_a_file_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "set/folder").mkdir(parents=True)
    rows = {"first": "", "folder": ""}
    told = run(*({"name": name, "content": text} for name, text in rows.items()))
    assert told["msg"] == f"{tmp_path}/set/folder is a folder, so no file of that name can be there. Move it away."
    twice = run({"name": "first", "content": "a"}, {"name": "first", "content": "b"})
    assert twice["msg"] == "files has first twice. Name each file once."
    assert "content" in run({"name": "first"})["msg"]
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["folder"]
    (tmp_path / "file").write_text("")
    for check in (True, False):
        blocked = run({"name": "first", "content": "a"}, path=str(tmp_path / "file/set"), check=check)
        reason = f"{tmp_path}/file is not a folder, so {tmp_path}/file/set cannot be one. Move it away."
        assert blocked["msg"] == reason


def test_an_error_of_the_system_is_reported(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "replace", fail)
    told = run({"name": "a", "content": "text"})
    assert told["msg"].startswith(f"The files of {tmp_path}/set could not be written: [Errno 28] No space left")
    assert list((tmp_path / "set").iterdir()) == [], "no temporary file stays"


def test_a_file_that_its_program_refuses_is_not_written(run: Run, tmp_path: Path) -> None:
    script = "import json, sys; json.load(open(sys.argv[1]))"
    check = f"{sys.executable} -c '{script}' %s"
    good = {"name": "daemon.json", "content": "{}", "validate": check}
    assert run(good)["changed"]
    assert not run(good)["changed"]
    for text in ("{", ""):
        refused = run({**good, "content": text})
        assert refused["failed"]
        assert (refused["validated"]["name"], refused["validated"]["rc"]) == ("daemon.json", 1)
        assert "JSONDecodeError" in refused["msg"]
    folder = tmp_path / "set"
    assert [(path.name, path.read_text("utf-8")) for path in folder.iterdir()] == [("daemon.json", "{}")]


def test_each_file_can_have_its_group(run: Run, tmp_path: Path) -> None:
    files = [{"name": "a", "content": ""}, {"name": "b", "content": "", "group": STRANGER}]
    assert run(*files)["changed_files"] == ["a", "b"]
    assert [(tmp_path / "set" / name).stat().st_gid for name in "ab"] == [os.getegid(), int(STRANGER)]
    assert not run(*files)["changed"]
