# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role ros2_networking without a host: the results of its variables, and a folder with files of other programs."""

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


# The facts that the role reads.
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
    """Run one of the role's task files on this machine, with a folder for its files."""
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


def test_the_revision_follows_the_content_of_the_files(tmp_path: Path) -> None:
    """In check mode, on a host without the role's files."""
    given: list[dict[str, Any]] = [{}, {"domain_id": 1}, {}, {"shells": False}, {"receive_buffer": 65536}]
    tasks = [
        {
            "ansible.builtin.include_role": {"name": f"{FQCN}.ros2_networking"},
            "vars": {f"ros2_networking_{name}": value for name, value in {"tools": False, **variables}.items()},
        }
        for variables in given
    ]
    facts = {"ansible.builtin.set_fact": {**FACTS, "cacheable": True}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [facts, *tasks]}
    playbook = tmp_path / "revision.yml"
    playbook.write_text(json.dumps([play]))
    python = f"ansible_python_interpreter={sys.executable}"
    output = run(
        ["ansible-playbook", "--verbose", "--check", "--inventory", "localhost,", "--extra-vars", python, str(playbook)]
    )
    first, domain, again, shells, buffer = re.findall(r"ros2_networking_revision\W+(\w+)", output)
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert first == again == shells
    assert len({first, domain, buffer}) == 3


@pytest.mark.parametrize(("answer", "given", "mtu"), [("true", "0", 1400), ("false", "1300", 1300)])
def test_text_is_accepted_for_other_types(tmp_path: Path, answer: str, given: str, mtu: int) -> None:
    """Values on the command line are text, which the role's argument specification accepts without conversion."""
    file = tmp_path / "values.json"
    values = {
        "serves": "{{ 'ros2-discovery-server.service' in __ros2_networking_wanted_units }}",
        "tried": "{{ __ros2_networking_validations['fastdds.xml'] | length > 0 }}",
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
        {"ansible.builtin.copy": {"dest": str(file), "content": "{{ values | to_json }}", "mode": "0644"}},
    ]
    variables = {
        "values": values,
        "ros2_networking_rmw": "rmw_fastrtps_cpp",
        "ros2_networking_discovery": "discovery_server",
        # A server that is not in the list would be refused.
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
    """A loop is evaluated before the condition of its block, here over a state that was not read."""
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
    assert "Verify that there are no findings" in done


def test_files_of_other_programs_in_the_folder_stay(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in ("ros2.env", "cyclonedds-11.xml", "zenoh-router.json5", "theirs.xml"):
        (folder / name).touch()
    apply(folder, "files_remove")
    assert [file.name for file in folder.iterdir()] == ["theirs.xml"]
    (folder / "theirs.xml").unlink()
    apply(folder, "files_remove")
    assert not folder.exists()
    apply(folder, "files_remove")


def test_a_folder_of_the_system_is_refused() -> None:
    with pytest.raises(
        pytest.fail.Exception, match=r"ros2_networking_directory is /nowhere. It must be an absolute path"
    ):
        apply(Path("/nowhere"), "files_remove")


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o710)
    files = [{"name": f"{tmp_path}/ros2.env"[1:], "content": "ROS_DOMAIN_ID=0\n"}]
    apply(tmp_path, "files", __ros2_networking_files=files)
    assert tmp_path.stat().st_mode & 0o777 == 0o710
    assert [file.name for file in tmp_path.iterdir()] == ["ros2.env"]
