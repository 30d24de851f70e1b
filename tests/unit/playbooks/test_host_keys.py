# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that a run contacts new hosts only if their SSH host key is in their console output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.ec2.responses.general import General
from moto.server import ThreadedMotoServer

from sandbox.cloud import console
from tests.support.ansible_programs import execute
from tests.support.lab import RECAP
from tests.support.project import ROOT, clean_environment, load_yaml, playbooks
from tests.support.ssh_server import Server, new_key, public, ssh_server

REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "canary-aws-3d91", "AWS_REGION": REGION}
# Printed by cloud-init at the end of each boot.
FINISHED = "Cloud-init v. 22.4.2 finished at Sun, 29 Nov 2026 12:00:00 +0000. Datasource DataSourceEc2. Up 20.0 seconds"
# Needs a connection and nothing else on the host.
ASK = {"name": "Ask", "ansible.builtin.raw": "true", "ignore_unreachable": True}


def block(*keys: str) -> str:
    """Return a console output in which cloud-init writes host keys."""
    lines = ["-----BEGIN SSH HOST KEY KEYS-----", *(f"{key} root@ip-10-0-1-10" for key in keys)]
    return "\n".join([*lines, "-----END SSH HOST KEY KEYS-----", FINISHED, ""])


class Lab:
    """Instances with an SSH server each, and their console output in AWS."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self.folder, self.url, self._stack = folder, url, stack
        self.servers: dict[str, Server] = {}
        self.outputs: dict[str, str] = {}
        self.asked: list[str] = []
        self.launched: dict[str, str] = {}
        self.saved = folder / "home of a user" / ".ssh" / "known hosts"
        (folder / "inventory").mkdir()
        (folder / "inventory" / "group_vars").symlink_to(ROOT / "group_vars")
        connect: Any = boto3.client
        self._ec2 = connect(
            "ec2", REGION, endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="canary-aws-3d91"
        )

    def add(self, name: str, output: str | None = None, kind: str = "ssh-ed25519") -> str:
        """Add an instance with its own host key, and return the key. Without `output`, its console has that key."""
        key = new_key(kind)
        self.servers[name] = self._stack.enter_context(ssh_server(key))
        launched = self._ec2.run_instances(ImageId="ami-1e749f67", MinCount=1, MaxCount=1, InstanceType="g5.xlarge")
        self.launched[name] = launched["Instances"][0]["InstanceId"]
        self.outputs[self.launched[name]] = block(public(key)) if output is None else output
        return public(key)

    def read(self, instance_id: str) -> bytes:
        self.asked.append(instance_id)
        return self.outputs[instance_id].encode()

    def run(self, *words: str, playbook: str = "select.yml", **given: object) -> tuple[dict[str, Any], str]:
        """Run a playbook that connects to all hosts, and return Ansible's recap by host and the output."""
        hosts = {
            name: {
                "ansible_host": "127.0.0.1",
                "ansible_port": server.port,
                "lab_instance_id": self.launched[name],
                "lab_name": "robotics-lab",
                "lab_region": REGION,
                # Long ago, so there is no wait for the boot.
                "ec2_launch_time": "2026-01-01 12:00:00+00:00",
                "aws_infrastructure_known_hosts_file": str(self.saved),
            }
            for name, server in self.servers.items()
        }
        inventory = self.folder / "inventory" / "hosts.json"
        groups = {"lab": {"hosts": hosts}, "aws_ec2": {"hosts": {name: {} for name in hosts}}}
        inventory.write_text(json.dumps(groups), "utf-8")
        play = self.folder / "play.yml"
        plays = [
            {"ansible.builtin.import_playbook": str(ROOT / "playbooks" / playbook)},
            {"hosts": "lab_selected", "gather_facts": False, "tasks": [ASK]},
        ]
        play.write_text(json.dumps(plays), "utf-8")
        self.asked.clear()
        for server in self.servers.values():
            server.accepted.clear()
        values = json.dumps({"control_machine_checked": True, **given})
        # A common setting of users.
        settings = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "ANSIBLE_HOST_KEY_CHECKING": "false"}
        command = ["ansible-playbook", "--inventory", str(inventory), str(play), "--extra-vars", values, *words]
        done = execute(command, clean_environment(settings))
        recap = {row[0]: {"changed": int(row[2]), "failed": int(row[4])} for row in RECAP.findall(done.stdout)}
        assert set(recap) >= set(hosts), done.stdout + done.stderr
        return recap, " ".join(done.stdout.split())

    def accepted(self) -> dict[str, bool]:
        """Return whether the keys of the contacted hosts were accepted."""
        return {name: any(server.accepted) for name, server in self.servers.items() if server.accepted}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with ExitStack() as stack, served() as url:
        made = Lab(tmp_path, url, stack)
        monkeypatch.setattr(General, "get_console_output", None)
        console.install(made.read)
        yield made


@contextmanager
def served() -> Iterator[str]:
    """Serve a local AWS."""
    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def test_only_a_host_with_the_key_of_its_console_is_contacted(lab: Lab) -> None:
    """An impostor answers at the address of an instance with a key that is not the instance's."""
    genuine = lab.add("genuine")
    lab.add("impostor", block(public(new_key())))
    lab.add("other-type", block(public(new_key())), kind="ecdsa-sha2-nistp256")
    known = lab.add("known", "")
    lab.add("changed", "")
    lab.add("silent", FINISHED)
    lab.saved.parent.mkdir(parents=True)
    entries = {"known": known, "changed": public(new_key())}
    # Without a newline at the end, as some editors leave it.
    lab.saved.write_text("\n".join(f"{lab.launched[name]} {key}" for name, key in entries.items()), "utf-8")

    recap, output = lab.run()
    assert lab.accepted() == {
        "genuine": True,
        "impostor": False,
        "other-type": False,
        "known": True,
        "changed": False,
    }
    assert recap["silent"]["failed"] == 1
    assert "silent was not contacted, because its SSH host key cannot be verified" in output
    assert "`-e lab_ssh_first_contact=accept`" in output
    # A host with an entry needs no call, and its entry stays.
    assert not {lab.launched["known"], lab.launched["changed"]} & set(lab.asked)
    saved = lab.saved.read_text("utf-8").splitlines()
    assert {f"{lab.launched[name]} {key}" for name, key in {**entries, "genuine": genuine}.items()} <= set(saved)
    assert all(counts["changed"] == 0 for counts in recap.values())

    del lab.servers["silent"]
    lab.run()
    assert lab.asked == []
    assert lab.saved.read_text("utf-8").splitlines() == saved


def test_a_key_that_cannot_be_verified_is_accepted_on_request_only(lab: Lab) -> None:
    """It is reported. Other keys are still verified, and saved ones are compared."""
    silent = lab.add("silent", FINISHED)
    lab.add("impostor", block(public(new_key())))
    _recap, output = lab.run(lab_ssh_first_contact="accept")
    assert lab.accepted() == {"silent": True, "impostor": False}
    assert "The SSH host key of silent is not verified" in output
    # By its name or the hash of it, depending on ssh's configuration.
    assert silent in lab.saved.read_text("utf-8")

    lab.servers["silent"].key = new_key()
    lab.run(lab_ssh_first_contact="accept")
    assert not lab.accepted()["silent"]


def test_a_limited_run_in_check_mode_verifies_as_well(lab: Lab) -> None:
    lab.add("genuine")
    lab.add("impostor", block(public(new_key())))
    recap, _output = lab.run("--check", "--limit", "lab", "--tags", "docker")
    # raw does not run in check mode.
    assert lab.accepted() == {}
    assert len(lab.saved.read_text("utf-8").splitlines()) == 2
    assert all(counts == {"changed": 0, "failed": 0} for counts in recap.values())


def connecting() -> list[tuple[str, dict[str, Any]]]:
    """Return the plays that connect to hosts of a lab, with the names of their playbooks."""
    found = []
    for path in playbooks():
        plays = load_yaml(ROOT / path)
        selected = any(str(play.get("ansible.builtin.import_playbook")) == "select.yml" for play in plays)
        rows = [play for play in plays if play.get("hosts", "localhost") != "localhost"]
        found += [(path, play) for play in rows if not (selected and play["hosts"] == "lab_selected")]
    return found


def test_every_play_that_connects_verifies_first() -> None:
    """Or its playbook imports select.yml, which verifies them."""
    plays = {path: play for path, play in connecting() if play["hosts"] != "lab"}
    names = ("provision", "resize", "select", "start", "status")
    assert set(plays) == {f"playbooks/{name}.yml" for name in names}
    (awaits, *_rest) = load_yaml(ROOT / "playbooks/tasks/await_started.yml")
    assert awaits["ansible.builtin.include_tasks"] == "host_keys.yml"
    for path, play in plays.items():
        assert not play.get("gather_facts", True), path
        first = json.dumps(play["tasks"][0])
        assert "tasks/host_keys.yml" in first or "tasks/await_started.yml" in first, path
    # Tasks that run on this machine only.
    (selecting,) = [play for _path, play in connecting() if play["hosts"] == "lab"]
    assert {name for task in selecting["tasks"] for name in task if "." in name} == {
        "ansible.builtin.debug",
        "ansible.builtin.group_by",
        "ansible.builtin.set_fact",
    }
