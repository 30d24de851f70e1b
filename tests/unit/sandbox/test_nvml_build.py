# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated GPU is compiled once per content, without warnings, and a failure has a reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sandbox import nvml
from sandbox.errors import SandboxError


def test_compiles_without_a_warning_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-Werror")
    nvml.build(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *["content", "libnvidia-cfg.so.1", "libnvidia-ml.so.1", "numa.so", "nvidia-smi", "pci-devices"]
    ]
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    nvml.build(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_changed_source_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(nvml.SOURCES, sources)
    before = nvml.content()
    monkeypatch.setattr(nvml, "SOURCES", sources)
    assert nvml.content() == before
    with (sources / "profiles.c").open("a", encoding="utf-8") as file:
        file.write("this is not C\n")
    assert nvml.content() != before
    with pytest.raises(SandboxError, match=r"could not be compiled: (?s:.*)profiles\.c"):
        nvml.build(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [], "no partial result may remain"


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="Install a C compiler"):
        nvml.build(tmp_path / "out")
