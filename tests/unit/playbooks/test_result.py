# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each verb leaves its result as JSON, also one that fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support.ansible_programs import execute
from tests.support.local_aws import LocalAws, running
from tests.support.project import ROOT, clean_environment, load_yaml
from tests.support.small_lab import SmallLab

NAME = "warehouse"
VERBS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml") if path.stem != "select")
Play = Callable[..., tuple["subprocess.CompletedProcess[str]", dict[str, Any]]]


def tasks_of(name: str) -> list[dict[str, Any]]:
    """Return the tasks of all plays of a playbook, without those in blocks."""
    plays = load_yaml(PurePosixPath(f"playbooks/{name}.yml"))
    return [task for play in plays for task in play.get("tasks", [])]


@pytest.mark.parametrize("verb", VERBS)
def test_the_last_task_of_each_verb_writes_its_result(verb: str) -> None:
    last = tasks_of(verb)[-1]
    included = last["ansible.builtin.include_tasks"]
    assert "tasks/result.yml" in (included, included["file"] if isinstance(included, dict) else "")
    assert last["vars"]["lab_result"]["verb"] == verb


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running(tmp_path_factory.mktemp("aws")) as local:
        SmallLab(local, NAME).make()
        yield local


@pytest.fixture
def play(aws: LocalAws, tmp_path: Path) -> Play:
    """Return a function that runs a verb without hosts in the inventory, and returns how it ended and its result."""

    def run(verb: str, **given: Any) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        file = tmp_path / "result.json"
        values = {
            "aws_infrastructure_name": NAME,
            "aws_infrastructure_region": "us-east-1",
            "aws_infrastructure_private_key_file": str(tmp_path / "key"),
            "lab_result_file": str(file),
            **given,
        }
        words = ["--inventory", "localhost,", f"playbooks/{verb}.yml", "--extra-vars", json.dumps(values)]
        done = execute(["ansible-playbook", *words], {**clean_environment(), **aws.environment})
        assert file.stat().st_mode & 0o777 == 0o600
        return done, json.loads(file.read_text("utf-8"))

    return run


def test_status(play: Play, aws: LocalAws) -> None:
    """It has the cost of the month, and has changed nothing."""
    aws.calls()
    done, found = play("status")
    assert done.returncode == 0, done.stdout
    assert [call["action"] for call in aws.calls() if call["mutating"]] == []
    assert (found["verb"], found["ok"], found["changed"], found["check"]) == ("status", True, False, False)
    assert (found["lab"], found["region"]) == (NAME, "us-east-1")
    (host,) = found["hosts"]
    assert (host["name"], host["state"], host["instance_type"]) == (f"{NAME}-1", "running", "g5.xlarge")
    assert found["cost"]["per_hour"] == 1.03
    assert found["cost"]["month"]["hours"].keys() == {"on-demand", "spot"}
    assert not any(secret in json.dumps(found) for secret in (aws.key.id, aws.key.secret, "ssh "))


def test_a_verb_that_fails(play: Play) -> None:
    done, found = play("destroy", aws_infrastructure_destroy_confirm="another")
    assert done.returncode == 2
    assert (found["ok"], found["lab"]) == (False, NAME)


def test_a_verb_for_hosts_outside_aws(tmp_path: Path) -> None:
    """Two hosts, of which one cannot be reached: the other is verified, and the verb has not succeeded."""
    hosts = {"near": {"ansible_connection": "local"}, "far": {"ansible_host": "127.0.0.1", "ansible_port": 1}}
    more = {"ansible_become": False, "ansible_python_interpreter": sys.executable}
    inventory, file = tmp_path / "hosts.yml", tmp_path / "result.json"
    inventory.write_text(json.dumps({"lab": {"hosts": hosts, "vars": more}}), "utf-8")
    values = {"lab_roles_skipped": ["ros2_networking"], "lab_result_file": str(file)}
    words = ["--inventory", str(inventory), "playbooks/diagnose.yml", "--extra-vars", json.dumps(values)]
    done = execute(["ansible-playbook", *words], clean_environment())
    found = json.loads(file.read_text("utf-8"))
    assert done.returncode == 4, done.stdout
    assert (found["verb"], found["ok"], found["failed"], found["changed"]) == ("diagnose", False, ["far"], False)
    assert sorted(host["name"] for host in found["hosts"]) == ["far", "near"]
    assert found["cost"] is None
