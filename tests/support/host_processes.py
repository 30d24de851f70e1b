# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes on a simulated host: a node that reads one order per line and answers in JSON, and a service."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.network import Host
from tests.support.project import ROOT, clean_environment

NODES = "tests.support.nodes"
START_SECONDS = 30
# Nodes have their own time limits; this is for one that hangs.
GRACE_SECONDS = 15


class NodeProcess:
    """One process; a context manager that ends it.

    Args:
        host: the host on which it runs.
        node: the name of a program in ``tests/support/nodes``.
        arguments: arguments of the program.
        environment: variables to add.
        python: the interpreter; by default the one that runs the tests.
    """

    def __init__(
        self,
        host: Host,
        node: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        self.name = f"{node} on {host.address}"
        self._errors = io.FileIO(os.memfd_create("errors"), "r+")
        self._unread = b""
        self._process = subprocess.Popen(
            host.inside(str(python or sys.executable), "-m", f"{NODES}.{node}", *arguments),
            cwd=ROOT,
            env=clean_environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )

    def __enter__(self) -> NodeProcess:
        """Wait until it has started.

        Raises:
            AssertionError: it has not started.
        """
        try:
            self.started = self._answer(START_SECONDS)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()

    def order(self, do: str, *, seconds: float, **options: Any) -> None:
        """Send an order with a time limit in seconds, without waiting for the answer."""
        assert self._process.stdin
        self._seconds = seconds
        self._process.stdin.write(json.dumps({"do": do, "seconds": seconds, **options}).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        """Return the answer to an order.

        Raises:
            AssertionError: there is no answer, or it is an error.
        """
        return self._answer(self._seconds + GRACE_SECONDS)

    def request(self, do: str, *, seconds: float, **options: Any) -> dict[str, Any]:
        """Send an order with a time limit in seconds, and return the answer."""
        self.order(do, seconds=seconds, **options)
        return self.answer()

    def stop(self) -> None:
        """Stop the process, and return once it has stopped."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Continue the stopped process."""
        self._process.send_signal(signal.SIGCONT)

    def _answer(self, seconds: float) -> dict[str, Any]:
        line = self._line(time.monotonic() + seconds)
        assert line is not None, f"Waited {seconds:.0f} s for an answer of {self.name}, without success.\n{self._log()}"
        answer = json.loads(line) if line else {"error": "ended"}
        assert "error" not in answer, f"{self.name}: {answer['error']}\n{self._log()}"
        return dict(answer)

    def _line(self, deadline: float) -> bytes | None:
        """Return the next line; nothing at the end of all lines, None at the deadline."""
        assert self._process.stdout
        while b"\n" not in self._unread:
            if not select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                return b""
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _log(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


class ServiceProcess:
    """A program that serves on a host until it is closed.

    Args:
        host: the host on which it runs.
        words: the command.
        environment: variables to add.
    """

    def __init__(self, host: Host, words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            host.inside(*words),
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> ServiceProcess:
        """Return it; it has already started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
