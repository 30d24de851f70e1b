# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker engines that role docker finds on a host. The host is a folder with a fake dpkg-query."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "roles/docker/files/engines.sh"


class Machine:
    """A host without Docker."""

    def __init__(self, folder: Path) -> None:
        """Create the folder."""
        self.root = folder / "root"
        self.owned = folder / "owned"
        self.owned.touch()
        self.programs = folder / "bin"
        self.programs.mkdir()
        query = self.programs / "dpkg-query"
        query.write_text('#!/bin/sh\nshift\nfor word in "$@"; do grep -- ": $word\\$" "$OWNED"; done\n')
        query.chmod(0o755)
        (self.root / "proc/1/ns").mkdir(parents=True)
        (self.root / "proc/1/ns/mnt").symlink_to("mnt:[1]")

    def put(self, path: str, owner: str = "", target: str = "") -> None:
        """Create a file or a link. The package `owner` installed it."""
        place = self.root / path.removeprefix("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if target:
            place.symlink_to(self.root / target.removeprefix("/"))
        else:
            place.touch()
        if owner:
            self.own(path, owner)

    def own(self, path: str, owner: str) -> None:
        """Record that a package installed a path."""
        with self.owned.open("a") as file:
            file.write(f"{owner}: {path}\n")

    def start(self, number: int, name: str, path: str, mounts: str = "mnt:[1]") -> None:
        """Add a process."""
        process = self.root / f"proc/{number}"
        (process / "ns").mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")
        (process / "exe").symlink_to(path)
        (process / "ns/mnt").symlink_to(mounts)

    def found(self) -> list[tuple[str, ...]]:
        """Return the engines that the script finds."""
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}", "OWNED": str(self.owned)}
        done = subprocess.run(
            ["sh", str(SCRIPT), str(self.root)], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a host without Docker."""
    return Machine(tmp_path)


def test_a_host_without_docker_has_no_engine(machine: Machine) -> None:
    assert machine.found() == []


@pytest.mark.parametrize("path", ["/var/lib/snapd/snaps/docker_2963.snap", "/snap/bin/docker", "/snap/docker/current"])
def test_a_snap_is_found(machine: Machine, path: str) -> None:
    machine.put("/var/lib/snapd/snaps/core22_1.snap")
    machine.put(path)
    assert machine.found() == [("snap", path, "")]


def test_programs_have_the_package_that_installed_them(machine: Machine) -> None:
    machine.put("/usr/bin/dockerd", "docker-ce")
    machine.put("/usr/bin/docker", "docker-ce-cli")
    machine.put("/usr/local/bin/docker", target="/usr/bin/docker")
    machine.put("/usr/sbin/dockerd")
    machine.own("/sbin/dockerd", "moby-engine:amd64")
    assert machine.found() == [
        ("program", "/usr/local/bin/docker", "docker-ce-cli"),
        ("program", "/usr/sbin/dockerd", "moby-engine"),
        ("program", "/usr/bin/dockerd", "docker-ce"),
        ("program", "/usr/bin/docker", "docker-ce-cli"),
    ]


def test_a_wrapper_around_a_package_is_not_an_engine(machine: Machine) -> None:
    machine.put("/usr/bin/docker", "docker-ce-cli")
    machine.put("/usr/local/bin/docker")
    assert machine.found() == [("program", "/usr/bin/docker", "docker-ce-cli")]


@pytest.mark.parametrize(
    "path", ["/usr/local/bin/dockerd", "/usr/bin/dockerd", "/usr/local/sbin/docker", "/opt/bin/dockerd"]
)
def test_a_static_program_has_no_package(machine: Machine, path: str) -> None:
    machine.put(path)
    assert machine.found() == [("program", path, "")]


@pytest.mark.parametrize(
    "path",
    [
        "/run/user/1000/docker.sock",
        "/home/robot/.config/systemd/user/docker.service",
        "/root/.config/systemd/user/docker.service",
    ],
)
def test_a_rootless_engine_is_found(machine: Machine, path: str) -> None:
    machine.put(path)
    assert machine.found() == [("rootless", path, "")]


def test_docker_desktop_is_found(machine: Machine) -> None:
    machine.put("/opt/docker-desktop/bin/com.docker.backend")
    assert machine.found() == [("desktop", "/opt/docker-desktop", "")]


def test_a_process_is_found_unless_it_is_in_a_container(machine: Machine) -> None:
    machine.own("/usr/bin/dockerd", "docker-ce")
    machine.start(11, "dockerd", "/usr/bin/dockerd (deleted)")
    machine.start(12, "dockerd", "/srv/moby/dockerd")
    machine.start(13, "dockerd", "/usr/local/bin/dockerd", mounts="mnt:[2]")
    machine.start(14, "sleep", "/usr/bin/sleep")
    assert machine.found() == [("running", "/usr/bin/dockerd", "docker-ce"), ("running", "/srv/moby/dockerd", "")]
