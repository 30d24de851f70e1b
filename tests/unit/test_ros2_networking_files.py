# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role ros2_networking without a host: what it makes of its variables, and a folder that others use as well."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import FQCN

OWN = "10.0.1.10"


# What the role reads of a host.
FACTS: dict[str, Any] = {
    "all_ipv4_addresses": [OWN],
    "default_ipv4": {"interface": "eth0"},
    "distribution": "Debian",
    "distribution_release": "bookworm",
    "distribution_version": "12",
    "eth0": {"mtu": 1400},
    "service_mgr": "systemd",
}


def apply(directory: Path, tasks: str, **variables: object) -> str:
    """Run one of the role's files of tasks on this machine, with a folder for its files."""
    given = {
        "ros2_networking_directory": str(directory),
        "ansible_python_interpreter": sys.executable,
        "__ros2_networking_profile_file": f"{directory.parent}/profile.sh",
        **variables,
    }
    command = [
        "ansible",
        "all",
        "--inventory",
        "localhost,",
        "--connection",
        "local",
        "--module-name",
        "ansible.builtin.include_role",
    ]
    command += ["--args", f"name={FQCN}.ros2_networking tasks_from={tasks}"]
    return run([*command, "--extra-vars", json.dumps(given)])


def test_the_revision_follows_what_the_files_say(tmp_path: Path) -> None:
    """In check mode, for a host that has nothing yet."""
    given: list[dict[str, Any]] = [{}, {"domain_id": 1}, {}, {"shells": False}, {"receive_buffer": 65536}]
    tasks = [
        {
            "ansible.builtin.include_role": {"name": f"{FQCN}.ros2_networking", "tasks_from": "report"},
            "vars": {f"ros2_networking_{name}": value for name, value in variables.items()},
        }
        for variables in given
    ]
    kernel: dict[str, Any] = {"__ros2_networking_kernel": {"unmet": [], "lowering": []}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": kernel, "tasks": tasks}
    playbook = tmp_path / "revision.yml"
    playbook.write_text(json.dumps([play]))
    told = run(["ansible-playbook", "--verbose", "--check", "--inventory", "localhost,", str(playbook)])
    first, domain, again, shells, buffer = re.findall(r"ros2_networking_revision\W+(\w+)", told)
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert first == again == shells
    assert len({first, domain, buffer}) == 3


@pytest.mark.parametrize(("answer", "given", "mtu"), [("true", "0", 1400), ("false", "1300", 1300)])
def test_text_means_what_it_says(tmp_path: Path, answer: str, given: str, mtu: int) -> None:
    """The command line gives text, which the role's specification takes and leaves as it is."""
    file = tmp_path / "told.json"
    told = {
        "serves": "{{ 'ros2-discovery-server.service' in __ros2_networking_wanted_units }}",
        "tried": "{{ __ros2_networking_checks['fastdds.xml'] | length > 0 }}",
        "multicast": "{{ __ros2_networking_plan.dds.multicast }}",
        "mtu": "{{ __ros2_networking_plan.message.mtu }}",
    }
    tasks = [
        {"ansible.builtin.set_fact": {**FACTS, "cacheable": True}},
        {
            "ansible.builtin.include_role": {
                "name": f"{FQCN}.ros2_networking",
                "tasks_from": "preflight",
                "public": True,
            }
        },
        {"ansible.builtin.copy": {"dest": str(file), "content": "{{ told | to_json }}", "mode": "0644"}},
    ]
    variables = {
        "told": told,
        "ros2_networking_rmw": "rmw_fastrtps_cpp",
        "ros2_networking_discovery": "discovery_server",
        # Who is to serve, and does not, would be refused: this host is none of them.
        "ros2_networking_discovery_servers": [OWN if answer == "true" else "192.0.2.7"],
    }
    playbook = tmp_path / "text.yml"
    playbook.write_text(
        json.dumps(
            [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}]
        )
    )
    text = [f"ros2_networking_{name}={answer}" for name in ("serve", "tools", "multicast")]
    extra = " ".join([*text, f"ros2_networking_path_mtu={given}", f"ansible_python_interpreter={sys.executable}"])
    run(["ansible-playbook", "--inventory", "localhost,", "--extra-vars", extra, str(playbook)])
    assert json.loads(file.read_text()) == {
        **dict.fromkeys(("serves", "tried", "multicast"), answer == "true"),
        "mtu": mtu,
    }


def test_verify_changes_nothing_and_passes_in_check_mode(tmp_path: Path) -> None:
    """A loop is evaluated before the condition of its block, here over what was not looked at."""
    tasks = [
        {"ansible.builtin.set_fact": {**FACTS, "cacheable": True}},
        {"ansible.builtin.include_role": {"name": f"{FQCN}.ros2_networking", "tasks_from": "verify"}},
    ]
    playbook = tmp_path / "verify.yml"
    playbook.write_text(
        json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}])
    )
    done = run(["ansible-playbook", "--check", "--inventory", "localhost,", str(playbook)])
    assert "changed=0" in done
    assert "Report what cannot be changed from this host" in done


def test_what_others_keep_in_the_folder_stays(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in ("ros2.env", "cyclonedds-11.xml", "zenoh-router.json5", "theirs.xml"):
        (folder / name).touch()
    apply(folder, "files_remove")
    assert [file.name for file in folder.iterdir()] == ["theirs.xml"]
    (folder / "theirs.xml").unlink()
    # The role's files are gone: what is left to do is the folder.
    apply(folder, "files_remove", __ros2_networking_document_paths=[])
    assert not folder.exists()
    apply(folder, "files_remove", __ros2_networking_document_paths=[])


def test_a_folder_that_is_the_systems_is_refused() -> None:
    with pytest.raises(
        pytest.fail.Exception, match="ros2_networking_directory is /nowhere; it must be an absolute path"
    ):
        apply(Path("/nowhere"), "files_remove")


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o710)
    apply(tmp_path, "folder")
    assert tmp_path.stat().st_mode & 0o777 == 0o710
