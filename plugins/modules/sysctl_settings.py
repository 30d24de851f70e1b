#!/usr/bin/python
# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module that sets whole-number kernel settings, now and at every boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sysctl_settings
version_added: 1.0.0
short_description: Set sysctl values persistently and report conflicting files
description:
  - Sets whole-number settings below C(/proc/sys), writes them to one file of C(/etc/sysctl.d), and reads back what came
    of it.
  - Unlike M(ansible.posix.sysctl) it can raise a setting and leave a larger value alone, tells which other file undoes
    ours at the next boot, and knows that a container or network namespace may read a setting and not change it.
options:
  at_least:
    description:
      - Smallest value of each setting. A larger one that another file says stays, also at the next boot.
      - A larger one that only the kernel has stays until then, whether it is what O(path) said before, what somebody
        set by hand, or the kernel's own default. RV(lowering) tells it.
    type: dict
    default: {}
  exactly:
    description: Value of each setting.
    type: dict
    default: {}
  path:
    description:
      - The file to write, which is to hold nothing else. Files are read in the order of their names, whatever their
        folder, and the last one wins.
    type: path
    required: true
  strict:
    description:
      - Whether to fail, before anything is written, when a setting that is not as wanted cannot be changed from here.
      - Otherwise it is written to the file, and told in RV(unmet).
    type: bool
    default: false
  state:
    description:
      - V(absent) removes the file. The kernel keeps its values until the next boot, as nobody knows those of before.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says what it would do, and writes nothing.
    support: full
  diff_mode:
    description: Shows the file and the values as they are and as they are going to be.
    support: full
  idempotent:
    description: Writes nothing when the file and the values are as wanted.
    support: full
notes:
  - Writing needs root. Reading does not.
  - Settings for which files have patterns, such as C(net.ipv4.conf.*.rp_filter), are for other tools.
seealso:
  - module: ansible.posix.sysctl
  - name: sysctl.d
    description: Which file wins.
    link: https://www.freedesktop.org/software/systemd/man/sysctl.d.html
author:
  - The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Let sockets ask for buffers of 32 MiB, and give up on incomplete packets early
  digital_twin.robotics_lab.sysctl_settings:
    path: /etc/sysctl.d/99-zz-robots.conf
    at_least:
      net.core.rmem_max: 33554432
    exactly:
      net.ipv4.ipfrag_time: 3
  register: kernel

- name: Say what holds it up
  ansible.builtin.debug:
    msg: "{{ kernel.unmet + kernel.overriding }}"
"""

RETURN = r"""
settings:
  description: >-
    Each setting with its C(name), the value C(wanted), the values C(before) and C(after), null for one that this kernel
    or network namespace does not have, and what is C(persisted) in the file.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{name: net.core.rmem_max, wanted: 33554432, before: 212992, after: 33554432, persisted: 33554432}]
file_changed:
  description: Whether the file is written, or would be in check mode; a setting may be changed without it.
  returned: when O(state=present)
  type: bool
  sample: true
unmet:
  description: Each setting that is not as wanted, with C(name), C(value), the value C(wanted), and the C(reason).
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{name: net.core.rmem_max, wanted: 33554432, value: 212992, reason: it is read-only here}]
lowering:
  description: >-
    Each setting of O(at_least) of which the kernel has more than any file says, with its C(name), the C(value) that it
    has, and what is C(persisted), to which the next boot lowers it.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{name: net.core.rmem_max, value: 2147483647, persisted: 33554432}]
overriding:
  description: Each line of another file that undoes ours at the next boot, with its C(file), C(name) and C(value).
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{file: /etc/sysctl.d/99-zzz.conf, name: net.core.rmem_max, value: "212992"}]
undoing:
  description: >-
    Each such line of C(/etc/sysctl.conf), which is read after ours by C(sysctl --system), and at no boot.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{file: /etc/sysctl.conf, name: net.core.rmem_max, value: "212992"}]
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._sysctl import FOLDERS, Host, Outcome, SettingsError, Wanted, apply, compare
from ..module_utils._values import whole_number

# With dots between the parts; a slash stands for a dot within one, as in the name of a VLAN's interface. A dash in
# front would be a word of sysctl.d.
NAME_FORM = re.compile(r"\w[\w-]*(\.[\w-]+(/[\w-]+)*)+", re.ASCII)


def read_wanted(params: dict[str, Any]) -> Wanted:
    """Return what is wanted.

    Raises:
        SettingsError: a name is none of a setting, a value is no whole number, or a setting is wanted twice.
    """
    sides: dict[str, dict[str, int]] = {}
    for side in ("at_least", "exactly"):
        sides[side] = {}
        for name, value in params[side].items():
            if not NAME_FORM.fullmatch(name):
                raise SettingsError(f"{side}: {name!r} is no setting. Allowed: names such as net.core.rmem_max")
            number = whole_number(value)
            if number is None or number < 0:
                raise SettingsError(f"{side}: {name} is {value!r}. Allowed: a whole number from 0 on")
            sides[side][name] = number
    twice = sides["at_least"].keys() & sides["exactly"].keys()
    if twice:
        raise SettingsError(f"exactly: {', '.join(sorted(twice))} is also in at_least. Leave it out of one of them")
    return Wanted(**sides)


def check_path(path: str) -> None:
    """Check that the file is one that is read at boot.

    Raises:
        SettingsError: it is not.
    """
    if Path(path).parent != Path("/", FOLDERS[0]) or Path(path).suffix != ".conf":
        raise SettingsError(f"path: {path} is not read at boot. Allowed: /{FOLDERS[0]}/<name>.conf")


def present(outcome: Outcome, wanted: Wanted) -> dict[str, Any]:
    """Return an outcome as the module's result."""
    return {
        "changed": outcome.changed,
        "file_changed": outcome.text_before != outcome.text_after,
        "settings": [
            {
                "name": name,
                "wanted": value,
                "before": outcome.before[name],
                "after": outcome.after[name],
                "persisted": outcome.persisted[name],
            }
            for name, value in wanted.values.items()
        ],
        "unmet": [
            {"name": name, "wanted": wanted.values[name], "value": outcome.after[name], "reason": reason}
            for name, reason in outcome.unmet.items()
        ],
        "lowering": [
            {"name": name, "value": value, "persisted": outcome.persisted[name]}
            for name, value in outcome.lowering.items()
        ],
        **{
            name: [{"file": setting.file, "name": setting.name, "value": setting.value} for setting in settings]
            for name, settings in (("overriding", outcome.overriding), ("undoing", outcome.undoing))
        },
    }


def remove(module: AnsibleModule, path: Path) -> None:
    """Remove the file."""
    there = path.exists()
    text = path.read_text("utf-8") if there else ""
    if there and not module.check_mode:
        path.unlink()
    module.exit_json(changed=there, diff={"before_header": str(path), "before": text, "after": ""})


def main() -> None:
    """Read, compare, write."""
    module = AnsibleModule(
        argument_spec={
            "at_least": {"type": "dict", "default": {}},
            "exactly": {"type": "dict", "default": {}},
            "path": {"type": "path", "required": True},
            "strict": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    host, path = Host(), module.params["path"]

    def save(text: str) -> None:
        # Its name does not end in .conf, so nothing reads it.
        descriptor, scratch = tempfile.mkstemp(prefix=".settings.", dir=Path(path).parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        module.atomic_move(scratch, path)
        module.set_mode_if_different(path, "0644", changed=False)

    try:
        check_path(path)
        if module.params["state"] == "absent":
            remove(module, Path(path))
        wanted = read_wanted(module.params)
        outcome = compare(host, wanted, path)
        if outcome.unmet and module.params["strict"]:
            told = [f"{name} is {outcome.before[name]}: {reason}" for name, reason in outcome.unmet.items()]
            module.fail_json(msg=f"{'; '.join(told)}. Set it there, or leave strict out")
        if not module.check_mode:
            apply(host, wanted, outcome, save)
    except SettingsError as error:
        module.fail_json(msg=str(error))
    for setting in outcome.overriding:
        module.warn(
            f"{setting.file} says {setting.name} = {setting.value} after {path}, and undoes it at the next boot; "
            "do: remove that line"
        )
    for setting in outcome.undoing:
        module.warn(
            f"{setting.file} says {setting.name} = {setting.value}, and undoes {path} whenever somebody runs "
            "sysctl --system, though not at boot. Remove that line"
        )
    values = {
        side: "".join(f"{name} = {values[name]}\n" for name in outcome.written)
        for side, values in (("before", outcome.before), ("after", outcome.after))
    }
    module.exit_json(
        **present(outcome, wanted),
        diff=[
            {"before_header": path, "after_header": path, "before": outcome.text_before, "after": outcome.text_after},
            {"before_header": "kernel", "after_header": "kernel", **values},
        ],
    )


if __name__ == "__main__":
    main()
