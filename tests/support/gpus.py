# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host with simulated GPUs, on which the GPU modules run as Ansible runs them."""

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
from ansible_collections.digital_twin.robotics_lab.plugins.module_utils._gpu import boot, saved

from sandbox.nvml import LIBRARY, PROGRAM, Gpus

MODULES = "ansible_collections.digital_twin.robotics_lab.plugins.modules"


class Host:
    """One host and the actions of a playbook on it.

    Args:
        library: the folder with the simulated library.
        folder: the folder for the host's state.
    """

    def __init__(self, library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Loaded once here instead of in each child.
        importlib.import_module("pynvml")
        self._monkeypatch = monkeypatch
        self._volatile = folder / "run"
        self.gpus = Gpus(folder, library)
        # From now on it is found by name, as if it were on the loader's path.
        ctypes.CDLL(str(library / LIBRARY))
        for name, value in self.gpus.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(saved, "LOCKED_CLOCKS", self._volatile / "locked.json")
        # The kernel's directory while the driver is loaded.
        self.driver = folder / "driver"
        self.driver.mkdir()
        monkeypatch.setattr(saved, "DRIVER", self.driver)

    def set_up(self, case: dict[str, Any]) -> None:
        """Set the GPUs, the driver and the faults of a table's row, and boot."""
        self.gpus.plug(*case.get("gpus", []))
        driver = case.get("driver", "550.163.01")
        self.gpus.install(None if driver == "none" else driver)
        user = case.get("user", 0)
        self._monkeypatch.setenv("SANDBOX_NVML_UID", str(user))
        self._monkeypatch.setattr(os, "geteuid", lambda: user)
        self.reboot()
        self.break_calls(case.get("faults", []))

    def break_calls(self, faults: list[str]) -> None:
        """Add faults in the format of the simulator's file."""
        for fault in faults:
            words = fault.split()
            gpu = next((int(word[5:]) for word in words if word.startswith("@gpu=")), None)
            self.gpus.fault(words[0], words[1], gpu=gpu)

    def reboot(self) -> None:
        self.gpus.reboot()

    def reload_driver(self) -> None:
        """Unload the driver and load it again."""
        self.gpus.load()
        # Created before the old one is removed, so that its inode differs on any filesystem.
        fresh = self.driver.with_name("fresh")
        fresh.mkdir()
        self.driver.rmdir()
        fresh.rename(self.driver)

    def run(self, module: str, request: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        """Run a module in a separate process and return its result."""
        main = importlib.import_module(f"{MODULES}.{module}").main

        def work() -> None:
            # If another test has loaded Ansible's display, warnings would be shown instead of returned.
            _internal.is_controller = False
            with patch_module_args({**request, "_ansible_check_mode": check}):
                main()

        result = dict(json.loads(self.in_child(work)))
        result.pop("invocation", None)
        return result

    def boot(self, settings: str) -> list[str]:
        """Run the unit's boot command on a file with this text; return its output and, last, its exit status."""
        file = self._volatile.parent / "settings.json"
        file.write_text(settings, encoding="utf-8")
        self._monkeypatch.setattr(sys, "argv", ["_gpu_boot", str(file)])

        def work() -> None:
            sys.stdout.write(f"{boot.main()}\n")

        return self.in_child(work).splitlines()

    def in_child(self, work: Callable[[], None]) -> str:
        """Run a function in a separate process, so that NVML's state here is unchanged, and return its output."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            # This process must always exit, never continue as a second pytest.
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
        """Replace {uuid0} and so on in a request by UUIDs."""
        if "gpus" not in request:
            return request
        uuids = {f"{{uuid{gpu['index']}}}": gpu["uuid"] for gpu in self.run("gpu_info", {})["gpus"] if not gpu["error"]}
        return {**request, "gpus": [uuids.get(str(name), str(name)) for name in request["gpus"]]}

    def writes(self) -> list[str]:
        """Return every call of an NVML setter since the host booted."""
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
