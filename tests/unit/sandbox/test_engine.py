# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The detection of the sandbox's own engine process, and the messages when the engine fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.errors import DockerException
from requests.exceptions import ReadTimeout
from urllib3.exceptions import ProtocolError

from sandbox import __main__ as command_line
from sandbox import engine

Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a sleeping process with a name and arguments that it ignores; return its process id."""
    started: list[subprocess.Popen[bytes]] = []

    def _start(*words: str) -> int:
        # Its command line can be read only shortly after the start.
        script = "import time; print(flush=True); time.sleep(60)"
        command = [words[0], "-c", script, *words[1:]]
        process = subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout
        process.stdout.readline()
        return process.pid

    yield _start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def pidfile(tmp_path: Path) -> Path:
    return tmp_path / "dockerd.pid"


@pytest.mark.parametrize(
    ("words", "is_ours"),
    [
        pytest.param(("dockerd", "--pidfile", "{}", "--mtu", "1500"), True, id="ours"),
        pytest.param(("/usr/sbin/dockerd", "--pidfile", "{}"), True, id="ours-by-its-path"),
        pytest.param(("dockerd", "--pidfile", "/run/docker.pid"), False, id="another-engine"),
        pytest.param(("dockerd",), False, id="an-engine-without-a-pid-file"),
        pytest.param(("cat", "--pidfile", "{}"), False, id="another-program"),
    ],
)
def test_a_process_is_ours_by_its_command(start: Start, pidfile: Path, words: tuple[str, ...], is_ours: bool) -> None:
    pid = start(*(word.format(pidfile) for word in words))
    pidfile.write_text(str(pid), encoding="ascii")
    assert engine.is_dockerd(pid, pidfile) is is_ours
    assert engine.own_process(pidfile) == (pid if is_ours else None)
    assert pidfile.exists() is is_ours, "only a stale file is removed"


@pytest.mark.parametrize("text", ["", "none", "4194305"])
def test_a_pid_file_without_a_process_is_removed(pidfile: Path, text: str) -> None:
    pidfile.write_text(text, encoding="ascii")
    assert engine.own_process(pidfile) is None
    assert not pidfile.exists()
    assert engine.own_process(pidfile) is None


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (subprocess.TimeoutExpired(["apt-get", "update"], 600), "apt-get update did not end within 600 s"),
        (ReadTimeout("Read timed out."), "The Docker engine failed: Read timed out.; its log is {log}"),
        (DockerException("no\n space"), "The Docker engine failed: no space; its log is {log}"),
        (ProtocolError("broken"), "The Docker engine failed: broken; its log is {log}"),
    ],
)
def test_a_failure_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pidfile: Path,
    error: Exception,
    sentence: str,
) -> None:
    def fail(arguments: object) -> None:
        raise error

    pidfile.touch()
    monkeypatch.setattr(engine, "ENGINE_PID", pidfile)
    monkeypatch.setattr(command_line, "run", fail)
    monkeypatch.setattr(sys, "argv", ["sandbox", "up"])
    assert command_line.main() == 1
    assert capsys.readouterr().err == f"sandbox: {sentence.format(log=engine.ENGINE_LOG)}\n"


def test_the_log_of_another_engine_is_not_named(monkeypatch: pytest.MonkeyPatch, pidfile: Path) -> None:
    monkeypatch.setattr(engine, "ENGINE_PID", pidfile)
    assert command_line.engine_failure(ReadTimeout("Read timed out.")) == "The Docker engine failed: Read timed out."


def test_only_the_owner_can_read_the_log_of_an_engine(tmp_path: Path) -> None:
    log = tmp_path / "dockerd.log"
    log.write_bytes(b"before\n")
    log.chmod(0o644)
    with engine.private_log(log) as stream:
        stream.write(b"after\n")
    assert log.read_bytes() == b"before\nafter\n"
    assert log.stat().st_mode & 0o777 == 0o600
    link = tmp_path / "link"
    link.symlink_to(log)
    with pytest.raises(OSError, match="symbolic links"):
        engine.private_log(link)
