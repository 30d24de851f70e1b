# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What role instance_guard finds changed on a host and refuses, and the program with only what it copies."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.drift import FOLDER, START, UNIT, Item, changed, file, true_names, values_of
from tests.support.project import ROOT, load_yaml

SERVICE, TIMER, LIFETIME = "instance-guard.service", "instance-guard-lifetime.timer", "instance-guard-lifetime.service"
SETTINGS = "/opt/digital-twin/instance-guard/settings.json"
FOLDER_OF_UNITS = "/etc/systemd/system/"
MISSING: Item = {"exists": False, "link": ""}
EXPRESSIONS = {"differs": "__instance_guard_differs", "outdated": "__instance_guard_outdated"}


def variables(lifetime: int) -> Item:
    timer: Item = {"content": "[Timer]\n"} if lifetime else {"state": "absent"}
    return {
        "instance_guard_lifetime_hours": lifetime,
        "__instance_guard_files": [
            {"name": f"etc/systemd/system/{SERVICE}", "content": "[Unit]\n"},
            {"name": SETTINGS[1:], "content": "{}\n"},
            {"name": f"etc/systemd/system/{TIMER}", **timer},
        ],
        "python_environment_modified": START - 60,
    }


def as_declared(lifetime: int) -> Item:
    timer = file("[Timer]\n") if lifetime else MISSING
    return {
        "units": {SERVICE: UNIT, **({TIMER: UNIT} if lifetime else {})},
        "files": {
            FOLDER_OF_UNITS + SERVICE: file("[Unit]\n"),
            SETTINGS: file("{}\n"),
            FOLDER_OF_UNITS + TIMER: timer,
        },
    }


@pytest.mark.parametrize("lifetime", [0, 8])
def test_drift(tmp_path: Path, lifetime: int) -> None:
    declared = as_declared(lifetime)
    states = {"as declared": declared, "other lifetime": as_declared(8 - lifetime)}
    states["nothing"] = {"units": {}, "files": dict.fromkeys(declared["files"], MISSING)}
    for path in (FOLDER_OF_UNITS + SERVICE, SETTINGS):
        states[f"link {path}"] = changed(declared, "files", path, link="elsewhere")
        states[f"mode of {path}"] = changed(declared, "files", path, mode="0666")
        states[f"content of {path}"] = changed(declared, "files", path, content="other")
    for unit in (SERVICE, TIMER)[: 1 + bool(lifetime)]:
        states[f"{unit} reload"] = changed(declared, "units", unit, NeedDaemonReload="yes")
        states[f"{unit} disabled"] = changed(declared, "units", unit, UnitFileState="disabled")
        states[f"{unit} stopped"] = changed(declared, "units", unit, ActiveState="inactive")
    interrupted = {"interrupted": changed(declared, "files", SETTINGS, modified=START + 2.5)}
    found = true_names(tmp_path, "instance_guard", EXPRESSIONS, variables(lifetime), states | interrupted)
    assert found == {
        **{state: ["differs"] for state in states},
        "interrupted": ["outdated"],
        "as declared": [],
    }


def on_host(uptime: int, lifetime_now: int = 0, files: Item | None = None) -> Item:
    """Return a host that has run for so many seconds, with the lifetime of its settings."""
    settings = file(f'{{"lifetime_minutes": {lifetime_now}}}') if lifetime_now else MISSING
    return {
        "files": {"/proc/uptime": {**FOLDER, "content": f"{uptime}.25 1.00\n"}, SETTINGS: settings, **(files or {})}
    }


HOOK = {"instance_guard_hook": ["/usr/local/bin/save", "--quick"]}
SAVE = "/usr/local/bin/save"


INVALID: Item = {
    "instance_guard_idle_minutes": 5,
    "instance_guard_gpu_utilization": 0,
    "instance_guard_client_ports": [0, 8080],
    "instance_guard_lifetime_hours": 745,
    "instance_guard_hook_timeout": 111,
    "instance_guard_topics": ["operators"],
    "instance_guard_hook": ["save"],
    "instance_guard_stack_unit": "digital-twin.service\n",
}
# The first words of each message, and what a host has.
REFUSALS: list[tuple[Item, list[str]]] = [
    ({"__instance_guard_host": on_host(1)}, []),
    (
        {**INVALID, "__instance_guard_host": on_host(1, 0, {"save": {"kind": "file"}})},
        [
            "instance_guard_idle_minutes is 5 and instance_guard_wait_for_user_minutes is 240. Allowed: 10 to 1440",
            "instance_guard_gpu_utilization is 0. Allowed: 1 to 100 percent.",
            "instance_guard_client_ports is [0, 8080]. Allowed: port numbers, 1 to 65535.",
            "instance_guard_lifetime_hours is 745. Allowed: 1 to 744 hours, or 0 for no limit.",
            "instance_guard_warning_minutes is 10 and instance_guard_hook_timeout is 111. Allowed: 1 to 30 minutes",
            'instance_guard_topics is ["operators"]. Allowed: ARNs of SNS topics, such as',
            'instance_guard_hook is ["save"]. Allowed: a list of words that begins with the absolute path of a program',
            'instance_guard_stack_unit is "digital-twin.service\\n". Allowed: the name of a systemd unit',
        ],
    ),
    (
        {
            **HOOK,
            "instance_guard_lifetime_hours": 8,
            "instance_guard_stack_unit": "digital-twin.service",
            "instance_guard_topics": ["arn:aws:sns:eu-central-1:123456789012:operators"],
            "__instance_guard_host": on_host(3600, 0, {SAVE: {"kind": "file"}}),
        },
        [],
    ),
    (
        {**HOOK, "instance_guard_lifetime_hours": 8, "__instance_guard_host": on_host(36000, 0, {SAVE: MISSING})},
        [
            f'instance_guard_hook is ["{SAVE}", "--quick"], and the host has no file {SAVE}. Put the program there',
            "instance_guard_lifetime_hours is 8, and the host has run for 10.0 hours, so it would stop at once.",
        ],
    ),
    # It was set before, and ends now.
    ({"instance_guard_lifetime_hours": 8, "__instance_guard_host": on_host(36000, 480)}, []),
]


def test_refusals(tmp_path: Path) -> None:
    """All in one run of Ansible."""
    failed = "rejectattr('ok') | map(attribute='message') | list"
    wanted = {"found": f"{{{{ __instance_guard_checks | {failed} + __instance_guard_host_problems }}}}"}
    cases = {f"case{number}": given for number, (given, _messages) in enumerate(REFUSALS)}
    values = values_of(tmp_path, "instance_guard", wanted, cases)
    for name, (_given, messages) in zip(values, REFUSALS, strict=True):
        found = values[name]["found"]
        assert len(found) == len(messages), found
        assert all(text.startswith(message) for text, message in zip(found, messages, strict=True)), found


def test_the_program_runs_with_what_the_role_copies_alone(tmp_path: Path) -> None:
    """Neither Ansible nor the rest of the collection is on a host."""
    (task,) = [task for task in load_yaml(ROOT / "roles/instance_guard/tasks/main.yml") if "vars" in task]
    folders = task["vars"]["python_environment_collection_folders"]
    source, target = ROOT / "plugins/module_utils", tmp_path / "ansible_collections/digital_twin/robotics_lab/plugins"
    for path in [*source.glob("*.py"), *(path for name in folders for path in (source / name).glob("*.py"))]:
        copy = target / "module_utils" / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    package = load_yaml(ROOT / "roles/instance_guard/vars/main.yml")["__instance_guard_package"]
    for program in ("service", "lifetime"):
        words = [sys.executable, "-S", "-m", f"{package}.{program}", "/nonexistent"]
        done = subprocess.run(words, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (78, "")
        assert "/nonexistent cannot be read: " in done.stdout
