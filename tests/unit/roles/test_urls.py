# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""URLs without encryption, and an application that can change: every role refuses them before it changes anything."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from tests.support.ansible_programs import run
from tests.support.project import FQCN, input_check, load_yaml, role_names

PLACE = "http://mirror.example.com"
# Names of options that hold URLs.
NAME = re.compile(r"_(url|urls|uri|endpoint|key|mirrors|scene|daemon_options)$")
# Options that match but hold no URL: a password, a name, or the key of NVIDIA's registry.
OTHERS = re.compile(r"_(api_key|secret_access_key|access_key|without_urls)$")
# pip uses plain HTTP with trusted hosts only, so their list allows it.
INDEX = re.compile(r"_index_url$")
HOST = {
    "distribution": "Debian",
    "distribution_release": "bookworm",
    "distribution_version": "12",
    "service_mgr": "systemd",
    "all_ipv4_addresses": [],
    "default_ipv4": {},
}
# Other variables that are needed for the URL to be used.
TOGETHER_WITH: dict[str, dict[str, object]] = {
    "docker_repository_url": {"docker_source": "upstream", "docker_repository_key": "/key"},
    "docker_repository_key": {"docker_source": "upstream"},
    "docker_registry_mirrors": {"docker_source": "upstream"},
    "docker_daemon_options": {"docker_source": "upstream"},
    "digital_twin_stack_application_url": {"digital_twin_stack_application": True},
    "gpu_metrics_endpoint_url": {
        "gpu_metrics_instance_id": "i-1",
        "gpu_metrics_region": "eu-central-1",
        "gpu_metrics_access_key_id": "AKIA",
        "gpu_metrics_secret_access_key": "canary",
    },
}
VALUES: dict[str, object] = {
    "docker_registry_mirrors": [PLACE],
    "docker_daemon_options": {"registry-mirrors": [PLACE]},
    "digital_twin_stack_isaac_sim_scene": f"{PLACE}/lab.usd",
    "gpu_metrics_endpoint_url": PLACE,
}


def url_options() -> list[tuple[str, str]]:
    """Return each role with each of its options that holds URLs."""
    found = {}
    for role in role_names():
        specification = load_yaml(PurePosixPath("roles", role, "meta", "argument_specs.yml"))["argument_specs"]
        for name, option in (specification.get("main", {}).get("options") or {}).items():
            if option["type"] == "bool":
                continue
            if NAME.search(name) and not OTHERS.search(name) and not INDEX.search(name):
                found[name] = role
    return [(role, name) for name, role in sorted(found.items())]


def refusals(folder: Path, cases: dict[str, tuple[str, dict[str, object]]]) -> dict[str, str]:
    """Return the message with which each role refuses its variables, by the names of the cases."""
    tasks: list[dict[str, Any]] = [{"ansible.builtin.set_fact": {**HOST, "cacheable": True}}]
    file = folder / "messages.json"
    for case, (role, variables) in cases.items():
        include = {"name": f"{FQCN}.{role}", "tasks_from": input_check(role)}
        message = {"messages": "{{ messages | default({}) | combine({'" + case + "': ansible_failed_result.msg}) }}"}
        tasks.append(
            {
                "block": [{"ansible.builtin.include_role": include, "vars": variables}],
                "rescue": [{"ansible.builtin.set_fact": message}],
            }
        )
    written = {"dest": str(file), "content": "{{ messages | default({}) | to_json }}", "mode": "0644"}
    tasks.append({"ansible.builtin.copy": written, "check_mode": False})
    playbook = folder / "urls.yml"
    playbook.write_text(
        json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}])
    )
    python = f"ansible_python_interpreter={sys.executable}"
    run(["ansible-playbook", "--check", "--inventory", "localhost,", "--extra-vars", python, str(playbook)])
    messages: dict[str, str] = json.loads(file.read_text())
    return messages


def test_every_role_refuses_a_url_without_encryption(tmp_path: Path) -> None:
    options = url_options()
    assert len(options) >= 10
    cases = {
        name: (role, {**TOGETHER_WITH.get(name, {}), name: VALUES.get(name, f"{PLACE}/x")}) for role, name in options
    }
    messages = refusals(tmp_path, cases)
    for role, name in options:
        expected = f"{name} is at {PLACE}, which is not encrypted. Use https://, or set {role}_allow_http=true."
        assert expected in messages.get(name, "nothing").splitlines(), (name, messages.get(name))


def test_an_application_is_a_commit(tmp_path: Path) -> None:
    moving = ["main", "v2.1.0", "refs/heads/main", "454631f", "454631F091EA2D1D86363B0A28A04427F1A62EAD", "a" * 41]
    cases: dict[str, tuple[str, dict[str, object]]] = {}
    for word in (*moving, "a" * 40, "0" * 64):
        cases[word] = (
            "digital_twin_stack",
            {"digital_twin_stack_application": True, "digital_twin_stack_application_revision": word},
        )
    cases["allowed"] = ("digital_twin_stack", {**cases["main"][1], "digital_twin_stack_application_allow_moving": True})
    messages = refusals(tmp_path, cases)
    assert sorted(messages) == sorted(moving)
    for word, message in messages.items():
        assert message.startswith(f"digital_twin_stack_application_revision is '{word}', which can become another")
