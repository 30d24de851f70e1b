# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users of a host with the uid of a service: what they can read from its process, and the warnings about them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from tests.support.ansible_programs import run
from tests.support.project import FQCN, ROOT, clean_environment, load_yaml

ROLE = ROOT / "roles" / "digital_twin_stack"
SERVICES: dict[str, Any] = load_yaml(PurePosixPath("compose/compose.yaml"))["services"]
READERS = sorted(name for name, service in SERVICES.items() if "secrets" in service)
SECRET = "canary-5b02"
# Ways to read the secret: from the environment, the mounted file, or memory.
READS = [
    "cat /proc/{pid}/environ",
    "cat /proc/{pid}/task/{pid}/environ",
    "cat /proc/{pid}/root/{file}",
    "cat /proc/{pid}/cwd/{name}",
    "cat /proc/{pid}/fd/0",
    "cat /proc/{pid}/maps",
    "ls /proc/{pid}/map_files",
    "head --bytes=1 /proc/{pid}/mem",
    "readlink /proc/{pid}/exe",
    "nsenter --target {pid} --mount cat {file}",
    "prlimit --pid {pid} --core=unlimited",
]


def identity(service: str) -> tuple[int, int, list[int]]:
    """Return uid, group and other groups of a service's process."""
    uid, group = map(int, SERVICES[service].get("user", "1000:1000").split(":"))
    return uid, group, [int(other) for other in SERVICES[service].get("group_add", [])]


def succeeds(command: str, uid: int, group: int) -> bool:
    """Return whether a shell command of a user of this host succeeds."""
    words = ["sh", "-c", command]
    return not subprocess.run(
        words, user=uid, group=group, extra_groups=[], capture_output=True, check=False
    ).returncode


@pytest.fixture(params=READERS)
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, list[str]]]:
    """Run a process with the ids of a service and a secret; return its uid and the commands that read the secret."""
    uid, group, others = identity(request.param)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o400)
    os.chown(secret, uid, group)
    # A user cannot reach the file by its own path.
    tmp_path.chmod(0o700)
    with secret.open() as stream:
        # The empty line shows that the child has changed its user and runs the shell.
        child = subprocess.Popen(
            ["sh", "-c", "echo; exec sleep 60"],
            user=uid,
            group=group,
            extra_groups=others,
            env={"PATH": os.environ["PATH"], "NGC_API_KEY": SECRET},
            stdin=stream,
            stdout=subprocess.PIPE,
            # Inherited from this process before the change of user.
            cwd=tmp_path,
        )
    assert child.stdout and child.stdout.readline() == b"\n"
    yield uid, [read.format(pid=child.pid, file=secret, name=secret.name) for read in READS]
    child.kill()
    child.wait()


def test_a_user_with_the_uid_of_a_service_cannot_read_its_process(process: tuple[int, list[str]]) -> None:
    uid, reads = process
    assert [read for read in reads if succeeds(read, uid, uid)] == []


def test_the_reads_of_this_test_work_with_uid_and_group() -> None:
    """For a process with the same uid and group, which the services would have without the group of the stack."""
    with subprocess.Popen(["sleep", "60"], user=1000, group=1000, extra_groups=[], env={"KEY": SECRET}) as child:
        try:
            given = {"pid": child.pid, "file": "etc/hostname", "name": ""}
            assert succeeds(READS[0].format(**given), 1000, 1000)
            assert succeeds(READS[2].format(**given), 1000, 1000)
            assert succeeds(READS[5].format(**given), 1000, 1000)
        finally:
            child.send_signal(signal.SIGKILL)


def test_no_service_leaves_a_dump_of_its_memory() -> None:
    """The kernel starts a dump program with a limit of 0, but not with 1."""
    assert [name for name, service in SERVICES.items() if service["ulimits"]["core"] != 1] == []


def test_every_reader_has_the_group_of_the_stack_and_a_unique_uid() -> None:
    identities = {name: identity(name) for name in READERS}
    assert {group for _uid, group, _others in identities.values()} == {10003}
    assert 10003 not in {uid for uid, _group, _others in identities.values()}


def test_the_user_of_the_logs_does_not_have_the_uid_of_a_service(tmp_path: Path) -> None:
    """In a mount namespace with its own users. Later a login user has its name."""
    shutil.copytree("/etc", tmp_path / "etc", symlinks=True)
    follow, remove = (
        yaml.safe_load((ROLE / f"tasks/{name}.yml").read_text("utf-8")) for name in ("application_logs", "remove")
    )
    create = follow[1]["block"][:2]
    argv = ["getent", "passwd", "digital-twin-logs"]
    users = {"ansible.builtin.command": {"argv": argv}, "register": "user"}
    # As host.yml reads it.
    read = {
        f"{FQCN}.host_info": {"commands": {"logs_user": {"argv": argv}}},
        "register": "__digital_twin_stack_host",
    }
    remove = [read, *(task for task in remove if task["name"].endswith("user and the logs"))]
    person = {"ansible.builtin.user": {"name": "digital-twin-logs", "comment": "Jane"}}
    seen = {"ansible.builtin.set_fact": {"seen": "{{ seen | default([]) + [user.stdout] }}"}}
    look = [{**users, "failed_when": False}, seen]
    refused = {
        "block": [
            read,
            {
                "ansible.builtin.assert": {
                    "that": "__digital_twin_stack_logs_owned",
                    "fail_msg": "{{ __digital_twin_stack_logs_problem }}",
                }
            },
        ],
        "rescue": [{"ansible.builtin.set_fact": {"seen": "{{ seen + [ansible_failed_result.msg] }}"}}],
    }
    written = {"dest": str(tmp_path / "seen.json"), "content": "{{ seen | to_json }}", "mode": "0600"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main/units.yml")],
        "tasks": [
            *(*create, *look, *create, *look, *remove, *look, person, refused, *remove, *look),
            {"ansible.builtin.copy": written},
        ],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    given = {
        "ansible_python_interpreter": sys.executable,
        "digital_twin_stack_application": True,
        "__digital_twin_stack_removed": ["application"],
    }
    words = ["ansible-playbook", "--inventory=localhost,", "--connection=local", "--extra-vars", json.dumps(given)]
    inside = f"mount --bind {tmp_path}/etc /etc && exec {shlex.join([*words, str(tmp_path / 'play.json')])}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    created, again, removed, refusal, left = json.loads((tmp_path / "seen.json").read_text())
    assert created == again
    assert int(created.split(":")[2]) not in {identity(name)[0] for name in READERS}
    assert created.endswith(":Role digital_twin.robotics_lab.digital_twin_stack:/nonexistent:/usr/sbin/nologin")
    assert removed == ""
    assert refusal.startswith("This host has a user digital-twin-logs that this role did not create: ")
    assert ":Jane:" in left


def test_users_with_the_uid_of_a_service_are_reported(tmp_path: Path) -> None:
    users = ["admin:x:1000:1000::/:/bin/bash", "alice:x:10001:10003::/:/bin/sh", "bob:x:10002:5::/:/bin/sh"]
    given = {
        "ansible_python_interpreter": sys.executable,
        "digital_twin_stack_profile": "full",
        "__digital_twin_stack_compose_file": (ROOT / "compose/compose.yaml").read_text("utf-8"),
        "__digital_twin_stack_host": {
            "commands": {"users": {"stdout_lines": users}, "group": {"stdout_lines": ["robots:x:10003:carol,bob"]}}
        },
    }
    file = tmp_path / "told.json"
    written = {"dest": str(file), "content": "{{ __digital_twin_stack_uid_conflicts | to_json }}", "mode": "0600"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLE / "vars/main/profile.yml")],
        "tasks": [{"ansible.builtin.copy": written}],
    }
    playbook = tmp_path / "play.json"
    playbook.write_text(json.dumps([play]))
    extra = tmp_path / "extra.json"
    extra.write_text(json.dumps(given))
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", f"--extra-vars=@{extra}", str(playbook)])
    admin, alice, bob = json.loads(file.read_text())
    assert admin == (
        "User admin can stop the processes of riva, which have its uid 1000, and cannot read ngc_api_key "
        "from them, because it is not in the group 10003."
    )
    secrets = "redis_cognitive_password, cognitive_token, nim_api_key"
    assert alice.startswith(f"User alice can read {secrets} from the processes of cognitive, ")
    assert bob.startswith("User bob can read redis_robot_password from the processes of ros2, ")
    assert alice.endswith("which have its uid 10001 and its group 10003. Remove the user from that group.")
