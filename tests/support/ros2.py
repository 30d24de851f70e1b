# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ROS 2 Jazzy in an environment of its own, as the sandbox's image of the robot has it."""

from __future__ import annotations

import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from sandbox import builds
from sandbox.locks import alone
from tests.support.project import ROOT, run

IMAGE = ROOT / "sandbox" / "images" / "ros2"
ROS2 = ROOT / ".cache" / "ros2"
INSTALL_SECONDS = 600
# With a compiler on a busy machine.
BUILD_SECONDS = 1200


def content() -> str:
    """Return a digest of what the environment is made of."""
    files = [IMAGE / "build_interfaces", *sorted(path for path in (IMAGE / "interfaces").rglob("*") if path.is_file())]
    digest = sha256("\n".join([sys.version, *packages()]).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def packages() -> tuple[str, ...]:
    """Return the requirements of the bridge and of the simulator."""
    return builds.locked("foxglove-sdk", "redis")


def install_ros2() -> None:
    """Create the environment, unless it exists with the present content."""
    with alone("ros2", what="another process to build ROS 2", seconds=INSTALL_SECONDS + BUILD_SECONDS):
        stamp, wanted = ROS2 / ".made-of", content()
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return
        run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(ROS2)])
        install = ["uv", "pip", "install", "--require-hashes", "--quiet", "--no-deps", "--python", f"{ROS2}/bin/python"]
        with tempfile.TemporaryDirectory() as scratch:
            own = Path(scratch) / "packages.txt"
            own.write_text("\n".join(packages()), encoding="utf-8")
            lock = IMAGE / "interfaces" / "build.txt"
            run([*install, "-r", str(lock), "-r", str(own)], timeout=INSTALL_SECONDS)
            build = [str(IMAGE / "build_interfaces"), str(IMAGE / "interfaces"), str(ROS2), f"{scratch}/build"]
            run(build, timeout=BUILD_SECONDS)
        stamp.write_text(wanted, encoding="utf-8")
