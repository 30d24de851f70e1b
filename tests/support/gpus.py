# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pretended host with simulated GPUs, on which the GPU modules run as Ansible runs them."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import _internal
from ansible.module_utils.testing import patch_module_args
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu import apply, boot

from sandbox.nvml import LIBRARY, PROGRAM, Gpus

MODULES = "ansible_collections.digital_twin.robotics_lab.plugins.modules"


class Host:
    """One host, and what a playbook would do there.

    Args:
        library: the folder with the simulated library.
        folder: where the host keeps its state.
    """

    def __init__(self, library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Loaded once here, and not again in each child.
        importlib.import_module("pynvml")
        self._monkeypatch = monkeypatch
        self._volatile = folder / "run"
        self.gpus = Gpus(folder, library)
        # Found by its name from now on, as if the loader's path led to it.
        ctypes.CDLL(str(library / LIBRARY))
        for name, value in self.gpus.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(apply, "LOCKED_CLOCKS", self._volatile / "locked.json")
        # What the kernel keeps while the driver is loaded.
        self.driver = folder / "driver"
        self.driver.mkdir()
        monkeypatch.setattr(apply, "DRIVER", self.driver)

    def set_up(self, case: dict[str, Any]) -> None:
        """Put in the GPUs of a table's row, its driver and its faults, and boot."""
        self.gpus.plug(*case.get("gpus", []))
        driver = case.get("driver", "550.163.01")
        self.gpus.install(None if driver == "none" else driver)
        user = case.get("user", 0)
        self._monkeypatch.setenv("SANDBOX_NVML_UID", str(user))
        self._monkeypatch.setattr(os, "geteuid", lambda: user)
        self.reboot()
        self.break_calls(case.get("faults", []))

    def break_calls(self, faults: list[str]) -> None:
        """Add faults, in the words of the simulator's file."""
        for fault in faults:
            words = fault.split()
            gpu = next((int(word[5:]) for word in words if word.startswith("@gpu=")), None)
            self.gpus.fault(words[0], words[1], gpu=gpu)

    def reboot(self) -> None:
        self.gpus.reboot()

    def reload_driver(self) -> None:
        """Unload the driver and load it again."""
        self.gpus.load()
        # Made before the old one is gone, so that it gets another inode on any filesystem.
        fresh = self.driver.with_name("fresh")
        fresh.mkdir()
        self.driver.rmdir()
        fresh.rename(self.driver)

    def run(self, module: str, request: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        """Run a module in a process of its own and return its result."""
        main = importlib.import_module(f"{MODULES}.{module}").main

        def work() -> None:
            # Where another test has loaded what shows warnings, a module's would be shown and not returned.
            _internal.is_controller = False
            with patch_module_args({**request, "_ansible_check_mode": check}):
                main()

        result = dict(json.loads(self.in_child(work)))
        result.pop("invocation", None)
        return result

    def boot(self, settings: str) -> list[str]:
        """Run what the unit runs at boot, on a file with this text; return what it says and, last, its exit status."""
        file = self._volatile.parent / "settings.json"
        file.write_text(settings, encoding="utf-8")
        self._monkeypatch.setattr(sys, "argv", ["_gpu_boot", str(file)])

        def work() -> None:
            sys.stdout.write(f"{boot.main()}\n")

        return self.in_child(work).splitlines()

    def in_child(self, work: Callable[[], None]) -> str:
        """Run something in a process of its own, which leaves NVML as it was, and return what it prints."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            # Whatever happens, this process must not go on as a second pytest.
            try:
                with os.fdopen(writer, "w") as out, redirect_stdout(out), redirect_stderr(out):
                    work()
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            printed = answer.read()
        os.waitpid(child, 0)
        return printed

    def fill(self, request: dict[str, Any]) -> dict[str, Any]:
        """Put UUIDs where a request has {uuid0} and so on."""
        if "gpus" not in request:
            return request
        uuids = {f"{{uuid{gpu['index']}}}": gpu["uuid"] for gpu in self.run("gpu_info", {})["gpus"] if not gpu["error"]}
        return {**request, "gpus": [uuids.get(str(name), str(name)) for name in request["gpus"]]}

    def writes(self) -> list[str]:
        """Return every setter that NVML was asked for since the host booted."""
        return self.gpus.writes()

    def smi(self, *arguments: str) -> list[str]:
        """Return the lines of nvidia-smi's answer to a query."""
        done = subprocess.run(
            [str(self.gpus.library / PROGRAM), *arguments, "--format=csv,noheader"],
            env={**os.environ, **self.gpus.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout.splitlines()
