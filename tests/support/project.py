# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout under test: its files, a clean environment for its commands, and a clean copy."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "digital_twin"
NAME = "robotics_lab"
FQCN = f"{NAMESPACE}.{NAME}"

# Settings of a sourced sandbox environment, a git hook or the user that would change a command's behaviour.
_FOREIGN_SETTINGS = ("ANSIBLE_", "AWS_", "GIT_", "MOLECULE_", "MOTO_")


@cache
def project_files() -> tuple[PurePosixPath, ...]:
    """Return every file of the project, relative to its root: tracked files, and new files that git does not ignore.

    Files that were deleted and not yet committed are left out; symbolic links are included.

    Raises:
        RuntimeError: git is missing, or this is not a git checkout.
    """
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"The gates need git and a git checkout to list the project's files: {error}") from error
    paths = sorted({name for name in found.split("\0") if name})
    return tuple(PurePosixPath(name) for name in paths if os.path.lexists(ROOT / name))


@cache
def text_files(*folders: str) -> dict[PurePosixPath, str]:
    """Return the text of every project file that is UTF-8, by relative path.

    Args:
        folders: only files below these folders; all files when none is named.
    """
    texts: dict[PurePosixPath, str] = {}
    for path in project_files():
        if folders and path.parts[0] not in folders:
            continue
        full = ROOT / path
        if full.is_symlink() or not full.is_file():
            continue
        try:
            texts[path] = full.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return texts


@cache
def role_names() -> list[str]:
    """Return the names of the roles that have at least one file."""
    return sorted({path.parts[1] for path in project_files() if path.parts[0] == "roles" and len(path.parts) > 2})


def input_check(role: str) -> str:
    """Return the entry point in which a role checks its variables first."""
    return "preflight" if (ROOT / "roles" / role / "tasks/preflight.yml").is_file() else "main"


def playbooks() -> list[str]:
    """Return site.yml and every playbook of playbooks/, relative to the root."""
    return [
        str(path)
        for path in project_files()
        if path.suffix == ".yml" and (str(path) == "site.yml" or path.parts[:-1] == ("playbooks",))
    ]


def module_names() -> list[str]:
    """Return the names of the collection's modules, without namespace."""
    return [
        path.stem
        for path in project_files()
        if path.parts[:-1] == ("plugins", "modules") and path.suffix == ".py" and path.stem != "__init__"
    ]


class _AnsibleLoader(yaml.CSafeLoader):
    """Loads values with Ansible's own tags as plain text."""


for _tag in ("!unsafe", "!vault"):
    _AnsibleLoader.add_constructor(_tag, lambda _loader, node: node.value)


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML document, with Ansible's tags `!unsafe` and `!vault` taken as plain text."""
    loader = _AnsibleLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def load_yaml(path: Path | PurePosixPath) -> Any:
    """Return the content of a YAML file of the project.

    Args:
        path: absolute, or relative to the project's root.

    Raises:
        AssertionError: the file does not exist.
    """
    full = ROOT / path
    assert full.is_file(), f"{path} is missing"
    return parse_yaml(full.read_text(encoding="utf-8"))


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings for Ansible, Molecule and AWS.

    Args:
        extra: variables to add.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_SETTINGS)}
    # The tools next to the running interpreter, even when its environment was not activated.
    # pyenv's shims include Pythons that it refuses to run, and Ansible uses the newest name that it finds.
    found = [name for name in environment.get("PATH", os.defpath).split(os.pathsep) if Path(name).name != "shims"]
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), *found])
    environment.update({"LC_ALL": "C.UTF-8", "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"})
    # No test may use a real AWS account, from the user's files or an instance's metadata.
    environment.update({"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull})
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    environment.pop("FORCE_COLOR", None)
    environment.update(extra or {})
    return environment


def _text(output: bytes | str | None) -> str:
    """Return the output of a stopped command, which the standard library returns undecoded."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def run(
    command: Sequence[str],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> str:
    """Run a command that must succeed and return its stdout.

    Args:
        command: program and arguments.
        cwd: working directory.
        env: variables to add to the clean environment.
        timeout: seconds after which the command is stopped.

    Raises:
        pytest.fail.Exception: the command failed or ran too long; the message is its output only.
    """
    shown = shlex.join(command)
    try:
        result = subprocess.run(
            command,
            cwd=cwd,
            env=clean_environment(env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        pytest.fail(f"{shown}: {error}; run `make setup` first", pytrace=False)
    except subprocess.TimeoutExpired as error:
        pytest.fail(
            f"{shown}: not finished after {timeout:.0f} s\n{_text(error.stdout)}\n{_text(error.stderr)}", pytrace=False
        )
    if result.returncode:
        pytest.fail(f"{shown} exited {result.returncode}\n{result.stdout}\n{result.stderr}", pytrace=False)
    return result.stdout


def expect_none(found: Iterable[str], advice: str = "") -> None:
    """Fail with a list of findings, one a line, unless it is empty.

    Args:
        found: the findings.
        advice: a first line with the remedy.

    Raises:
        pytest.fail.Exception: something was found.
    """
    lines = list(found)
    if lines:
        pytest.fail("\n".join([advice, *lines] if advice else lines), pytrace=False)


def copy_project(target: Path, leave_out: Iterable[str] = ()) -> None:
    """Copy the project's regular files, and no other files of the checkout, to an empty folder.

    Symbolic links are skipped: the collection format drops them, and the link under .collections points to the root.

    Args:
        target: the folder to create.
        leave_out: top-level folders or files that are not copied.
    """
    skipped = {".collections", *leave_out}
    for path in project_files():
        source = ROOT / path
        if path.parts[0] in skipped or source.is_symlink():
            continue
        destination = target / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, destination)
