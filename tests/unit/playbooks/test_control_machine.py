# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks' first checks, which concern the machine that runs Ansible."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.ansible_programs import execute
from tests.support.project import FQCN, NAME, NAMESPACE, ROOT, clean_environment, copy_project, load_yaml

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


def select(
    inventory: str, settings: Mapping[str, str], folder: Path = ROOT, playbook: str = "playbooks/select.yml"
) -> tuple[int, str]:
    """Run the playbook that all others import first; return its exit status, and its output on one line."""
    words, environment = ["--inventory", inventory, playbook], clean_environment(settings)
    if folder == ROOT:
        done = execute(["ansible-playbook", *words], environment)
    else:
        done = subprocess.run(
            [PLAYBOOK, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def local(tmp_path: Path) -> str:
    """Return an inventory of a host that needs no connection."""
    path = tmp_path / "local.yml"
    path.write_text("lab: {hosts: {workstation: {ansible_connection: local}}}\n", "utf-8")
    return str(path)


@pytest.mark.parametrize("hosts", ["robot,", ","])
def test_ssh_is_needed_for_hosts_that_are_reached_through_it(hosts: str, tmp_path: Path) -> None:
    status, output = select(hosts, {"PATH": str(tmp_path)})
    assert status == 2, output
    assert "ssh is not installed on this machine" in output
    assert "`apt-get install openssh-client`" in output


def test_ssh_is_not_needed_for_this_machine_itself(local: str, tmp_path: Path) -> None:
    status, output = select(local, {"PATH": str(tmp_path)})
    assert status == 0, output
    assert "WARNING" not in output


def test_a_world_writable_checkout_is_reported(local: str, tmp_path: Path) -> None:
    """Ansible ignores its ansible.cfg there; the collection itself is found in another place."""
    checkout = tmp_path / "checkout"
    copy_project(checkout)
    checkout.chmod(0o777)
    status, output = select(local, {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")}, checkout)
    assert status == 2, output
    assert f"`chmod o-w {checkout}`" in output
    assert f"`export ANSIBLE_CONFIG={checkout}/ansible.cfg`" in output


def test_a_collection_in_site_packages_is_found(local: str, tmp_path: Path) -> None:
    """The package `ansible` installs its collections there."""
    installed = tmp_path / "packages" / "ansible_collections" / NAMESPACE / NAME
    copy_project(installed)
    described = load_yaml(installed / "galaxy.yml")
    (installed / "galaxy.yml").unlink()
    (installed / "MANIFEST.json").write_text(json.dumps({"collection_info": described}), "utf-8")
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "PYTHONPATH": str(tmp_path / "packages")}
    status, output = select(local, settings, tmp_path, f"{FQCN}.select")
    assert status == 0, output
