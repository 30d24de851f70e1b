# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systemd units of the roles: their confinement, and protection of the unit with Docker from users' plugins."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_programs import run
from tests.support.project import ROOT, expect_none

# The exposure that systemd-analyze security may find in each unit, in tenths; docs/architecture.md has the reasons.
BOUNDS = {
    "digital-twin.service": 25,
    "digital-twin-logs.service": 20,
    "digital-twin-metadata.service": 20,
    "gpu-metrics.service": 20,
    "gpu-tuning.service": 29,
    "instance-guard-lifetime.service": 25,
    "instance-guard.service": 25,
    "ros2-discovery-server.service": 20,
    "ros2-loopback-multicast.service": 20,
    "ros2-zenoh-router.service": 20,
}
# Drop-ins add to units that packages bring. That of nftables.service loads our rules after it has flushed all tables.
DROP_INS = {
    "roles/container_toolkit/vars/main/specification.yml",
    "roles/digital_twin_stack/vars/main/metadata.yml",
    "roles/gpu_tuning/templates/nvidia-persistenced.conf.j2",
}
TEMPLATES = {path.name.removesuffix(".j2"): path for path in ROOT.glob("roles/*/templates/*.service.j2")}
OWNER = ["op", "/home/op", "1001"]
# Values that the roles read on a host or from another role.
FOUND: dict[str, Any] = {
    "python_environment_library": "/opt/environment/lib",
    "role_path": str(ROOT / "roles/ros2_networking"),
    "__digital_twin_stack_owner": OWNER,
    "__ros2_networking_server_own": ["10.0.1.10"],
    "__ros2_networking_server_index": "0",
    "__ros2_networking_server_port": "11811",
}


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with each unit, rendered with its role's defaults."""
    folder = tmp_path_factory.mktemp("units")
    plays = []
    for name, template in TEMPLATES.items():
        role = template.parents[1]
        files = [*role.glob("defaults/*.yml"), *role.glob("vars/*.yml"), *role.glob("vars/main/*.yml")]
        written = {"src": str(template), "dest": str(folder / name), "mode": "0644"}
        task = {"ansible.builtin.template": written, "vars": FOUND}
        play = {"hosts": "localhost", "gather_facts": False, "vars_files": [str(file) for file in files]}
        plays.append({**play, "tasks": [task]})
    playbook = folder / "plays.json"
    playbook.write_text(json.dumps(plays))
    given = json.dumps({"ansible_python_interpreter": sys.executable, **FOUND})
    run(["ansible-playbook", "--inventory=localhost,", "--connection=local", "--extra-vars", given, str(playbook)])
    return folder


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, which does not need a running systemd."""
    return subprocess.run(["systemd-analyze", "--no-pager", *words], capture_output=True, text=True, check=False)


def settings(unit: Path) -> dict[str, str]:
    """Return a unit's settings; the last value of a repeated setting."""
    return dict(re.findall(r"(?m)^(\w+)=(.*)$", unit.read_text("utf-8")))


def test_every_unit_of_the_roles_is_covered() -> None:
    assert TEMPLATES.keys() == BOUNDS.keys()
    bearers = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("roles/**/*")
        if path.is_file()
        and path.suffix != ".pyc"
        and re.search(r"^\s*\[Service\]", path.read_text("utf-8"), re.MULTILINE)
    }
    assert bearers == DROP_INS | {str(path.relative_to(ROOT)) for path in TEMPLATES.values()}


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_units_are_confined(units: Path, name: str, bound: int) -> None:
    done = analyze("security", "--offline=true", f"--threshold={bound}", str(units / name))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", BOUNDS)
def test_systemd_understands_every_line_of_a_unit(units: Path, name: str) -> None:
    done = analyze("verify", "--man=no", str(units / name))
    # This machine has neither the programs of a host nor the units of its packages.
    expect_none(
        line
        for line in done.stderr.splitlines()
        if name in line and not re.search(r"is not executable: No such file|Unit \S+ not found", line)
    )


# The user of the logs, systemd's dynamic user, or root.
@pytest.mark.parametrize("name", BOUNDS)
def test_no_unit_runs_as_a_login_user(units: Path, name: str) -> None:
    found = settings(units / name)
    assert found.get("User", "root") in {"root", "digital-twin-logs"}
    if "docker" in found.get("SupplementaryGroups", ""):
        assert found["User"] == "digital-twin-logs"


def environment_of(unit: Path, home: Path) -> Mapping[str, str]:
    """Return the environment of a unit: the home of its user, and the unit's variables."""
    found = {"HOME": str(home), "PATH": os.environ["PATH"]}
    for line in re.findall(r"(?m)^Environment=(.*)$", unit.read_text("utf-8")):
        found |= dict(word.split("=", 1) for word in line.split())
    return found


PLUGIN = """#!/bin/sh
echo ran >> "{marker}"
case "$1" in
  docker-cli-plugin-metadata) echo '{{"SchemaVersion": "0.1.0", "Vendor": "op", "Version": "1"}}' ;;
esac
"""


def follow(unit: Path, home: Path, folder: Path) -> None:
    """Run the log follower as the unit does, until it ends."""
    program = ROOT / "roles/digital_twin_stack/files/digital_twin_logs.py"
    words = [sys.executable, "-IB", str(program), "no-such-project", str(folder)]
    subprocess.run(words, env=environment_of(unit, home), capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("folder", [".docker/cli-plugins", "elsewhere"])
def test_a_plugin_of_the_owner_does_not_run(units: Path, tmp_path: Path, folder: str) -> None:
    """With Docker's own program. The plugin is in the owner's home or in a folder of the owner's configuration."""
    home, marker = tmp_path / "home", tmp_path / "marker"
    plugin = home / folder / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(PLUGIN.format(marker=marker))
    plugin.chmod(0o755)
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(plugin.parent)]}))
    (tmp_path / "logs").mkdir()

    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\n")
    follow(bare, home, tmp_path / "logs")
    assert marker.exists(), "without the unit's settings the plugin runs"
    marker.unlink()

    follow(units / "digital-twin-logs.service", home, tmp_path / "logs")
    assert not marker.exists()


SHOW_DOCKER = """#!/bin/sh
env > "{seen}"
"""


def test_docker_reads_no_configuration_of_a_user(units: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(SHOW_DOCKER.format(seen=seen))
    (tmp_path / "bin/docker").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
        follow(units / "digital-twin-logs.service", tmp_path, tmp_path)
    variables = dict(line.split("=", 1) for line in seen.read_text("utf-8").splitlines())
    assert variables["HOME"] == variables["DOCKER_CONFIG"] == "/nonexistent"
    assert variables["DOCKER_HOST"] == "unix:///var/run/docker.sock"
    assert not Path("/nonexistent").exists()
    given = {name for name in variables if name.startswith(("DOCKER_", "COMPOSE_"))}
    assert given == {"DOCKER_CONFIG", "DOCKER_HOST"}


def test_the_owner_cannot_replace_the_logs(units: Path) -> None:
    """The owner reads logs through a group and is not the unit's user, so cannot place a link at a log's path."""
    found = settings(units / "digital-twin-logs.service")
    assert found["ExecStart"].split()[-1] == "/var/log/" + found["LogsDirectory"]
    assert found["Group"] == OWNER[2]
    assert (found["LogsDirectoryMode"], found["UMask"]) == ("0750", "0027")
    assert "ReadWritePaths" not in found
    assert not [value for value in found.values() if OWNER[1] in value]
