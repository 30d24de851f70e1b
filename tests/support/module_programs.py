# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of the collection as processes of a fork server, so that a test can kill one at any moment."""

from __future__ import annotations

import atexit
import importlib
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.testing import patch_module_args

from tests.support.fork_server import Child, ForkServer
from tests.support.project import FQCN, ROOT, clean_environment

MODULES = f"ansible_collections.{FQCN}.plugins.modules"
SECONDS = 120


def main() -> None:
    """Run the module in the first argument with the arguments in the second, in a child of the server."""
    name, arguments = sys.argv[1:]
    module = importlib.import_module(f"{MODULES}.{name}")
    with patch_module_args(json.loads(arguments)):
        module.main()


@cache
def server(name: str) -> ForkServer:
    """Return the server for a module; it ends with this process."""
    settings = {"PYTHONPATH": f"{ROOT}:{ROOT / '.collections'}"}
    made = ForkServer(__name__, clean_environment(settings), [f"{MODULES}.{name}", "boto3"])
    atexit.register(made.close)
    return made


def start(name: str, arguments: Mapping[str, Any], environment: Mapping[str, str], output: Path) -> Child:
    """Start a module, which appends its result to a file."""
    words = [name, json.dumps(arguments)]
    return Child(server(name), SECONDS, arguments=words, environment=dict(environment), output=str(output))


def run(name: str, arguments: Mapping[str, Any], environment: Mapping[str, str], output: Path) -> dict[str, Any]:
    """Run a module to its end, and return its result."""
    output.unlink(missing_ok=True)
    start(name, arguments, environment, output).wait(SECONDS)
    result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8").splitlines()[-1])
    return result
