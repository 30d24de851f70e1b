#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that reads packages, units, files, users and the output of commands in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
version_added: 1.0.0
short_description: Read packages, units, files and users of a host in one call
description:
  - Reads the state of a host that a role compares with its variables, in one call instead of one for each fact.
  - Changes nothing. Only pass commands that change nothing either, because they also run in check mode.
options:
  packages:
    description: Names of Debian packages, or patterns with V(*) and V(?) as C(dpkg-query) reads them.
    type: list
    elements: str
    default: []
  units:
    description: Names of systemd units.
    type: list
    elements: str
    default: []
  unit_properties:
    description: Further properties of the units to read, in addition to those that RV(units) lists.
    type: list
    elements: str
    default: []
  settle_timeout:
    description:
      - Seconds to wait until no unit of O(units) is starting, stopping or has a job.
      - A unit that does not settle is not an error. Its state is in RV(units).
    type: float
    default: 0
  files:
    description:
      - Absolute paths of files, folders or links. A link is followed.
      - A path with V(*), V(?) or V([) is a pattern. The result then has the paths that match.
    type: list
    elements: path
    default: []
  content:
    description: Paths of text files, or patterns of such paths, whose content is read as well.
    type: list
    elements: path
    default: []
  users:
    description: Names of users.
    type: list
    elements: str
    default: []
  groups:
    description: Names of groups.
    type: list
    elements: str
    default: []
  commands:
    description: Commands to run, by any name. They run one after another, with C(LC_ALL=C).
    type: dict
    default: {}
  timeout:
    description: Seconds that each command may take. It is then killed, and its C(rc) is 124.
    type: float
    default: 60
extends_documentation_fragment: digital_twin.robotics_lab._attributes.info
notes:
  - Each of O(commands) is a mapping with C(argv), a list, and optionally C(stdin), a text.
  - Set C(no_log=true) on a task that reads files with secrets by O(content).
seealso:
  - module: ansible.builtin.package_facts
  - module: ansible.builtin.stat
  - module: ansible.builtin.systemd_service
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Get the state of the web server
  digital_twin.robotics_lab.host_info:
    packages: [nginx, "libnginx-mod-*"]
    units: [nginx.service]
    files: [/etc/nginx]
    content: [/etc/nginx/nginx.conf]
    users: [www-data]
    commands:
      version: {argv: [nginx, -v]}
  register: web_server

- name: Check that the web server runs
  ansible.builtin.assert:
    that: web_server.units['nginx.service'].ActiveState == 'active'
"""

RETURN = r"""
packages:
  description: By name, what dpkg records. A package that dpkg does not know is left out.
  returned: success
  type: dict
  sample:
    nginx: {version: 1.26.3-3, status: installed, hold: false, architecture: amd64, source: nginx, maintainer: Debian}
units:
  description:
    - By name, C(LoadState), C(ActiveState), C(SubState), C(UnitFileState), C(Result), C(Job), C(MainPID),
      C(StatusText), C(FragmentPath), C(DropInPaths), C(NeedDaemonReload), C(ActiveEnterTimestamp) and
      O(unit_properties), as text.
    - A unit that does not exist has the C(LoadState) C(not-found). Empty where systemd does not run.
  returned: success
  type: dict
  sample: {nginx.service: {LoadState: loaded, ActiveState: active, UnitFileState: enabled}}
files:
  description:
    - By path, C(exists), and for what exists C(kind) (C(file), C(directory) or C(other)), C(link), the target where
      the path is a link, C(mode) in octal, C(uid), C(gid), C(size) in bytes, C(modified) in seconds since 1970, and
      C(content), the text of the files of O(content).
    - Bytes that are not UTF-8 are replaced.
  returned: success
  type: dict
  sample:
    /etc/nginx:
      {exists: true, kind: directory, link: "", mode: "0755", uid: 0, gid: 0, size: 4096, modified: 1764441822.5}
users:
  description:
    - By name, C(uid), C(gid), C(home), C(shell) and C(groups), the names of all its groups.
    - A missing user is left out.
  returned: success
  type: dict
  sample: {www-data: {uid: 33, gid: 33, home: /var/www, shell: /usr/sbin/nologin, groups: [www-data]}}
groups:
  description: By name, C(gid) and C(local), whether /etc/group has it. A missing group is left out.
  returned: success
  type: dict
  sample: {www-data: {gid: 33, local: true}}
commands:
  description:
    - By name, C(rc), C(stdout), C(stdout_lines) and C(stderr).
    - A program that does not exist has the C(rc) 127.
  returned: success
  type: dict
  sample: {version: {rc: 0, stdout: "", stdout_lines: [], stderr: "nginx version: nginx/1.26.3\n"}}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._host import (
    CommandError,
    check_commands,
    read_files,
    read_groups,
    read_packages,
    read_units,
    read_users,
    run,
)


def main() -> None:
    """Run the module."""
    names = {"type": "list", "elements": "str", "default": []}
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "packages": names,
            "units": names,
            "unit_properties": names,
            "settle_timeout": {"type": "float", "default": 0},
            "files": paths,
            "content": paths,
            "users": names,
            "groups": names,
            "commands": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    problems = check_commands(params["commands"])
    problems += [f"{path} is not an absolute path." for path in params["files"] + params["content"] if path[:1] != "/"]
    if problems:
        module.fail_json(msg=" ".join(problems))
    timeout = params["timeout"]
    try:
        module.exit_json(
            changed=False,
            packages=read_packages(params["packages"], timeout),
            units=read_units(params["units"], params["unit_properties"], params["settle_timeout"], timeout),
            files=read_files(params["files"], params["content"]),
            users=read_users(params["users"]),
            groups=read_groups(params["groups"]),
            commands={
                name: run([str(word) for word in command["argv"]], timeout, str(command.get("stdin") or ""))
                for name, command in params["commands"].items()
            },
        )
    except (CommandError, OSError) as error:
        module.fail_json(msg=f"The host could not be read: {error}. Remove the cause, then run again.")


if __name__ == "__main__":
    main()
