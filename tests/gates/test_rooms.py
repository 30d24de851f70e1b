# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of plugins/ have no import cycle, and code for hosts runs on their oldest Python."""

from __future__ import annotations

import ast
import graphlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.gates.test_collection import stage
from tests.support.ansible_lines import floor_python
from tests.support.project import FQCN, expect_none, run, text_files

PACKAGE = f"ansible_collections.{FQCN}."
# The folders from which a folder may import.
ALLOWED: dict[str, set[str]] = {
    "doc_fragments": set(),
    "module_utils": {"module_utils"},
    "modules": {"module_utils"},
    "plugin_utils": {"module_utils", "plugin_utils"},
}
CONTROLLER = {"module_utils", "plugin_utils", "lookup"}


def room_of(path: PurePosixPath) -> str:
    """Return the folder by subject of a file below plugins/, or the file itself if it has none."""
    parts = path.parts[1:]
    return "/".join(parts[:2]) if parts[0] in {"module_utils", "plugin_utils"} else parts[0]


def imports_of(path: PurePosixPath, text: str, files: set[PurePosixPath]) -> set[PurePosixPath]:
    """Return the files of plugins/ that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level:
            base = path.parents[node.level - 1]
        elif module.startswith(PACKAGE + "plugins"):
            base, module = PurePosixPath("plugins"), module.removeprefix(PACKAGE + "plugins").lstrip(".")
        else:
            continue
        folder = base.joinpath(*filter(None, module.split(".")))
        candidates = [folder.with_suffix(".py"), *(folder / f"{name.name}.py" for name in node.names)]
        found |= {candidate for candidate in candidates if candidate in files}
    return found


def edges() -> dict[PurePosixPath, set[PurePosixPath]]:
    """Return the files that each file of plugins/ imports."""
    texts = {path: text for path, text in text_files("plugins").items() if path.suffix == ".py"}
    return {path: imports_of(path, text, set(texts)) for path, text in texts.items()}


def test_imports_are_found() -> None:
    found = edges()
    sysctl = PurePosixPath("plugins/modules/sysctl_settings.py")
    assert PurePosixPath("plugins/module_utils/_sysctl.py") in found[sysctl]
    assert sum(len(targets) for targets in found.values()) > 50


def test_folders_have_no_import_cycle() -> None:
    rooms: dict[str, set[str]] = {}
    for path, targets in edges().items():
        rooms.setdefault(room_of(path), set()).update(room_of(target) for target in targets)
    graph = {room: targets - {room} for room, targets in rooms.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"these folders import one another: {' -> '.join(error.args[1])}", pytrace=False)


def test_code_for_hosts_imports_no_code_for_the_controller() -> None:
    expect_none(
        f"{path} imports {target}"
        for path, targets in edges().items()
        for target in targets
        if target.parts[1] not in ALLOWED.get(path.parts[1], CONTROLLER | {path.parts[1]})
    )


IMPORT_ALL = """
import importlib, json, sys, traceback
failed = 0
for name in json.load(open('names.json')):
    try:
        importlib.import_module(name)
    except BaseException:
        failed = 1
        print(name, traceback.format_exc().splitlines()[-1], sep=": ")
sys.exit(failed)
"""
# Modules that run without services of a host.
RUNS: dict[str, dict[str, Any]] = {
    "host_info": {
        "files": ["/etc/hostname"],
        "users": ["root"],
        "groups": ["root"],
        "commands": {"ok": {"argv": ["true"]}},
    },
    "file_set": {"path": "/", "files": []},
}


@pytest.mark.floor
def test_modules_run_on_the_oldest_python_of_hosts(tmp_path: Path) -> None:
    """A host imports them with its own Python, without the packages of the control machine."""
    staged = stage(tmp_path, ("compose", "docs", "molecule", "sandbox", "tests"))
    ansible = Path(json.loads(run(["python", "-c", "import ansible, json; print(json.dumps(ansible.__path__[0]))"])))
    (tmp_path / "ansible").symlink_to(ansible)
    names = [
        PACKAGE + ".".join(path.with_suffix("").parts)
        for path in text_files("plugins")
        if path.suffix == ".py" and path.parts[1] in {"modules", "module_utils"}
    ]
    assert len(names) > 40
    environment = {"PYTHONPATH": str(staged.parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    (tmp_path / "names.json").write_text(json.dumps(names))
    run([floor_python(), "-c", IMPORT_ALL], cwd=tmp_path, env=environment)
    for name, arguments in RUNS.items():
        given = tmp_path / f"{name}.json"
        given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": True}}))
        output = run(
            [floor_python(), "-m", f"{PACKAGE}plugins.modules.{name}", str(given)], cwd=tmp_path, env=environment
        )
        assert json.loads(output)["changed"] is False, name
