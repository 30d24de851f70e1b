# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's images and their names in the stack."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sandbox import builds
from sandbox.settings import PROJECT


def test_every_image_that_the_stack_pulls_is_published() -> None:
    """All images of the role's defaults except the base image of ROS 2."""
    wanted = {value for name, value in builds.STACK.items() if name.endswith("_image")}
    published = {image.published for image in (*builds.SERVICES, *builds.SIMULATORS)}
    assert published | set(builds.PUBLISHED_ALSO.values()) == wanted - {
        builds.STACK["digital_twin_stack_ros2_base_image"]
    }


@pytest.mark.parametrize("image", builds.SIMULATORS, ids=lambda image: image.tag)
def test_a_simulator_has_all_its_sources(image: builds.Image) -> None:
    assert (image.folder / "Dockerfile").is_file()
    assert [source for source in image.sources if not (PROJECT / source).exists()] == []
    assert [lock for lock in image.locks if not (image.folder / lock).is_file()] == []


def test_the_lock_of_ros_2_has_what_runs_and_what_builds() -> None:
    folder = builds.IMAGES / "ros2"
    runs, all_of_it = (
        {line.split(" ")[0] for line in builds.pinned(folder / name)} for name in ("ros2.txt", "interfaces/build.txt")
    )
    assert runs < all_of_it
    assert {"ros-rclpy", "ros-nav-msgs", "ros-std-srvs"} <= {name.split("==")[0] for name in runs}
    assert all("--hash=sha256:" in line for line in builds.pinned(folder / "interfaces" / "build.txt"))


def test_the_content_is_the_folder_the_sources_and_the_packages(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    image = builds.Image("image", tmp_path, "base")
    seen = {builds.content_of(image, ["base"])}
    seen.add(builds.content_of(image, ["another base"]))
    seen.add(builds.content_of(dataclasses.replace(image, packages=("a==1",)), ["base"]))
    seen.add(builds.content_of(dataclasses.replace(image, sources=("sandbox/ros_topics.py",)), ["base"]))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nUSER 1\n")
    seen.add(builds.content_of(image, ["base"]))
    assert len(seen) == 5
