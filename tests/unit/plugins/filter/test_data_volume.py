# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of role data_volume."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.digital_twin.robotics_lab.plugins.filter.data_volume_findings import data_volume_findings
from ansible_collections.digital_twin.robotics_lab.plugins.filter.data_volume_hidden import data_volume_hidden
from ansible_collections.digital_twin.robotics_lab.plugins.filter.data_volume_problems import data_volume_problems
from ansible_collections.digital_twin.robotics_lab.plugins.filter.systemd_path_unit import systemd_path_unit

MODELS = {"name": "models", "path": "/srv/models"}
DOCKER = ["docker.service"]
MOUNTS = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /srv/other rw - ext4 /dev/sda2 rw\n"


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/", "-.mount"),
        ("/data", "data.mount"),
        ("/srv/my-models//x/", "srv-my\\x2dmodels-x.mount"),
        ("/.hidden/a.b", "\\x2ehidden-a.b.mount"),
        ("/a b/ü_:", "a\\x20b-\\xc3\\xbc_:.mount"),
        ("/var/lib/docker", "var-lib-docker.mount"),
    ],
)
def test_units_have_the_names_of_systemd_escape(path: str, unit: str) -> None:
    assert systemd_path_unit(path) == unit
    program = shutil.which("systemd-escape")
    assert program, "needs systemd: make tools"
    printed = subprocess.run([program, "--path", "--suffix=mount", path], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == unit


def test_a_device_has_a_unit_too() -> None:
    assert systemd_path_unit("/dev/disk/by-uuid/1f-2", "device") == "dev-disk-by\\x2duuid-1f\\x2d2.device"


@pytest.mark.parametrize("path", ["data", "", None, "/a/../b"])
def test_units_need_an_absolute_path(path: object) -> None:
    with pytest.raises(AnsibleFilterError, match="must be an absolute path without"):
        systemd_path_unit(path)


@pytest.mark.parametrize(
    ("path", "directories", "services", "problems"),
    [
        ("/data", [], DOCKER, []),
        ("/data", [{**MODELS, "mode": "0755"}, {"name": "d", "path": "/var/lib/docker"}], [], []),
        ("data", [], [], ['data_volume_path has the path "data". Allowed: the absolute path of a folder']),
        ("/data/", [], [], ['data_volume_path has the path "/data/"']),
        ("/data\n", [], [], ['data_volume_path has the path "/data\\n"']),
        ("/srv/../etc", [], [], ['"/srv/../etc"']),
        ("/srv/a%b", [], [], ['"/srv/a%b"']),
        ("/var/lib", [], [], ['"/var/lib"']),
        ("/etc/docker", [], [], ['"/etc/docker"']),
        ("/data", [{"name": "../x", "path": "/srv/x"}], [], ["Allowed as name: letters"]),
        ("/data", [{**MODELS, "mode": "rwx"}], [], ['Allowed as mode: text in octal, such as "0755"']),
        ("/data", [{"name": "models", "path": "/"}], [], ['data_volume_directories has the path "/"']),
        ("/data", [MODELS, {**MODELS, "path": "/srv/b"}], [], ["the name models more than once"]),
        ("/data", [MODELS, {**MODELS, "name": "b"}], [], ["/srv/models is declared twice"]),
        ("/srv", [MODELS], [], ['"/srv"', "/srv/models is inside of /srv"]),
        ("/data", [], ["docker"], ['data_volume_services has "docker". Allowed: names of units']),
    ],
)
def test_paths_are_checked(
    path: str, directories: list[dict[str, Any]], services: list[str], problems: list[str]
) -> None:
    found = data_volume_problems(path, directories, services)
    assert all(expected in one for expected, one in zip(problems, found, strict=True))
    assert all(one.endswith(".") for one in found)


@pytest.mark.parametrize(
    ("target", "files", "mounted", "problem"),
    [
        ("/data", {}, [], ""),
        ("/data", {"/data": {"exists": True, "kind": "directory"}}, [], ""),
        ("/data", {"/data": {"exists": True, "kind": "file"}}, [], "/data is not a folder"),
        ("/data", {"/data/.hidden": {"exists": True}}, [], "/data contains .hidden, which a mount would hide"),
        ("/data", {f"/data/{name}": {} for name in "dabc"}, [], "/data contains a, b, c, ..., which"),
        ("/mnt/data", {"/mnt/data/a": {"exists": True}}, ["/mnt/data"], ""),
        ("/srv/renamed", {}, ["/srv/renamed"], "/srv/renamed shows /old of the volume. Allowed: /"),
        ("/data", {"/data2/a": {"exists": True}}, [], ""),
        ("/srv/other", {}, [], "/srv/other is a mount point of something else"),
        ("/srv/other", {}, ["/srv/other"], ""),
    ],
)
def test_what_a_mount_would_hide(target: str, files: dict[str, Any], mounted: list[str], problem: str) -> None:
    mounts = f"{MOUNTS}90 1 7:1 / /mnt/data rw - ext4 /dev/loop1 rw\n91 1 7:1 /old /srv/renamed rw - ext4 /dev/loop1 rw"
    known = {target: {"exists": False}, "/proc/self/mountinfo": {"content": mounts}, **files}
    found = data_volume_hidden([target], known, mounted, ["/"])
    assert len(found) == (1 if problem else 0)
    assert problem in "".join(found)


ACTIVE = {"UnitFileState": "enabled", "ActiveState": "active"}
REQUIRING = {"LoadState": "loaded", "RequiresMountsFor": "/data /srv/models"}


@pytest.mark.parametrize(
    ("mount", "service", "problem"),
    [
        (ACTIVE, REQUIRING, ""),
        (ACTIVE, {"LoadState": "not-found"}, ""),
        (
            {**ACTIVE, "ActiveState": "failed"},
            REQUIRING,
            "data.mount should be enabled and active. It is enabled and failed",
        ),
        ({}, REQUIRING, "It is missing and unknown"),
        (
            ACTIVE,
            {"LoadState": "loaded", "RequiresMountsFor": "/data2"},
            "docker.service starts without /data. Apply the role",
        ),
    ],
)
def test_units_are_judged(mount: dict[str, str], service: dict[str, str], problem: str) -> None:
    found = data_volume_findings({"data.mount": mount, "docker.service": service}, ["/data"], DOCKER)
    assert len(found) == (1 if problem else 0)
    assert problem in "".join(found)
