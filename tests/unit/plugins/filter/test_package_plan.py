# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declared packages, compared with those of a host and of an archive."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.package_plan import PREFERENCES, package_plan

MADISON = """\
 docker.io | 28.3.2+dfsg1-1 | http://archive noble/universe amd64 Packages
 docker.io | 5:28.3.1-1~debian.12 | http://archive noble/universe amd64 Packages
 docker.io | 28.3.1-1 | http://archive noble/universe amd64 Packages
compose | 2.27.0-1 | http://archive noble/universe Sources
"""


def package(version: str, *, hold: bool = False, status: str = "installed") -> dict[str, Any]:
    return {"version": version, "status": status, "hold": hold}


def plan(
    version: str,
    packages: dict[str, Any],
    *,
    files: dict[str, Any] | None = None,
    check_mode: bool = False,
    **wanted: Any,
) -> dict[str, Any]:
    pins = [
        {"file": "engine", "packages": ["docker.io"], "version": version, "variable": "docker_version", **wanted},
        {"file": "compose", "packages": ["compose"], "version": "", "variable": "docker_compose_version"},
    ]
    declared = {"role": "docker", "source": "the archive", "pins": pins, "others": ["tool"], "conflicts": ["podman"]}
    return package_plan(declared, packages, MADISON, files, check_mode)


WHOLE = {"docker.io": package("28.3.1-1"), "compose": package("2.26.1"), "tool": package("1")}


@pytest.mark.parametrize(
    ("version", "matching"),
    [
        ("", ["28.3.2", "1"]),
        ("28.3", ["28.3.2", "28.3.20", "28.3", "5:28.3.9-1", "28.3+dfsg1-1"]),
        ("28.3.2", ["28.3.2", "28.3.2-1", "5:28.3.2-1~debian.12~bookworm", "28.3.2+dfsg1-1"]),
    ],
)
def test_versions_that_match(version: str, matching: list[str]) -> None:
    for installed in ("28.3.20", "28.30", "1:1.28.3.2", *matching):
        found = plan(version, {**WHOLE, "docker.io": package(installed)})
        assert found["complete"] is (version == "" or installed in matching), installed


@pytest.mark.parametrize(("installed", "matches"), [("1.18.2", True), ("1.18.2-1", True), ("1.18.2~rc.1-1", False)])
def test_a_whole_version_has_only_a_revision(installed: str, matches: bool) -> None:
    assert plan("1.18.2", {**WHOLE, "docker.io": package(installed)}, whole=True)["complete"] is matches


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (True, False, [])),
        ({"docker.io": package("28.3.1-1", status="config-files")}, (False, True, [])),
        ({"tool": package("1", status="config-files")}, (False, True, [])),
        ({"podman": package("5")}, (True, True, ["podman"])),
        ({"podman": package("5", status="config-files")}, (True, False, [])),
    ],
)
def test_what_is_to_be_installed(change: dict[str, Any], expected: tuple[bool, bool, list[str]]) -> None:
    found = plan("28.3.1", WHOLE | change)
    assert (found["complete"], found["differs"], found["conflicting"]) == expected


@pytest.mark.parametrize(
    ("version", "installed", "specification", "problems"),
    [
        ("", {}, "docker.io", 0),
        ("28.3", {}, "docker.io=28.3.2+dfsg1-1", 0),
        ("28.3", {"docker.io": package("28.3.1-1")}, "docker.io=28.3.1-1", 0),
        ("28.3.1", {}, "docker.io=5:28.3.1-1~debian.12", 0),
        ("99", {}, "docker.io=", 1),
    ],
)
def test_the_chosen_version(version: str, installed: dict[str, Any], specification: str, problems: int) -> None:
    found = plan(version, installed)
    assert found["specifications"] == [specification, "compose", "tool"]
    assert len(found["problems"]) == problems
    assert found["known"] is (problems == 0)


def test_an_unknown_version_is_reported_with_the_available_ones() -> None:
    assert plan("99", {})["problems"] == [
        "docker_version is 99, and the archive does not offer it. Available are 28.3.2+dfsg1-1, "
        "5:28.3.1-1~debian.12, 28.3.1-1."
    ]


@pytest.mark.parametrize(
    ("version", "packages", "has_file", "check_mode", "expected"),
    [
        ("28.3.1", WHOLE, False, False, (["docker.io"], [])),
        ("28.3.1", {**WHOLE, "docker.io": package("28.3.1-1", hold=True)}, True, False, ([], [])),
        # The installation of another package may end the hold.
        ("28.3.1", {"docker.io": package("28.3.1-1", hold=True)}, True, False, (["docker.io"], [])),
        ("28.3.1", {}, False, True, ([], [])),
        ("", {**WHOLE, "docker.io": package("1", hold=True)}, True, False, ([], ["docker.io"])),
        # The hold of a user stays.
        ("", {**WHOLE, "docker.io": package("1", hold=True)}, False, False, ([], [])),
    ],
)
def test_holds(
    version: str, packages: dict[str, Any], has_file: bool, check_mode: bool, expected: tuple[list[str], list[str]]
) -> None:
    files = {f"{PREFERENCES}/engine": {"exists": True}} if has_file else {}
    found = plan(version, packages, files=files, check_mode=check_mode)
    assert (found["hold"], found["unhold"]) == expected


def test_pin_files() -> None:
    found = plan("28.3", WHOLE)
    engine, compose = found["files"]
    assert compose == {"name": "compose", "state": "absent"}
    assert engine["content"] == (
        "Explanation: Pinned by role digital_twin.robotics_lab.docker; Ansible rewrites this file.\n"
        "Package: docker.io\nPin: version 28.3.1-1\nPin-Priority: 1001\n"
    )
    path = f"{PREFERENCES}/engine"
    present = {"exists": True, "link": "", "kind": "file", "mode": "0644", "uid": 0, "gid": 0}
    present["content"] = engine["content"]
    assert found["files_differ"] == [path]
    assert plan("28.3", WHOLE, files={path: present})["files_differ"] == []
    assert plan("28.3", WHOLE, files={path: {**present, "mode": "0666"}})["files_differ"] == [path]
    assert plan("", WHOLE, files={path: present})["files_differ"] == [path]
