# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests' own sandbox, in which they run the collection's commands as a user would."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import docker

from sandbox import lifecycle
from sandbox.cloud import process
from sandbox.keys import Key
from sandbox.settings import REGION, Sandbox
from sandbox.waiting import wait_until
from tests.support.ansible_lines import MAIN, Line
from tests.support.project import ROOT, clean_environment, run

RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
COMMAND_SECONDS = 1500
KILL_SECONDS = 300
# The variable by which a run's processes are found.
RUN = "TEST_RUN"
FIRST_HOST = "robotics-lab-1"
RUNNING = [{"Name": "instance-state-name", "Values": ["running"]}]
# The hosts of the next lab reuse the addresses.
SSH_OPTIONS = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
SSH_OPTIONS += ["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30"]


@dataclass(frozen=True)
class Result:
    """The result of one command.

    Attributes:
        recap: per host the counts ok, changed, unreachable and failed of Ansible's recap.
    """

    status: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        names = ("ok", "changed", "unreachable", "failed")
        return {row[0]: dict(zip(names, map(int, row[1:]), strict=True)) for row in RECAP.findall(self.output)}

    @property
    def changed(self) -> dict[str, int]:
        """Return how many tasks changed something, by host; hosts without a change are left out."""
        return {host: counts["changed"] for host, counts in self.recap.items() if counts["changed"]}

    def must_succeed(self) -> Result:
        """Check that the command succeeded, and that Ansible printed neither a warning nor a deprecation."""
        assert self.status == 0, self.output[-6000:]
        warned = [line for line in self.output.splitlines() if "WARNING]" in line]
        assert not warned, "\n".join(warned)
        return self


@dataclass
class Account:
    """An AWS account, and the environment of a user's shell."""

    environment: dict[str, str] = field(default_factory=dict)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        return self.environment["AWS_ENDPOINT_URL"]

    @property
    def key(self) -> Key:
        return Key.of(self.environment)

    def playbook(
        self, name: str, *arguments: str, line: Line = MAIN, timeout: float = COMMAND_SECONDS, **variables: Any
    ) -> Result:
        """Run a playbook with extra variables, with one of the supported lines of Ansible."""
        words = ["ansible-playbook", name, *arguments]
        if variables:
            words += ["--extra-vars", json.dumps(variables)]
        return execute(words, line.first_on_path(self.environment), timeout)

    def client(self, service: str) -> Any:
        """Return a boto3 client of the account; each is created once, because that is slow."""
        if (service, self.url) not in self._clients:
            connect: Any = boto3.client
            self._clients[service, self.url] = connect(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id=self.key.id,
                aws_secret_access_key=self.key.secret,
            )
        return self._clients[service, self.url]

    def control(self, method: str, path: str, data: Any = None) -> Any:
        """Send a request to the sandbox itself."""
        return process.control(self.url, self.key, method, path, data)

    def was_asked(self, action: str) -> bool:
        """Return whether AWS received a call since the journal was last emptied."""
        return any(call["action"] == action for call in self.control("GET", "calls"))

    def mutating_calls(self) -> list[str]:
        """Return the calls since the journal was last emptied that would have changed something."""
        return [f"{call['service']}:{call['action']}" for call in self.control("GET", "calls") if call["mutating"]]

    def forget(self) -> None:
        """Remove all injected faults, and empty the journal."""
        self.control("DELETE", "faults")
        self.control("DELETE", "calls")


@contextmanager
def account(folder: Path) -> Iterator[Account]:
    """Serve an empty account without hosts, for tests that end before an instance starts.

    Args:
        folder: for the server's log and process id, and for keys.
    """
    port = process.free_port(None)
    cloud = [sys.executable, str(ROOT / "molecule" / "shared" / "aws" / "cloud.py")]
    key = Key.new()
    settings = {"PYTHONPATH": str(ROOT), **key.environment}
    run([*cloud, "start", str(folder), "127.0.0.1", str(port)], env=settings)
    try:
        url = f"http://127.0.0.1:{port}"
        yield Account(clean_environment(lifecycle.environment(Sandbox.at(folder), url, key)))
    finally:
        run([*cloud, "stop", str(folder)], env=settings)


@dataclass
class Cloud(Account):
    """A running sandbox with simulated hosts, and a user's environment after ``. .sandbox/env``."""

    sandbox: Sandbox = field(default_factory=Sandbox.at)
    lab_runs: bool = False

    def up(self) -> None:
        """Start or reuse it, and read its environment file as a shell does."""
        self.command("up").must_succeed()
        script = f"set -a; . {shlex.quote(str(self.sandbox.environment_file))}; env -0"
        shell = subprocess.run(
            ["bash", "-c", script], env=clean_environment(), capture_output=True, text=True, check=True, timeout=60
        )
        self.environment = dict(line.split("=", 1) for line in shell.stdout.split("\0") if "=" in line)

    def command(self, *words: str) -> Result:
        """Run one of the sandbox's own commands."""
        arguments = [sys.executable, "-m", "sandbox", "--state", str(self.sandbox.state), *words]
        return execute(arguments, clean_environment())

    def hosts(self) -> dict[str, LabHost]:
        """Return the running instances by their names, as AWS lists them."""
        found = self.client("ec2").describe_instances(Filters=RUNNING)["Reservations"]
        return {
            tag["Value"]: LabHost(row["InstanceId"], row["PublicIpAddress"], self.sandbox.keys / lab_of(row))
            for reservation in found
            for row in reservation["Instances"]
            for tag in row["Tags"]
            if tag["Key"] == "Name"
        }


def lab_of(instance: dict[str, Any]) -> str:
    """Return the name of an instance's lab."""
    return next(str(tag["Value"]) for tag in instance["Tags"] if tag["Key"] == "digital_twin_lab")


@dataclass(frozen=True)
class LabHost:
    """One host of a lab, accessed over SSH.

    Attributes:
        id: the id of its instance.
        address: its public address.
        key: the file with the private key of its lab.
    """

    id: str
    address: str
    key: Path

    def login(self, command: str) -> str:
        """Run a shell command as the login user over SSH and return its standard output."""
        words = ["ssh", "-i", str(self.key), *SSH_OPTIONS, f"admin@{self.address}"]
        return capture([*words, command], clean_environment()).strip()

    def shell(self, command: str) -> str:
        """Run a shell command as root over SSH and return its standard output."""
        return self.login(shlex.join(["sudo", "-n", "sh", "-c", command]))


NOTHING: dict[str, list[str]] = {"containers": [], "networks": [], "volumes": []}


def pieces(cloud: Cloud) -> dict[str, list[str]]:
    """Return the names of the Docker objects of this sandbox's labs, by kind.

    The registry and the internet gateway belong to the sandbox: they stay, on the engine's networks, without a volume.
    """
    mine: dict[str, str | list[str] | bool] = {"label": cloud.sandbox.label_filter}
    own = {cloud.sandbox.name(part) for part in ("registry", "packages", "edge")}
    client = docker.from_env()
    try:
        containers = {str(entry.name) for entry in client.containers.list(all=True, filters=mine)} - own
        return {
            "containers": sorted(containers),
            "networks": sorted(str(entry.name) for entry in client.networks.list(filters=mine)),
            "volumes": sorted(str(entry.name) for entry in client.volumes.list(filters=mine)),
        }
    finally:
        client.close()


def execute(words: list[str], environment: Mapping[str, str], timeout: float = COMMAND_SECONDS) -> Result:
    """Run a command to its end and return its output, with both streams merged as on a terminal."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout)


def capture(words: list[str], environment: Mapping[str, str], timeout: float = COMMAND_SECONDS) -> str:
    """Run a command that must succeed and return its standard output only: Ansible warns on the other stream."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def inventory(cloud: Cloud) -> dict[str, Any]:
    """Return the output of ansible-inventory, with texts marked as unsafe as plain texts."""

    def plain(row: dict[str, Any]) -> Any:
        return row["__ansible_unsafe"] if row.keys() == {"__ansible_unsafe"} else row

    return dict(json.loads(capture(["ansible-inventory", "--list"], cloud.environment), object_hook=plain))


def on_host(cloud: Cloud, command: str, host: str = FIRST_HOST) -> str:
    """Run a shell command as root on a lab host over SSH and return its standard output."""
    return cloud.hosts()[host].shell(command)


def kill_when(
    words: list[str], environment: Mapping[str, str], log: Path, due: Callable[[], bool], moment: str
) -> None:
    """Start a command, and kill it and all its processes with SIGKILL when the condition holds.

    Ansible's workers and their modules are in sessions of their own, and would live on.

    Args:
        log: file for the command's output.
        due: returns whether to kill it now.
        moment: the condition's name in messages.
    """
    mark = uuid.uuid4().hex
    with log.open("w", encoding="utf-8") as stream:
        running = subprocess.Popen(
            words, cwd=ROOT, env={**environment, RUN: mark}, stdout=stream, stderr=subprocess.STDOUT, process_group=0
        )
    deadline = time.monotonic() + KILL_SECONDS
    try:
        while not due():
            assert running.poll() is None, f"ended before {moment}:\n{log.read_text(encoding='utf-8')}"
            assert time.monotonic() < deadline, f"no {moment} in {KILL_SECONDS} s:\n{log.read_text(encoding='utf-8')}"
            time.sleep(0.02)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(timeout=30)
        wait_until(lambda: not kill_marked(mark), what="the run's processes to end", seconds=30, pause=0.02)


def kill_marked(mark: str) -> list[int]:
    """Kill the processes of a run, and return their ids."""
    entry, found = f"{RUN}={mark}".encode(), []
    for file in Path("/proc").glob("[0-9]*/environ"):
        # Others' processes, and those that end meanwhile, cannot be read.
        with suppress(OSError):
            if entry in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
                os.kill(found[-1], signal.SIGKILL)
    return found
