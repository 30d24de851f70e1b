# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secrets of role digital_twin_stack without a host: which files exist, their text, and the times of changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import FQCN, ROOT, load_yaml

ROLE = ROOT / "roles" / "digital_twin_stack"
REDIS, SERVICE = ["redis_acl", "redis_health_password"], ["cognitive_token", "redis_cognitive_password"]
ROBOT, MODELS = ["redis_robot_password"], ["ngc_api_key"]
DECLARED = {
    "digital_twin_stack_redis_password": "canary-of-the-service",
    "digital_twin_stack_redis_robot_password": "canary-of-the-robot",
    "digital_twin_stack_cognitive_token": "canary-token-0123456789-0123456789",
}
# The runs in order: the variables, and the files after the run. At first the host has the files of an earlier version.
RUNS: list[tuple[dict[str, str], list[str]]] = [
    ({"digital_twin_stack_profile": "nav"}, [*REDIS, *SERVICE, *ROBOT]),
    ({"digital_twin_stack_profile": "nav"}, [*REDIS, *SERVICE, *ROBOT]),
    ({"digital_twin_stack_profile": "nav", **DECLARED}, [*REDIS, *SERVICE, *ROBOT]),
    ({"digital_twin_stack_profile": "nav"}, [*REDIS, *SERVICE, *ROBOT]),
    (
        {"digital_twin_stack_profile": "voice", "digital_twin_stack_nim_api_key": "canary-nim"},
        [*REDIS, *SERVICE, *MODELS, "nim_api_key"],
    ),
    ({"digital_twin_stack_profile": "full"}, [*REDIS, *SERVICE, *ROBOT, *MODELS]),
    (
        {
            "digital_twin_stack_profile": "full",
            "digital_twin_stack_rotate_secrets": "true",
            "digital_twin_stack_redis_password": DECLARED["digital_twin_stack_redis_password"],
        },
        [*REDIS, *SERVICE, *ROBOT, *MODELS],
    ),
]
OLD = ("redis_password", "redis_auth", "robot_redis_password", "ngc_api_key", "nim_api_key")


def play(number: int, given: dict[str, str], secrets: Path) -> dict[str, Any]:
    """Return a play that runs the role's own tasks for secrets, and then saves a copy of the files."""
    names = f"query('ansible.builtin.fileglob', '{secrets}/*')"
    texts = f"dict({names} | map('basename') | zip(query('ansible.builtin.file', *{names}, rstrip=false)))"
    seen = (
        f"{{'texts': {texts}, 'times': __digital_twin_stack_times, 'private': __digital_twin_stack_private_modes, "
        "'read': __digital_twin_stack_private_files.files | list}"
    )
    variables = [ROLE / f"vars/main/{name}.yml" for name in ("secrets", "profile", "settings")]
    # After the defaults, because the later file takes precedence.
    chosen = secrets.parent / f"given_{number}.json"
    chosen.write_text(json.dumps({"digital_twin_stack_ngc_api_key": "canary-ngc", **given}))
    return {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(file) for file in (ROLE / "defaults/main.yml", *variables, chosen)],
        "vars": {"role_path": str(ROLE)},
        "module_defaults": {f"{FQCN}.file_set": {"group": str(os.getegid())}},
        "tasks": [
            {"ansible.builtin.import_tasks": str(ROLE / "tasks/secrets.yml")},
            {
                "name": "Remove the secrets that no service reads, as remove.yml does",
                f"{FQCN}.file_set": {
                    "path": "{{ __digital_twin_stack_secrets }}",
                    "files": "{{ __digital_twin_stack_secrets_removed }}",
                },
                "diff": False,
            },
            {
                "ansible.builtin.copy": {
                    "content": f"{{{{ {seen} | to_json }}}}",
                    "dest": f"{secrets.parent}/seen_{number}.json",
                    "mode": "0600",
                },
                "diff": False,
                "no_log": True,
            },
        ],
    }


def test_secrets_are_written_once_or_as_declared_and_only_where_a_service_reads_them(tmp_path: Path) -> None:
    user = str(os.geteuid())
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in OLD:
        (secrets / name).write_text("canary-of-an-earlier-version\n")
    plays = [play(number, given, secrets) for number, (given, _files) in enumerate(RUNS)]
    (tmp_path / "plays.json").write_text(json.dumps(plays))
    given = {
        "ansible_python_interpreter": sys.executable,
        "digital_twin_stack_directory": str(tmp_path),
        **{f"__digital_twin_stack_{name}_uid": user for name in ("cognitive", "redis", "nim", "robot")},
    }
    words = ["--inventory=localhost,", "--connection=local", "--diff", "-v", "--extra-vars", json.dumps(given)]
    output = run(["ansible-playbook", *words, str(tmp_path / "plays.json")])

    seen = [json.loads((tmp_path / f"seen_{number}.json").read_text()) for number in range(len(RUNS))]
    for (_given, files), run_seen in zip(RUNS, seen, strict=True):
        assert sorted(run_seen["texts"]) == sorted(files)
        assert {Path(path).name for path in run_seen["private"]} == {*files, "secrets", ".env"}
        # Only what the role generates, and only where a service reads it.
        passwords = {name for name in files if name.endswith(("_password", "_token"))}
        assert {Path(path).name for path in run_seen["read"]} == passwords
    generated, again, declared, kept, voice, full, rotated = (run_seen["texts"] for run_seen in seen)
    own = {name: text for name, text in generated.items() if name != "redis_acl"}
    assert all(re.fullmatch(r"[A-Za-z0-9]{48}\n", text) for text in own.values())
    assert len(set(own.values())) == len(own), "each has its own"
    assert seen[1] == seen[0], "generated secrets and the times do not change"
    assert again == generated
    assert [declared[name] for name in (*SERVICE, *ROBOT)] == [
        f"{DECLARED[f'digital_twin_stack_{name}']}\n"
        for name in ("cognitive_token", "redis_password", "redis_robot_password")
    ]
    assert kept == declared
    assert {name: voice[name] for name in SERVICE} == {name: declared[name] for name in SERVICE}
    # A returning robot gets a new password.
    assert full["redis_robot_password"] not in (generated["redis_robot_password"], declared["redis_robot_password"])
    same = {name for name in rotated if rotated[name] == full[name]}
    assert same == {"redis_cognitive_password", *MODELS}, "rotation preserves only the secrets that are set"
    assert {line.split()[1] for line in voice["redis_acl"].splitlines()} == {"cognitive", "health"}
    for texts in (generated, declared, full, rotated):
        lines = {line.split()[1]: line for line in texts["redis_acl"].splitlines()}
        assert set(lines) == {"cognitive", "health", "robot"}
        for name, line in lines.items():
            digest = hashlib.sha256(texts[f"redis_{name}_password"].strip().encode()).hexdigest()
            assert line.startswith(f"user {name} on #{digest} -@all ")
    changed = {name for name, moment in seen[2]["times"].items() if moment != seen[0]["times"][name]}
    assert changed == {*SERVICE, *ROBOT, "redis_acl"}
    canaries = {text.strip() for run_seen in seen for name, text in run_seen["texts"].items()}
    assert {"canary-ngc", "canary-nim", DECLARED["digital_twin_stack_cognitive_token"]} <= canaries
    assert [canary for canary in [*canaries, "canary-of-an-earlier-version"] if canary in output] == []


@pytest.mark.parametrize(
    ("config", "printed"),
    [
        ({"auths": {"nvcr.io": {"auth": "canary"}}, "proxies": {"default": {"noProxy": ".lab"}}}, "proxies"),
        ({"auths": {"nvcr.io": {"auth": "canary"}}, "Proxies": {"default": {}}}, "Proxies"),
        ({"auths": {}}, ""),
    ],
)
def test_only_proxies_of_dockers_configuration_are_read(tmp_path: Path, config: dict[str, Any], printed: str) -> None:
    tasks = load_yaml(PurePosixPath("roles/digital_twin_stack/tasks/secrets.yml"))
    argv = tasks[0][f"{FQCN}.host_info"]["commands"]["docker_proxies"]["argv"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    words = [word.replace("/root/.docker/config.json", str(file)) for word in argv]
    assert words != argv
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == ({printed: config[printed]} if printed else {})
