# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's images of hosts have the disks of the hosts, on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from sandbox.builds import HOSTS, ensure_all
from sandbox.cloud.disk_images import DiskImages, disk_of
from sandbox.lifecycle import remove_all
from sandbox.settings import Sandbox

ENGINE_DATA = "/var/lib/docker"
# A file of the root disk, and a layer of the host's engine as overlay2 stores one: an attribute, and a device for a
# deleted file.
WRITE = f"""
echo mine >/root/data
mkdir {ENGINE_DATA}/layer
python3 -c 'import os; os.setxattr("{ENGINE_DATA}/layer", "trusted.overlay.opaque", b"y")'
mknod {ENGINE_DATA}/layer/deleted c 0 0
"""
READ = f"""
cat /root/data
python3 -c 'import os; print(os.getxattr("{ENGINE_DATA}/layer", "trusted.overlay.opaque"))'
stat --format=%F {ENGINE_DATA}/layer/deleted
"""


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    """Return a client of this machine's engine."""
    client = docker.from_env(timeout=120)
    yield client
    client.close()


def test_an_image_of_a_host_has_its_disks(engine: docker.DockerClient, tmp_path: Path) -> None:
    sandbox = Sandbox.at(tmp_path / "sandbox")
    ensure_all(engine, [HOSTS["debian13"]])
    disks, labels = DiskImages(sandbox, engine), sandbox.labels

    def run(image: str, instance_id: str, script: str) -> str:
        """Run a script as an instance, whose container stays."""
        volume = engine.volumes.create(disk_of(sandbox, instance_id), labels=labels)
        container = engine.containers.create(
            image,
            ["bash", "-ec", script],
            name=sandbox.name(instance_id),
            labels=labels,
            cap_add=["SYS_ADMIN"],
            volumes={volume.name: {"bind": ENGINE_DATA, "mode": "rw"}},
        )
        container.start()
        assert container.wait(timeout=60)["StatusCode"] == 0, container.logs()
        return container.logs().decode()

    mine: dict[str, Any] = {"label": sandbox.label_filter}
    try:
        run(HOSTS["debian13"].tag, "i-1", WRITE)
        disks.make("ami-1", "i-1")
        disks.copy("ami-1", "i-2")
        copied = run(disks.find("ami-1"), "i-2", READ)
        assert copied.splitlines() == ["mine", "b'y'", "character special file"]
        # The image goes while its host is there, of which another image can be made.
        disks.remove("ami-1")
        assert {volume.name for volume in engine.volumes.list(filters=mine)} == {
            disk_of(sandbox, name) for name in ("i-1", "i-2")
        }
        disks.make("ami-3", "i-2")
        disks.remove("ami-3")
        assert (disks.find("ami-3"), disks.find("ami-4")) == ("", "")
    finally:
        remove_all(sandbox, engine)
    left = [*engine.containers.list(all=True, filters=mine), *engine.images.list(filters=mine)]
    assert left + engine.volumes.list(filters=mine) == []
