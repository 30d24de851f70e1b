# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secrets of role digital_twin_stack without a host: their text, and the times of their last changes."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import FQCN, ROOT

ROLE = ROOT / "roles" / "digital_twin_stack"
# Each run in turn, with the password that the user declares.
RUNS = ["", "", "Declared_1", ""]


def test_the_password_is_written_once_or_as_declared(tmp_path: Path) -> None:
    user = str(os.geteuid())
    uids = dict.fromkeys(("cognitive", "redis", "nim", "robot"), user)
    secrets = tmp_path / "stack" / "secrets"
    texts = ", ".join(
        f"lookup('ansible.builtin.file', '{secrets}/{name}', rstrip=false)"
        for name in ("redis_password", "redis_auth", "robot_redis_password")
    )
    plays: list[dict[str, Any]] = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars_files": [str(ROLE / "vars/main/secrets.yml")],
            "vars": {"digital_twin_stack_redis_password": password},
            "module_defaults": {f"{FQCN}.file_set": {"group": str(os.getegid())}},
            "tasks": [
                {"ansible.builtin.import_tasks": str(ROLE / "tasks/secrets.yml")},
                {
                    "ansible.builtin.set_fact": {
                        "seen": "{{ seen | default([]) + [[" + texts + ", __digital_twin_stack_times]] }}"
                    }
                },
            ],
        }
        for password in RUNS
    ]
    written = {"content": "{{ seen | to_json }}\n", "dest": str(tmp_path / "seen.json"), "mode": "0600"}
    plays[-1]["tasks"].append({"ansible.builtin.copy": written, "diff": False})
    (tmp_path / "plays.json").write_text(json.dumps(plays))
    given = {
        "ansible_python_interpreter": sys.executable,
        "digital_twin_stack_directory": str(secrets.parent),
        "digital_twin_stack_nim_api_key": "",
        "digital_twin_stack_ngc_api_key": "canary-ngc",
        **{f"__digital_twin_stack_{name}_uid": uid for name, uid in uids.items()},
    }
    words = ["--inventory=localhost,", "--connection=local", "--diff", "--extra-vars", json.dumps(given)]
    output = run(["ansible-playbook", *words, str(tmp_path / "plays.json")])

    first, second, third, last = json.loads((tmp_path / "seen.json").read_text())
    password, auth, robot, _times = first
    assert re.fullmatch(r"[A-Za-z0-9]{48}\n", password)
    assert (auth, robot) == (f"requirepass {password}", password)
    assert second == first, "a generated password stays, and so do the times"
    assert third[:3] == ["Declared_1\n", "requirepass Declared_1\n", "Declared_1\n"]
    assert last == third
    changed = {name for name, moment in third[3].items() if moment != first[3][name]}
    assert changed == {"redis_password", "redis_auth", "robot_redis_password"}
    assert all(re.fullmatch(r"\d+\.\d{9}", moment) for moment in first[3].values())
    for secret in (password.strip(), "Declared_1", "canary-ngc"):
        assert secret not in output
