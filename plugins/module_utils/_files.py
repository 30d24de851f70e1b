# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes a single file, or a set of files of one folder; no reader sees an incomplete file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

NANOSECONDS = 10**9
NEW_FOLDER = 0o755


def replace_file(
    path: Path, text: str, prepare: Callable[[Path], object] = lambda scratch: scratch.chmod(0o644)
) -> None:
    """Write a text file in place of what is there.

    Args:
        prepare: Sets the owner and the mode of the new file before it replaces the old one.

    Raises:
        OSError: it cannot be written.
    """
    # apt, sysctl and others ignore names that begin with a dot or lack their suffix.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
        prepare(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink()
        raise


class FileSet:
    """The files that a task declares, and the changes to them.

    Attributes:
        changed: whether anything is different, folders included.
        changed_files: names of the files that are different.
        diff: what Ansible shows of each file whose content is different; empty when the task shows no diff.
    """

    def __init__(self, module: AnsibleModule) -> None:
        """Take the module's parameters."""
        self._module = module
        self._root = Path(module.params["path"])
        self.changed = False
        self.changed_files: list[str] = []
        self.diff: list[dict[str, str]] = []

    def apply(self) -> None:
        """Read, compare and write every file."""
        files = self._module.params["files"]
        self._check(files)
        self._folder(self._root)
        for file in files:
            path = self._root / file["name"]
            if file["state"] == "absent":
                different = self._remove(path)
            else:
                for parent in reversed(PurePosixPath(file["name"]).parents[:-1]):
                    self._folder(self._root / parent)
                different = self._write(path, file)
            if different:
                self.changed_files.append(file["name"])
        self.changed = self.changed or bool(self.changed_files)

    def modified(self) -> dict[str, str]:
        """Return when each file that exists was changed last."""
        times = {}
        for file in self._module.params["files"]:
            path = self._root / file["name"]
            if path.exists():
                seconds, rest = divmod(path.stat().st_mtime_ns, NANOSECONDS)
                times[file["name"]] = f"{seconds}.{rest:09}"
        return times

    def _check(self, files: list[dict[str, Any]]) -> None:
        if not self._root.is_absolute():
            self._module.fail_json(msg=f"path is {self._root}. It must be an absolute path.")
        names = [file["name"] for file in files]
        for name in names:
            if name == "." or name.startswith("/") or str(PurePosixPath(name)) != name or ".." in name.split("/"):
                self._module.fail_json(
                    msg=f"files has the name {name!r}. A name is a path below {self._root}, without `..`, such as "
                    "ros/places.json."
                )
            if names.count(name) > 1:
                self._module.fail_json(msg=f"files has {name} twice. Name each file once.")
        for path in [self._root / name for name in names]:
            if path.is_dir() and not path.is_symlink():
                self._module.fail_json(msg=f"{path} is a folder, so no file of that name can be there. Move it away.")
        parents = [(self._root / file["name"]).parent for file in files if file["state"] == "present"]
        for parent in [self._root, *parents]:
            for folder in (parent, *parent.parents):
                if os.path.lexists(folder) and not folder.is_dir():
                    self._module.fail_json(msg=f"{folder} is not a folder, so {parent} cannot be one. Move it away.")

    def _folder(self, path: Path) -> None:
        """Create a folder with its missing parents, and set its owner, group and mode."""
        params = self._module.params
        new = not path.is_dir()
        if new:
            self.changed = True
            if self._module.check_mode:
                return
            for folder in (*reversed(path.parents), path):
                if not folder.is_dir():
                    folder.mkdir()
                    # The umask of the connection must not restrict the mode.
                    folder.chmod(NEW_FOLDER)
        if new or params["directory_mode"]:
            attributes = {"owner": params["owner"], "group": params["group"], "mode": params["directory_mode"]}
            self.changed = self._set_attributes(path, attributes) or self.changed

    def _remove(self, path: Path) -> bool:
        if not os.path.lexists(path):
            return False
        self._show(path, None if path.is_symlink() else self._read(path), "")
        if not self._module.check_mode:
            path.unlink()
        return True

    def _write(self, path: Path, file: dict[str, Any]) -> bool:
        # A link is replaced, unless the file that it leads to is to stay.
        present = None if file["force"] and path.is_symlink() else self._read(path)
        attributes = {
            "owner": file["owner"] or self._module.params["owner"],
            "group": file["group"] or self._module.params["group"],
            "mode": file["mode"] or self._module.params["mode"],
        }
        if present is not None and (present == file["content"].encode() or not file["force"]):
            return self._set_attributes(path, attributes)
        self._show(path, present, file["content"])
        if not self._module.check_mode:
            replace_file(path, file["content"], lambda scratch: self._prepare(scratch, file, attributes))
        return True

    def _prepare(self, scratch: Path, file: dict[str, Any], attributes: dict[str, Any]) -> None:
        """Set the owner and the mode of a new file, and validate it."""
        self._set_attributes(scratch, attributes)
        if not file["validate"]:
            return
        command = file["validate"].replace("%s", str(scratch))
        status, output, errors = self._module.run_command(command)
        if status != 0:
            self._module.fail_json(
                msg=f"{self._root / file['name']} was left as it is, as `{command}` refuses the new content: "
                f"{(errors or output).strip()}",
                validated={"name": file["name"], "cmd": command, "rc": status, "stdout": output, "stderr": errors},
            )

    def _read(self, path: Path) -> bytes | None:
        return path.read_bytes() if path.is_file() else None

    def _show(self, path: Path, before: bytes | None, after: str) -> None:
        # Ansible shows a diff that a module returns even if the task has diff=false.
        if self._module._diff:
            headers = {"before_header": str(path), "after_header": str(path)}
            self.diff.append({**headers, "before": (before or b"").decode(errors="replace"), "after": after})

    def _set_attributes(self, path: Path, attributes: dict[str, Any]) -> bool:
        """Set owner, group and mode of a path or of the target of a link, and return whether one of them differed."""
        # Ansible would change the owner of a link, and not the mode of its target.
        arguments = {"path": os.path.realpath(path), "secontext": [None, None, None], "attributes": None, **attributes}
        return bool(self._module.set_fs_attributes_if_different(arguments, False, expand=False))
