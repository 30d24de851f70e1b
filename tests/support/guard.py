# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard and the lifetime as processes, with the host's programs, files, GPU and metadata service under control."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox.guest import imds
from sandbox.nvml import Gpus
from sandbox.waiting import wait_until
from tests.support.fork_server import Child, ForkServer
from tests.support.project import ROOT, clean_environment

PACKAGE = "ansible_collections.digital_twin.robotics_lab.plugins.module_utils._guard"
SECONDS = 40
UNIT = "digital-twin.service"
# The guard calls these by name. Each call is a line of `calls`; a file of the name with `.fail` makes it fail.
PROGRAM = """#!/bin/sh
echo "${{0##*/}} $*$( [ "${{0##*/}}" = wall ] && cat )" >> {folder}/calls
[ ! -e "{folder}/${{0##*/}}-$1.fail" ] || {{ echo "it fails"; exit 5; }}
"""


def base_environment() -> dict[str, str]:
    """Return the common environment of all guards."""
    environment = clean_environment({})
    path = [environment.get("PYTHONPATH", ""), str(ROOT / ".collections")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}


@dataclass
class GuardedHost:
    """A host with the guard.

    Attributes:
        folder: for all its files.
        settings: additional fields of the guard's settings.
        environment: additional variables of the process.
        statuses: what it has reported to systemd, once for each decision.
    """

    folder: Path
    gpus: Gpus
    fork_server: ForkServer
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    process: Child | None = None
    statuses: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state.mkdir()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.folder / "notify"))
        # It is closed with the last reference; a blocked sender would wait for it.
        threading.Thread(target=self._listen, daemon=True).start()
        programs = self.folder / "bin"
        programs.mkdir()
        for name in ("systemctl", "wall", "hook"):
            (programs / name).write_text(PROGRAM.format(folder=self.folder))
            (programs / name).chmod(0o755)
        (self.proc / "sys/kernel/random").mkdir(parents=True)
        (self.proc / "net").symlink_to("/proc/net")
        (self.proc / "1").mkdir()
        self.boot("first")

    def _listen(self) -> None:
        """Receive what systemd would receive."""
        while data := self._socket.recv(4096):
            self.statuses += re.findall(r"(?m)^STATUS=(.*)$", data.decode())

    def decides(self, text: str, count: int = 1) -> None:
        """Wait until it has decided so many times more, with this text in the reason each time."""
        begin = len(self.statuses)

        def found() -> int:
            return sum(text in status for status in self.statuses[begin:])

        wait_until(lambda: found() >= count, what=f"{count} decisions with {text!r}", seconds=SECONDS, pause=0.02)

    def close(self) -> None:
        """Kill it if it runs, and end the listener."""
        if self.process is not None:
            self.kill()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.folder / "notify"))

    @property
    def state(self) -> Path:
        return self.folder / "guard"

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    def boot(self, name: str) -> None:
        """Begin a boot of this id now."""
        (self.proc / "sys/kernel/random/boot_id").write_text(f"{name}\n")
        ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
        (self.proc / "1/stat").write_text(f"1 (a ) b) S{' 0' * 18} {ticks} 1 2\n")

    def start(self, text: str = "") -> None:
        """Start the guard without waiting, with this text as its settings if given."""
        file = self.folder / "settings.json"
        settings = {
            "folder": str(self.state),
            "root": str(self.folder),
            "proc": str(self.proc),
            "idle_stop": True,
            "idle_minutes": 0.01,
            "wait_for_user_minutes": 0.01,
            "warning_minutes": 0.005,
            "stack_unit": UNIT,
            "hook": ["hook", "before-stop"],
            "record_tags": False,
            "poll_seconds": 0.05,
            "activity_seconds": 0.05,
            **self.settings,
        }
        file.write_text(text or json.dumps(settings), encoding="utf-8")
        environment = {
            **self.gpus.environment,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            # Nothing listens there.
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
            **self.environment,
        }
        request = {"arguments": [str(file)], "environment": environment, "output": str(self.folder / "journal")}
        self.process = Child(self.fork_server, SECONDS, **request)

    @property
    def running(self) -> Child:
        assert self.process is not None, "it was never started"
        return self.process

    def stop(self) -> int:
        """Stop it as systemd does, and return its exit status."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(timeout=SECONDS)

    def kill(self) -> None:
        """Kill it."""
        self.running.kill()
        self.running.wait(timeout=SECONDS)

    def use(self, name: str = "sshd: op@pts/0") -> None:
        """Begin a process of this title."""
        (self.proc / "77").mkdir(exist_ok=True)
        (self.proc / "77/cmdline").write_text(f"{name}\0")

    def leave(self) -> None:
        """End the process."""
        (self.proc / "77/cmdline").unlink()
        (self.proc / "77").rmdir()

    def journal(self) -> str:
        """Return what the guard has printed, without systemd's priorities."""
        path = self.folder / "journal"
        return re.sub(r"(?m)^<\d>", "", path.read_text(encoding="utf-8")) if path.exists() else ""

    def calls(self) -> list[str]:
        """Return the programs that were run, with their arguments and input."""
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def document(self, name: str) -> dict[str, Any]:
        """Return one of its documents; an empty one before it exists."""
        path = self.state / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def wait_for(self, text: str) -> None:
        """Wait until the journal has a text."""
        wait_until(lambda: text in self.journal(), what=f"{text!r} in:\n{self.journal()}", seconds=SECONDS, pause=0.02)

    def wait_for_call(self, text: str, count: int = 1) -> None:
        """Wait until a program was run so many times."""
        wait_until(
            lambda: sum(text in call for call in self.calls()) >= count,
            what=f"{text!r}, {count} times, among the calls",
            seconds=SECONDS,
            pause=0.02,
        )

    def shift_clock(self, seconds: float) -> None:
        """Set its clock by so many seconds, while it runs or before it starts."""
        self.environment["TEST_CLOCK"] = str(self.folder / "clock")
        scratch = self.folder / "clock.new"
        scratch.write_text(str(seconds), encoding="utf-8")
        scratch.replace(self.folder / "clock")


@dataclass
class Metadata:
    """The sandbox's metadata service, which requires version 2, for one instance."""

    folder: Path
    url: str
    document: dict[str, Any] = field(default_factory=dict)

    def set(self, path: str, text: str) -> None:
        """Set the answer to a path below meta-data."""
        node = self.document.setdefault("meta-data", {})
        *folders, name = path.split("/")
        for part in folders:
            node = node.setdefault(part, {})
        node[name] = text
        scratch = self.folder / "new"
        scratch.write_text(json.dumps({"http_tokens": "required", "hop_limit": 1, **self.document}), encoding="utf-8")
        scratch.replace(self.folder / "127.0.0.1.json")


@contextmanager
def metadata_service(folder: Path) -> Iterator[Metadata]:
    """Run the metadata service of an instance without any notice."""
    folder.mkdir()
    before, imds.ROOT = imds.ROOT, folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), imds.Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    made = Metadata(folder, f"http://127.0.0.1:{server.server_port}")
    made.set("instance-id", "i-0123456789abcdef0")
    made.set("placement/region", "us-east-1")
    made.set("events/maintenance/scheduled", "[]")
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        imds.ROOT = before
