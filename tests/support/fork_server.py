# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fork server: it imports the modules of its children once, and forks one child for each request.

As a program it reads requests, one line of JSON each, and answers with the child's process id, and with the exit status
when the child has ended. It has one child at a time.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.support.project import ROOT


class ForkServer:
    """The running program.

    Args:
        module: the module whose ``main`` a child runs.
        environment: variables of the program, and of its children unless a request overrides them.
        preloaded: further modules that the program imports before it forks.
    """

    def __init__(self, module: str, environment: dict[str, str], preloaded: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, module, *preloaded],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def request(self, **what: Any) -> None:
        """Request a child.

        Args:
            what: ``arguments``, ``environment``, ``output``, the file to which its output is appended, and
                ``errors``, the file for its errors if it is another one.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    def answer(self, seconds: float) -> int:
        """Return the next number that the program prints."""
        stream = self._process.stdout
        assert stream is not None
        assert select.select([stream], [], [], seconds)[0], f"a child has neither started nor ended within {seconds} s"
        return int(stream.readline())

    def close(self) -> None:
        """End the program, which must not have a child."""
        self._process.communicate(timeout=10)


class Child:
    """A process of a fork server, with the part of :class:`subprocess.Popen` that tests use."""

    def __init__(self, server: ForkServer, seconds: float, **request: Any) -> None:
        self._server = server
        self._status: int | None = None
        server.request(**request)
        self.pid = server.answer(seconds)

    def send_signal(self, number: int) -> None:
        if self._status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        if self._status is None:
            self._status = self._server.answer(timeout)
        return self._status


def set_clock(file: Path) -> None:
    """Set this process's clock ahead by the number of seconds in a file."""
    true = time.time
    time.time = lambda: true() + float(file.read_text(encoding="utf-8"))


def become(main: Any, request: dict[str, Any]) -> NoReturn:
    """Run a child's request. The child always exits, so it never continues as a second server."""
    status = 1
    try:
        for name, stream in (("errors", sys.stderr), ("output", sys.stdout)):
            output = os.open(request.get(name, request["output"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(output, stream.fileno())
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os.environ.update(request["environment"])
        if "TEST_CLOCK" in os.environ:
            set_clock(Path(os.environ["TEST_CLOCK"]))
        sys.argv[1:] = request["arguments"]
        status = main() or 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else bool(ended.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(module: str, *preloaded: str) -> None:
    """Serve requests until standard input is closed."""
    main = importlib.import_module(module).main
    for name in preloaded:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(main, json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
