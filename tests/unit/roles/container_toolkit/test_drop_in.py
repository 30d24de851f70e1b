# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drop-in of NVIDIA's unit: with the unit of each version, and its commands with simulated programs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.drift import values_of
from tests.support.project import ROOT

UNITS = ROOT / "sandbox/images/archive/container_toolkit/units"
VERSIONS = sorted(path.name for path in UNITS.iterdir() if path.is_dir())
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def drop_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the text of the drop-in."""
    folder = tmp_path_factory.mktemp("drop-in")
    values = {"text": "{{ __container_toolkit_drop_in.content }}"}
    return str(values_of(folder, "container_toolkit", values, {"case": {}})["case"]["text"])


def command(drop_in: str, word: str) -> list[str]:
    """Return the words of the drop-in's only command that has a word, as systemd reads them."""
    (line,) = [line for line in drop_in.splitlines() if re.match(r"Exec\w+=", line) and word in line]
    return shlex.split(line.partition("=")[2].removeprefix("-").replace("$$", "$"))


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return a function that creates programs from their scripts, and returns an environment that has only these."""

    def create(**scripts: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\necho {path.name} >> {tmp_path}/calls\n{script}\n")
            path.chmod(0o755)
        for name in ("sh", "timeout", "cat", "grep", "test"):
            (folder / name).symlink_to(str(shutil.which(name)))
        return {"PATH": str(folder)}

    return create


def run_in(environment: dict[str, str], words: list[str]) -> int:
    """Return the exit status of a command."""
    return subprocess.run(words, env=environment, capture_output=True, timeout=20, check=False).returncode


def calls(folder: Path, name: str) -> int:
    """Return how often a simulated program was called."""
    return (folder / "calls").read_text().split().count(name) if (folder / "calls").exists() else 0


def test_each_version_is_tested() -> None:
    assert len(VERSIONS) >= 3


@pytest.mark.parametrize("version", VERSIONS)
def test_systemd_understands_the_unit_of_each_version_with_it(tmp_path: Path, drop_in: str, version: str) -> None:
    shutil.copytree(UNITS / version, tmp_path / "units")
    folder = tmp_path / "units/nvidia-cdi-refresh.service.d"
    folder.mkdir(exist_ok=True)
    (folder / "digital-twin.conf").write_text(drop_in)
    words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "units/nvidia-cdi-refresh.service")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    # This machine has neither the programs of a host nor the units of its packages.
    missing = r"is not executable: No such file|Unit \S+ not found"
    assert not [line for line in done.stderr.splitlines() if "nvidia" in line and not re.search(missing, line)]
    assert not re.search(r"digital-twin\.conf", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("failures", "state", "status", "asked"),
    [(0, "running", 0, 1), (3, "starting", 0, 4), (3, "running", 1, 1), (3, "degraded", 1, 1)],
    ids=["present", "late", "broken", "broken and degraded"],
)
def test_the_wait_for_the_driver(
    tmp_path: Path,
    drop_in: str,
    programs: Callable[..., dict[str, str]],
    *,
    failures: int,
    state: str,
    status: int,
    asked: int,
) -> None:
    smi = f"test $(grep -c nvidia-smi {tmp_path}/calls) -gt {failures}"
    environment = programs(nvidia_smi=smi, systemctl=f"echo {state}", sleep="")
    assert run_in(environment, command(drop_in, "until")) == status
    assert calls(tmp_path, "nvidia-smi") == asked


def test_the_wait_ends_when_there_is_no_nvidia_smi(
    tmp_path: Path, drop_in: str, programs: Callable[..., dict[str, str]]
) -> None:
    assert run_in(programs(systemctl="echo starting", sleep=""), command(drop_in, "until")) == 0
    assert calls(tmp_path, "systemctl") == 0


@pytest.mark.parametrize("smi", ["exit 9", "exec cat"], ids=["no driver", "hang"])
def test_the_wait_is_bounded(tmp_path: Path, drop_in: str, programs: Callable[..., dict[str, str]], smi: str) -> None:
    words = command(drop_in, "until")
    assert words[0] == "timeout"
    assert 10 <= int(words[1]) < int(re.findall(r"(?m)^TimeoutStartSec=(\d+)s$", drop_in)[0]) <= 90
    assert int(re.findall(r"(?m)^TimeoutStopSec=(\d+)s$", drop_in)[0]) <= 10
    environment = programs(
        nvidia_smi=f"{smi} </dev/zero >/dev/null" if "cat" in smi else smi, systemctl="echo starting"
    )
    (Path(environment["PATH"]) / "sleep").symlink_to(str(shutil.which("sleep")))
    assert run_in(environment, ["timeout", "2", *words[2:]]) == 124


@pytest.mark.parametrize(
    ("vendors", "node", "modules", "status"),
    [
        (["0x8086", "0x10de"], False, "", 0),
        (["0x8086", "0x1d0f"], False, "nvidia_uvm 1 0\n", 1),
        # Another vendor's number that contains NVIDIA's.
        (["0x10de1"], False, "", 1),
        ([], False, "", 1),
        (["0x8086"], True, "", 0),
        (["0x8086"], False, "nvgpu 1 0 - Live\n", 0),
    ],
    ids=["PCI", "no GPU", "similar", "no bus", "WSL", "Tegra"],
)
def test_a_host_without_a_gpu_skips_the_unit(
    tmp_path: Path, drop_in: str, *, vendors: list[str], node: bool, modules: str, status: int
) -> None:
    for index, vendor in enumerate(vendors):
        (tmp_path / f"devices/{index}").mkdir(parents=True)
        (tmp_path / f"devices/{index}/vendor").write_text(f"{vendor}\n")
    (tmp_path / "modules").write_text(modules)
    if node:
        (tmp_path / "dxg").touch()
    words = command(drop_in, "0x10de")
    paths = {"/sys/bus/pci/devices": "devices", "/dev/dxg": "dxg", "/proc/modules": "modules"}
    for path, name in paths.items():
        assert path in words[-1]
        words[-1] = words[-1].replace(path, str(tmp_path / name))
    # systemd skips a unit for 1 to 254, and fails it for 255.
    assert run_in(dict(os.environ), words) == status


def test_no_command_before_the_specification_can_fail_the_unit(drop_in: str) -> None:
    found = re.findall(r"(?m)^ExecStartPre=(.+)$", drop_in)
    assert len(found) == 3
    assert all(line.startswith("-") for line in found)
    assert [line for line in found if "create-device-nodes --control-devices" in line] == found[1:]
    assert "--load-kernel-modules" in found[1] and "--load-kernel-modules" not in found[2]
