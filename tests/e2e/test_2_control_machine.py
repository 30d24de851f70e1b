# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README's commands on a clean control machine, from a clone and from an installed artifact."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.control_machine import HOME, ControlMachine, commands, control_machine, settings
from tests.support.lab import Cloud, Result
from tests.support.project import FQCN, NAME, ROOT, load_yaml

LAB = "robotics-lab"
HOSTS = [f"{LAB}-1", f"{LAB}-2"]
KEY = f"{HOME}/.ssh/digital-twin-{LAB}"
CLONE = f"{HOME}/{NAME}"
KNOWN_HOSTS = f"{HOME}/.ssh/digital-twin-known_hosts"
LOG = ROOT / ".cache" / "control_machine.log"


@pytest.fixture(scope="module")
def bare(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlMachine]:
    """Start the machine once for this file."""
    with control_machine(cloud.sandbox, cloud.environment, tmp_path_factory.mktemp("repository"), LOG) as machine:
        yield machine


@pytest.fixture
def machine(bare: ControlMachine, lab: Cloud) -> ControlMachine:
    """Return the machine with README's packages, a clone, and its environment; the lab runs."""
    shown = commands("On AWS")
    install, clone, setup = shown[:3]
    if bare.run(f"test -e {CLONE}").status:
        # Creating the lab may have taken long.
        bare.began = time.monotonic()
        bare.run("apt-get update -q", "/", user="root").must_succeed()
        bare.run(install.removeprefix("sudo "), "/", user="root").must_succeed()
        bare.run(clone).must_succeed()
        bare.run(setup, CLONE).must_succeed()
        bare.write(f"{CLONE}/group_vars/all.yml", settings())
        bare.run("mkdir -m 700 ~/.ssh").must_succeed()
    return bare


def quiet(result: Result) -> Result:
    """Return the result of a command that succeeded without warnings."""
    result.must_succeed()
    assert "WARNING" not in result.output, result.output
    return result


def documented(heading: str, command: str) -> str:
    """Return a command that README shows below a heading."""
    assert command in commands(heading), f"README, {heading}: {command} is missing"
    return command


def test_readme_on_a_clean_machine(machine: ControlMachine, lab: Cloud) -> None:
    """From `apt-get install` to `status`; only the private key comes from the machine that created the lab."""
    preflight = documented("On AWS", "ansible-playbook playbooks/preflight.yml")
    machine.run(f"rm -f {KEY}; ssh-keygen -q -t ed25519 -N '' -f {KEY} && rm {KEY}.pub").must_succeed()
    refused = machine.run(preflight, CLONE)
    assert refused.status == 2, refused.output
    assert f"{KEY} is not the key with which {', '.join(HOSTS)} was created" in " ".join(refused.output.split())

    machine.write(KEY, (lab.sandbox.keys / LAB).read_text("utf-8"))
    quiet(machine.run(preflight, CLONE))
    lab.control("DELETE", "calls")
    again = quiet(machine.run(documented("On AWS", "ansible-playbook site.yml"), CLONE))
    assert {"localhost", *HOSTS} <= set(again.recap)
    assert again.changed == {}
    # This machine has no saved keys of the hosts, so it saves all of them from the console output.
    assert lab.was_asked("GetConsoleOutput")
    saved = machine.run(f"sort {KNOWN_HOSTS}").must_succeed().output.splitlines()
    real = {
        f"{host.id} {' '.join(line.split()[:2])}"
        for host in lab.hosts().values()
        for line in host.shell("cat /etc/ssh/ssh_host_*_key.pub").splitlines()
        if not line.startswith("ssh-dss")  # cloud-init does not write it
    }
    assert set(saved) == real
    lab.control("DELETE", "calls")
    status = quiet(machine.run(documented("On AWS", "ansible-playbook playbooks/status.yml"), CLONE))
    assert not lab.was_asked("GetConsoleOutput")
    assert status.changed == {}
    assert all(f"{host} GPU 0" in status.output for host in HOSTS)


def test_a_host_that_cannot_be_verified_is_not_contacted(machine: ControlMachine, lab: Cloud) -> None:
    """A forged key is refused, and so is a host whose console the caller may not read."""
    forged = (
        f"ssh-keygen -q -t ed25519 -N '' -f forged && echo {lab.hosts()[HOSTS[0]].id} $(cut -d' ' -f1,2 forged.pub)"
    )
    machine.run(f"mv {KNOWN_HOSTS} known && {forged} > {KNOWN_HOSTS}; rm forged*").must_succeed()
    lab.control("POST", "faults", {"kind": "denied", "action": "GetConsoleOutput"})
    try:
        # A shared connection of an earlier command would still be open.
        refused = machine.run("ANSIBLE_SSH_ARGS='-o ControlMaster=no' ansible-playbook playbooks/stack.yml", CLONE)
    finally:
        lab.control("DELETE", "faults")
        machine.run(f"mv known {KNOWN_HOSTS}").must_succeed()
    output = " ".join(refused.output.split())
    assert refused.status, output
    assert refused.recap[HOSTS[0]]["unreachable"] == 1
    assert "Host key verification failed" in output
    assert refused.recap[HOSTS[1]]["failed"] == 1
    assert f"{HOSTS[1]} was not contacted" in output
    assert "or allow ec2:GetConsoleOutput" in output


def test_readme_from_an_installed_collection(
    machine: ControlMachine, lab: Cloud, request: pytest.FixtureRequest
) -> None:
    """In an empty directory, with an environment of its own, and without the clone that built the artifact."""
    shown = commands("From an installed collection")
    version = load_yaml(ROOT / "galaxy.yml")["version"]
    artifact = f"{FQCN.replace('.', '-')}-{version}.tar.gz"
    machine.write(KEY, (lab.sandbox.keys / LAB).read_text("utf-8"))
    machine.run(f"ansible-galaxy collection build --output-path {HOME}", CLONE).must_succeed()
    # With one hash in the constraints, pip would require hashes for all packages.
    pins = f"sed -n 's/ *[\\\\]$//; /^[^ ].*==/p' {HOME}/elsewhere/requirements.txt > pins"
    machine.run(f"mv {CLONE} {HOME}/elsewhere && {pins}").must_succeed()
    try:
        # The pinned versions, not the newest of the day.
        machine.run(f"export PIP_CONSTRAINT={HOME}/pins PIP_NO_COMPILE=1; {shown[0]}").must_succeed()
        install = documented("From an installed collection", f"ansible-galaxy collection install {artifact}")
        quiet(machine.run(install, environment="venv"))
        copied = [command for command in shown if command.startswith(("mkdir ", "collection=", "cp "))]
        machine.run(" && ".join(copied)).must_succeed()
        machine.write(f"{HOME}/lab/inventory/group_vars/all.yml", settings())
        playbook = f"ansible-playbook {FQCN}"
        preflight, site, status = (
            documented("From an installed collection", f"{playbook}.{name}") for name in ("preflight", "site", "status")
        )
        # The clone has run site.yml on this lab. The short test runs only a role that copies files to a host.
        part = f"{playbook}.configure --limit {HOSTS[1]} --tags ros2_networking"
        for command in (preflight, site if request.config.getoption("--full") else part, status):
            result = quiet(machine.run(command, f"{HOME}/lab", environment="../venv"))
            assert result.changed == {}
            assert command == preflight or set(HOSTS[1:] if command == part else HOSTS) <= set(result.recap)
    finally:
        machine.run(f"mv {HOME}/elsewhere {CLONE}").must_succeed()
