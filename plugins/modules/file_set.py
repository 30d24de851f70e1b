#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that writes several small files of one folder in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
version_added: 1.0.0
short_description: Write several small files of one folder in one call
description:
  - Writes text files, sets their owner, group and mode, and removes files.
  - A loop over M(ansible.builtin.copy) runs two modules on the host for each file. In check mode it also warns about
    each numeric owner that has no account there, such as the user of a container image.
options:
  path:
    description:
      - Absolute path of the folder. It is created, and its missing parents with mode V(0755). Files in it
        that are not in O(files) stay.
      - A link is followed.
    type: path
    required: true
  directory_mode:
    description:
      - Mode of O(path) and of the folders that O(files[].name) names below it.
      - Without it, a folder that exists keeps its owner, group and mode, and a new one gets V(0755).
    type: str
  files:
    description:
      - The files. Each is replaced atomically, so that a reader never sees an incomplete file. A link is replaced by a
        file.
      - When empty, only the folder is created and configured.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Path of the file below O(path), such as V(ros/places.json).
        type: str
        required: true
      content:
        description: The whole text. It is written unchanged, in UTF-8.
        type: str
      state:
        description: V(absent) removes the file.
        type: str
        choices: [present, absent]
        default: present
      force:
        description:
          - Whether to replace the content of a file that exists. Its owner, group and mode are set either way.
          - V(false) follows a link to a file.
        type: bool
        default: true
      owner:
        description: Name or number of the user that owns the file. Overrides O(owner).
        type: str
      group:
        description: Name or number of the group of the file. Overrides O(group).
        type: str
      mode:
        description: Mode of the file. Overrides O(mode).
        type: str
      validate:
        description:
          - Command that accepts or rejects the new content before it replaces the file. V(%s) stands for the path of a
            temporary file. It runs without a shell, and not in check mode.
          - When it rejects the content, the module fails with RV(validated). The files before it in the list are
            written.
        type: str
  owner:
    description: Name or number of the user that owns the files and the folders.
    type: str
    default: root
  group:
    description: Name or number of the group of the files and of the folders.
    type: str
    default: root
  mode:
    description: Mode of the files.
    type: str
    default: "0644"
extends_documentation_fragment: digital_twin.robotics_lab._attributes
attributes:
  diff_mode:
    details: Set C(diff=false) for secrets.
notes:
  - The module has no dedicated option for secrets. Set C(no_log=true) on a task whose files are secret.
seealso:
  - module: ansible.builtin.copy
  - module: ansible.builtin.template
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Write the passwords of two services, each for the user of its container image
  digital_twin.robotics_lab.file_set:
    path: /opt/robots/secrets
    directory_mode: "0700"
    mode: "0400"
    files:
      - {name: redis_auth, content: "requirepass {{ redis_password }}", owner: "999"}
      - {name: redis_password, content: "{{ redis_password }}", owner: "10001"}
  diff: false
  no_log: true

- name: Write a program and its settings, and remove the settings of an earlier version
  digital_twin.robotics_lab.file_set:
    path: /opt/robots/bridge
    files:
      - {name: bridge.py, content: "{{ lookup('ansible.builtin.file', 'bridge.py', rstrip=false) }}", mode: "0755"}
      - {name: conf/bridge.json, content: "{{ bridge_settings | to_nice_json }}"}
      - {name: bridge.ini, state: absent}
"""

RETURN = r"""
changed_files:
  description: Names of the files whose content, owner, group, mode or existence changed, or would change in check mode.
  returned: success
  type: list
  elements: str
  sample: [redis_auth]
modified:
  description: >-
    For each file that exists, the time of its last change, in seconds since 1970 with a fraction of nine digits.
  returned: success
  type: dict
  sample: {redis_auth: "1764441822.120000000"}
validated:
  description: The C(name) of the rejected file, and C(cmd), C(rc), C(stdout) and C(stderr) of its O(files[].validate).
  returned: when a file is refused
  type: dict
  sample: {name: daemon.json, cmd: dockerd --validate --config-file=/etc/docker/.d.x, rc: 1, stdout: "", stderr: "?"}
"""

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.module_utils.basic import AnsibleModule

NANOSECONDS = 10**9
NEW_FOLDER = 0o755


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
        wanted = file["content"].encode()
        # A link is replaced, unless the file that it leads to is to stay.
        present = None if file["force"] and path.is_symlink() else self._read(path)
        attributes = {
            "owner": file["owner"] or self._module.params["owner"],
            "group": file["group"] or self._module.params["group"],
            "mode": file["mode"] or self._module.params["mode"],
        }
        if present is not None and (present == wanted or not file["force"]):
            return self._set_attributes(path, attributes)
        self._show(path, present, file["content"])
        if not self._module.check_mode:
            self._replace(path, wanted, attributes, file)
        return True

    def _replace(self, path: Path, content: bytes, attributes: dict[str, Any], file: dict[str, Any]) -> None:
        """Write a temporary file, set its owner and mode, and rename it, so that no reader sees an incomplete file."""
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            self._set_attributes(Path(name), attributes)
            if file["validate"]:
                self._validate(file, name)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise

    def _validate(self, file: dict[str, Any], path: str) -> None:
        command = file["validate"].replace("%s", path)
        status, output, errors = self._module.run_command(command)
        if status != 0:
            validated = {"name": file["name"], "cmd": command, "rc": status, "stdout": output, "stderr": errors}
            words = (errors or output).strip()
            target = self._root / file["name"]
            self._module.fail_json(
                msg=f"{target} was left as it is, as `{command}` refuses the new content: {words}", validated=validated
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


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "directory_mode": {"type": "str"},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "content": {"type": "str"},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                    "force": {"type": "bool", "default": True},
                    "owner": {"type": "str"},
                    "group": {"type": "str"},
                    "mode": {"type": "str"},
                    "validate": {"type": "str"},
                },
                "required_if": [("state", "present", ["content"])],
            },
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0644"},
        },
        supports_check_mode=True,
    )
    files = FileSet(module)
    try:
        files.apply()
        modified = files.modified()
    except OSError as error:
        place = module.params["path"]
        module.fail_json(msg=f"The files of {place} could not be written: {error}. Remove the cause, then run again.")
    module.exit_json(changed=files.changed, changed_files=files.changed_files, modified=modified, diff=files.diff)


if __name__ == "__main__":
    main()
