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
  - Sets whole-number settings below C(/proc/sys), writes them to one file of C(/etc/sysctl.d), and reads them back.
  - Unlike M(ansible.posix.sysctl) it can raise a setting and preserve a larger value, reports which other file
    overrides O(path) at the next boot, and supports containers and network namespaces that can read a setting but not
    change it.
options:
  at_least:
    description:
      - Smallest value of each setting. A larger one of another file is preserved, also at the next boot.
      - A larger one that only the kernel has is preserved until then, whether it is an earlier value of O(path), was
        set by hand, or is the kernel's default. RV(lowering) reports it.
    type: dict
    default: {}
  exactly:
    description: Value of each setting.
    type: dict
    default: {}
  path:
    description:
      - The file to write. The module replaces its whole content. Files are read in the order of their names,
        whatever their folder, and the last one takes precedence.
    type: path
    required: true
  strict:
    description:
      - Whether to fail, before the first change, when a setting differs and cannot be changed from this host.
      - Otherwise it is written to the file, and reported in RV(unmet).
    type: bool
    default: false
  state:
    description:
      - V(absent) removes the file. The kernel keeps its values until the next boot, as the earlier ones are unknown.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment: digital_twin.robotics_lab._attributes
notes:
  - Writing needs root. Reading does not.
  - Not suited for settings that files set by a pattern, such as C(net.ipv4.conf.*.rp_filter).
seealso:
  - name: sysctl.d
    description: The order of precedence of the files.
    link: https://www.freedesktop.org/software/systemd/man/sysctl.d.html
author: The digital_twin.robotics_lab maintainers (@digital-twin)
"""

EXAMPLES = r"""
- name: Allow socket buffers of 32 MiB, and drop incomplete packets early
  digital_twin.robotics_lab.sysctl_settings:
    path: /etc/sysctl.d/99-zz-robots.conf
    at_least:
      net.core.rmem_max: 33554432
    exactly:
      net.ipv4.ipfrag_time: 3
  register: kernel

- name: Report settings that are not in effect
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
  description: Whether the file is written, or would be in check mode. A setting may change while the file does not.
  returned: when O(state=present)
  type: bool
  sample: true
unmet:
  description: Each setting that differs, with C(name), C(value), the value C(wanted), and the C(reason).
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{name: net.core.rmem_max, wanted: 33554432, value: 212992, reason: it is read-only here}]
lowering:
  description: >-
    Each setting of O(at_least) for which the kernel has more than any file, with its C(name), its C(value), and the
    C(persisted) value that it gets at the next boot.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{name: net.core.rmem_max, value: 2147483647, persisted: 33554432}]
notes:
  description: A sentence for each setting of RV(unmet) and RV(lowering).
  returned: when O(state=present)
  type: list
  elements: str
  sample: ["net.core.rmem_max is 212992 and should be 33554432: it is read-only here."]
overriding:
  description: Each line of another file that overrides O(path) at the next boot, with its C(file), C(name) and
    C(value).
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{file: /etc/sysctl.d/99-zzz.conf, name: net.core.rmem_max, value: "212992"}]
undoing:
  description: >-
    Each such line of C(/etc/sysctl.conf), which C(sysctl --system) reads after O(path), but which is not read at boot.
  returned: when O(state=present)
  type: list
  elements: dict
  sample: [{file: /etc/sysctl.conf, name: net.core.rmem_max, value: "212992"}]
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._files import replace_file
from ..module_utils._sysctl import FOLDERS, SysctlError, SysctlHost, SysctlPlan, SysctlRequest, apply, compare
from ..module_utils._values import whole_number

# Dots separate the parts. A slash stands for a dot within one, as in the name of a VLAN's interface. A leading dash has
# a meaning in sysctl.d.
NAME_FORM = re.compile(r"\w[\w-]*(\.[\w-]+(/[\w-]+)*)+", re.ASCII)


def read_wanted(params: dict[str, Any]) -> SysctlRequest:
    """Return the request.

    Raises:
        SysctlError: a name is not that of a setting, a value is not a whole number, or a setting is in both lists.
    """
    sides: dict[str, dict[str, int]] = {}
    for side in ("at_least", "exactly"):
        sides[side] = {}
        for name, value in params[side].items():
            if not NAME_FORM.fullmatch(name):
                raise SysctlError(
                    f"{side}: {name!r} is not the name of a setting. Allowed: names such as net.core.rmem_max"
                )
            number = whole_number(value)
            if number is None or number < 0:
                raise SysctlError(f"{side}: {name} is {value!r}. Allowed: a whole number from 0 on")
            sides[side][name] = number
    twice = sides["at_least"].keys() & sides["exactly"].keys()
    if twice:
        raise SysctlError(f"exactly: {', '.join(sorted(twice))} is also in at_least. Leave it out of one of them")
    return SysctlRequest(**sides)


def check_path(path: str) -> None:
    """Check that the file is read at boot.

    Raises:
        SysctlError: it is not.
    """
    if Path(path).parent != Path("/", FOLDERS[0]) or Path(path).suffix != ".conf":
        raise SysctlError(f"path: {path} is not read at boot. Allowed: /{FOLDERS[0]}/<name>.conf")


def present(plan: SysctlPlan, wanted: SysctlRequest) -> dict[str, Any]:
    """Return the module's result."""
    return {
        "changed": plan.changed,
        "file_changed": plan.text_before != plan.text_after,
        "settings": [
            {
                "name": name,
                "wanted": value,
                "before": plan.before[name],
                "after": plan.after[name],
                "persisted": plan.persisted[name],
            }
            for name, value in wanted.values.items()
        ],
        "unmet": [
            {"name": name, "wanted": wanted.values[name], "value": plan.after[name], "reason": reason}
            for name, reason in plan.unmet.items()
        ],
        "lowering": [
            {"name": name, "value": value, "persisted": plan.persisted[name]} for name, value in plan.lowering.items()
        ],
        "notes": [*note_unmet(plan, wanted), *note_lowering(plan)],
        "overriding": [vars(line) for line in plan.overriding],
        "undoing": [vars(line) for line in plan.undoing],
    }


def note_unmet(plan: SysctlPlan, wanted: SysctlRequest) -> Iterator[str]:
    """Return a line for each setting that cannot be set from here."""
    for name, reason in plan.unmet.items():
        value = "missing" if plan.after[name] is None else plan.after[name]
        yield f"{name} is {value} and should be {wanted.values[name]}: {reason}. It is written for the next boot."


def note_lowering(plan: SysctlPlan) -> Iterator[str]:
    """Return a line for each setting that the next boot lowers."""
    for name, value in plan.lowering.items():
        persisted = plan.persisted[name]
        yield (
            f"{name} is {value} until the next boot, and then {persisted}, as no file has more. To lower it now, run "
            f"`sysctl -w {name}={persisted}`. To keep more, declare more."
        )


def remove(module: AnsibleModule, path: Path) -> None:
    """Remove the file."""
    there = path.exists()
    text = path.read_text("utf-8") if there else ""
    if there and not module.check_mode:
        path.unlink()
    module.exit_json(changed=there, diff={"before_header": str(path), "before": text, "after": ""})


def main() -> None:
    """Read, compare and write."""
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
    host, path = SysctlHost(), module.params["path"]

    try:
        check_path(path)
        if module.params["state"] == "absent":
            remove(module, Path(path))
        wanted = read_wanted(module.params)
        plan = compare(host, wanted, path)
        if plan.unmet and module.params["strict"]:
            problems = [f"{name} is {plan.before[name]}: {reason}" for name, reason in plan.unmet.items()]
            module.fail_json(msg=f"{'; '.join(problems)}. Set it there, or leave strict out")
        if not module.check_mode:
            apply(host, wanted, plan, lambda text: replace_file(Path(path), text))
    except SysctlError as error:
        module.fail_json(msg=str(error))
    for setting in plan.overriding:
        module.warn(
            f"{setting.file} sets {setting.name} = {setting.value} after {path}, and overrides it at the next boot. "
            "Remove that line."
        )
    for setting in plan.undoing:
        module.warn(
            f"{setting.file} sets {setting.name} = {setting.value}, and overrides {path} whenever "
            "`sysctl --system` runs, though not at boot. Remove that line."
        )
    values = {
        side: "".join(f"{name} = {values[name]}\n" for name in plan.written)
        for side, values in (("before", plan.before), ("after", plan.after))
    }
    module.exit_json(
        **present(plan, wanted),
        diff=[
            {"before_header": path, "after_header": path, "before": plan.text_before, "after": plan.text_after},
            {"before_header": "kernel", "after_header": "kernel", **values},
        ],
    )


if __name__ == "__main__":
    main()
