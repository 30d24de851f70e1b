# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tag that filter stack_build returns changes with the files and the base of an image, and with nothing else."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from ansible_collections.digital_twin.robotics_lab.plugins.filter.stack_build import stack_build

PATTERNS = ["Dockerfile", "*.py", "map/*"]
FILES = {"Dockerfile": "FROM x\n", "b.py": "1\n", "a.py": "", "map/hall.pgm": "2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of an image, and others."""
    (tmp_path / "map").mkdir()
    for name, text in {**FILES, ".c.py": "3", "map/.keep": "", "README.md": "4"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def tag(folder: Path, image: str = "lab/robot:1", base: str = "debian:13") -> str:
    """Return the image with its tag."""
    return str(stack_build(PATTERNS, str(folder), image, base)["image"])


def test_the_context_has_the_files_of_the_patterns(folder: Path) -> None:
    found = stack_build(PATTERNS, str(folder), "lab/robot:1", "debian:13")["files"]
    # Sorted without regard to case.
    assert [(file["name"], file["content"]) for file in found] == [
        (name, FILES[name]) for name in ("a.py", "b.py", "Dockerfile", "map/hall.pgm")
    ]


def test_the_tag_is_a_hash_of_base_names_and_contents(folder: Path) -> None:
    text = '["debian:13", ["a.py", "b.py", "Dockerfile", "map/hall.pgm"], ["", "1", "FROM x", "2"]]'
    assert tag(folder) == f"lab/robot:1-{sha256(text.encode()).hexdigest()[:12]}"
    assert tag(folder, "lab/robot:1@sha256:" + "ab" * 32) == tag(folder)


@pytest.mark.parametrize(
    ("name", "differs"),
    [("a.py", True), ("map/hall.pgm", True), ("new.py", True), (".c.py", False), ("README.md", False)],
)
def test_the_tag_changes_with_the_files(folder: Path, name: str, differs: bool) -> None:
    before = tag(folder)
    (folder / name).write_text("changed")
    assert (tag(folder) != before) == differs


def test_the_tag_changes_with_the_base(folder: Path) -> None:
    assert tag(folder) != tag(folder, base="debian:12")
