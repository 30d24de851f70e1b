# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine for README's commands: a container of minimal Debian 13 with only the packages that README names."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.models.containers import Container

from sandbox.settings import Sandbox
from tests.support.lab import COMMAND_SECONDS, Result
from tests.support.project import NAME, ROOT, load_yaml, project_files, run

IMAGE = "digital-twin/base:debian13"
USER = "engineer"
HOME = f"/home/{USER}"
USER_ID = 1000
REPOSITORIES = "/srv/"
AUTHORITIES = "/usr/local/share/machine-authorities.pem"
# The container reaches package indexes in the same way as this machine.
NETWORK = re.compile(
    r"(?i)(https?|no|all)_proxy|(PIP|UV)_(DEFAULT_INDEX|EXTRA_INDEX_URL|INDEX|INDEX_URL|DEFAULT_TIMEOUT)"
)
ACCOUNT = re.compile("AWS_|NGC_API_KEY$")


def commands(heading: str) -> list[str]:
    """Return the commands that README shows below a heading, without their comments."""
    section = (ROOT / "README.md").read_text("utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [re.split(r"\s+# ", line[2:])[0] for line in section.splitlines() if line.startswith("$ ")]


def settings() -> str:
    """Return group_vars/all.yml as a user of the sandbox would have edited it; the key has its default path."""
    values = load_yaml(ROOT / "group_vars" / "all.yml") | load_yaml(ROOT / "inventory/sandbox/group_vars/all.yml")
    del values["aws_infrastructure_private_key_file"]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def repository(folder: Path) -> Path:
    """Return a git repository whose only commit is the working tree, including files that are not added yet."""
    target = folder / f"{NAME}.git"
    for path in project_files():
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy, follow_symlinks=False)
    git = ["git", "-C", str(target), "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    run([*git, "init", "--quiet"])
    run([*git, "add", "--all"])
    run([*git, "-c", "commit.gpgsign=false", "commit", "--quiet", "--no-verify", "--message", "The working tree"])
    return target


@dataclass
class ControlMachine:
    """A running container and its user's shell.

    Attributes:
        environment: the exported variables.
        log: the commands with their duration and output.
        began: the start of the time in the log.
    """

    container: Container
    environment: dict[str, str]
    log: Path
    began: float = field(default_factory=time.monotonic)

    def run(self, command: str, folder: str = HOME, *, user: str = USER, environment: str = ".venv") -> Result:
        """Run a shell command.

        Args:
            environment: folder of the active Python environment, if any.
        """
        started = time.monotonic()
        activate = f"{environment}/bin/activate"
        done = self.container.exec_run(
            ["bash", "-c", f"! [ -e {activate} ] || . {activate}; {command}"],
            user=user,
            workdir=folder,
            environment=self.environment,
        )
        assert isinstance(done.exit_code, int)
        assert isinstance(done.output, bytes)
        result = Result(done.exit_code, done.output.decode(errors="replace"))
        now = time.monotonic()
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(f"{now - self.began:.0f} s ({now - started:.1f} s): $ {command}\n{result.output}\n")
        return result

    def write(self, path: str, text: str) -> None:
        """Write a file that only the user may read."""
        content = text.encode()
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o600, USER_ID, USER_ID
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(entry, io.BytesIO(content))
        assert self.container.put_archive("/", archive.getvalue())


def mounts(source: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the container's mounts: the repository, and this machine's configuration for package indexes."""
    volumes = {str(source): {"bind": REPOSITORIES + source.name, "mode": "ro"}}
    environment = {name: value for name, value in os.environ.items() if NETWORK.fullmatch(name)}
    authorities = os.environ.get("SSL_CERT_FILE", "")
    if Path(authorities).is_file():
        volumes[authorities] = {"bind": AUTHORITIES, "mode": "ro"}
        environment["SSL_CERT_FILE"] = AUTHORITIES
    return volumes, environment


@contextmanager
def control_machine(sandbox: Sandbox, account: Mapping[str, str], folder: Path, log: Path) -> Iterator[ControlMachine]:
    """Start a machine without installed packages in this machine's network, which has the lab's addresses.

    Args:
        sandbox: the sandbox to which the container belongs, and which removes it at the latest.
        account: variables; those of the account are exported in the container.
        folder: for the repository that README's `git clone` uses.
        log: see ControlMachine.
    """
    client = docker.from_env(timeout=COMMAND_SECONDS)
    volumes, environment = mounts(repository(folder))
    environment |= {name: value for name, value in account.items() if ACCOUNT.match(name)}
    container = client.containers.run(
        IMAGE,
        ["sleep", "infinity"],
        name=sandbox.name("control"),
        labels=sandbox.labels,
        network_mode="host",
        init=True,
        volumes=volumes,
        detach=True,
    )
    try:
        log.unlink(missing_ok=True)
        machine = ControlMachine(container, environment, log)
        # README's URLs of its own repository lead to the working tree; `apt-get install` does not prompt.
        prepared = (
            f"useradd --create-home --uid {USER_ID} --shell /bin/bash {USER}",
            "printf 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/90assume-yes",
            f'printf \'[safe]\\ndirectory = *\\n[url "file://{REPOSITORIES}"]\\n'
            "insteadOf = https://github.com/digital-twin/\\n' >/etc/gitconfig",
        )
        machine.run("; ".join(["set -e", *prepared]), "/", user="root").must_succeed()
        yield machine
    finally:
        container.remove(force=True, v=True)
        client.close()
