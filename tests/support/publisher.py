# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The publisher of GPU metrics as a process, as its unit starts it, with simulated GPUs and the tests' CloudWatch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.nvml import PROGRAM, Gpus
from sandbox.waiting import wait_until
from tests.support.fork_server import Child, ForkServer
from tests.support.project import ROOT, clean_environment

MODULE = "ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu_publisher.service"
PRELOADED = ("botocore.session", "botocore.config", "pynvml")
INSTANCE = "i-0123456789abcdef0"
SECONDS = 40


def base_environment() -> dict[str, str]:
    """Return the common environment of all publishers."""
    environment = clean_environment({"AWS_ACCESS_KEY_ID": "AKIATESTS", "AWS_SECRET_ACCESS_KEY": "canary-aws-2b7f"})
    path = [environment.get("PYTHONPATH", ""), str(ROOT / ".collections")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}


@dataclass
class Publisher:
    """The process, and its settings.

    Attributes:
        folder: for its spool, settings and journal.
        settings: additional fields of the service's settings.
        environment: variables of the process, in addition to those of the simulated GPUs.
        fork_server: starts it, for a fast start.
        python: its interpreter, without a fork server.
        starts: the number of starts.
    """

    folder: Path
    gpus: Gpus
    endpoint: str
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    fork_server: ForkServer | None = None
    python: Path = Path(sys.executable)
    process: subprocess.Popen[str] | Child | None = None
    starts: int = 0

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    def start(self, text: str = "") -> None:
        """Start it without waiting, with this text as its settings if given."""
        self.starts += 1
        file = self.folder / "settings.json"
        settings = {
            "namespace": "DigitalTwin",
            "spool": str(self.spool),
            "region": "us-east-1",
            "instance_id": INSTANCE,
            "endpoint_url": self.endpoint,
            "sample_interval": 0.1,
            "flush_interval": 1,
            "backoff": 0.2,
            "backoff_max": 0.5,
            **self.settings,
        }
        file.write_text(text or json.dumps(settings), encoding="utf-8")
        environment = {**self.gpus.environment, **self.environment}
        if self.fork_server is not None:
            request = {"arguments": [str(file)], "environment": environment, "output": str(self.journal)}
            self.process = Child(self.fork_server, SECONDS, **request)
            return
        with self.journal.open("ab") as output:
            self.process = subprocess.Popen(
                [str(self.python), "-m", MODULE, str(file)],
                env={**base_environment(), **environment},
                stdout=output,
                stderr=output,
                text=True,
            )

    def shift_clock(self, seconds: float) -> None:
        """Set its clock ahead by this many seconds, while it runs or before a fork server starts it."""
        self.environment["TEST_CLOCK"] = str(self.folder / "clock")
        scratch = self.folder / "clock.new"
        scratch.write_text(str(seconds), encoding="utf-8")
        scratch.replace(self.folder / "clock")

    @property
    def running(self) -> subprocess.Popen[str] | Child:
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

    def says(self) -> str:
        """Return its output, without systemd's priorities."""
        return re.sub(r"(?m)^<\d>", "", self.journal.read_text(encoding="utf-8")) if self.journal.exists() else ""

    def wait_for(self, text: str) -> None:
        """Wait until its output contains a text."""
        wait_until(
            lambda: text in self.says(), what=f"the publisher to print {text!r}:\n{self.says()}", seconds=SECONDS
        )

    def smi(self, query: str) -> list[str]:
        """Return the answer of nvidia-smi to a query, one line per GPU."""
        words = [str(self.gpus.library / PROGRAM), f"--query-gpu={query}", "--format=csv,noheader"]
        environment = {**clean_environment(), **self.gpus.environment}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=SECONDS)
        return done.stdout.splitlines()

    def wait_until_it_samples(self) -> None:
        """Wait until this process has started."""
        wait_until(
            lambda: self.says().count("sampling every") == self.starts, what="the process to start", seconds=SECONDS
        )

    def segments(self) -> list[Path]:
        """Return the files of its spool."""
        return sorted(self.spool.glob("*.samples"))
