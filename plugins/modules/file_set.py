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
            already written.
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
author: The digital_twin.robotics_lab maintainers (@digital-twin)
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

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._files import FileSet


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
