# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""compose/versions.yml is what is deployed: every other place that names a version names the same."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.project import ROOT, expect_none, load_yaml, text_files

VERSIONS: dict[str, Any] = load_yaml(ROOT / "compose" / "versions.yml")
IMAGES: dict[str, dict[str, Any]] = VERSIONS["services"] | VERSIONS["images"]
DEFAULTS: dict[str, Any] = load_yaml(ROOT / "roles/digital_twin_stack/defaults/main.yml")
# The default of the role and the variable of compose.yaml that name each image; none where nothing deploys it yet.
VARIABLES = {
    "redis": ("digital_twin_stack_redis_image", "REDIS_IMAGE"),
    "cognitive": ("digital_twin_stack_base_image", None),
    "riva": ("digital_twin_stack_riva_image", "RIVA_IMAGE"),
    "nim": ("digital_twin_stack_nim_image", "NIM_IMAGE"),
    "ros2": ("digital_twin_stack_ros2_base_image", None),
    "isaac_sim": ("digital_twin_stack_isaac_sim_image", "ISAAC_SIM_IMAGE"),
    "foxglove": ("digital_twin_stack_foxglove_image", "FOXGLOVE_IMAGE"),
    "nim_model_free": ("digital_twin_stack_nim_model_free_image", None),
}
# The sandbox and the tests use versions of their own on purpose, and plugins name others in examples.
FOLDERS = ("compose", "docs", "group_vars", "inventory", "playbooks", "roles")


def test_every_image_is_compared() -> None:
    assert set(VARIABLES) == set(IMAGES)


@pytest.mark.parametrize("name", [name for name, (default, _variable) in VARIABLES.items() if default])
def test_defaults_of_the_role(name: str) -> None:
    entry, variable = IMAGES[name], VARIABLES[name][0]
    assert DEFAULTS[str(variable)] == f"{entry['image']}:{entry['version']}"


@pytest.mark.parametrize("name", [name for name, (_default, variable) in VARIABLES.items() if variable])
def test_defaults_of_compose(name: str) -> None:
    entry, variable = IMAGES[name], VARIABLES[name][1]
    text = (ROOT / "compose" / "compose.yaml").read_text(encoding="utf-8")
    found = re.findall(rf"\$\{{{variable}:-([^}}]+)\}}", text)
    assert found == [f"{entry['registry']}/{entry['image']}:{entry['version']}"]


def test_registries() -> None:
    fields = {
        "digital_twin_stack_registry": ("redis", "cognitive", "ros2"),
        "digital_twin_stack_nvidia_registry": ("riva", "nim", "isaac_sim", "nim_model_free"),
        "digital_twin_stack_foxglove_registry": ("foxglove",),
    }
    for variable, names in fields.items():
        assert {IMAGES[name]["registry"] for name in names} == {DEFAULTS[variable]}


def test_packages() -> None:
    defaults = load_yaml(ROOT / "roles/container_toolkit/defaults/main.yml")
    assert defaults["container_toolkit_version"] == VERSIONS["packages"]["container_toolkit"]["version"]


def test_nothing_else_names_another_version() -> None:
    names = {entry["image"].removeprefix("library/"): entry for entry in IMAGES.values()}
    # A name alone, as in a path, or a text in angle brackets, is not a version, and neither is a port. A full
    # stop may follow one.
    listed, port = "|".join(map(re.escape, names)), r"[0-9]{4,5}\b(?!\.[0-9])"
    pattern = re.compile(rf"(?<![\w/-])(?:library/)?({listed}):(?!{port})([A-Za-z0-9][\w.-]*)")
    expect_none(
        f"{path}: {match[0]}, and compose/versions.yml has {names[match[1]]['version']}"
        for path, text in text_files(*FOLDERS).items()
        if path.parts[:2] != ("docs", "reference")
        for match in pattern.finditer(text)
        if match[2].rstrip(".") != names[match[1]]["version"]
    )


def test_the_table_of_services_in_the_documentation() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    rows = {
        cells[0]: cells[1]
        for cells in (list(map(str.strip, line.strip("|").split("|"))) for line in page.splitlines())
        if len(cells) == 4
    }
    named = {
        "Isaac Sim": "isaac_sim",
        "NIM llama-3.1-8b-instruct": "nim",
        "Riva parakeet-1-1b-ctc-en-us": "riva",
        "Lichtblick": "foxglove",
        "Redis": "redis",
    }
    for title, name in named.items():
        assert rows[title] == IMAGES[name]["version"].partition("-")[0]


def test_every_version_is_dated_and_names_its_source() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", VERSIONS["checked"])
    for entry in [*IMAGES.values(), *VERSIONS["packages"].values()]:
        assert entry["source"].startswith("https://")
        assert isinstance(entry["version"], str)
