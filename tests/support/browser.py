# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headless Chromium with one page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

# Long, so that no test fails on a busy machine.
SECONDS = 60.0
PAUSE = 0.1
END = b"\0"


class Browser:
    """One page of one Chromium, controlled by its DevTools protocol over a socket pair: no port, no driver."""

    def __init__(self, wire: socket.socket, log: Path) -> None:
        """Open a page.

        Args:
            wire: the other end of the socket pair.
            log: the file with the browser's output.
        """
        self._wire = wire
        self._log = log
        self._number = 0
        self._waiting = b""
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: Any) -> Any:
        """Return the browser's answer to one request."""
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        self._wire.sendall(json.dumps(request).encode() + END)
        deadline = time.monotonic() + SECONDS
        while (message := self._receive(deadline, method)).get("id") != self._number:
            pass  # an event
        assert "error" not in message, f"{method}: {message['error']}"
        return message["result"]

    def _receive(self, deadline: float, method: str) -> Mapping[str, Any]:
        while END not in self._waiting:
            self._wire.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                piece = self._wire.recv(1 << 16)
            except TimeoutError:
                self._fail(f"did not answer {method} within {SECONDS:g} s")
            if not piece:
                self._fail(f"ended before it answered {method}")
            self._waiting += piece
        message, self._waiting = self._waiting.split(END, 1)
        return dict(json.loads(message))

    def _fail(self, what: str) -> NoReturn:
        pytest.fail(f"Chromium {what}:\n{self._log.read_text(encoding='utf-8')[-3000:]}")

    def open(self, url: str) -> None:
        """Go to a page, whose URL has a path, and wait until it is loaded."""
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'", url)

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page, as JSON."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def until(self, expression: str, what: str) -> Any:
        """Return an expression's value as soon as it is true.

        Args:
            what: the condition, as it completes the sentence "... was not seen".
        """
        deadline = time.monotonic() + SECONDS
        while not (value := self.value(expression)):
            if time.monotonic() > deadline:
                text = self.value("document.body ? document.body.innerText : ''")
                pytest.fail(f"{what} was not seen within {SECONDS:g} s; the page shows: {text}")
            time.sleep(PAUSE)
        return value

    def screenshot(self, file: Path) -> None:
        """Write a screenshot of the page, as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run a Chromium that stores all its files in one folder.

    Args:
        folder: an empty folder for its profile and its log.
    """
    program = shutil.which("chromium") or pytest.fail("chromium is missing. Run `make tools`.")
    log = folder / "chromium.log"
    mine, theirs = socket.socketpair()
    words = [program, "--headless", "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    words += ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--window-size=680,900"]
    # Its own sandbox does not start as root; it opens our pages only.
    words += ["--no-sandbox"] if os.geteuid() == 0 else []
    with mine, log.open("wb") as output:
        with theirs:
            child = subprocess.Popen(
                # It reads descriptor 3 and writes descriptor 4.
                ["bash", "-c", 'exec 3<&0 4>&0 0</dev/null; exec "$@"', "chromium", *words],
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                env={**os.environ, "HOME": str(folder)},
            )
        try:
            yield Browser(mine, log)
        finally:
            # It ends when its controller disconnects.
            mine.close()
            try:
                child.wait(SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                pytest.fail(f"Chromium did not end within {SECONDS:g} s of the request")
