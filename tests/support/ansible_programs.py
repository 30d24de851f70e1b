# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's programs in the checkout, as processes of a fork server: loading Ansible takes half of a short run."""

from __future__ import annotations

import atexit
import importlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.support.fork_server import Child, ForkServer
from tests.support.project import clean_environment

PROGRAMS = {
    "ansible": ("ansible.cli.adhoc", "AdHocCLI"),
    "ansible-inventory": ("ansible.cli.inventory", "InventoryCLI"),
    "ansible-playbook": ("ansible.cli.playbook", "PlaybookCLI"),
}
# The modules of the programs, and those that they load later.
PRELOADED = (*(module for module, _name in PROGRAMS.values()), "ansible.executor.task_executor", "boto3")
# The variables that Ansible reads at import.
READ_AT_START = ("ANSIBLE_", "HOME", "LC_", "NO_COLOR", "PYTHON")
SECONDS = 300


def main() -> None:
    """Run the program in the first argument, in a child of the server."""
    program, *words = sys.argv[1:]
    module, name = PROGRAMS[program]
    getattr(importlib.import_module(module), name).cli_executor([program, *words])


@cache
def server(at_start: frozenset[tuple[str, str]]) -> ForkServer:
    """Return a server for all runs with these variables; it ends with this process."""
    made = ForkServer(__name__, {**clean_environment(), **dict(at_start)}, PRELOADED)
    atexit.register(made.close)
    return made


def execute(words: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in the root of the checkout, and return its result.

    Args:
        words: the program and its arguments.
        environment: variables of the process, which are added to the clean environment.
    """
    variables = dict(clean_environment() if environment is None else environment)
    at_start = frozenset((name, value) for name, value in variables.items() if name.startswith(READ_AT_START))
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        files = {"output": str(output), "errors": str(errors)}
        child = Child(server(at_start), SECONDS, arguments=list(words), environment=variables, **files)
        try:
            status = child.wait(SECONDS)
        finally:
            child.kill()
            # Else the next child would get this one's exit status as its process id.
            child.wait(SECONDS)
        return subprocess.CompletedProcess(words, status, output.read_text("utf-8"), errors.read_text("utf-8"))


def run(words: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed, and return what it wrote to stdout.

    Raises:
        pytest.fail.Exception: it failed; the message is its output.
    """
    done = execute(words, environment)
    if done.returncode:
        pytest.fail(f"{shlex.join(words)} exited {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout
