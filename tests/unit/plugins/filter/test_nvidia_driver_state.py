# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which drivers that a host already has are left alone, and what is said of the others."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.digital_twin.robotics_lab.plugins.filter.nvidia_driver_state import FilterModule

HERE = Path(__file__).parent
PROBE = HERE.parents[3] / "roles" / "nvidia_driver" / "files" / "probe.sh"
CASES = yaml.safe_load((HERE / "nvidia_driver_state.yml").read_text(encoding="utf-8"))
# A host with an A10G.
WANTED: dict[str, Any] = {"distribution": "Ubuntu", "kernel": "6.17.0", "minimum": "535.129", "below": "590"}
CAPABILITIES = ["compute", "utility", "graphics", "video"]
GRAPHICS = [
    "icd /usr/share/vulkan/icd.d/nvidia_icd.json",
    "egl /usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "library libGLX_nvidia.so.0 /usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.0",
    "library libcuda.so.1 /usr/lib/x86_64-linux-gnu/libcuda.so.1",
]
UBUNTU = "Ubuntu Core Developers <ubuntu-devel-discuss@lists.ubuntu.com>"
DEBIAN = "Debian NVIDIA Maintainers <pkg-nvidia-devel@lists.alioth.debian.org>"
NVIDIA = "cudatools <cudatools@nvidia.com>"
OTHERS = ["bash 5.2.21-2ubuntu4 bash x", f"nvidia-settings 510.47.03-0ubuntu4 nvidia-settings {UBUNTU}"]
SETS = {
    "ubuntu-desktop": [
        *(
            f"{name} 580.173.02-0ubuntu0.24.04.1 nvidia-graphics-drivers-580 {UBUNTU}"
            for name in (
                "libnvidia-compute-580",
                "libnvidia-gl-580",
                "nvidia-driver-580",
                "xserver-xorg-video-nvidia-580",
            )
        ),
        f"linux-modules-nvidia-580-6.17.0-8-generic 6.17.0-8.8 linux-restricted-modules {UBUNTU}",
    ],
    "ubuntu-server": [
        *(
            f"{name} 580.173.02-0ubuntu0.24.04.1 nvidia-graphics-drivers-580-server {UBUNTU}"
            for name in ("libnvidia-compute-580-server", "nvidia-utils-580-server")
        ),
        f"linux-modules-nvidia-580-server-aws 6.17.0-1021.21 linux-restricted-modules-aws {UBUNTU}",
    ],
    "nvidia": [
        f"{name} 580.95.05-0ubuntu1 {source} {NVIDIA}"
        for name, source in (
            ("cuda-drivers", "cuda-drivers"),
            ("libnvidia-compute-580", "nvidia-graphics-drivers"),
            ("nvidia-open-580", "nvidia-open-580"),
        )
    ],
    "debian": [
        f"{name} 550.163.01-2 nvidia-graphics-drivers {DEBIAN}" for name in ("libcuda1", "libnvidia-ml1", "nvidia-smi")
    ],
}


def dpkg(packages: str | list[str]) -> str:
    """Return the rows of dpkg-query for a set of packages, among others and one that was removed."""
    rows = SETS[packages] if isinstance(packages, str) else packages
    cells = (row.split(" ", 3) for row in [*OTHERS, *rows])
    installed = [f"installed {name} {version} {source} install {owner}" for name, version, source, owner in cells]
    return "\n".join(["config-files nvidia-utils-470 470.1-1 nvidia-graphics-drivers-470 deinstall x", *installed])


@pytest.mark.parametrize("case", CASES, ids=[f"{index}-{case['name']}" for index, case in enumerate(CASES)])
def test_state(case: dict[str, Any]) -> None:
    wanted = {**WANTED, "capabilities": CAPABILITIES, "gpus": [0x2237], **case.get("wanted", {})}
    probe = "\n".join([*case["probe"], *(GRAPHICS if case.get("graphics") else [])])
    judge = FilterModule().filters()["nvidia_driver_state"]
    state = judge(wanted, probe, dpkg(case.get("packages", [])), case.get("modprobe", ""))
    assert {key: state[key] for key in case["expect"]} == case["expect"]
    assert re.search(case.get("says", ""), state["message"]), state["message"]
    assert re.search(case.get("problem", ""), state["problem"]), state["problem"]
    assert "\n" not in state["message"] + state["problem"]


def probed(folder: Path, programs: dict[str, str], pin: str = "/nonexistent") -> str:
    """Return what the role's probe prints on this machine, with some programs in place of its own."""
    for name, body in programs.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        program.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", PROBE.read_text(encoding="utf-8"), "probe", pin],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout


def test_the_probe_and_the_filter_understand_one_another(tmp_path: Path) -> None:
    listed = """cat <<END
2 libs found in cache
\tlibcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05
\tlibGLX_nvidia.so.0 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.580.95.05
END"""
    warns = "echo 580.95.05; echo 'WARNING: infoROM is corrupted at gpu 0000:00:1E.0'; exit 14"
    pin = tmp_path / "pin"
    pin.write_text("Explanation: x\nPackage: src:a src:b\nPin: version 580.95.05-*\n", encoding="utf-8")
    text = probed(tmp_path, {"nvidia-smi": warns, "ldconfig": listed}, str(pin))
    rows = text.splitlines()
    assert {"smi 580.95.05", "smi-status 14", f"kernel {os.uname().release}", "pinned src:a src:b"} <= set(rows)
    assert "library libcuda.so.1 /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05" in rows
    # A container's kernel is its machine's, of which this test knows nothing.
    wanted = {**WANTED, "kernel": "", "gpus": [0x2237]}
    state = FilterModule().filters()["nvidia_driver_state"](wanted, text, dpkg([]))
    assert (state["verdict"], state["version"], state["gpus"], state["problem"]) == ("kept", "580.95.05", 1, "")
    assert "nvidia-smi warns: WARNING: infoROM is corrupted" in state["message"]
    other = FilterModule().filters()["nvidia_driver_state"]({**wanted, "branch": "570"}, text, dpkg([]))
    assert other["verdict"] == "refused"


def test_the_probe_prints_why_nvidia_smi_does_not_answer(tmp_path: Path) -> None:
    fails = "echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18"
    rows = probed(tmp_path, {"nvidia-smi": fails, "ldconfig": ""}).splitlines()
    assert rows[:2] == ["smi Failed to initialize NVML: Driver/library version mismatch", "smi-status 18"]
    assert not [row for row in rows if row.startswith("pinned")]
